"""Writes TIFF stacks for other programs, one page and one strip for each frame, with a sidecar."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mrcz_dask.formats.atomic import AtomicFile, explain
from mrcz_dask.formats.checksummed import ChecksummedWriter, Raw
from mrcz_dask.formats.compression.codecs import AIMS
from mrcz_dask.formats.digest import stream_digest
from mrcz_dask.formats.frame_writer import WRITER
from mrcz_dask.formats.sidecar import sidecar, signed
from mrcz_dask.values.errors import DtypeError, ParameterError
from mrcz_dask.values.timing import phase

# what RELION, IMOD and MotionCor read
_TYPES = tuple(np.dtype(text) for text in ("u1", "u2", "i2", "f4"))
_CENTIMETER = 1e8  # in Angstrom
_LEVEL, _LARGEST_LEVEL = 3, 12
_CLASSIC = (1 << 32) - (1 << 25)
_LZW_GROWTH = 1.5  # codes of up to 12 bits for bytes


class TiffWriter(ChecksummedWriter):
    """Writes a stack as TIFF with a sidecar; as BigTIFF if it may be larger than 4 GiB.

    Parameters
    ----------
    target
        A path.
    shape, dtype
        (n, ny, nx); uint8, uint16, int16 or float32.
    codec
        ``auto``, ``deflate[:LEVEL]`` (1 to 12), ``lzw`` or ``none``.
    durable
        Wait until the file is on the disk.
    **about
        As `FrameWriter` takes it.

    Raises
    ------
    DtypeError
        Other pixels.
    ParameterError
        Another codec.
    SpaceError
        The folder cannot take the file.
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
        if self.dtype not in _TYPES:
            known = ", ".join(dtype.name for dtype in _TYPES)
            raise DtypeError(f"{target}: TIFF for other programs holds {known}, not {self.dtype}; cast first")
        name, level = parse_codec(codec)
        import imagecodecs
        import tifffile

        compressors: dict[str, Callable[[bytes], bytes]] = {
            "deflate": lambda data: bytes(imagecodecs.deflate_encode(data, level=level)),
            "lzw": lambda data: bytes(imagecodecs.lzw_encode(data)),
            "none": lambda data: data,
        }
        self._compress = compressors[name]
        self._path, self._durable = Path(target), durable
        self._file = AtomicFile(target, durable=durable)
        nbytes = int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize
        self._tiff = tifffile.TiffWriter(self._file.stream, bigtiff=nbytes * _LZW_GROWTH > _CLASSIC)
        self._page: dict[str, Any] = {
            "shape": self.shape[1:],
            "dtype": self.dtype,
            "photometric": "minisblack",
            "compression": None if name == "none" else name,
            "rowsperstrip": self.shape[1],
            "metadata": None,
            "software": signed(WRITER, self.pixels),
            "contiguous": False,
        }
        if self._pixel_size is not None:
            x, y, _ = self._pixel_size
            self._page["resolution"] = (_CENTIMETER / x, _CENTIMETER / y)
            self._page["resolutionunit"] = "CENTIMETER"

    def _encode(self, items: NDArray[Any]) -> Raw:
        return self._compress(items.tobytes())

    def _write(self, i: int, raw: Raw) -> None:
        try:
            self._tiff.write(iter([bytes(raw)]), **self._page)
        except OSError as error:
            raise explain(error, self._path) from error

    def _finish(self) -> None:
        self._tiff.close()
        stream = self._file.stream
        with phase("sum"):  # read again, as the list of pages is mended while pages are written
            whole = {"bytes": stream.seek(0, os.SEEK_END), "digest": stream_digest(stream)}
        with sidecar(self._path, self._payload() | {"file": whole}, durable=self._durable):
            self._file.commit()

    def _discard(self) -> None:
        with suppress(OSError, ValueError):
            self._tiff.close()
        self._file.discard()


def parse_codec(codec: str) -> tuple[str, int]:
    """Read the compression of a TIFF output from text such as ``deflate:6``: its name and level.

    Raises
    ------
    ParameterError
        It is none.
    """
    name, _, level = ("deflate" if codec in AIMS else codec).partition(":")
    if name in ("lzw", "none") and not level:
        return name, 0
    if name == "deflate" and (not level or (level.isdecimal() and 1 <= int(level) <= _LARGEST_LEVEL)):
        return name, int(level or _LEVEL)
    raise ParameterError(
        f"codec is {codec!r} for TIFF; expected auto, deflate[:LEVEL] with a level of 1 to {_LARGEST_LEVEL}, "
        "lzw or none"
    )
