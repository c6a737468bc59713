"""Writes a stack as a Zarr array (version 3), one chunk for each frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import DTypeLike, NDArray

from mrcz_dask.formats.atomic import AtomicFolder, explain
from mrcz_dask.formats.checksummed import ChecksummedWriter, Raw
from mrcz_dask.formats.compression.codecs import Codec, check_chunk_size, check_codec, resolve
from mrcz_dask.formats.metadata import read_json, reading
from mrcz_dask.formats.provenance import canonical
from mrcz_dask.formats.sidecar import ATTRIBUTE, sealed
from mrcz_dask.values.errors import DtypeError

AXES = ("frame", "y", "x")
_CHUNK = "c/{}/0/0"
_SHUFFLES = {"none": "noshuffle", "byte": "shuffle", "bit": "bitshuffle"}


class ZarrWriter(ChecksummedWriter):
    """Writes a stack as a Zarr array; its folder appears, whole, when the writer is closed.

    Parameters
    ----------
    target
        A path.
    shape, dtype
        (n, ny, nx), of any dtype that stacks have but complex.
    codec
        As `StackWriter` takes it; chunks are those of blosc 1, which Zarr's codec reads.
    durable
        Wait until the files are on the disk.
    **about
        As `FrameWriter` takes it.

    Raises
    ------
    DtypeError
        Complex pixels.
    ParameterError
        No such codec, or frames too large for a chunk.
    SpaceError
        The folder cannot take it, or something else than a store is there.
    """

    def __init__(
        self,
        target: Path,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        *,
        codec: str = "auto",
        durable: bool = True,
        **about: Any,
    ) -> None:
        super().__init__(shape, dtype, **about)
        if self.dtype.kind == "c":
            raise DtypeError(f"{target}: stacks in Zarr have no {self.dtype} pixels; write mrcz")
        if codec != "none":
            check_chunk_size(self.shape[1] * self.shape[2] * self.dtype.itemsize)
        check_codec(codec)
        self._codec_option = codec
        self._codec: Codec | None = None
        self._folder = AtomicFolder(Path(target), durable=durable)
        self._hash = xxhash.xxh3_128()

    def _begin(self, items: NDArray[Any]) -> None:
        self._codec = resolve(self._codec_option, items)

    def _encode(self, items: NDArray[Any]) -> Raw:
        if self._codec is None:
            return items.reshape(-1).view(np.uint8).data
        return self._codec.compress(items)

    def _write(self, i: int, raw: Raw) -> None:
        self._hash.update(raw)
        self._folder.write(_CHUNK.format(i), raw)

    def _finish(self) -> None:
        import zarr.codecs

        codec: Any = self._codec
        blosc = None
        if codec is not None:
            blosc = zarr.codecs.BloscCodec(
                cname=codec.format,
                clevel=codec.level,
                shuffle=_SHUFFLES[codec.filter],  # type: ignore[arg-type]
                typesize=self.dtype.itemsize,
                blocksize=codec.blocksize,
            )
        size: Any = {} if self._pixel_size is None else {"pixel_size": list(self._pixel_size)}
        try:
            array = zarr.create_array(
                str(self._folder.place),
                shape=self.shape,
                dtype=self.dtype,
                chunks=(1, *self.shape[1:]),
                compressors=blosc,
                dimension_names=AXES,
                fill_value=0,
                zarr_format=3,
                attributes=size,
            )
            self._hash.update(_metadata(self._folder.place))
            array.attrs[ATTRIBUTE] = sealed(self._payload() | {"file": {"digest": self._hash.hexdigest()}})
        except OSError as error:
            raise explain(error, self._folder.path) from error
        self._folder.commit()

    def _discard(self) -> None:
        self._folder.discard()


def array_digest(folder: Path, frames: int) -> str:
    """Return the digest (xxh3-128) of a Zarr array's stored frames and metadata, except for our attribute."""
    digest = xxhash.xxh3_128()
    for i in range(frames):
        digest.update((folder / _CHUNK.format(i)).read_bytes())
    digest.update(_metadata(folder))
    return digest.hexdigest()


def _metadata(folder: Path) -> bytes:
    file = folder / "zarr.json"
    content = read_json(file)
    with reading(str(file), "metadata of a Zarr array"):
        content["attributes"].pop(ATTRIBUTE, None)
        return canonical(content)
