"""A finished run in a folder that cannot be written into."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mrcz_dask.session.output_folder import locked
from mrcz_dask.values.errors import SpaceError

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


@pytest.fixture
def read_only(plain_session: Path, koma: Any) -> Iterator[Path]:
    """A session with a finished run, in a folder that all can read and nobody can write into."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(shutil.move(plain_session, Path(place) / "session"))
        assert koma(folder).complete
        _set_mode(Path(place), 0o555)
        try:
            yield folder
        finally:
            _set_mode(Path(place), 0o755)


def _set_mode(place: Path, mode: int) -> None:
    for path in (place, *place.rglob("*")):
        path.chmod(mode if path.is_dir() else mode & 0o666)


def test_all_outputs_are_kept(read_only: Path, koma: Any) -> None:
    with as_somebody_else(), locked(read_only / "koma"):
        again = koma(read_only)
    assert again.complete and len(again.results) == 5 and all(result.kept for result in again.results)


def test_a_missing_output_is_an_error_before_work(read_only: Path, koma: Any) -> None:
    output = next((read_only / "koma").glob("*.mrcz"))
    output.parent.chmod(0o755)
    output.unlink()
    output.parent.chmod(0o555)
    with as_somebody_else(), pytest.raises(SpaceError, match="cannot be written into"):
        koma(read_only)
