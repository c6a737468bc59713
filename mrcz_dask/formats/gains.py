"""Reads gain and dark references from any image file, and writes them as MRC."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.digest import file_digest
from mrcz_dask.formats.falcon_defects import falcon_defects
from mrcz_dask.formats.frames import FirstRow
from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.formats.sources import open_source
from mrcz_dask.numerics.arrays import Mask
from mrcz_dask.values.errors import (
    FormatError,
    MissingFileError,
    MissingLibraryError,
    MrczDaskError,
    ParameterError,
    PlaceError,
    UnfitReferenceError,
    error_text,
)


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """Record of a gain or dark reference as read from its file: image, name, digest,
    and where row 0 is shown.

    Attributes
    ----------
    name
        Name of the file, without folders.
    image
        (ny, nx) float32, rows in the order of the file.
    format
        Such as ``MRC`` or ``TIFF``.
    first_row
        Where programs that know the format show row 0: ``bottom`` (MRC) or ``top`` (TIFF).
    size
        Bytes of the file.
    digest
        xxh3-128 of the file's bytes.
    defects
        (ny, nx) bool, True = defect, rows in the order of the file; None where the file lists none.
    """

    name: str
    image: NDArray[np.float32]
    format: str
    first_row: FirstRow
    size: int
    digest: str
    defects: Mask | None = None

    def about(self) -> dict[str, Any]:
        """Return name, size, digest and shape of the reference's file, for the provenance."""
        file = {"name": self.name, "bytes": self.size, "digest": self.digest}
        return {**file, "format": self.format, "shape": list(self.image.shape)}


def check_there(path: str | os.PathLike[str], what: str) -> Path:
    """Return a file's path; raise an error that names the option if it does not exist.

    Raises
    ------
    MissingFileError
        There is no such file.
    """
    if not Path(path).exists():
        raise MissingFileError(
            f"{what} {Path(path).absolute()}: there is no such file; check the name and the folder"
        )
    return Path(path)


def read_reference(path: str | os.PathLike[str], what: str = "gain") -> Reference:
    """Read a gain or dark reference from MRC, TIFF, EER ``.gain``, or any other format of `open_source`.

    Parameters
    ----------
    path
        A file with one image, 2-D or a stack of one.
    what
        Name of the image in messages.

    Raises
    ------
    UnfitReferenceError
        It cannot be read, has several frames, or pixels that are not real numbers. Nothing is corrected
        without it.
    ParameterError
        No pixel of it can be used.
    MissingFileError, PlaceError
        There is no such file; it is a folder.
    MissingLibraryError
        A package is needed to read it.
    """
    path = check_there(path, what)
    try:
        with open_source(path) as source:
            if source.shape[0] != 1 or source.dtype.kind not in "iuf":
                raise FormatError(
                    f"{source.shape[0]} frames of {source.shape[1:]} {source.dtype} pixels; "
                    "expected one image of real numbers; give the reference, not a stack"
                )
            image = source.physical(0).astype(np.float32)
            kind, first_row = source.format, source.first_row
            defects = falcon_defects(source) if what == "gain" else None
    except MissingLibraryError:
        raise
    except (MrczDaskError, OSError) as error:
        cls = PlaceError if isinstance(error, PlaceError) else UnfitReferenceError
        raise cls(f"{what} {path}: {error_text(error).removeprefix(f'{path}: ')}") from error
    usable = np.isfinite(image) & ((image > 0) | (what != "gain"))
    if not usable.any():
        raise ParameterError(
            f"{what} {path}: no pixel is a {'positive' if what == 'gain' else 'finite'} number (the first is "
            f"{image.flat[0]:g}): nothing would be left of the frames; give another {what}"
        )
    return Reference(path.name, image, kind, first_row, path.stat().st_size, file_digest(path), defects)


def write_reference(path: str | os.PathLike[str], image: NDArray[np.float32]) -> None:
    """Write a gain or dark reference as float32 MRC, which RELION, MotionCor, Warp and cryoSPARC read.

    Raises
    ------
    ParameterError
        The name does not end in ``.mrc``.
    SpaceError
        The folder cannot take it.
    """
    write(path, np.asarray(image, np.float32), codec="none", footer=False)
