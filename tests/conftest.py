"""Fixtures that several layers use."""

import shutil
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("no-deadline", deadline=None)  # machines that run tests are often busy
settings.load_profile("no-deadline")

EXAMPLE = Path(__file__).parents[2] / "shared" / "data" / "session"


@pytest.fixture
def session_folder(tmp_path: Path) -> Path:
    """A private copy of the example session, written by another program; skips where it is absent."""
    if not EXAMPLE.is_dir():
        pytest.skip("the example session is not beside this checkout")
    return Path(shutil.copytree(EXAMPLE, tmp_path / "session"))
