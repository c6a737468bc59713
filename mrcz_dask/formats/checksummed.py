"""Base classes for stacks in formats of others (TIFF, HDF5, Zarr),
with a checksum of each frame in a sidecar.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mrcz_dask.formats.digest import PixelDigest, checksum
from mrcz_dask.formats.frame_writer import FrameWriter
from mrcz_dask.formats.frames import FrameSource, dtype_text, restored_type
from mrcz_dask.formats.sidecar import scale_problem, section
from mrcz_dask.formats.stats import FrameStats
from mrcz_dask.values.errors import DamagedError, FooterError
from mrcz_dask.values.timing import phase

Raw = bytes | memoryview


def frame_checksum(frame: NDArray[Any]) -> int:
    """Return the checksum (xxh3-64) of a frame's pixels (ny, nx), the same for every file format."""
    return checksum(
        np.ascontiguousarray(frame, frame.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data
    )


class ChecksummedSource(FrameSource):
    """Base class of readers that compare each frame with its checksum in a sidecar or in attributes.

    Attributes
    ----------
    stored_dtype
        Type in which frames are decoded; `dtype` is what they had before they were narrowed.
    """

    stored_dtype: np.dtype[Any]
    _sums: list[int] | None = None

    def attach_payload(self, payload: dict[str, Any] | None, where: str) -> None:
        """Set the metadata from a stack's sidecar, after checking that they are about this stack.

        Parameters
        ----------
        payload
            Or None.
        where
            The file that it is in.

        Raises
        ------
        FooterError
            It is not whole.
        DamagedError
            It is about another stack than this one.
        """
        self.stored_dtype, self.footer = self.dtype, payload
        if payload is None:
            return
        stack = section(payload, "stack")
        if (stack.get("shape"), stack.get("dtype")) != (list(self.shape), dtype_text(self.dtype)):
            raise DamagedError(
                f"{self.name}: is {self.shape} {self.dtype}, and {where} is about {stack.get('shape')} "
                f"{stack.get('dtype')}; copy both again, or remove {where} if it belongs to another file"
            )
        self._sums = section(payload, "frames").get("xxh3")
        if not isinstance(self._sums, list) or len(self._sums) != self.shape[0]:
            raise FooterError(f"{where}: has no checksum for each of {self.shape[0]} frames; copy it again")
        if text := scale_problem(self.pixels):
            raise FooterError(f"{where}: {text}; make the file again")
        self.dtype = restored_type(self.dtype, self.pixels)

    @abstractmethod
    def decode(self, i: int, out: NDArray[Any]) -> None:
        """Decode frame `i` into an array (ny, nx) of the stored dtype, without comparing its checksum."""

    def sound(self, i: int, stored: NDArray[Any]) -> bool:
        """Return True if a decoded frame has the recorded checksum, or none was recorded."""
        return self._sums is None or frame_checksum(stored) == self._sums[i]

    def frame(self, i: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return frame `i`, (ny, nx), after comparing it with its checksum; see `FrameSource`."""
        i, out = self.place(i, out)
        same = out.dtype == self.stored_dtype
        stored = out if same else np.empty(self.shape[1:], self.stored_dtype)
        self.decode(i, stored)
        with phase("decode"):
            if not self.sound(i, stored):
                raise DamagedError(
                    f"{self.name}: frame {i} is damaged (its checksum does not match); copy the file again"
                )
            if not same:
                np.copyto(out, stored, casting="unsafe")
        return out


class ChecksummedWriter(FrameWriter):
    """Base class of writers that record a checksum of each frame and a digest of all pixels.

    Parameters
    ----------
    shape, dtype
        See `FrameWriter`.
    **about
        As `FrameWriter` takes it.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike, **about: Any) -> None:
        super().__init__(shape, dtype, **about)
        self._digest = PixelDigest(self.shape, self.dtype)
        self._sums: list[int] = []

    def _take(self, frame: NDArray[Any], stats: FrameStats | None) -> None:
        items = np.ascontiguousarray(frame, self.dtype.newbyteorder("<"))
        if self._submitted == 1:
            self._begin(items)
        with phase("sum"):
            self._digest.update(items)
        self._pipeline.submit(partial(self._checked_and_encoded, items))

    def _checked_and_encoded(self, items: NDArray[Any]) -> tuple[int, Raw]:
        with phase("encode", items.nbytes):
            return frame_checksum(items), self._encode(items)

    def _store(self, encoded: tuple[int, Raw]) -> None:
        checksum_of_frame, raw = encoded
        with phase("disk", len(raw)):
            self._write(len(self._sums), raw)
        self._sums.append(checksum_of_frame)

    def _begin(self, items: NDArray[Any]) -> None:
        """Prepare for frames like the first one."""

    @abstractmethod
    def _encode(self, items: NDArray[Any]) -> Raw:
        """Return the bytes to store of a frame (ny, nx), little-endian; in any thread."""

    @abstractmethod
    def _write(self, i: int, raw: Raw) -> None:
        """Write the bytes of frame `i`."""

    def _payload(self, *, with_extended: bool = True) -> dict[str, Any]:
        stack = {"shape": list(self.shape), "dtype": dtype_text(self.dtype)}
        stack["digest"] = self._digest.hexdigest()
        common = super()._payload(with_extended=with_extended)
        return {"stack": stack, "frames": {"xxh3": self._sums}, **common}
