"""What every input gives: frames one at a time, and what is known about them."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import isfinite
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.mrc.header import foreign_labels
from mrcz_dask.formats.parallel import Pipeline
from mrcz_dask.values.errors import FooterError, FormatError, ParameterError
from mrcz_dask.values.stopping import check_stop

Frames = int | slice | Sequence[int] | None
FirstRow = Literal["bottom", "top"]
PIXELS = {np.dtype(text) for text in ("i1", "u1", "i2", "u2", "i4", "u4", "f2", "f4", "c8")}


class FrameSource(ABC):
    """A stack of frames; none is read before it is asked for. Safe from several threads.

    Attributes
    ----------
    name
        What messages call it.
    format
        Of the file: ``MRC``, ``MRCZ``, ``TIFF``, ``EER``, ``DM``, ``HDF5`` or ``Zarr``.
    first_row
        Whether row 0 of a frame is at the ``bottom`` of the image, as programs that know the format show it,
        or at the ``top``. Rows are given in the order of the file in either case.
    shape
        (n, ny, nx).
    dtype
        Of the pixels, in native byte order.
    codec
        What the frames are compressed with, or None.
    pixel_size
        (x, y, z) in Angstrom, or None.
    stated_mean
        The mean of all pixels as the header says, or None.
    labels
        Texts of the header, in which there may be a time.
    meta
        Metadata as plain values; for everything but MRC, ``input`` says what was read and how.
    pixels
        What is known of the pixels: unit, scale, offset, dose_per_frame, pixel_size.
    footer
        The footer's payload, or None.
    provenance
        The steps that made the file, oldest first.
    extended, extended_type
        The extended header as it is in the file, and its four characters.
    notes
        What is no damage but should be known, such as how pixels are taken that may be taken in two ways.
    mrc_header
        The 1024 bytes of the MRC header of another program that frames came with; empty if there is none.
    tags
        What the file says of itself beyond `meta`, as plain values.
    not_kept
        Texts about what is in the file and in none of these.
    sequential
        Whether frames should be read one after the other, in one thread.
    notes
        What is no damage but should be known.
    """

    name: str
    format: str
    first_row: FirstRow
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    footer: dict[str, Any] | None = None
    sequential: bool = False
    notes: tuple[str, ...] = ()

    @property
    def codec(self) -> str | None:
        """What the frames are compressed with, or None."""
        return None

    @property
    def pixel_size(self) -> tuple[float, float, float] | None:
        """(x, y, z) in Angstrom, or None."""
        return None

    @property
    def stated_mean(self) -> float | None:
        """The mean of all pixels as the header says, or None."""
        return None

    @property
    def labels(self) -> tuple[str, ...]:
        """Texts of the header, in which there may be a time."""
        return ()

    @property
    def meta(self) -> dict[str, Any]:
        """Metadata as plain values."""
        return {}

    @property
    def pixels(self) -> dict[str, Any]:
        """What is known of the pixels."""
        return {}

    @property
    def provenance(self) -> list[dict[str, Any]]:
        """The steps that made this file, oldest first."""
        return []

    @property
    def extended(self) -> bytes:
        """The extended header as it is in the file."""
        return b""

    @property
    def extended_type(self) -> str:
        """What kind of extended header that is."""
        return ""

    @property
    def mrc_header(self) -> bytes:
        """The 1024 bytes of the MRC header of another program."""
        return b""

    @property
    def tags(self) -> dict[str, Any]:
        """What the file says of itself beyond `meta`."""
        return {}

    @property
    def not_kept(self) -> tuple[str, ...]:
        """Texts about what is in the file and in none of these."""
        return ()

    @property
    def labelled_header(self) -> bytes:
        """Header with labels of other programs, kept with corrected frames, which are a stack; or b""."""
        raw = bytearray(self.mrc_header)
        if not raw or not foreign_labels(self.mrc_header):
            return b""
        raw[36:40] = raw[88:92] = bytes(4)  # MZ and ISPG, by which others take a volume, or a list of images
        return bytes(raw)

    def carried(self) -> dict[str, Any]:
        """Return what the file says beside its pixels, as `open_writer` takes it."""
        return {
            "meta": {**self.meta, **({"tags": self.tags} if self.tags else {})} or None,
            "extended": self.extended,
            "extended_type": self.extended_type,
            "mrc_header": self.mrc_header,
        }

    @abstractmethod
    def frame(self, i: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return frame `i`, (ny, nx), as stored.

        Parameters
        ----------
        i
            From 0, or from -1 backwards.
        out
            Where to put it: (ny, nx) in this stack's dtype.

        Raises
        ------
        DamagedError, TruncatedError
            Its bytes cannot be decoded or are not there; names file and frame.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the file if it was opened here."""

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

    @property
    def dose(self) -> float:
        """Counts per pixel and frame as the footer says; 0 where nothing is said."""
        return self._number("dose_per_frame", 0.0)

    def _number(self, key: str, default: float) -> float:
        value = self.pixels.get(key, default)
        if not isinstance(value, (int, float)) or not isfinite(value):
            raise FooterError(f"{self.name}: {key} of its pixels is {value!r}, expected a number")
        return float(value)

    @property
    def physical_dtype(self) -> np.dtype[Any]:
        """Of frames in their unit: as stored, quantised ones float32, float64 beside a large offset."""
        if not self.quantised:
            return self.dtype
        largest = abs(self.offset) + 2.0**15 * abs(self.scale)
        fine = float(np.spacing(np.float32(largest))) <= abs(self.scale)
        return np.dtype(np.float32 if fine else np.float64)

    def physical(self, i: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return frame `i` in its unit; see `physical_dtype`."""
        if not self.quantised:
            return self.frame(i, out)
        if out is None:
            out = np.empty(self.shape[1:], self.physical_dtype)
        np.multiply(self.frame(i), out.dtype.type(self.scale), out=out, dtype=out.dtype)
        if self.offset:
            out += out.dtype.type(self.offset)
        return out

    def frames(self, selection: Frames = None, *, scaled: bool = False, nthreads: int = 1) -> NDArray[Any]:
        """Return some frames, (n, ny, nx), or (ny, nx) for one number.

        Parameters
        ----------
        selection
            None for all, a number, a slice or a list of numbers.
        scaled
            In their unit, as `physical` gives them.
        nthreads
            Frames are decoded in so many threads.
        """
        get = self.physical if scaled else self.frame
        if _is_number(selection):
            return get(self.position(selection))  # type: ignore[arg-type]
        chosen = self._positions(selection)
        dtype = self.physical_dtype if scaled else self.dtype
        result = np.empty((len(chosen), *self.shape[1:]), dtype)
        pipeline = Pipeline[NDArray[Any]](nthreads, lambda _: None)
        try:
            for k, i in enumerate(chosen):
                pipeline.submit(partial(get, i, result[k]))
            pipeline.drain()
        finally:
            pipeline.close()
        return result

    def __iter__(self) -> Iterator[NDArray[Any]]:
        for i in range(len(self)):
            yield self.frame(i)

    def __len__(self) -> int:
        return self.shape[0]

    def place(self, i: int, out: NDArray[Any] | None) -> tuple[int, NDArray[Any]]:
        """Return the number of a frame from 0, and where to put it."""
        check_stop()  # here, as every command reads frames
        return self.position(i), np.empty(self.shape[1:], self.dtype) if out is None else out

    def position(self, i: int) -> int:
        """Return the number of a frame from 0.

        Raises
        ------
        IndexError
            There is no such frame.
        ParameterError
            `i` is no number.
        """
        if isinstance(i, (bool, np.bool_)) or not _is_number(i):
            raise _no_selection(i)
        if not -len(self) <= i < len(self):
            raise IndexError(f"{self.name}: no frame {i}; it has {len(self)}")
        return operator.index(i) % len(self)

    def _positions(self, selection: Frames) -> Sequence[int]:
        if selection is None or isinstance(selection, slice):
            return range(len(self))[selection or slice(None)]
        if not isinstance(selection, (Sequence, np.ndarray)):
            raise _no_selection(selection)
        return [self.position(i) for i in selection]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def restored_type(stored: np.dtype[Any], pixels: Mapping[str, Any]) -> np.dtype[Any]:
    """Return the dtype, native, that pixels had before they were stored in another one without loss.

    Parameters
    ----------
    stored
        Of the pixels in the file.
    pixels
        What is said of them; ``dtype`` counts where integers were narrowed, or kept in float32, and where
        float16 was widened.
    """
    said = pixels.get("dtype")
    stored = stored.newbyteorder("=")
    try:
        found = np.dtype(said).newbyteorder("=") if isinstance(said, str) else stored
    except TypeError:
        return stored
    is_float32 = stored == np.float32
    whole = found.kind in "iu" and (stored.kind in "iu" or is_float32)
    return found if found in PIXELS and (whole or (is_float32 and found == np.float16)) else stored


def stated_pixel_size(pixels: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """Return (x, y, z) in Angstrom as they are said of pixels, or None."""
    said = pixels.get("pixel_size")
    if isinstance(said, list) and len(said) == 3 and all(isinstance(one, (int, float)) for one in said):
        return float(said[0]), float(said[1]), float(said[2])
    return None


def native(name: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type of pixels in native byte order.

    Raises
    ------
    FormatError
        No stack can be made of such pixels.
    """
    found = np.dtype(dtype).newbyteorder("=")
    if found not in PIXELS:
        known = ", ".join(sorted(one.name for one in PIXELS))
        raise FormatError(f"{name}: has {found} pixels; expected {known}; convert it first")
    return found


def _no_selection(value: object) -> ParameterError:
    return ParameterError(f"frames are {value!r}; expected a number, a slice or a list of numbers")


def _is_number(value: object) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, np.ndarray)
