"""Counting from Python: the command's options as keywords, and its bytes."""

import inspect
from pathlib import Path

import pytest

import mrcz_dask
from mrcz_dask.engine.clusters import ClientOptions
from mrcz_dask.values.errors import ParameterError

ALONE = ClientOptions(workers=0)


def test_a_session_is_counted_as_the_command_does(
    raw_stacks: list[Path], calibration: Path, tmp_path: Path
) -> None:
    from mrcz_dask.cli import count as command

    options = {"calibration": str(calibration), "fraction": 7, "upsampling": 2, "events": True}
    session = mrcz_dask.open_session(raw_stacks)
    done = session.count(tmp_path / "a", **options, client=ALONE)
    assert done.complete and [one.name for one in done.results] == [path.name for path in raw_stacks]
    again = mrcz_dask.count(*raw_stacks, output=str(tmp_path / "b"), **options, client=ALONE)
    assert again.complete
    for path in raw_stacks:
        assert (tmp_path / "a" / path.name).read_bytes() == (tmp_path / "b" / path.name).read_bytes()
        assert mrcz_dask.read(tmp_path / "a" / path.name).shape == (5, 192, 224)
    asked = inspect.signature(command.count).parameters
    for function in (mrcz_dask.count, mrcz_dask.Session.count):
        have = inspect.signature(function).parameters
        assert not any(one.kind is one.VAR_KEYWORD for one in have.values())
        shared = set(have) & set(asked) - {"output", "upsampling", "listen"}
        assert {"sigma", "calibration", "dark", "codec", "events"} <= shared
        assert all(have[name].default == asked[name].default for name in shared)


def test_a_dask_client_counts_and_stays_open(
    raw_stacks: list[Path], calibration: Path, tmp_path: Path
) -> None:
    from distributed import Client

    with Client(
        processes=False, n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0"
    ) as client:
        done = mrcz_dask.count(
            raw_stacks[0], output=tmp_path / "a", calibration=calibration, fraction=7, client=client
        )
        assert client.submit(int, 3).result() == 3
    alone = mrcz_dask.count(
        raw_stacks[0], output=tmp_path / "b", calibration=calibration, fraction=7, client=ALONE
    )
    assert done.complete and alone.complete
    name = raw_stacks[0].name
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_what_cannot_be(raw_stacks: list[Path], tmp_path: Path) -> None:
    session = mrcz_dask.open_session(raw_stacks)
    with pytest.raises(ParameterError, match="upsampling is 3"):
        session.count(tmp_path, upsampling=3)
    with pytest.raises(TypeError, match="sigmas"):
        session.count(tmp_path, sigmas=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="needs an output folder"):
        mrcz_dask.count(*raw_stacks)
    for arguments in ((session, tmp_path, tmp_path), (session, session)):
        with pytest.raises(TypeError, match="one session and its output folder"):
            mrcz_dask.count(*arguments)
