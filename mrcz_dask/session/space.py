"""Is there room for what a run would write, may it be written, and would it touch an input?"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from mrcz_dask.values.errors import PlaceError, SpaceError
from mrcz_dask.values.sizes import readable, some


def free_bytes(folder: Path) -> int:
    """Return the bytes that are free where `folder` is or would be made."""
    return shutil.disk_usage(_existing(folder)).free


def check_space(folder: Path, needed: int) -> None:
    """Return if `needed` bytes can be written into `folder`, which need not be there yet.

    Raises
    ------
    PlaceError
        If the folder is a file.
    SpaceError
        If it cannot be written into, or has fewer bytes free; with the figures.
    """
    place = _existing(folder)
    if not place.is_dir():
        raise PlaceError(f"{place} is a file; expected a folder for the outputs; choose another (-o)")
    if not os.access(place, os.W_OK | os.X_OK):
        raise SpaceError(f"{place} cannot be written into; change its permissions or choose another output")
    free = free_bytes(place)
    if needed > free:
        raise SpaceError(
            f"{folder} has {readable(free)} free; expected at least the {readable(needed)} of the outputs;"
            f" free {readable(needed - free)} or choose another output folder"
        )


def make_folder(folder: Path) -> None:
    """Make a folder for outputs, with those above it, if it is not there.

    Raises
    ------
    PlaceError
        When a file is in its place, or in that of a folder above it.
    SpaceError
        When it cannot be made there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise PlaceError(f"{folder}: is a file, or below one; choose another output folder") from error
    except OSError as error:
        raise SpaceError(
            f"{folder}: cannot be made ({error.strerror or error}); choose another output folder"
        ) from error


def forbid_overwriting(inputs: Iterable[Path], outputs: Iterable[Path]) -> None:
    """Return if no output is an input, by name or through a link.

    Raises
    ------
    SessionError
        Naming every output that would overwrite an input.
    """
    taken = {_identity(path) for path in inputs} - {None}
    clashes = [str(path) for path in outputs if _identity(path) in taken]
    if clashes:
        raise PlaceError(
            f"{len(clashes)} outputs would overwrite inputs: {some(clashes)}; expected an output folder apart"
            " from the inputs; choose another one"
        )


def _existing(folder: Path) -> Path:
    place = Path(os.path.abspath(folder))  # noqa: PTH100 - `..` goes, and nothing has to be there
    return next(p for p in (place, *place.parents) if p.exists())


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
