"""What the benchmark of codecs found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.codecs.params import BenchParams
from benchmarks.codecs.timing import Timing

SCHEMA = 1
PAPER = "McLeod, Righetto, Stewart, Stahlberg, J. Struct. Biol. 201, 252 (2018)"


@dataclass(frozen=True, slots=True)
class Published:
    """A line of the paper's Table 1: 60 x 3838 x 3710 int8, 48 threads.

    Attributes
    ----------
    write, read
        Seconds.
    ratio
        Size over that of the pixels.
    """

    write: float | None
    read: float | None
    ratio: float | None


# Keyed by what stands in our own table.
PUBLISHED = {
    "uncompressed": Published(3.40, 3.21, 1.0),
    "uint4": Published(2.14, 6.05, 0.50),
    "lz4:9:bit": Published(0.50, 0.96, 0.40),
    "zstd:1:bit": Published(0.76, 1.10, 0.37),
    "zstd:5:bit": Published(0.86, 1.09, 0.37),
    "pigz -1": Published(0.86, 4.74, 0.43),
    "lbzip2 -9": Published(3.17, 2.23, 0.37),
    "xz -6": Published(47.5, 31.8, 0.36),
}


@dataclass(frozen=True, slots=True)
class FileRow:
    """One way to write and read one stack.

    Attributes
    ----------
    compressor
        What was asked for: a codec, ``uncompressed``, ``uint4``, or a program and its level.
    codec
        What an MRCZ file was written with, '' for other files.
    dose
        Mean counts per pixel and frame.
    threads
        Threads that it might use.
    block_size
        Bytes asked for; 0 for the codec's own.
    pixels, pixel_bytes
        Their number, and their size in memory.
    size
        Bytes of the file.
    limit
        Bytes by the entropy of the values that are there; None where they are no integers.
    poisson_limit
        Bytes by the entropy of the Poisson variable that they were drawn from; None for a user's stack.
    repeats
        How often it was measured.
    write, read
        Seconds.
    """

    compressor: str
    codec: str
    dose: float
    threads: int
    block_size: int
    pixels: int
    pixel_bytes: int
    size: int
    limit: float | None
    poisson_limit: float | None
    repeats: int
    write: Timing
    read: Timing

    @property
    def published(self) -> Published | None:
        """What the paper has for it."""
        return PUBLISHED.get(self.compressor)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values: sizes in bytes, times in seconds, rates in MB/s of pixels in memory."""
        return {
            "compressor": self.compressor,
            "codec": self.codec,
            "dose": self.dose,
            "threads": self.threads,
            "block_size": self.block_size,
            "pixel_bytes": self.pixel_bytes,
            "bytes": self.size,
            "ratio": self.size / self.pixel_bytes,
            "bits_per_pixel": 8 * self.size / self.pixels,
            **_limits("limit", self.size, self.limit),
            **_limits("poisson_limit", self.size, self.poisson_limit),
            "repeats": self.repeats,
            **_times("write", self.write, self.pixel_bytes),
            **_times("read", self.read, self.pixel_bytes),
        }


@dataclass(frozen=True, slots=True)
class MetadataRow:
    """One way to serialize metadata.

    Attributes
    ----------
    encoding
        ``JSON`` or ``MessagePack``.
    compression
        The codec, or ``none``.
    bare
        Bytes before compression.
    size
        Bytes after it.
    limit
        Bytes by the entropy of the serialized bytes, each for itself; repetition lets codecs go below.
    encode, decode
        Seconds, compression included.
    """

    encoding: str
    compression: str
    bare: int
    size: int
    limit: float
    encode: Timing
    decode: Timing

    def to_dict(self) -> dict[str, Any]:
        """Return plain values: sizes in bytes, times in seconds, rates in MB/s of bare bytes."""
        return {
            "encoding": self.encoding,
            "compression": self.compression,
            "bare_bytes": self.bare,
            "bytes": self.size,
            "ratio": self.size / self.bare,
            **_limits("limit", self.size, self.limit),
            **_times("encode", self.encode, self.bare),
            **_times("decode", self.decode, self.bare),
        }


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that was not measured, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.name}"


@dataclass(frozen=True, slots=True)
class BenchReport:
    """All that was found.

    Attributes
    ----------
    params
        What was asked for.
    machine
        Cores, processor, versions; no names of hosts or users.
    table1, dose, level, metadata
        The parts, empty where they were not asked for.
    left_out
        Compressors and encodings that were not measured.
    notes
        What a reader must know.
    """

    params: BenchParams
    machine: dict[str, Any]
    table1: tuple[FileRow, ...] = ()
    dose: tuple[FileRow, ...] = ()
    level: tuple[FileRow, ...] = ()
    metadata: tuple[MetadataRow, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as they stand in ``codecs.json``."""
        return {
            "schema": SCHEMA,
            "paper": PAPER,
            "machine": self.machine,
            "parameters": self.params.to_dict(),
            "left_out": [{"name": one.name, "reason": one.reason} for one in self.left_out],
            "notes": list(self.notes),
            "table1": [row.to_dict() | _published(row) for row in self.table1],
            "dose": [row.to_dict() for row in self.dose],
            "level": [row.to_dict() for row in self.level],
            "metadata": [row.to_dict() for row in self.metadata],
        }


def _limits(name: str, size: int, limit: float | None) -> dict[str, float | None]:
    return {f"{name}_bytes": limit, f"over_{name}": size / limit if limit else None}


def _times(name: str, timing: Timing, nbytes: int) -> dict[str, float]:
    return {
        f"{name}_s": timing.wall,
        f"{name}_cpu_s": timing.cpu,
        f"{name}_lowest_s": timing.lowest,
        f"{name}_highest_s": timing.highest,
        f"{name}_MB_s": nbytes / timing.wall / 1e6,
    }


def _published(row: FileRow) -> dict[str, float | None]:
    found = row.published or Published(None, None, None)
    return {"paper_ratio": found.ratio, "paper_write_s": found.write, "paper_read_s": found.read}
