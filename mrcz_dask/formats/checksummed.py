"""Stacks without an MRC header: a payload with the checksum of every decoded frame, written and compared."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mrcz_dask.formats.digest import PixelDigest, checksum
from mrcz_dask.formats.frame_writer import FrameWriter
from mrcz_dask.formats.frames import FrameSource, restored_type, stated_pixel_size
from mrcz_dask.formats.mrc.options import PixelSize, pixel_size_of
from mrcz_dask.formats.parallel import Pipeline
from mrcz_dask.formats.payload import common, kept_extended, kept_header, section
from mrcz_dask.formats.stats import FrameStats
from mrcz_dask.values.errors import DamagedError, FooterError
from mrcz_dask.values.timing import phase

Raw = bytes | memoryview


def frame_checksum(frame: NDArray[Any]) -> int:
    """Return xxh3-64 of the pixels of a frame (ny, nx) as little-endian bytes, row by row."""
    return checksum(
        np.ascontiguousarray(frame, frame.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data
    )


class ChecksummedSource(FrameSource):
    """A stack whose payload, if it has one, is in a sidecar or in attributes.

    Attributes
    ----------
    stored_dtype
        In which frames are decoded; `dtype` is what they had before they were narrowed.
    """

    stored_dtype: np.dtype[Any]
    _sums: tuple[int, ...] | None = None

    def vouch(self, payload: dict[str, Any] | None, where: str) -> None:
        """Take a payload, after `shape` and `dtype` are known.

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
        said = section(payload, "stack")
        found = {"shape": list(self.shape), "dtype": self.dtype.newbyteorder("<").str}
        if any(said.get(key) != value for key, value in found.items()):
            raise DamagedError(
                f"{self.name}: is {self.shape} {self.dtype}, and {where} is about {said.get('shape')} "
                f"{said.get('dtype')}; copy both again, or remove {where} if it belongs to another file"
            )
        self._sums = self._checked_sums(section(payload, "frames").get("xxh3"), where)
        self.dtype = restored_type(self.dtype, self.pixels)

    def _checked_sums(self, sums: Any, where: str) -> tuple[int, ...]:
        if not isinstance(sums, list) or len(sums) != self.shape[0]:
            raise FooterError(f"{where}: has no checksum for each of {self.shape[0]} frames; copy it again")
        return tuple(sums)

    @property
    def pixels(self) -> dict[str, Any]:
        """What is known of the pixels."""
        return section(self.footer, "pixels")

    @property
    def provenance(self) -> list[dict[str, Any]]:
        """The steps that made this file, oldest first."""
        steps = (self.footer or {}).get("provenance")
        return steps if isinstance(steps, list) else []

    @property
    def pixel_size(self) -> tuple[float, float, float] | None:
        """(x, y, z) in Angstrom, or None: the payload's (exact), else the file's."""
        return stated_pixel_size(self.pixels) or self._own_pixel_size()

    @property
    def meta(self) -> dict[str, Any]:
        """The payload's metadata, else the file's."""
        return section(self.footer, "meta") if self.footer is not None else self._own_meta()

    @property
    def extended(self) -> bytes:
        """The extended header that the payload keeps."""
        return kept_extended(self.footer)[1]

    @property
    def extended_type(self) -> str:
        """What kind of extended header that is."""
        return kept_extended(self.footer)[0]

    @property
    def mrc_header(self) -> bytes:
        """The MRC header that the payload keeps."""
        return kept_header(self.footer)

    @abstractmethod
    def _own_pixel_size(self) -> tuple[float, float, float] | None:
        """What the file says."""

    @abstractmethod
    def _own_meta(self) -> dict[str, Any]:
        """What the file says."""

    @abstractmethod
    def decode(self, i: int, out: NDArray[Any]) -> None:
        """Decode frame `i` into (ny, nx) in the stored dtype; nothing is compared."""

    def sound(self, i: int, stored: NDArray[Any]) -> bool:
        """Return whether a decoded frame is what the payload says; True where there is none."""
        return self._sums is None or frame_checksum(stored) == self._sums[i]

    def frame(self, i: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return frame `i`, (ny, nx), compared with the payload's checksum; see `FrameSource`."""
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
    """What writers of such stacks have in common: threads that encode, checksums, the payload.

    Parameters
    ----------
    shape, dtype, meta, pixels, provenance, recipe, reverse_rows
        See `FrameWriter`.
    pixel_size
        In Angstrom: a number, (x, y) or (x, y, z).
    extended, extended_type
        An extended header, which is kept in the payload.
    nthreads
        Threads that encode frames.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        *,
        pixel_size: PixelSize = None,
        extended: bytes = b"",
        extended_type: str = "",
        nthreads: int = 1,
        **about: Any,
    ) -> None:
        super().__init__(shape, dtype, **about)
        self._pixel_size = pixel_size_of(pixel_size)
        self._carried = (extended_type, extended)
        self._digest = PixelDigest(self.shape, self.dtype)
        self._sums: list[int] = []
        self._pipeline = Pipeline[tuple[int, Raw]](nthreads, self._keep)
        self._shared_buffers = nthreads > 1

    def _take(self, frame: NDArray[Any], *, owned: bool, stats: FrameStats | None) -> None:
        if self._shared_buffers and not owned:
            frame = frame.copy()
        items = np.ascontiguousarray(frame, self.dtype.newbyteorder("<"))
        if self._submitted == 1:
            self._begin(items)
        with phase("sum"):
            self._digest.update(items)
        self._pipeline.submit(partial(self._encoded, items))

    def _encoded(self, items: NDArray[Any]) -> tuple[int, Raw]:
        with phase("encode", items.nbytes):
            return frame_checksum(items), self._encode(items)

    def _keep(self, found: tuple[int, Raw]) -> None:
        with phase("disk", len(found[1])):
            self._store(len(self._sums), found[1])
        self._sums.append(found[0])

    def _begin(self, items: NDArray[Any]) -> None:
        """Look at the first frame."""

    @abstractmethod
    def _encode(self, items: NDArray[Any]) -> Raw:
        """Return the bytes to store of a frame (ny, nx), little-endian; in any thread."""

    @abstractmethod
    def _store(self, i: int, raw: Raw) -> None:
        """Write the bytes of frame `i`."""

    def _drain(self) -> None:
        self._pipeline.drain()

    def _discard(self) -> None:
        self._pipeline.close()

    def _payload(self) -> dict[str, Any]:
        pixels = {**self.pixels, "dtype": self.restored.newbyteorder("<").str}
        if self._pixel_size is not None:
            pixels["pixel_size"] = self._pixel_size
        stack = {
            "shape": list(self.shape),
            "dtype": self.dtype.newbyteorder("<").str,
            "digest": self._digest.hexdigest(),
        }
        return {
            "stack": stack,
            "frames": {"xxh3": self._sums},
            **common(pixels, self.meta, self.provenance, self.recipe, self._carried, self._mrc_header),
        }
