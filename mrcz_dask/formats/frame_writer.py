"""Base class of all writers: takes frames one at a time; the file appears when it is whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import NoneType, TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mrcz_dask.formats.digest import stack_shape
from mrcz_dask.formats.frames import dtype_text, restored_type
from mrcz_dask.formats.parallel import Pipeline
from mrcz_dask.formats.provenance import PACKAGE, plain, steps_in
from mrcz_dask.formats.sidecar import scale_problem
from mrcz_dask.formats.stats import FrameStats
from mrcz_dask.values.checks import expect
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.version import __version__

WRITER = f"MRCZ-dask {__version__}"
PixelSize = float | Sequence[float] | None
_LARGEST_PIXEL = 1e20  # Angstrom; the header holds the size of a frame as float32


class FrameWriter(ABC):
    """Base class of writers: takes a stack frame by frame; the file appears, whole,
    when the writer is closed.

    Parameters
    ----------
    shape
        (n, ny, nx), or (ny, nx) for one image.
    dtype
        Type in which pixels are stored.
    pixel_size
        In Angstrom: a number, (x, y) or (x, y, z).
    meta
        The user's metadata, plain values.
    extended, extended_type
        An extended header to be carried over byte for byte, and its four letters.
    pixels
        Meaning of the pixels: ``unit``, ``scale`` and ``offset`` of quantized ones, ``dose_per_frame``; and
        ``dtype``, as ``<u2``, if they are stored in another one: see `restored`.
    provenance
        Steps as `provenance.append` gives them.
    recipe
        Recipe that turns these counts into normalized ones.
    reverse_rows
        Each frame is stored from its last row to its first one.
    mrc_header
        The 1024 bytes of an MRC header whose labels, MZ, ISPG, cell and the like are carried over.
    nthreads
        Threads that encode frames; the bytes are the same with any number.

    Attributes
    ----------
    shape, dtype
        Shape and type of the stack as it is stored.
    restored
        The dtype that readers give: the one that `pixels` named at the beginning, else the stored one.
    meta, pixels, provenance, recipe
        May be set until `close`.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        *,
        pixel_size: PixelSize = None,
        meta: dict[str, Any] | None = None,
        extended: bytes = b"",
        extended_type: str = "",
        pixels: dict[str, Any] | None = None,
        provenance: list[dict[str, Any]] | None = None,
        recipe: dict[str, Any] | None = None,
        reverse_rows: bool = False,
        mrc_header: bytes = b"",
        nthreads: int = 1,
    ) -> None:
        for name, value in (("meta", meta), ("pixels", pixels), ("recipe", recipe)):
            expect(name, value, (Mapping, NoneType), "a map")
        for name, data in (("extended", extended), ("mrc_header", mrc_header)):
            expect(name, data, bytes, "bytes")
        self.shape = stack_shape(shape)
        self.dtype = np.dtype(dtype).newbyteorder("=")
        self.meta, self.pixels, self.provenance, self.recipe = meta, dict(pixels or {}), provenance, recipe
        self.restored = restored_type(self.dtype, self.pixels)
        self._pixel_size = _three_sizes(pixel_size)
        self._extended, self._extended_type = extended, extended_type
        self._reverse, self._mrc_header = reverse_rows, mrc_header
        self._pipeline = Pipeline[Any](nthreads, self._store)
        self._must_own = nthreads > 1
        self._submitted = 0
        self._closed = False

    def append(self, frame: NDArray[Any], *, owned: bool = False, stats: FrameStats | None = None) -> None:
        """Add the next frame of the stack.

        Parameters
        ----------
        frame
            (ny, nx) in the stored dtype or in the restored one, in either byte order.
        owned
            It will not be changed by the caller any more, so that it need not be copied.
        stats
            Statistics of the frame from `frame_stats`, if known.

        Raises
        ------
        ParameterError
            Another shape or dtype than was announced, more frames, or values that the one or the other dtype
            cannot hold.
        """
        fitted = self._fitted(frame)
        self._count()
        if self._must_own and not owned and np.may_share_memory(fitted, frame):
            fitted = fitted.copy()
        self._take(fitted, stats)

    def _fitted(self, frame: NDArray[Any]) -> NDArray[Any]:
        """Return a frame in the stored dtype or the restored one, its rows as they are stored."""
        dtype = frame.dtype.newbyteorder("=")
        if frame.shape != self.shape[1:] or dtype not in (self.dtype, self.restored):
            expected = f"{self.shape[1:]} {self.dtype}"
            raise ParameterError(
                f"frame {self._submitted} is {frame.shape} {frame.dtype}; expected {expected}"
            )
        rows = frame[::-1] if self._reverse else frame
        if self.dtype == self.restored:
            return rows
        other = self.restored if dtype == self.dtype else self.dtype
        converted = rows.astype(other)
        if not np.can_cast(rows.dtype, other) and not np.array_equal(converted, rows):
            raise ParameterError(
                f"frame {self._submitted} has {rows.dtype} pixels from {rows.min()} to {rows.max()}, and "
                f"{other} cannot hold all of them; choose the stored dtype by the range of the stack"
            )
        return rows if dtype == self.dtype else converted

    def _count(self) -> None:
        if self._submitted == self.shape[0]:
            raise ParameterError(
                f"all {self.shape[0]} frames are there; the stack was announced as {self.shape}"
            )
        self._submitted += 1

    @abstractmethod
    def _take(self, frame: NDArray[Any], stats: FrameStats | None) -> None:
        """Submit a frame of this stack's shape and dtype to the threads that encode."""

    @abstractmethod
    def _store(self, encoded: Any) -> None:
        """Write the next encoded frame."""

    def close(self) -> None:
        """Write what follows the frames, and rename the file to its target.

        Raises
        ------
        ParameterError
            Frames are missing; nothing is written then.
        """
        if self._closed:
            return
        try:
            self._pipeline.drain()
            if self._submitted < self.shape[0]:
                raise ParameterError(
                    f"{self._submitted} of {self.shape[0]} frames were appended; nothing was written"
                )
            self._finish()
        finally:
            self.abort()

    @abstractmethod
    def _finish(self) -> None:
        """Write headers and metadata, and give the file its name."""

    def abort(self) -> None:
        """Delete the unfinished file; what was at the target stays."""
        self._closed = True
        self._pipeline.close()
        self._discard()

    @abstractmethod
    def _discard(self) -> None:
        """Delete what was not finished."""

    def _payload(self, *, with_extended: bool = True) -> dict[str, Any]:
        """Return the payload's part that is the same in all formats."""
        pixels = {**self.pixels, "dtype": dtype_text(self.restored)}
        if text := scale_problem(pixels):
            raise ParameterError(text)
        if self._pixel_size is not None:
            pixels["pixel_size"] = self._pixel_size
        payload = {
            "writer": {"package": PACKAGE, "version": __version__},
            "pixels": plain(pixels),
            "meta": plain(self.meta or {}),
            "provenance": plain(steps_in(self.provenance, "the file", ParameterError)),
        }
        if self.recipe is not None:
            payload["recipe"] = plain(self.recipe)
        if self._extended and with_extended:
            payload["extended"] = {"type": self._extended_type, "hex": self._extended.hex()}
        if self._mrc_header:
            payload["mrc_header"] = {"hex": self._mrc_header.hex()}
        return payload

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def _three_sizes(value: PixelSize) -> tuple[float, float, float] | None:
    """Return (x, y, z) in Angstrom of a number, (x, y) or (x, y, z); a ParameterError for anything else."""
    if value is None:
        return None
    sizes: tuple[float, ...] = ()
    with suppress(TypeError, ValueError, OverflowError):
        sizes = tuple(float(size) for size in (value if isinstance(value, Sequence) else (value,)))
    if not 1 <= len(sizes) <= 3 or not all(0 < size < _LARGEST_PIXEL for size in sizes):
        raise ParameterError(
            f"pixel_size is {value!r:.100}; expected Angstrom above 0 and below {_LARGEST_PIXEL:g}, "
            "as x, (x, y) or (x, y, z)"
        )
    x, y, z = (sizes * 3)[:3] if len(sizes) == 1 else (*sizes, sizes[0])[:3]
    return x, y, z
