"""What every output takes: frames one at a time, and what is to be said about them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mrcz_dask.formats.digest import stack_shape
from mrcz_dask.formats.frames import restored_type
from mrcz_dask.formats.stats import FrameStats
from mrcz_dask.values.errors import ParameterError


class FrameWriter(ABC):
    """A stack on its way into a file; the file appears, whole, when it is closed.

    Parameters
    ----------
    shape
        (n, ny, nx), or (ny, nx) for one image.
    dtype
        In which pixels are stored.
    meta
        The user's metadata, plain values.
    pixels
        What the pixels mean: ``unit``, ``scale`` and ``offset`` of quantised ones, ``dose_per_frame``; and
        ``dtype``, as ``<u2``, if they are stored in another one: see `restored`.
    provenance
        Steps as `provenance.append` gives them.
    recipe
        What turns these counts into normalised ones.
    reverse_rows
        Each frame is stored from its last row to its first one.
    mrc_header
        The 1024 bytes of an MRC header whose labels, MZ, ISPG, cell and the like are carried over.

    Attributes
    ----------
    shape, dtype
        Of the stack as it is stored.
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
        meta: dict[str, Any] | None = None,
        pixels: dict[str, Any] | None = None,
        provenance: list[dict[str, Any]] | None = None,
        recipe: dict[str, Any] | None = None,
        reverse_rows: bool = False,
        mrc_header: bytes = b"",
    ) -> None:
        self.shape = stack_shape(shape)
        self.dtype = np.dtype(dtype).newbyteorder("=")
        self.meta, self.pixels, self.provenance, self.recipe = meta, dict(pixels or {}), provenance, recipe
        self.restored = restored_type(self.dtype, self.pixels)
        self._reverse, self._mrc_header = reverse_rows, mrc_header
        self._submitted = 0
        self._closed = False

    def append(self, frame: NDArray[Any], *, owned: bool = False, stats: FrameStats | None = None) -> None:
        """Add the next frame.

        Parameters
        ----------
        frame
            (ny, nx) in the stored dtype or in the restored one, in either byte order.
        owned
            It will not be changed by the caller any more, so that it need not be copied.
        stats
            What `frame_stats` gives for it, if that is known.

        Raises
        ------
        ParameterError
            Another shape or dtype than was announced, more frames, or values that the one or the other dtype
            cannot hold.
        """
        fitted = self._fitted(frame)
        self._count()
        self._take(fitted, owned=owned or not np.may_share_memory(fitted, frame), stats=stats)

    @abstractmethod
    def _take(self, frame: NDArray[Any], *, owned: bool, stats: FrameStats | None) -> None:
        """Add a frame of this stack's shape and dtype, its rows as they are stored."""

    def _fitted(self, frame: NDArray[Any]) -> NDArray[Any]:
        found = frame.dtype.newbyteorder("=")
        if frame.shape != self.shape[1:] or found not in (self.dtype, self.restored):
            expected = f"{self.shape[1:]} {self.dtype}"
            raise ParameterError(
                f"frame {self._submitted} is {frame.shape} {frame.dtype}; expected {expected}"
            )
        rows = frame[::-1] if self._reverse else frame
        if self.dtype == self.restored:
            return rows
        other = self.restored if found == self.dtype else self.dtype
        made = self._converted(rows, other)
        return rows if found == self.dtype else made

    def _converted(self, frame: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        made = frame.astype(dtype)
        if not np.can_cast(frame.dtype, dtype) and not np.array_equal(made, frame):
            raise ParameterError(
                f"frame {self._submitted} has {frame.dtype} pixels from {frame.min()} to {frame.max()}, and "
                f"{dtype} cannot hold all of them; choose the stored dtype by the range of the stack"
            )
        return made

    def _count(self) -> None:
        if self._submitted == self.shape[0]:
            raise ParameterError(
                f"all {self.shape[0]} frames are there; the stack was announced as {self.shape}"
            )
        self._submitted += 1

    def close(self) -> None:
        """Write what is known now and show the file.

        Raises
        ------
        ParameterError
            Frames are missing; nothing is written then.
        """
        if self._closed:
            return
        try:
            self._drain()
            if self._submitted < self.shape[0]:
                raise ParameterError(
                    f"{self._submitted} of {self.shape[0]} frames were appended; nothing was written"
                )
            self._finish()
        finally:
            self.abort()

    @abstractmethod
    def _drain(self) -> None:
        """Wait until all frames are where they are stored."""

    @abstractmethod
    def _finish(self) -> None:
        """Write the rest and show the file."""

    def abort(self) -> None:
        """Give up: nothing of what was written remains, what was at the target stays."""
        self._closed = True
        self._discard()

    @abstractmethod
    def _discard(self) -> None:
        """Throw away what was not shown."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()
