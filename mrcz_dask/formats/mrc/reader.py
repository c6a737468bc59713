"""Reading MRC and MRCZ: one frame without touching the others, checked against the footer if there is one."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.compression.chunks import CHUNK_HEADER, ChunkHeader, decompress_into
from mrcz_dask.formats.digest import checksum
from mrcz_dask.formats.frames import FirstRow, FrameSource, restored_type, stated_pixel_size
from mrcz_dask.formats.mrc import extended
from mrcz_dask.formats.mrc.layout import Complain, lenient, load_header, load_layout, strict
from mrcz_dask.formats.mrc.packing import unpack_into
from mrcz_dask.formats.mrc.signs import unsigned_by_pixels
from mrcz_dask.formats.payload import kept_extended, kept_header, section
from mrcz_dask.formats.source import Readable, Source
from mrcz_dask.values.errors import DamagedError, FormatError, MrczDaskError
from mrcz_dask.values.params import Mode0
from mrcz_dask.values.timing import phase

SIGNED = (0, 1)  # modes
SAMPLED = 8  # frames of which a part is looked at
PART = 1 << 16  # bytes


class StackReader(FrameSource):
    """A stack in an MRC or MRCZ file; no frame is read before it is asked for. Safe from several threads.

    Parameters
    ----------
    origin
        A path, bytes, a seekable binary stream, or a `Source` (which is closed with the reader).
    mode0
        Whether pixels of modes 0 and 1 of a file without footer are ``signed`` or ``unsigned``; ``auto``:
        IMOD's flag (of bytes), else unsigned where the header's maximum is, else as their histogram looks.
    permissive
        Warn instead of failing: a broken footer is left aside, of a file that was cut off the whole frames
        are read, and damaged frames are decoded if they can be.
    complain
        Called instead of either with what is wrong where reading can go on.

    Attributes
    ----------
    name
        What messages call the file.
    header
        The MRC header.
    footer
        The footer's payload (a sidecar's for plain files), or None.
    shape
        (n, ny, nx).
    dtype
        Of the pixels, in native byte order.
    frame_index
        Offset and stored bytes of every frame.
    notes
        What is no damage but should be known, such as a footer of a newer version.

    Raises
    ------
    FormatError
        No MRC file, or one that makes no sense.
    TruncatedError
        The file ends before its frames do.
    DamagedError
        The header is not the one that was written.
    FooterError
        The footer cannot be trusted, or should be there and is not.
    """

    first_row: FirstRow = "bottom"

    def __init__(
        self,
        origin: Readable | Source,
        *,
        mode0: Mode0 = "auto",
        permissive: bool = False,
        complain: Complain | None = None,
    ) -> None:
        self._source = origin if isinstance(origin, Source) else Source(origin)
        self._complain = complain or (lenient if permissive else strict)
        self.name = self._source.name
        try:
            layout = load_layout(self._source, self._complain)
        except MrczDaskError:
            self.close()
            raise
        self.header, self.footer, self.frame_index = layout.header, layout.footer, layout.index
        self.notes, self.sequential = layout.notes, self._source.sequential
        self.shape = (len(self.frame_index.offsets), *self.header.shape[1:])
        self.dtype = self._pixel_dtype(mode0)
        self.format = "MRCZ" if self.header.compressed else "MRC"

    def _pixel_dtype(self, mode0: Mode0) -> np.dtype[Any]:
        if self.footer is None and self.header.mode in SIGNED and self._is_unsigned(mode0):
            return np.dtype(f"u{self.header.dtype.itemsize}")
        return restored_type(self.header.dtype, section(self.footer, "pixels"))

    def _is_unsigned(self, mode0: Mode0) -> bool:
        """Return whether pixels are counts from 0: as the user or the header says, else as they look."""
        said = self.header.says_unsigned if mode0 == "auto" else mode0 == "unsigned"
        if said is not None:
            return said
        found, why = unsigned_by_pixels(self._sample())
        taken, other = ("unsigned", "signed") if found else ("signed", "unsigned")
        bits = 8 * self.header.dtype.itemsize
        if why:
            text = f"its {bits}-bit pixels are taken as {taken}: {why}. --mode0 {other} takes them as {other}"
            self.notes = (*self.notes, text)
        return found

    def _sample(self) -> NDArray[Any]:
        """Return some pixels as stored, flat: what can be read of frames spread over the stack."""
        header, count = self.header, min(len(self), 1 if self.header.compressed else SAMPLED)
        found = [np.zeros(0, header.dtype.newbyteorder("="))]
        for k in range(count):
            i = 0 if self.sequential else (2 * k + 1) * len(self) // (2 * count)
            offset, nbytes = self.frame_index.offsets[i], self.frame_index.nbytes[i]
            if header.compressed:
                frame = np.empty(header.frame_shape, found[0].dtype)
                with suppress(DamagedError):  # which is found again, and told, when the frame is asked for
                    self.decode(i, self._source.read_at(offset, nbytes), frame)
                    found.append(frame.reshape(-1))
            elif not self.sequential or k == 0:
                part = min(nbytes, PART)
                start = offset + (nbytes - part) // 4 * 2
                found.append(np.frombuffer(self._source.read_at(start, part), header.dtype))
        return np.concatenate(found)

    @cached_property
    def _extended(self) -> tuple[dict[str, Any], dict[str, Any]]:
        try:
            return extended.decode(self.header.extended_type, self.header.extended)
        except FormatError as error:
            self._complain(FormatError(f"{self.name}: {error}"))
            return {}, {}

    @property
    def meta(self) -> dict[str, Any]:
        """The user's metadata: the footer's, else python-mrcz's from the extended header."""
        return section(self.footer, "meta") if self.footer is not None else self._extended[0]

    @property
    def extended(self) -> bytes:
        """The extended header as it is in the file, or in the sidecar of one that has no place for it."""
        return self.header.extended or kept_extended(self.footer)[1]

    @property
    def pixels(self) -> dict[str, Any]:
        """What is known of the pixels: dtype, unit, scale, offset, dose_per_frame, pixel_size."""
        return section(self.footer, "pixels") or self._extended[1]

    @property
    def provenance(self) -> list[dict[str, Any]]:
        """The steps that made this file, oldest first."""
        steps = (self.footer or {}).get("provenance")
        return steps if isinstance(steps, list) else []

    @property
    def pixel_size(self) -> tuple[float, float, float] | None:
        """(x, y, z) in Angstrom, or None: the footer's (exact), else the header's."""
        return stated_pixel_size(self.pixels) or self.header.pixel_size

    @property
    def stated_mean(self) -> float:
        """The mean of all pixels as the header says."""
        return self.header.stats.mean

    @property
    def labels(self) -> tuple[str, ...]:
        """Up to ten texts of the header."""
        return self.header.labels

    @property
    def extended_type(self) -> str:
        """What kind of extended header there is: four characters."""
        return self.header.extended_type or kept_extended(self.footer)[0]

    @property
    def mrc_header(self) -> bytes:
        """The header of a file of another program, or the one that the footer of one of ours keeps."""
        return self.header.raw if self.footer is None else kept_header(self.footer)

    @property
    def not_kept(self) -> tuple[str, ...]:
        """Says how many bytes are behind the last frame of a file of another program."""
        behind = 0 if self.footer is not None or self.sequential else self._source.size - self.frame_index.end
        return (f"{behind} bytes behind the last frame",) if behind else ()

    @cached_property
    def _first_chunk(self) -> ChunkHeader | None:
        if not self.header.compressed:
            return None
        return ChunkHeader.parse(self._source.read_at(self.frame_index.offsets[0], CHUNK_HEADER))

    @property
    def codec(self) -> str | None:
        """The codec's name, or None if nothing is compressed; MODE's only where the first chunk has none."""
        chunk, hint = self._first_chunk, self.header.codec
        if chunk is None or chunk.codec is None or (chunk.codec, hint) == ("lz4", "lz4hc"):
            return hint
        return chunk.codec

    @property
    def chunk_version(self) -> int | None:
        """2 or 5, or None if nothing is compressed."""
        return None if self._first_chunk is None else self._first_chunk.version

    def stored_chunk(self, i: int, *, check: bool = True) -> bytes | memoryview:
        """Return the bytes of frame `i` as they are in the file.

        Raises
        ------
        DamagedError
            They are not those that the footer vouches for.
        """
        i = self.position(i)
        raw = self._source.read_at(self.frame_index.offsets[i], self.frame_index.nbytes[i])
        sums = self.frame_index.checksums
        with phase("decode"):
            damaged = check and sums is not None and checksum(raw) != sums[i]
        if damaged:
            problem = "is damaged (its checksum does not match); copy the file again"
            self._complain(DamagedError(f"{self.name}: frame {i} {problem}"))
        return raw

    def frame(self, i: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return frame `i`, (ny, nx), as stored, compared with the footer's checksum; see `FrameSource`."""
        i, out = self.place(i, out)
        self.decode(i, self.stored_chunk(i), out)
        return out

    def decode(self, i: int, raw: bytes | memoryview, out: NDArray[Any]) -> None:
        """Decode what `stored_chunk` gave for frame `i` into (ny, nx) in this stack's dtype.

        Raises
        ------
        DamagedError
            It cannot be decoded; names file and frame.
        """
        try:
            with phase("decode", out.nbytes):
                self._decode(raw, out)
        except DamagedError as error:
            raise DamagedError(f"{self.name}: frame {i}: {error}") from error

    def _decode(self, raw: bytes | memoryview, out: NDArray[Any]) -> None:
        header = self.header
        if not header.compressed:
            self._convert(np.frombuffer(raw, header.dtype).reshape(header.frame_shape), out)
        elif header.dtype.isnative and _same_bits(header.dtype, out.dtype) and out.flags.c_contiguous:
            decompress_into(raw, out)
        else:
            stored = np.empty(header.frame_shape, header.dtype)
            decompress_into(raw, stored)
            self._convert(stored, out)

    def _convert(self, stored: NDArray[Any], out: NDArray[Any]) -> None:
        if self.header.four_bit:
            unpack_into(stored, out)
        else:
            np.copyto(out, stored, casting="unsafe")

    def close(self) -> None:
        """Close the file if it was opened here."""
        self._source.close()


def _same_bits(stored: np.dtype[Any], wanted: np.dtype[Any]) -> bool:
    return stored == wanted or (stored.itemsize == wanted.itemsize and {stored.kind, wanted.kind} <= {*"iu"})


def open_reader(path: Readable, *, permissive: bool = False) -> StackReader:
    """Open a stack for reading frame by frame; to be used with ``with``."""
    return StackReader(path, permissive=permissive)


def read_header(path: Readable) -> dict[str, Any]:
    """Return what the header says as plain values: shape (n, y, x), dtype, mode, codec, pixel_size (x, y, z).

    Raises
    ------
    FormatError, TruncatedError
        No MRC header.
    """
    source = Source(path)
    try:
        return load_header(source).to_dict()
    finally:
        source.close()
