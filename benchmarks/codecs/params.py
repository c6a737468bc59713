"""What the benchmark of codecs is asked for, checked before anything is measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from mrcz_dask.formats.compression import counts as noise
from mrcz_dask.formats.compression.codecs import AIMS, Codec
from mrcz_dask.values.checks import one_of, raise_all, whole, within
from mrcz_dask.values.errors import ParameterError

Part = Literal["table1", "dose", "level", "metadata"]
PARTS: tuple[Part, ...] = ("table1", "dose", "level", "metadata")
DOSES = (0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 4.0)
TABLE_DOSE = 2.0
# Levels are compared at the dose nearest to this, e-/pixel/frame.
LEVEL_DOSE = 1.5
LEVELS = tuple(range(1, 10))
CODECS = ("lz4:9", "zlib:1", "zstd:1", "zstd:5", "auto")
# python-mrcz writes blocks of 64 KiB
BLOCK_SIZES = (0, 64 << 10)
# a quarter of a K2's frame
SHAPE = (6, 1919, 1855)
METADATA_BYTES = 25_000_000


@dataclass(frozen=True, slots=True)
class BenchParams:
    """What is measured, and on what.

    Attributes
    ----------
    doses
        Of the Poisson counts of Fig. 2, in e-/pixel/frame.
    table_dose
        Of those of Table 1; the sizes in the paper are those of about 2 e-/pixel/frame.
    codecs
        NAME[:LEVEL[:FILTER]], ``auto``, ``auto:fast`` or ``auto:small``.
    levels
        Of Fig. 2b, which has each of the codecs at each level that it knows.
    threads
        Numbers of threads; Table 1 takes the largest.
    block_sizes
        Bytes, 0 for the codec's own; Table 1 takes the first. ``auto`` chooses codec and blocks by itself.
    shape
        (n, y, x) of the Poisson counts.
    repeats
        How often everything is measured; medians are reported. What took 10 s is not measured again.
    seed
        Of the counts and the metadata.
    metadata_bytes
        Size of the nested metadata as JSON, about.
    stack
        A stack to take instead of Poisson counts.
    only
        One part, or None for all.

    Raises
    ------
    ParameterError
        With every value that is out of its range.
    """

    threads: tuple[int, ...]
    doses: tuple[float, ...] = DOSES
    table_dose: float = TABLE_DOSE
    codecs: tuple[str, ...] = CODECS
    levels: tuple[int, ...] = LEVELS
    block_sizes: tuple[int, ...] = BLOCK_SIZES
    shape: tuple[int, ...] = SHAPE
    repeats: int = 3
    seed: int = 0
    metadata_bytes: int = METADATA_BYTES
    stack: Path | None = None
    only: Part | None = None

    def __post_init__(self) -> None:
        raise_all("bench", chain(self._lists(), self._numbers()))
        for text in self.codecs:
            _check_codec(text)

    def _lists(self) -> Iterator[str]:
        for name in ("threads", "doses", "codecs", "levels", "block_sizes"):
            if not getattr(self, name):
                yield f"{name} is empty; expected at least one"
        if len(self.shape) != 3:
            yield f"shape is {self.shape!r}; expected three numbers: frames, rows, columns"

    def _numbers(self) -> Iterator[str]:
        for dose in (*self.doses, self.table_dose):
            yield from within("dose", dose, 0, 10_000, open_low=True, unit=" e-/pixel/frame")
        for count in self.threads:
            yield from whole("threads", count, 1, 1024)
        for level in self.levels:
            yield from whole("level", level, 1, 9)
        for size in self.block_sizes:
            yield from whole("block size", size, 0, 1 << 30, unit=" bytes")
        for count in self.shape:
            yield from whole("shape", count, 1, 1 << 20)
        yield from whole("repeats", self.repeats, 1, 1000)
        yield from whole("seed", self.seed, 0, 1 << 63)
        yield from whole("metadata size", self.metadata_bytes, 1000, 1 << 30, unit=" bytes")
        yield from one_of("only", self.only, (None, *PARTS))

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that are measured."""
        return PARTS if self.only is None else (self.only,)

    def blocks_for(self, codec: str) -> tuple[int, ...]:
        """Return the block sizes that a codec is measured with."""
        return (0,) if codec.startswith("auto") else self.block_sizes

    @property
    def level_dose(self) -> float:
        """The dose of Fig. 2b: the one of Fig. 2a that is nearest to the paper's."""
        return min(self.doses, key=lambda dose: abs(dose - LEVEL_DOSE))

    @property
    def level_codecs(self) -> tuple[str, ...]:
        """The codecs of Fig. 2b, each at every level that it knows."""
        named = [Codec.parse(text) for text in self.codecs if text not in AIMS]
        kinds = dict.fromkeys((one.name, one.filter) for one in named)
        return tuple(
            f"{name}:{level}:{filter}"
            for name, filter in kinds
            for level in self.levels
            if name != "noise" or level in range(noise.LEVELS[0], noise.LEVELS[1] + 1)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; of the stack the name alone."""
        return asdict(self) | {"stack": None if self.stack is None else self.stack.name}


def _check_codec(text: str) -> None:
    if text == "none":
        raise ParameterError("codec is 'none'; uncompressed files are in Table 1 anyway, name a codec")
    if text not in AIMS:
        Codec.parse(text)
