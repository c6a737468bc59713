"""Outputs have the same bytes on processors with fewer instructions."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.correction.conftest import contents

CODE = """
import sys
from pathlib import Path
from tests.nights import run_koma
assert run_koma(Path(sys.argv[1]), Path(sys.argv[2])).complete
"""


def features_that_can_be_disabled() -> list[str]:
    """Return the names by which NumPy calls the instructions that it uses here beyond those it must have."""
    from numpy._core import _multiarray_umath as numpy

    return [name for name in numpy.__cpu_dispatch__ if numpy.__cpu_features__[name]]


def test_bytes_do_not_depend_on_the_processor(plain_session: Path, tmp_path: Path, koma: Any) -> None:
    features = features_that_can_be_disabled()
    if not features:
        pytest.skip("NumPy uses no instructions here that could be disabled")
    assert koma(plain_session, tmp_path / "all").complete
    subprocess.run(
        [sys.executable, "-c", CODE, str(plain_session), str(tmp_path / "fewer")],
        env=os.environ | {"NPY_DISABLE_CPU_FEATURES": " ".join(features)},
        cwd=Path(__file__).parents[2],
        check=True,
    )
    before = contents(tmp_path / "all")
    assert len(before) > 5 and contents(tmp_path / "fewer") == before
