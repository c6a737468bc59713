"""Folders that nobody can write into, and a user who has no rights."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534


@contextmanager
def as_somebody_else() -> Iterator[None]:
    """Act as a user without rights, if this is the one who may do anything."""
    if os.getuid() != 0:
        yield
        return
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@contextmanager
def nobody_may_write(place: Path) -> Iterator[None]:
    """Take the right to write from everybody, for a folder and all that is in it."""
    _set_mode(place, 0o555)
    try:
        yield
    finally:
        _set_mode(place, 0o755)


def _set_mode(place: Path, mode: int) -> None:
    for path in (place, *place.rglob("*")):
        path.chmod(mode if path.is_dir() else mode & 0o666)
