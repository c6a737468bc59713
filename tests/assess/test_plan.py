"""What noise is scored on: a folder, or stacks."""

from pathlib import Path

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.assess.plan import assess_memory, assess_plan
from mrcz_dask.correction.plan import make_plan
from mrcz_dask.formats.gains import write_reference
from mrcz_dask.gain.options import GainOptions
from mrcz_dask.values.errors import ParameterError, SessionError
from mrcz_dask.values.params import Settings


def stack(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    mrcz_dask.write(path, np.random.default_rng(0).poisson(2, (4, 32, 32)).astype(np.uint8), durable=False)
    return path


def test_a_folder_is_a_session(tmp_path: Path) -> None:
    for name in "ab":
        stack(tmp_path / f"{name}.mrcz")

    plan = assess_plan([tmp_path], None, Settings(), exclude=["b*"])

    assert [one.name for one in plan.stacks] == ["a.mrcz"]
    assert plan.folder == tmp_path / "koma"  # where koma has its session store


def test_stacks_are_those_alone(tmp_path: Path) -> None:
    names = ["a[1].mrcz", "a1.mrcz", "deep/b.mrcz", "c.mrcz"]
    paths = [stack(tmp_path / name) for name in names]

    def names_of(*chosen: Path) -> list[str]:
        return sorted(one.name for one in assess_plan(chosen, None, Settings()).stacks)

    assert names_of(paths[0], paths[2]) == ["a[1].mrcz", "deep/b.mrcz"]
    stack(tmp_path / "deep" / "a1.mrcz")
    assert names_of(paths[1], paths[2]) == ["a1.mrcz", "deep/b.mrcz"]
    flat = assess_plan([paths[0], paths[3]], None, Settings())
    assert flat.discovery.folder == tmp_path
    assert sorted(one.name for one in flat.stacks) == ["a[1].mrcz", "c.mrcz"]


def test_a_given_file_that_is_no_stack_is_named(tmp_path: Path) -> None:
    path, other = stack(tmp_path / "a.mrcz"), tmp_path / "gain.mrc"
    write_reference(other, np.ones((32, 32), np.float32))

    with pytest.raises(SessionError, match=r"1 of the given files are no stacks: gain\.mrc \("):
        assess_plan([path, other], None, Settings())


def test_what_cannot_be_chosen_from(tmp_path: Path) -> None:
    path = stack(tmp_path / "a.mrcz")
    with pytest.raises(ParameterError, match="expected one folder with a session, or stacks"):
        assess_plan([path, tmp_path], None, Settings())
    with pytest.raises(ParameterError, match="choose from a folder"):
        assess_plan([path], None, Settings(), include=["a*"])
    with pytest.raises(SessionError, match="not there"):
        assess_plan([tmp_path / "gone"], None, Settings())


def test_gain_and_memory(tmp_path: Path) -> None:
    stack(tmp_path / "session" / "a.mrcz")
    write_reference(tmp_path / "gain.mrc", np.ones((32, 32), np.float32))
    session = [tmp_path / "session"]
    plain = assess_plan(session, None, Settings())
    gained = assess_plan(session, None, Settings(), gain=GainOptions(str(tmp_path / "gain.mrc")))

    assert gained.settings.gain.gain and not plain.settings.gain.gain
    assert plain.memory_estimate().task < assess_memory(plain).task < assess_memory(gained).task


def test_gamma_by_dose_rate_needs_the_time_of_a_frame(tmp_path: Path) -> None:
    path, gain = stack(tmp_path / "a.mrcz"), tmp_path / "gain.mrc"
    write_reference(gain, np.ones((32, 32), np.float32))

    with pytest.raises(ParameterError, match=r"no stack has an \.mdoc with ExposureTime"):
        make_plan(tmp_path, None, Settings(), gain=GainOptions(gain=str(gain), gamma="auto"))
    with pytest.raises(ParameterError, match=r"no stack has an \.mdoc with ExposureTime"):
        assess_plan([path], None, Settings(), gain=GainOptions(gain=str(gain), gamma="auto"))
