"""A finished run in a folder that cannot be written into."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mrcz_dask.session.output_folder import locked
from mrcz_dask.values.errors import SpaceError
from tests.rights import as_somebody_else, nobody_may_write


@pytest.fixture
def read_only(plain_session: Path, koma: Any) -> Iterator[Path]:
    """A session with a finished run, in a folder that all can read and nobody can write into."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(shutil.move(plain_session, Path(place) / "session"))
        assert koma(folder).complete
        with nobody_may_write(Path(place)):
            yield folder


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
