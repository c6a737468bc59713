"""Arguments of a wrong type or value, of every public function: one error of the package that names them."""

import inspect
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import zarr

import mrcz_dask
from mrcz_dask.engine.clusters import ClientOptions
from mrcz_dask.values.errors import MrczDaskError

STACK = np.random.default_rng(0).poisson(4, (3, 16, 16)).astype(np.uint8)
WRONG = [
    object(),
    3.5j,
    "nonsense",
    b"x",
    -1,
    0,
    2**70,
    1.5,
    float("nan"),
    [],
    ["x"],
    [None],
    {"a": 1},
    {1},
    True,
]
WRONG += [np.zeros((2, 2)), lambda *_: None]


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Return each public function with arguments that are right."""
    folder = tmp_path_factory.mktemp("session")
    for k in range(3):
        mrcz_dask.write(folder / f"movie_20261014_19063{k}.mrcz", STACK)
    path = folder / "movie_20261014_190630.mrcz"
    session = mrcz_dask.open_session(folder)
    arrays = [da.from_array(STACK, chunks=(1, 16, 16))] * 3
    output = tmp_path_factory.mktemp("out")
    return {
        "read": (mrcz_dask.read, {"path": path}),
        "read_header": (mrcz_dask.read_header, {"path": path}),
        "read_footer": (mrcz_dask.read_footer, {"path": path}),
        "write": (mrcz_dask.write, {"path": output / "a.mrcz", "array": STACK}),
        "open_stack": (mrcz_dask.open_stack, {"path": path}),
        "outlier_mask": (mrcz_dask.outlier_mask, {"stack_or_sum": STACK}),
        "correlated_noise": (mrcz_dask.correlated_noise, {"stack": STACK}),
        "koma_window": (mrcz_dask.koma_window, {"i": 1, "n": 3, "radius": 1}),
        "open_session": (mrcz_dask.open_session, {"folder": folder}),
        "koma": (mrcz_dask.koma, {"stacks": arrays}),
        "count": (mrcz_dask.count, {"output": output / "counted"}),
        "Session.koma": (session.koma, {}),
        "KomaPlan.run": (
            session.koma(radius=1).run,
            {"output": path, "client": ClientOptions(workers=0)},
        ),
    }


def parameters() -> Iterator[tuple[str, str]]:
    methods = {"Session.koma": mrcz_dask.Session.koma, "KomaPlan.run": mrcz_dask.KomaPlan.run}
    names = [name for name in mrcz_dask.__all__ if inspect.isfunction(getattr(mrcz_dask, name))]
    for name, function in ({name: getattr(mrcz_dask, name) for name in names} | methods).items():
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name != "self":
                yield name, parameter.name


@pytest.mark.parametrize(("name", "parameter"), [*parameters()])
def test_a_wrong_argument_is_an_error_of_the_package(
    name: str, parameter: str, calls: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    function, right = calls[name]
    is_refused = 0
    for value in WRONG[:2] if name == "KomaPlan.run" else WRONG:  # others may begin a run
        arguments = (value,) if parameter == "paths" else ()
        named = {} if parameter == "paths" else {parameter: value}
        if parameter == "options":
            named = {"chunk_version": value}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                function(*arguments, **right | named)
        except (MrczDaskError, OSError, IndexError) as error:
            assert str(error)
            is_refused += 1
    assert is_refused


@pytest.mark.parametrize("function", [mrcz_dask.outlier_mask, mrcz_dask.correlated_noise])
@pytest.mark.parametrize(
    "make", [partial(da.from_array, chunks=(1, 16, 16)), zarr.array, list, iter], ids=lambda f: repr(f)[:20]
)
def test_arrays_of_other_libraries_are_stacks(function: Any, make: Any) -> None:
    assert repr(function(make(STACK))) == repr(function(STACK))


def test_paths_of_a_session_may_come_one_by_one(tmp_path: Path) -> None:
    mrcz_dask.write(tmp_path / "a.mrcz", STACK)
    assert len(mrcz_dask.open_session(tmp_path.glob("*.mrcz"))) == 1
