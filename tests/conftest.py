"""Fixtures that several layers use."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import dask
import pytest
from hypothesis import settings

from mrcz_dask.engine.client import DaskClient
from mrcz_dask.engine.clusters import ClientOptions, open_client
from mrcz_dask.engine.memory import MemoryEstimate
from mrcz_dask.values.messages import silent
from tests.forking import forking, preloaded
from tests.nights import koma, night, simulated_night  # noqa: F401 - fixtures of several folders
from tests.pages.wcag import axe  # noqa: F401 - a fixture of several folders

os.fsync = os.fdatasync = lambda handle: None  # waits, and no test cuts the power
settings.register_profile("no-deadline", deadline=None)  # machines that run tests are often busy
settings.load_profile("no-deadline")

EXAMPLE = Path(__file__).parents[2] / "shared" / "data" / "session"


@pytest.fixture
def session_folder(tmp_path: Path) -> Path:
    """A private copy of the example session, written by another program; skips where it is absent."""
    if not EXAMPLE.is_dir():
        pytest.skip("the example session is not beside this checkout")
    return Path(shutil.copytree(EXAMPLE, tmp_path / "session"))


@pytest.fixture(scope="session", autouse=True)
def forked_workers() -> Iterator[None]:
    """Processes that Dask starts for a test fork from one with the imports; those of commands start anew."""
    from distributed.utils import get_mp_context

    keys = ("distributed.worker.multiprocessing-method", "multiprocessing.context")
    with dask.config.set(dict.fromkeys(keys, "forkserver")):
        get_mp_context().set_forkserver_preload(["distributed", *preloaded()])
        yield


@pytest.fixture(scope="module")
def processes(forked_workers: None) -> Iterator[DaskClient]:
    """Two workers of one thread, for all tests of a module."""
    with open_client(ClientOptions(2), MemoryEstimate(100_000_000, 1_000_000), silent) as client:
        assert isinstance(client, DaskClient)
        yield client


@pytest.fixture(scope="session")
def command() -> Iterator[Path]:
    """The command `mrcz-dask`, which starts at once."""
    with forking() as path:
        yield path


@pytest.fixture(scope="session")
def raw_stacks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two simulated raw stacks of 40 and 40 frames, 96 x 112 uint16, and dark frames in dark.mrcz."""
    from mrcz_dask.counting.simulation import write_raw
    from mrcz_dask.numerics.counting.params import RawParams

    folder = tmp_path_factory.mktemp("counting") / "raw"
    return list(write_raw(folder, RawParams(shape=(96, 112), frames=40, seed=5), stacks=2, dark_frames=16))


@pytest.fixture(scope="session")
def calibration(raw_stacks: list[Path]) -> Path:
    """The calibration of their detector as it truly is, so that no test waits for one to be found."""
    import numpy as np

    from mrcz_dask.counting import Calibration
    from mrcz_dask.numerics.counting.coincidence import LossCurve
    from mrcz_dask.numerics.counting.params import CountingParams, RawParams
    from mrcz_dask.numerics.counting.simulate import RawStack

    stack = RawStack(RawParams(shape=(96, 112), frames=40, seed=5))
    images = [one.astype(np.float32) for one in (stack.offset, stack.noise, np.maximum(stack.gain, 0.01))]
    loss = LossCurve(1e-5, (-0.03, -3.0, 0.0, 0.0), 0.1)
    path = raw_stacks[0].parent.parent / "calibration.zarr"
    Calibration(*images, stack.gain > 0, CountingParams(), None, loss, {"noise_from": "truth"}).save(path)
    return path
