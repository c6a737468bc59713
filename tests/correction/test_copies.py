"""The same data under several names: one neighbor, never a stack's own, and never an erased specimen."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from mrcz_dask.assess.params import AssessParams
from mrcz_dask.assess.run import assess as assess_session
from mrcz_dask.correction import judged_stacks
from mrcz_dask.correction.follow import FollowParams, follow
from mrcz_dask.correction.plan import make_plan
from mrcz_dask.correction.run import Outcome, carry_out
from mrcz_dask.engine.client import SerialClient
from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.formats.sources import read_footer
from mrcz_dask.gain.pattern import session_pattern
from mrcz_dask.session.watching import Watcher
from mrcz_dask.values.messages import silent
from mrcz_dask.values.params import KomaParams, Settings, WriteParams
from mrcz_dask.values.records import COPIES, QUIET, StackResult, only_copies

SHAPE = (96, 112)
SETTINGS = Settings(koma=KomaParams(radius=3, breaks="none"))
Stack = NDArray[Any]


def stacks(number: int = 7, frames: int = 8) -> list[Stack]:
    r = np.random.default_rng(0)
    gain = 1 + 0.06 * r.standard_normal(SHAPE)
    return [r.poisson(gain, (frames, *SHAPE)).astype(np.uint16) for _ in range(number)]


def put(folder: Path, name: str, stack: Stack, time: float) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    if name.endswith(".tif"):
        tifffile.imwrite(path, stack)
    else:
        write(path, stack, codec="none")
    os.utime(path, (time, time))


def session(folder: Path, made: list[Stack], **more: Stack) -> Path:
    for k, stack in enumerate(made):
        put(folder, f"s{k}.mrc", stack, 1000.0 + 10 * k)
    for k, (name, stack) in enumerate(more.items()):
        put(folder, name.replace("_", "."), stack, 1035.0 + k)
    return folder


def koma(folder: Path) -> Outcome:
    return carry_out(make_plan(folder, None, SETTINGS), SerialClient())


def of(outcome: Outcome, name: str) -> StackResult:
    return next(one for one in outcome.results if one.name == name)


def windows(outcome: Outcome, name: str) -> set[str]:
    footer = read_footer(outcome.plan.folder / of(outcome, name).output)
    assert footer is not None
    step = next(one for one in footer["provenance"] if one["name"] == "koma")
    return {name for window in step["inputs"] for name in window["names"]}


def summed(stack: Stack, step: int = 2) -> Stack:
    return stack.reshape(-1, step, *SHAPE).sum(axis=1).astype(np.uint16)


RELATIVES: dict[str, Callable[[Stack], Stack]] = {
    "x_mrc": lambda s: s,
    "x_tif": lambda s: s,
    "other-type_mrc": lambda s: s.astype(np.int16),
    "cut_mrc": lambda s: s[: len(s) // 2],
    "end_mrc": lambda s: s[len(s) // 2 :],
    "summed_mrc": summed,
    "scaled_mrc": lambda s: s * 3,
    "turned_mrc": lambda s: s[:, ::-1, ::-1] * 2,
    "flipped-summed_mrc": lambda s: summed(s)[:, :, ::-1] * 2,
    "with-blank_mrc": lambda s: np.concatenate([s, s[:2] * 0]),
}


@pytest.fixture(scope="module")
def related(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A run over thirteen stacks; a relative follows each of the first ten."""
    made = stacks(len(RELATIVES) + 3)
    folder = session(tmp_path_factory.mktemp("related") / "night", made)
    for k, (name, relative) in enumerate(RELATIVES.items()):
        put(folder, name.replace("_", "."), relative(made[k]), 1005.0 + 10 * k)
    return koma(folder)


def test_relatives_alone_are_copies(related: Outcome) -> None:
    assert related.complete
    copies = {name.replace("_", ".") for name in RELATIVES} | {f"s{k}.mrc" for k in range(len(RELATIVES))}
    assert {one.name for one in related.results if one.remark == "copy"} == copies
    for k in range(len(RELATIVES), len(RELATIVES) + 3):
        assert not any("same data" in text for text in of(related, f"s{k}.mrc").caveats)


@pytest.mark.parametrize("name", RELATIVES)
def test_a_copy_is_nobodys_second_neighbor_and_never_its_own(related: Outcome, name: str) -> None:
    copy, original = name.replace("_", "."), f"s{list(RELATIVES).index(name)}.mrc"
    assert windows(related, copy) and original not in windows(related, copy)
    for k in range(len(RELATIVES) + 3):
        assert copy not in windows(related, f"s{k}.mrc")
    for one, other in ((original, copy), (copy, original)):
        assert [text for text in of(related, one).caveats if "same data" in text and other in text]


def test_a_copy_changes_no_pixel_of_the_others(tmp_path: Path) -> None:
    made = stacks()
    plain = koma(session(tmp_path / "plain", made))
    other = koma(session(tmp_path / "copied", made, copy_mrc=made[3]))
    for k in (0, 1, 2, 4, 5, 6):
        one, two = ((o.plan.folder / f"s{k}.mrcz").read_bytes() for o in (plain, other))
        assert one == two


