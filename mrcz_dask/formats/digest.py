"""Digests (xxh3-128) by which the pixels of a stack in any format, the bytes of a file, and a correction are
recognized.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import xxhash
from numpy.typing import DTypeLike, NDArray

from mrcz_dask.formats.source import open_file
from mrcz_dask.values.errors import ParameterError

if TYPE_CHECKING:
    from mrcz_dask.numerics.reference.correction import Correction

_BLOCK = 1 << 22
PIXEL_ARRAYS = ("pattern", "weight", "fill")
SCALE = "scale"


class PixelDigest:
    """Computes the digest of a stack's shape, dtype and pixels, frame by frame;
    the same for every file format.

    Parameters
    ----------
    shape
        (n, ny, nx) of the stack, or (ny, nx) of an image, which counts as a stack of one.
    dtype
        Type of the pixels; the byte order does not matter, pixels are hashed as little-endian.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self.shape = stack_shape(shape)
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self._hash = xxhash.xxh3_128(f"{self.shape} {self.dtype.str} ".encode())
        self._left = self.shape[0]

    def update(self, frame: NDArray[Any]) -> None:
        """Add the next frame (ny, nx), in the stack's dtype and either byte order, to the digest.

        Raises
        ------
        ParameterError
            Another shape or dtype than was announced, or more frames.
        """
        if frame.shape != self.shape[1:] or frame.dtype.newbyteorder("<") != self.dtype or not self._left:
            raise ParameterError(
                f"digest of {self.shape} {self.dtype} with {self._left} frames to come: "
                f"got a frame {frame.shape} {frame.dtype}"
            )
        self._left -= 1
        self._hash.update(np.ascontiguousarray(frame, self.dtype).view(np.uint8).data)

    def hexdigest(self) -> str:
        """Return the digest of a stack's pixels after the last frame, as 32 hexadecimal digits."""
        if self._left:
            raise ParameterError(f"digest of {self.shape}: {self._left} frames are missing")
        return self._hash.hexdigest()


def stack_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (n, ny, nx), after checking that each is at least 1; a single image (ny, nx) is a stack of one.

    Raises
    ------
    ParameterError
        Neither 2-D nor 3-D, or without pixels.
    """
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise ParameterError(f"shape is {tuple(shape)}; expected (n, y, x) or (y, x), each at least 1")
    n, ny, nx = (1, *shape) if len(shape) == 2 else shape
    return int(n), int(ny), int(nx)


def digest_array(array: NDArray[Any]) -> str:
    """Return the digest (xxh3-128) of an array's pixels, (n, y, x) or (y, x), as 32 hexadecimal digits."""
    digest = PixelDigest(array.shape, array.dtype)
    for frame in array.reshape(digest.shape):
        digest.update(frame)
    return digest.hexdigest()


def digest_bytes(data: bytes | memoryview) -> str:
    """Return the digest (xxh3-128) of bytes, as 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(data)


def file_digest(path: str | os.PathLike[str], begin: int = 0) -> str:
    """Return the digest (xxh3-128) of a file's bytes; see `stream_digest`."""
    with os.fdopen(open_file(path), "rb") as stream:
        return stream_digest(stream, begin)


def stream_digest(stream: BinaryIO, begin: int = 0) -> str:
    """Return the digest (xxh3-128) of a stream's bytes from `begin` to the end, then those before `begin`.

    A writer that knows the beginning of a file last can compute it as it writes.
    """
    digest = xxhash.xxh3_128()
    stream.seek(begin)
    while block := stream.read(_BLOCK):
        digest.update(block)
    stream.seek(0)
    digest.update(stream.read(begin))
    return digest.hexdigest()


def files_in(places: Iterable[Path], folder: Path) -> tuple[tuple[str, str], ...]:
    """Return names relative to `folder`, and SHA-256, of the given files and
    all files in the given folders.
    """
    paths = [path for place in places for path in (place.rglob("*") if place.is_dir() else [place])]
    files = []
    for path in filter(Path.is_file, paths):
        with os.fdopen(open_file(path), "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        files.append((Path(os.path.relpath(path, folder)).as_posix(), digest))
    return tuple(sorted(files))


def whole_digest(path: Path) -> str:
    """Return the digest (xxh3-128) of an output: a file with its sidecar, or all files of a Zarr folder."""
    beside = path.with_name(f"{path.name}.json")
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    if not path.is_dir() and not beside.exists():
        return file_digest(path)
    named = [f"{p.relative_to(path.parent).as_posix()} {file_digest(p)}" for p in files]
    named += [file_digest(beside)] if beside.exists() else []
    return digest_bytes("\n".join(named).encode())


def digests_below(folder: Path, but: str) -> dict[str, str]:
    """Return the digests of the files below a folder, by name; without the file that will hold them."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: file_digest(path) for name, path in sorted(files.items()) if name != but}


def digest_problem(folder: Path, name: str, digest: str | None) -> str | None:
    """Say what is wrong with a file below a folder by its digest; None if it is the one that was written."""
    if not (folder / name).is_file():
        return f"{name} is gone"
    if file_digest(folder / name) != digest:
        return f"{name} is not the file that was written (its digest does not match)"
    return None


def problems_below(folder: Path, digests: dict[str, str], but: str) -> list[str]:
    """Compare all files below a folder with what `digests_below` returned; say what is wrong."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    others = [f"{name} does not belong there" for name in sorted(set(names) - {but, *digests})]
    problems = (digest_problem(folder, name, digest) for name, digest in digests.items())
    return others + [problem for problem in problems if problem is not None]


def checksum(data: bytes | memoryview) -> int:
    """Return the checksum (xxh3-64) of bytes, as footers record it for each frame."""
    return xxhash.xxh3_64_intdigest(data)


def correction_arrays(correction: Correction) -> dict[str, NDArray[Any]]:
    """Return the arrays of a correction by name, as the store keeps them."""
    arrays: dict[str, NDArray[Any]] = {name: getattr(correction, name) for name in PIXEL_ARRAYS}
    return arrays if correction.scale is None else arrays | {SCALE: correction.scale}


def correction_digest(correction: Correction) -> str:
    """Return the xxh3-128 digest of a correction, by which damage and changes are found."""
    state = xxhash.xxh3_128(f"{correction.form} {correction.step.hex()}".encode())
    for name, values in correction_arrays(correction).items():
        state.update(f"{name} {values.shape} {values.dtype.str}".encode())
        state.update(np.ascontiguousarray(values).data)
    return state.hexdigest()
