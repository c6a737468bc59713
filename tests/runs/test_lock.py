"""One run at a time in an output folder."""

from pathlib import Path

import pytest

from mrcz_dask.runs.lock import locked
from mrcz_dask.values.errors import OutputExistsError


def test_the_second_is_refused_while_the_first_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "koma"
    with locked(folder), pytest.raises(OutputExistsError, match="another run writes there"), locked(folder):
        pass
    with locked(folder):
        pass
