"""`assess` says what a session's pattern is and costs, what harms, and what to run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import mrcz_dask
from mrcz_dask.assess.results import StackPattern
from mrcz_dask.assess.verdict import verdict
from mrcz_dask.engine.clusters import ClientOptions
from mrcz_dask.numerics.simulate import named, simulate_session
from mrcz_dask.session.simulation import write_session

SERIAL = ClientOptions(0)
SMALL: dict[str, Any] = {"shape": (160, 160), "stacks": 14, "frames": 12, "dose": 1.0}


def assessed(folder: Path, parts: tuple[str, ...] = ("pattern",), **params: Any) -> Any:
    kind = params.pop("session", "standard")
    list(write_session(folder / "session", named(kind, **SMALL | params)))
    session = mrcz_dask.open_session(folder / "session")
    return session.assess(client=SERIAL, radius=4, parts=parts)


def test_a_pattern_that_koma_takes_off(tmp_path: Path) -> None:
    verdict = assessed(tmp_path, ("pattern", "radius")).verdict
    found = verdict.evidence
    assert found.has_pattern and found.helps and not found.harms
    assert verdict.command.startswith(f"mrcz-dask koma {tmp_path / 'session'} --radius ")
    assert verdict.outliers[0] > 0 and verdict.raw_spread is None and not verdict.groups
    text = "\n".join(verdict.sentences())
    assert "lowers the DQE by" in text and "Hot and dead pixels" in text
    assert (tmp_path / "session" / "koma" / "assess" / "assess.json").exists()
    assert not list((tmp_path / "session" / "koma").glob("*.mrcz"))


def test_no_pattern_at_all(tmp_path: Path) -> None:
    verdict = assessed(tmp_path, session="no pattern", hot=(0.0, 0.0), dead=0.0, dose=8.0).verdict
    assert not verdict.evidence.has_pattern
    assert verdict.command == f"mrcz-dask outliers {tmp_path / 'session'} -o filtered"
    assert "none found; it has at most" in "\n".join(verdict.sentences())


def test_a_gain_that_is_missing(tmp_path: Path) -> None:
    verdict = assessed(tmp_path, pixel=0.2, dose=4.0).verdict
    assert verdict.raw_spread > 0.15 and verdict.command.endswith("--gain GAIN")


def test_few_counts_do_not_look_like_a_missing_gain(tmp_path: Path) -> None:
    assert assessed(tmp_path, frames=6, dose=0.5, specimen=0.1).verdict.raw_spread is None


def test_groups_are_named(tmp_path: Path) -> None:
    series = {"session": "tilt series", "stacks": 15, "tilts": 5, "frames": 8, "specimen": 0.25}
    verdict = assessed(tmp_path, shape=(192, 192), **series).verdict
    assert set(verdict.groups.values()) == {5} and "Same specimen" in "\n".join(verdict.sentences())


def test_the_edge_of_a_hole_is_said(tmp_path: Path) -> None:
    verdict = assessed(tmp_path, session="hole edge", edge=0.3, aim_error=0.0).verdict
    assert verdict.smooth == SMALL["stacks"] and not verdict.evidence.harms
    assert "like the edge of a hole" in "\n".join(verdict.sentences())


def test_stacks_from_the_middle(tmp_path: Path) -> None:
    list(write_session(tmp_path / "session", named("standard", **SMALL)))
    session = mrcz_dask.open_session(tmp_path / "session")
    found = session.assess(client=SERIAL, radius=2, parts=("pattern",), stacks=6)
    assert found.plan.stacks == session.discovery.stacks[4:10]
    assert found.verdict.evidence.stacks <= 6


def test_one_stack_cannot_be_judged(tmp_path: Path) -> None:
    verdict = assessed(tmp_path, stacks=1).verdict
    assert verdict.evidence is None and "cannot be judged" in "\n".join(verdict.sentences())
    assert verdict.command.startswith("mrcz-dask outliers ")


def test_a_gain_that_is_turned(tmp_path: Path) -> None:
    params = named("standard", **SMALL | {"pixel": 0.15, "dose": 4.0})
    list(write_session(tmp_path / "session", params))
    gain = 1 / simulate_session(params).stack(0).truth.pattern
    mrcz_dask.write(tmp_path / "gain.mrc", np.rot90(gain)[None].astype("f4"), codec="none")
    session = mrcz_dask.open_session(tmp_path / "session")
    found = session.assess(client=SERIAL, radius=4, parts=("pattern",), gain=tmp_path / "gain.mrc").verdict
    assert found.advice.startswith("Look at the gain first: gain.mrc") and found.warnings
    assert "that were given here" in found.advice


def test_a_pattern_that_moves_with_the_specimen_is_left_alone(tmp_path: Path) -> None:
    found = assessed(tmp_path)
    stacks = [
        StackPattern(
            entry.name,
            dict.fromkeys(("pattern", "error", "lasting", "removed"), (1e-4 * k,) * 4)
            | {"noise": 0.05, "movement": {"explained": 1.0, "power": 1.0, "variance": 0.01}},
            False,
        )
        for k, entry in enumerate(found.plan.stacks, 1)
    ]
    advised = verdict(found.plan, [], stacks, [], None)
    assert advised.evidence is not None and advised.evidence.harms
    assert advised.command.startswith("mrcz-dask outliers ") and "moves with the specimen" in advised.advice
