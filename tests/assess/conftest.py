"""A session with so many stacks that radii can be compared."""

from pathlib import Path

import pytest

from tests.nights import write_night


@pytest.fixture(scope="session")
def simulated_night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven stacks, as the smallest radius that `auto` tries takes."""
    return write_night(tmp_path_factory, stacks=7)
