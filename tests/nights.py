"""A small session, and the main job over it."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mrcz_dask.correction.plan import make_plan
from mrcz_dask.correction.run import Outcome, carry_out
from mrcz_dask.engine.client import Client, SerialClient
from mrcz_dask.gain.options import GainOptions
from mrcz_dask.numerics.simulate import named
from mrcz_dask.session.simulation import TRUTH, write_session
from mrcz_dask.values.messages import Listener, silent
from mrcz_dask.values.params import KomaParams, OutlierParams, Settings, WriteParams

NIGHT = named("standard", shape=(64, 80), frames=6, stacks=5, seed=3, hot=(0.005, 0.01), dead=0.001, dose=2)

Koma = Callable[..., Outcome]


@pytest.fixture(scope="session")
def simulated_night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_night(tmp_path_factory, NIGHT.stacks)


def write_night(tmp_path_factory: pytest.TempPathFactory, stacks: int) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "night"
    write_session(folder, replace(NIGHT, stacks=stacks))
    shutil.rmtree(folder / TRUTH)  # hundreds of files, which each test would copy
    return folder


@pytest.fixture
def night(simulated_night: Path, tmp_path: Path) -> Path:
    """A private copy of the session of small stacks that tests of a folder have in common."""
    return Path(shutil.copytree(simulated_night, tmp_path / "night"))


def run_koma(
    folder: Path,
    out: Path | None = None,
    client: Client | None = None,
    *,
    radius: int = 2,
    method: Any = "fit",
    form: Any = "subtract",
    rule: Any = "fdr",
    pool: int = 16,
    overwrite: bool = False,
    listen: Listener = silent,
    gain: GainOptions | None = None,
    **write: Any,
) -> Outcome:
    settings = Settings(
        outliers=OutlierParams(rule=rule),
        koma=KomaParams(radius=radius, method=method, form=form, pool=pool),
        write=WriteParams(**write),
    )
    plan = make_plan(folder, out, settings, overwrite=overwrite, gain=gain or GainOptions())
    return carry_out(plan, client or SerialClient(), listen)


@pytest.fixture
def koma() -> Koma:
    """run(folder, out, client, **parameters): the main job."""
    return run_koma
