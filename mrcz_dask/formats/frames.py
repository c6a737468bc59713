"""Base class of all readers: gives the frames of a stack one at a time, and its metadata."""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import isfinite
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mrcz_dask.formats.mrc.header import HEADER_SIZE, foreign_labels
from mrcz_dask.formats.parallel import Pipeline
from mrcz_dask.formats.provenance import steps_in
from mrcz_dask.formats.sidecar import section
from mrcz_dask.formats.source import Closing
from mrcz_dask.values.errors import FooterError, FormatError, ParameterError
from mrcz_dask.values.stopping import check_stop

FrameSelection = int | slice | Sequence[int] | None
FirstRow = Literal["bottom", "top"]
PixelSizes = tuple[float, float, float] | None
PIXEL_TYPES = {np.dtype(text) for text in ("i1", "u1", "i2", "u2", "i4", "u4", "f2", "f4", "c8")}


class FrameSource(Closing):
    """Base class of readers of stacks: each frame is read when it is asked for; safe from several threads.

    Attributes
    ----------
    name
        Name of the file in messages.
    format
        Format of the file: ``MRC``, ``MRCZ``, ``TIFF``, ``EER``, ``DM``, ``HDF5`` or ``Zarr``.
    first_row
        Whether row 0 of a frame is at the ``bottom`` of the image, as programs that know the format show it,
        or at the ``top``. Rows are given in the order of the file in either case.
    shape
        (n, ny, nx).
    dtype
        Type of the pixels, in native byte order.
    stated_mean
        The mean of all pixels as the header says, or None.
    labels
        Texts of the header, in which there may be a time.
    footer
        The payload of footer, sidecar or attributes, or None.
    sequential
        Whether frames should be read one after the other, in one thread.
    notes
        Remarks that are no damage, such as how ambiguous pixels are taken.
    """

    name: str
    format: str
    first_row: FirstRow
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    stated_mean: float | None = None
    labels: tuple[str, ...] = ()
    footer: dict[str, Any] | None = None
    sequential: bool = False
    notes: tuple[str, ...] = ()
    # what the file itself says; a payload, which is exact, comes first
    _file_pixel_size: PixelSizes = None
    _file_meta: Mapping[str, Any] = {}

    @property
    def codec(self) -> str | None:
        """Name of the compression of the frames, or None."""
        return None

    @property
    def pixel_size(self) -> PixelSizes:
        """Pixel size (x, y, z) in Angstrom, or None; the footer's value is preferred, as it is exact."""
        sizes = self.pixels.get("pixel_size")
        if isinstance(sizes, list) and len(sizes) == 3 and all(isinstance(s, (int, float)) for s in sizes):
            return float(sizes[0]), float(sizes[1]), float(sizes[2])
        return self._file_pixel_size

    @property
    def meta(self) -> dict[str, Any]:
        """Metadata of the stack as plain values; except for MRC,
        ``input`` has the file format and how it was read.
        """
        return section(self.footer, "meta") if self.footer is not None else dict(self._file_meta)

    @property
    def pixels(self) -> dict[str, Any]:
        """Meaning of the pixels: dtype, unit, scale, offset, dose_per_frame, pixel_size."""
        return section(self.footer, "pixels")

    @property
    def provenance(self) -> list[dict[str, Any]]:
        """Provenance: the processing steps that made this file, oldest first."""
        return steps_in((self.footer or {}).get("provenance"), self.name)

    @property
    def extended(self) -> bytes:
        """Extended header of an MRC original, kept in the footer if the file format has no place for it."""
        return _from_hex(section(self.footer, "extended"))

    @property
    def extended_type(self) -> str:
        """Four characters that name the kind of extended header, such as ``FEI1``."""
        return str(section(self.footer, "extended").get("type", ""))

    @property
    def mrc_header(self) -> bytes:
        """MRC header (1024 bytes) of the original from another program; b"" if there was none."""
        header = _from_hex(section(self.footer, "mrc_header"))
        return header if len(header) == HEADER_SIZE else b""

    @property
    def tags(self) -> dict[str, Any]:
        """Further metadata in the file, such as TIFF tags, as plain values."""
        return {}

    @property
    def not_kept(self) -> tuple[str, ...]:
        """Names of content in the file that no attribute gives, so that a copy loses it."""
        return ()

    @property
    def labeled_header(self) -> bytes:
        """MRC header with labels of other programs, for corrected outputs; marked as a stack of frames;
        or b"".
        """
        raw = bytearray(self.mrc_header)
        if not raw or not foreign_labels(self.mrc_header):
            return b""
        raw[36:40] = raw[88:92] = bytes(4)  # MZ and ISPG, by which others take a volume, or a list of images
        return bytes(raw)

    def carried(self) -> dict[str, Any]:
        """Return all metadata that a copy of the stack keeps, as arguments of `open_writer`."""
        return {
            "meta": {**self.meta, **({"tags": self.tags} if self.tags else {})} or None,
            "extended": self.extended,
            "extended_type": self.extended_type,
            "mrc_header": self.mrc_header,
        }

    @abstractmethod
    def frame(self, i: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return frame `i`, (ny, nx), with the pixel values stored in the file, not scaled.

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

    @property
    def quantized(self) -> bool:
        """True if pixels are stored as integer steps, whose value is ``scale * stored + offset``."""
        return "scale" in self.pixels

    @property
    def scale(self) -> float:
        """Size of a step between stored integers, in the pixels' unit; 1 if not quantized."""
        return self._number("scale", 1.0)

    @property
    def offset(self) -> float:
        """Pixel value that a stored 0 stands for; 0 if not quantized."""
        return self._number("offset", 0.0)

    @property
    def dose(self) -> float:
        """Dose in counts per pixel and frame, from the footer; 0 if unknown."""
        return self._number("dose_per_frame", 0.0)

    def _number(self, key: str, default: float) -> float:
        value = self.pixels.get(key, default)
        if not isinstance(value, (int, float)) or not isfinite(value):
            raise FooterError(f"{self.name}: {key} of its pixels is {value!r}, expected a number")
        return float(value)

    @property
    def physical_dtype(self) -> np.dtype[Any]:
        """Dtype of scaled frames: as stored, or float32 if quantized (float64 if the offset needs it)."""
        if not self.quantized:
            return self.dtype
        largest = abs(self.offset) + 2.0**15 * abs(self.scale)
        fine = float(np.spacing(np.float32(largest))) <= abs(self.scale)
        return np.dtype(np.float32 if fine else np.float64)

    def physical(self, i: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return frame `i`, (ny, nx), scaled to its unit such as counts; dtype is `physical_dtype`."""
        if not self.quantized:
            return self.frame(i, out)
        if out is None:
            out = np.empty(self.shape[1:], self.physical_dtype)
        np.multiply(self.frame(i), out.dtype.type(self.scale), out=out, dtype=out.dtype)
        if self.offset:
            out += out.dtype.type(self.offset)
        return out

    def frames(
        self, selection: FrameSelection = None, *, scaled: bool = False, nthreads: int = 1
    ) -> NDArray[Any]:
        """Return several frames as an array (n, ny, nx), or one as (ny, nx) if its number is given.

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
        if selection is None or isinstance(selection, slice):
            chosen: Sequence[int] = range(len(self))[selection or slice(None)]
        elif isinstance(selection, (Sequence, np.ndarray)):
            chosen = [self.position(i) for i in selection]
        else:
            raise _no_selection(selection)
        result = np.empty((len(chosen), *self.shape[1:]), self.physical_dtype if scaled else self.dtype)
        with Pipeline[NDArray[Any]](nthreads, lambda _: None) as pipeline:
            for k, i in enumerate(chosen):
                pipeline.submit(partial(get, i, result[k]))
        return result

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return map(self.frame, range(len(self)))

    def __len__(self) -> int:
        return self.shape[0]

    def place(self, i: int, out: NDArray[Any] | None) -> tuple[int, NDArray[Any]]:
        """Return a frame's number counted from 0, and an array to decode it into: `out` or a new one."""
        check_stop()  # here, as every command reads frames
        return self.position(i), np.empty(self.shape[1:], self.dtype) if out is None else out

    def position(self, i: int) -> int:
        """Return a frame's number counted from 0; -1 means the last frame.

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


def restored_type(stored: np.dtype[Any], pixels: Mapping[str, Any]) -> np.dtype[Any]:
    """Return the dtype that pixels had before they were stored in another one without loss.

    Parameters
    ----------
    stored
        Type of the pixels in the file.
    pixels
        Facts about them; ``dtype`` counts where integers were narrowed, or kept in float32, and where
        float16 was widened.
    """
    text = pixels.get("dtype")
    stored = stored.newbyteorder("=")
    try:
        restored = np.dtype(text).newbyteorder("=") if isinstance(text, str) else stored
    except TypeError:
        return stored
    is_float32 = stored == np.float32
    whole = restored.kind in "iu" and (stored.kind in "iu" or is_float32)
    return (
        restored if restored in PIXEL_TYPES and (whole or (is_float32 and restored == np.float16)) else stored
    )


def dtype_text(dtype: DTypeLike) -> str:
    """Return a dtype as text, such as ``<u2``, the form used in footers."""
    return np.dtype(dtype).newbyteorder("<").str


def native(name: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return a dtype in native byte order, after checking that stacks can have such pixels.

    Raises
    ------
    FormatError
        No stack can be made of such pixels.
    """
    native = np.dtype(dtype).newbyteorder("=")
    if native not in PIXEL_TYPES:
        known = ", ".join(sorted(dtype.name for dtype in PIXEL_TYPES))
        raise FormatError(f"{name}: has {native} pixels; expected {known}; convert it first")
    return native


def _from_hex(values: Mapping[str, Any]) -> bytes:
    try:
        return bytes.fromhex(str(values.get("hex", "")))
    except ValueError:
        return b""


def _no_selection(value: object) -> ParameterError:
    return ParameterError(f"frames are {value!r}; expected a number, a slice or a list of numbers")


def _is_number(value: object) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, np.ndarray)
