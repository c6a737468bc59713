"""Reading MRC and MRCZ: one frame without touching the others, checked against the footer if there is one."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from math import isfinite
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats import extended
from mrcz_dask.formats.chunks import CHUNK_HEADER, ChunkHeader, decompress_into
from mrcz_dask.formats.digest import checksum
from mrcz_dask.formats.layout import Complain, lenient, load_footer, load_header, load_layout, strict
from mrcz_dask.formats.packing import unpack_into
from mrcz_dask.formats.parallel import Pipeline, available_cores
from mrcz_dask.formats.payload import section
from mrcz_dask.formats.source import Readable, Source
from mrcz_dask.values.errors import DamagedError, FooterError, FormatError, MrczDaskError, ParameterError
from mrcz_dask.values.timing import phase

Frames = int | slice | Sequence[int] | None


class StackReader:
    """A stack in an MRC or MRCZ file; no frame is read before it is asked for. Safe from several threads.

    Parameters
    ----------
    origin
        A path, bytes, or a seekable binary stream.
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

    def __init__(
        self, origin: Readable, *, permissive: bool = False, complain: Complain | None = None
    ) -> None:
        self._source = Source(origin)
        self._complain = complain or (lenient if permissive else strict)
        self.name = self._source.name
        try:
            layout = load_layout(self._source, self._complain)
        except MrczDaskError:
            self.close()
            raise
        self.header, self.footer, self.frame_index = layout.header, layout.footer, layout.index
        self.notes = layout.notes
        self.shape = (len(self.frame_index.offsets), *self.header.shape[1:])
        self.dtype = self._pixel_dtype()

    def _pixel_dtype(self) -> np.dtype[Any]:
        stored = self.header.dtype.newbyteorder("=")
        # uint8 is kept as int8 or, where it counts beyond 127, as uint16
        if section(self.footer, "pixels").get("dtype") == "|u1" and self.header.mode in (0, 6):
            return np.dtype(np.uint8)
        return stored

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
        """The extended header as it is in the file."""
        return self.header.extended

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
    def quantised(self) -> bool:
        """Whether the stored integers stand for ``scale * stored + offset``."""
        return "scale" in self.pixels

    @property
    def scale(self) -> float:
        """Unit per stored step; 1 where nothing is said."""
        return self._number("scale", 1.0)

    @property
    def offset(self) -> float:
        """What a stored 0 stands for; 0 where nothing is said."""
        return self._number("offset", 0.0)

    def _number(self, key: str, default: float) -> float:
        value = self.pixels.get(key, default)
        if not isinstance(value, (int, float)) or not isfinite(value):
            raise FooterError(f"{self.name}: {key} of its pixels is {value!r}, expected a number")
        return float(value)

    @property
    def pixel_size(self) -> tuple[float, float, float] | None:
        """(x, y, z) in Angstrom, or None: the footer's (exact), else the header's."""
        said = self.pixels.get("pixel_size")
        if isinstance(said, list) and len(said) == 3 and all(isinstance(one, (int, float)) for one in said):
            return float(said[0]), float(said[1]), float(said[2])
        return self.header.pixel_size

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
        i = self._position(i)
        raw = self._source.read_at(self.frame_index.offsets[i], self.frame_index.nbytes[i])
        sums = self.frame_index.checksums
        with phase("decode"):
            damaged = check and sums is not None and checksum(raw) != sums[i]
        if damaged:
            problem = "is damaged (its checksum does not match); copy the file again"
            self._complain(DamagedError(f"{self.name}: frame {i} {problem}"))
        return raw

    def frame(
        self, i: int, out: NDArray[Any] | None = None, check: bool = True, nthreads: int = 1
    ) -> NDArray[Any]:
        """Return frame `i`, (ny, nx), as stored.

        Parameters
        ----------
        i
            From 0, or from -1 backwards.
        out
            Where to put it: (ny, nx) in this stack's dtype.
        check
            Compare with the footer's checksum.
        nthreads
            Threads that decode one chunk.

        Raises
        ------
        DamagedError
            Its bytes were changed or cannot be decoded; names file and frame.
        """
        i = self._position(i)
        if out is None:
            out = np.empty(self.shape[1:], self.dtype)
        self.decode(i, self.stored_chunk(i, check=check), out, nthreads=nthreads)
        return out

    def decode(self, i: int, raw: bytes | memoryview, out: NDArray[Any], *, nthreads: int = 1) -> None:
        """Decode what `stored_chunk` gave for frame `i` into (ny, nx) in this stack's dtype.

        Raises
        ------
        DamagedError
            It cannot be decoded; names file and frame.
        """
        try:
            with phase("decode", out.nbytes):
                self._decode(raw, out, nthreads)
        except DamagedError as error:
            raise DamagedError(f"{self.name}: frame {i}: {error}") from error

    def physical(self, i: int, out: NDArray[Any] | None = None, check: bool = True) -> NDArray[Any]:
        """Return frame `i` in its unit: float32 if the stack is quantised, else as stored."""
        if not self.quantised:
            return self.frame(i, out, check)
        if out is None:
            out = np.empty(self.shape[1:], np.float32)
        np.multiply(self.frame(i, check=check), np.float32(self.scale), out=out, dtype=np.float32)
        if self.offset:
            out += np.float32(self.offset)
        return out

    def frames(
        self, selection: Frames = None, *, scaled: bool = False, check: bool = True, nthreads: int = 1
    ) -> NDArray[Any]:
        """Return some frames, (n, ny, nx), or (ny, nx) for one number.

        Parameters
        ----------
        selection
            None for all, a number, a slice or a list of numbers.
        scaled
            In their unit, as `physical` gives them.
        check, nthreads
            Compare with the footer's checksums; frames are decoded in so many threads.
        """
        get = self.physical if scaled else self.frame
        if _is_number(selection):
            return get(self._position(selection), check=check)  # type: ignore[arg-type]
        chosen = self._positions(selection)
        dtype = np.dtype(np.float32) if scaled and self.quantised else self.dtype
        result = np.empty((len(chosen), *self.shape[1:]), dtype)
        pipeline = Pipeline[NDArray[Any]](nthreads, lambda _: None)
        try:
            for k, i in enumerate(chosen):
                pipeline.submit(partial(get, i, result[k], check))
            pipeline.drain()
        finally:
            pipeline.close()
        return result

    def __iter__(self) -> Iterator[NDArray[Any]]:
        for i in range(len(self)):
            yield self.frame(i)

    def __len__(self) -> int:
        return self.shape[0]

    def _positions(self, selection: Frames) -> Sequence[int]:
        if selection is None or isinstance(selection, slice):
            return range(len(self))[selection or slice(None)]
        if not isinstance(selection, (Sequence, np.ndarray)):
            raise _no_selection(selection)
        return [self._position(i) for i in selection]

    def _position(self, i: int) -> int:
        if isinstance(i, (bool, np.bool_)) or not _is_number(i):
            raise _no_selection(i)
        if not -len(self) <= i < len(self):
            raise IndexError(f"{self.name}: no frame {i}; it has {len(self)}")
        return operator.index(i) % len(self)

    def _decode(self, raw: bytes | memoryview, out: NDArray[Any], nthreads: int) -> None:
        header = self.header
        if not header.compressed:
            self._convert(np.frombuffer(raw, header.dtype).reshape(header.frame_shape), out)
        elif header.dtype.isnative and header.dtype.itemsize == out.itemsize and out.flags.c_contiguous:
            decompress_into(raw, out, nthreads)
        else:
            stored = np.empty(header.frame_shape, header.dtype)
            decompress_into(raw, stored, nthreads)
            self._convert(stored, out)

    def _convert(self, stored: NDArray[Any], out: NDArray[Any]) -> None:
        if self.header.four_bit:
            unpack_into(stored, out)
        else:
            np.copyto(out, stored, casting="unsafe")

    def close(self) -> None:
        """Close the file if it was opened here."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_reader(path: Readable, *, permissive: bool = False) -> StackReader:
    """Open a stack for reading frame by frame; to be used with ``with``."""
    return StackReader(path, permissive=permissive)


def read(
    path: Readable,
    frames: Frames = None,
    scaled: bool = True,
    permissive: bool = False,
    *,
    nthreads: int | None = None,
) -> NDArray[Any]:
    """Read a stack, or some of its frames without touching the others.

    Parameters
    ----------
    path
        A path, bytes, or a seekable binary stream, of an MRC or MRCZ file.
    frames
        None for all, a slice or list of frames (n, y, x), or one number (y, x).
    scaled
        Quantised pixels as float32 in their unit; False: the integers as stored.
    permissive
        Warn instead of failing where something can still be read.
    nthreads
        Threads, by default as many as there are cores.

    Returns
    -------
    ndarray
        (n, y, x), or (y, x) for one number, in native byte order.

    Raises
    ------
    FormatError, TruncatedError, DamagedError, FooterError
        As `StackReader`; all are also ValueError.
    """
    with open_reader(path, permissive=permissive) as reader:
        return reader.frames(frames, scaled=scaled, nthreads=nthreads or available_cores())


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


def read_footer(path: Readable, permissive: bool = False) -> dict[str, Any] | None:
    """Return the footer's payload (for plain files also a sidecar's), or None if there is none.

    Raises
    ------
    FooterError
        It is broken (`permissive`: a warning, and None).
    """
    source = Source(path)
    try:
        found = load_footer(source, lenient if permissive else strict)
        return found.payload if found else None
    finally:
        source.close()


def _no_selection(value: object) -> ParameterError:
    return ParameterError(f"frames are {value!r}; expected a number, a slice or a list of numbers")


def _is_number(value: object) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, np.ndarray)