def test_floats_of_any_scale_and_turn(tmp_path: Path) -> None:
    made = [stack.astype(np.float32) for stack in stacks()]
    turned = (made[3] * np.float32(2.7))[:, ::-1]
    outcome = koma(session(tmp_path / "night", made, x_mrc=turned))
    assert "s3.mrc" not in windows(outcome, "x.mrc")
    assert "x.mrc" not in windows(outcome, "s3.mrc")


@pytest.mark.parametrize("time", [0.0, 2000.0])
def test_a_tilt_series_beside_the_movies_of_its_tilts(tmp_path: Path, time: float) -> None:
    made = stacks()
    folder = session(tmp_path / "night", made)
    put(folder, "series.mrc", np.stack([one.sum(axis=0) for one in made]).astype(np.uint16), time)
    outcome = koma(folder)
    for k in range(7):
        assert windows(outcome, f"s{k}.mrc") == {f"s{j}.mrc" for j in range(7) if j != k}
    assert any("s6.mrc" in text or "more" in text for text in of(outcome, "series.mrc").caveats)
    assert not windows(outcome, "series.mrc")


def test_every_stack_twice_is_no_session_of_one_stack(tmp_path: Path) -> None:
    made = stacks(5)
    twice = {f"s{k}_tif": stack for k, stack in enumerate(made)}
    folder = session(tmp_path / "night", made)
    for k, (name, stack) in enumerate(twice.items()):
        put(folder, "t" + name.replace("_", "."), stack, 1005.0 + 10 * k)
    outcome = koma(folder)
    assert outcome.complete
    assert windows(outcome, "s2.mrc") == {"s0.mrc", "s1.mrc", "s3.mrc", "s4.mrc"}


@pytest.mark.parametrize("equal", [7, 5])
def test_most_of_a_session_equal_is_not_done(tmp_path: Path, equal: int) -> None:
    made = stacks()
    folder = session(tmp_path / "night", [made[0]] * equal + made[equal:])
    outcome = koma(folder)
    assert not outcome.results
    assert only_copies(outcome.failures)
    assert {one.phase for one in outcome.failures} == {COPIES}
    assert f"{equal} of the " in outcome.failures[0].reason
    assert "--exclude" in outcome.failures[0].reason
    params = AssessParams(parts=("stacks", "methods"))
    assessment = assess_session(make_plan(folder, None, SETTINGS), params, SerialClient())
    assert {one.name for one in assessment.failures} == {f"s{k}.mrc" for k in range(7)}
    assert not assessment.stacks
    assert assessment.by_method is not None and not assessment.by_method.stacks
    assert "s1.mrc" in assessment.to_dict()["copies"]["s0.mrc"]


def test_following_gives_the_same_bytes(tmp_path: Path) -> None:
    made = stacks(9)
    folder = session(tmp_path / "night", made, copy_mrc=made[3][:4], more_mrc=made[6])
    settings = Settings(koma=KomaParams(radius=1, long_window=4, breaks="none"))
    plan = make_plan(folder, tmp_path / "batch", settings)
    carry_out(plan, SerialClient())
    following = make_plan(folder, tmp_path / "follow", settings)
    watcher = Watcher(folder, tmp_path / "follow", settle=0)
    stop = threading.Event()
    params = FollowParams(settle=0, poll=0, until_idle=0)
    follow(watcher, following, SerialClient(), silent, params, stop)
    for path in (tmp_path / "batch").glob("*.mrcz"):
        assert path.read_bytes() == (tmp_path / "follow" / path.name).read_bytes()


@pytest.mark.parametrize(("write", "equal"), [("normalized", 7), ("recompressed", 7), ("normalized", 2)])
def test_copies_that_nothing_finds_are_an_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Any, equal: int
) -> None:
    monkeypatch.setattr(judged_stacks.Copies, "of", lambda self, j: ())
    folder = session(tmp_path / "night", stacks()[1:3] + [stacks()[3]] * equal)
    settings = Settings(
        koma=KomaParams(radius=3, breaks="none", trust_reference=True), write=WriteParams(write=write)
    )
    outcome = carry_out(make_plan(folder, None, settings), SerialClient())
    alarmed = [one for one in outcome.results if one.too_quiet]
    assert len(alarmed) >= equal
    footer = read_footer(outcome.plan.folder / of(outcome, "s2.mrc").output)
    assert footer is not None
    step = next(one for one in footer["provenance"] if one["name"] == "koma")
    assert any(text.startswith(QUIET) for text in step["caveats"])


@pytest.mark.parametrize("name", RELATIVES)
def test_a_gain_estimate_counts_a_copy_once(tmp_path: Path, name: str) -> None:
    made = stacks()
    folder = session(tmp_path / "night", made, **{name: RELATIVES[name](made[3])})
    found = session_pattern(sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime))
    assert len(found.used) == 7
    assert list(found.left_out.values()) == ["holds the same data as s3.mrc"]
    assert found.pattern.counts == pytest.approx(56, rel=0.02)


def test_no_alarm_in_an_ordinary_session(tmp_path: Path) -> None:
    outcome = koma(session(tmp_path / "night", stacks()))
    assert not any(one.too_quiet for one in outcome.results)
