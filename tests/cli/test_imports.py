"""Which command loads which packages: a quick look must not pay for a cluster."""

import subprocess
import sys
from pathlib import Path

import pytest

from mrcz_dask.numerics.simulate import SimulationParams
from mrcz_dask.session.simulation import write_session

FILES = {"blosc2", "msgpack", "numcodecs", "numpy", "xxhash", "zstandard"}
STORE = FILES | {"numba", "scipy", "zarr"}
TASKS = STORE | {"dask", "distributed"}
FIGURES = {"matplotlib", "PIL"}
PAGE = {"bokeh", "prometheus_client", "PIL"}
PACKAGES = (
    TASKS | FIGURES | PAGE | {"cryptography", "dask_jobqueue", "h5py", "imagecodecs", "tifffile", "zmq"}
)

CODE = f"""
import atexit, sys
atexit.register(lambda: print("loaded", *{PACKAGES} & {{name.split(".")[0] for name in sys.modules}}))
from mrcz_dask.cli.app import main
main()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("imports")
    first = write_session(made / "session", SimulationParams(stacks=4, frames=4, shape=(64, 56)))[0]
    first.rename(made / "session" / "first.mrcz")
    return made


@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        ("--help", set()),
        ("koma --help", set()),
        ("info session/first.mrcz", FILES),
        ("verify session/first.mrcz", TASKS - {"distributed"}),
        ("koma session --radius 2 --dry-run", TASKS),
        ("koma session --radius 2 --workers 0 --no-report -o one", TASKS),
        ("status one", FILES),
        ("report one", STORE | FIGURES),
        ("koma session --radius 2 --workers 0 -o two", TASKS | FIGURES),
        ("koma session --radius 2 --workers 0 --no-report --page 0 -o three", TASKS | PAGE),
        ("recompress session/first.mrcz -o four", TASKS),
    ],
)
def test_a_command_loads_only_what_it_needs(folder: Path, command: str, allowed: set[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, *command.split()], cwd=folder, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.splitlines()[-1].split()[1:])
    assert loaded <= allowed, f"{command} loads {sorted(loaded - allowed)}"
