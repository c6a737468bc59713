"""A small session for what Python offers."""

import shutil
from pathlib import Path

import pytest

from mrcz_dask.numerics.simulate import named
from mrcz_dask.session.simulation import write_session

NIGHT = named("standard", shape=(64, 80), frames=6, stacks=7, seed=3, hot=(0.005, 0.01), dead=0.001, dose=2)


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "night"
    write_session(folder, NIGHT)
    return folder


@pytest.fixture
def night(simulated: Path, tmp_path: Path) -> Path:
    """A private copy of a session of seven small stacks."""
    return Path(shutil.copytree(simulated, tmp_path / "night"))
