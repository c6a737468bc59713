"""What noise is scored on: a folder, or stacks."""

from pathlib import Path

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.formats.gains import write_reference
from mrcz_dask.gain.options import GainOptions
from mrcz_dask.noise.plan import Chosen, choose, noise_need, noise_plan
from mrcz_dask.values.errors import ParameterError, SessionError
from mrcz_dask.values.params import Settings


def stack(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    mrcz_dask.write(path, np.random.default_rng(0).poisson(2, (4, 32, 32)).astype(np.uint8), durable=False)
    return path


def test_a_folder_is_a_session(tmp_path: Path) -> None:
    for name in "ab":
        stack(tmp_path / f"{name}.mrcz")

    plan = noise_plan(choose([tmp_path], exclude=["b*"]), None, Settings())

    assert [one.name for one in plan.stacks] == ["a.mrcz"]
    assert plan.folder == tmp_path / "koma"  # where koma has its session store


def test_stacks_are_those_alone(tmp_path: Path) -> None:
    names = ["a[1].mrcz", "a1.mrcz", "deep/b.mrcz", "c.mrcz"]
    paths = [stack(tmp_path / name) for name in names]

    found = noise_plan(choose([paths[0], paths[2]]), None, Settings())
    flat = choose([paths[0], paths[3]])

    assert sorted(one.name for one in found.stacks) == ["a[1].mrcz", "deep/b.mrcz"]
    assert flat.session == tmp_path and not flat.recursive
    stack(tmp_path / "deep" / "a1.mrcz")
    both = noise_plan(choose([paths[1], paths[2]]), None, Settings())
    assert sorted(one.name for one in both.stacks) == ["a1.mrcz", "deep/b.mrcz"]
    assert sorted(one.name for one in noise_plan(flat, None, Settings()).stacks) == ["a[1].mrcz", "c.mrcz"]


def test_a_given_file_that_is_no_stack_is_named(tmp_path: Path) -> None:
    path, other = stack(tmp_path / "a.mrcz"), tmp_path / "gain.mrc"
    write_reference(other, np.ones((32, 32), np.float32))

    with pytest.raises(SessionError, match=r"1 of the given files are no stacks: gain\.mrc \("):
        noise_plan(choose([path, other]), None, Settings())


def test_what_cannot_be_chosen_from(tmp_path: Path) -> None:
    path = stack(tmp_path / "a.mrcz")
    with pytest.raises(ParameterError, match="expected one folder with a session, or stacks"):
        choose([path, tmp_path])
    with pytest.raises(ParameterError, match="choose from a folder"):
        choose([path], include=["a*"])
    assert choose([tmp_path / "gone"]) == Chosen(tmp_path / "gone")
    with pytest.raises(SessionError, match="not there"):
        noise_plan(choose([tmp_path / "gone"]), None, Settings())


def test_gain_and_memory(tmp_path: Path) -> None:
    stack(tmp_path / "session" / "a.mrcz")
    write_reference(tmp_path / "gain.mrc", np.ones((32, 32), np.float32))
    chosen = choose([tmp_path / "session"])
    plain = noise_plan(chosen, None, Settings())
    gained = noise_plan(chosen, None, Settings(), gain=GainOptions(str(tmp_path / "gain.mrc")))

    assert gained.settings.gain.gain and not plain.settings.gain.gain
    assert plain.memory_estimate().task < noise_need(plain).task < noise_need(gained).task
