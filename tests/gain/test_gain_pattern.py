from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.gain import pattern as module
from mrcz_dask.gain.pattern import GROUP, PHASE, read_sum, session_pattern
from mrcz_dask.numerics.simulate import SimulationParams
from mrcz_dask.session.simulation import write_session
from mrcz_dask.values import messages
from mrcz_dask.values.errors import FormatError, SessionError

SHAPE = (64, 72)


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    params = SimulationParams(stacks=7, frames=12, shape=SHAPE, seed=2, carbon=(3,), carbon_strength=0.6)
    return write_session(tmp_path_factory.mktemp("pattern") / "session", params)


def test_high_contrast_and_unreadable_stacks_are_left_out(stacks: tuple[Path, ...], tmp_path: Path) -> None:
    (tmp_path / "bad.mrcz").write_bytes(b"nothing")
    seen: list[messages.Message] = []
    found = session_pattern([*stacks, tmp_path / "bad.mrcz"], listen=seen.append)
    assert found.left_out.keys() == {stacks[3].name, "bad.mrcz"}
    assert "high contrast" in found.left_out[stacks[3].name]
    assert found.used == tuple(p.name for k, p in enumerate(stacks) if k != 3)
    assert found.pattern.stacks == 6
    assert [type(e).__name__ for e in seen].count("StackDone") == 7
    assert isinstance(seen[0], messages.PhaseStarted) and seen[0].phase == PHASE and seen[0].stacks == 8


def test_the_order_of_stacks_changes_nothing(stacks: tuple[Path, ...]) -> None:
    one, other = (session_pattern(order).pattern for order in (stacks, stacks[::-1]))
    assert np.array_equal(one.response, other.response)


@pytest.mark.parametrize("number", [1, 5, 16, 17, 33, 100])
def test_groups_hold_every_stack_once_and_few_at_a_time(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, groups = [Path(str(k)) for k in range(number)], list[list[Path]]()

    def verdicts(stacks: list[Path]) -> list[None]:
        groups.append([*stacks])
        stacks.clear()
        return []

    monkeypatch.setattr(module, "read_sum", lambda path, *_: path)
    monkeypatch.setattr(module, "_verdicts", verdicts)
    with pytest.raises(SessionError, match="no pattern can be made"):
        session_pattern(paths)
    assert [p for group in groups for p in group] == paths
    assert all(GROUP / 2 <= len(group) <= GROUP or number < GROUP for group in groups)


def test_nothing_to_go_by(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="there are none"):
        session_pattern([])
    with pytest.raises(SessionError, match=r"gone\.mrcz"):
        session_pattern([tmp_path / "gone.mrcz"])


def test_outputs_and_other_shapes_are_refused(stacks: tuple[Path, ...], tmp_path: Path) -> None:
    quantized = tmp_path / "output.mrcz"
    write(quantized, np.ones((3, *SHAPE), np.int16), pixels={"scale": 0.5, "offset": 0.0})
    with pytest.raises(FormatError, match="quantized"):
        read_sum(quantized)
    other = tmp_path / "other.mrcz"
    write(other, np.random.default_rng(0).poisson(2, (12, 32, 32)).astype(np.uint8))
    with pytest.raises(SessionError, match="expected one shape"):
        session_pattern([stacks[0], other])


def test_a_look_says_what_the_file_is(stacks: tuple[Path, ...]) -> None:
    one = read_sum(stacks[0])
    assert (one.format, one.first_row, one.total.n) == ("MRCZ", "bottom", 12)
    assert one.dose == pytest.approx(1, rel=0.1)
