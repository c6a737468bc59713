"""Counted stacks and event lists again, from their raw frames and what they say of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from mrcz_dask.counting.calibration import NAME, Calibration
from mrcz_dask.counting.counting import carry_out
from mrcz_dask.counting.detectors import DetectorScript
from mrcz_dask.counting.params import FindParams, FractionParams
from mrcz_dask.counting.plan import calibration_path, count_plan
from mrcz_dask.counting.recording import STEP
from mrcz_dask.counting.rendering import STEP as FRACTIONS
from mrcz_dask.counting.store import SUFFIX, Events
from mrcz_dask.engine.clusters import ClientOptions
from mrcz_dask.formats.sources import read_footer
from mrcz_dask.session.entries import Acquired
from mrcz_dask.values.errors import ReferenceNotFoundError, SessionError
from mrcz_dask.values.messages import Listener
from mrcz_dask.values.params import InputParams

Steps = list[dict[str, Any]]
ALONE = ClientOptions(workers=0)


def is_events(path: Path) -> bool:
    """Return whether a path is that of an event list."""
    return path.name.endswith(SUFFIX) and path.is_dir()


def steps_of(path: Path) -> Steps:
    """Return the provenance of a stack or an event list."""
    if is_events(path):
        return Events(path).provenance
    steps: Steps = (read_footer(path) or {}).get("provenance") or []
    return steps


def is_counted(steps: Steps) -> bool:
    """Return whether counting made what has these provenance steps."""
    return bool(steps) and steps[-1]["name"] in (STEP, FRACTIONS)


def count_again(
    path: Path,
    raw: Path,
    place: Path,
    listen: Listener,
    calibration: Path | None = None,
    detector: str | None = None,
) -> Path:
    """Count the raw frames of an output again, and return the path of the new output.

    Parameters
    ----------
    path
        A counted stack, or an event list.
    raw
        The stack of raw frames that it was counted from.
    place
        Folder for the new output.
    listen
        Is told what happens.
    calibration
        Calibration of the detector, or its folder; None = the one beside the output.
    detector
        ``FILE.py:NAME`` of a user's function.

    Raises
    ------
    ReferenceNotFoundError
        If calibration or function are not those of the output.
    SessionError
        If the raw frames are not those of the output, or cannot be counted.
    """
    steps = {one["name"]: one for one in steps_of(path)}
    count, listed = steps[STEP], is_events(path)
    asked = dict(count["parameters"])
    inputs = InputParams.from_dict(asked.pop("input", {}))
    _check_function(path, asked.pop("detector", None), detector)
    plan = count_plan(
        [raw],
        place,
        FindParams.from_dict(asked),
        None if listed else FractionParams.from_dict(steps[FRACTIONS]["parameters"]),
        inputs=inputs,
        events=listed,
        calibration=_calibration(path, count["results"]["calibration"], calibration),
        detector=detector,
    )
    if listed:  # a copy of the raw frames has another modification time
        about = Events(path).about
        when = Acquired(datetime.fromisoformat(about["acquired"]), about["acquired_from"])
        plan = replace(plan, stacks=(replace(plan.stacks[0], acquired=when),))
    for failed in carry_out(plan, ALONE, listen).failures:
        raise SessionError(failed.reason)
    made = plan.events_target(plan.stacks[0]) or plan.target(plan.stacks[0])
    _check_frames(raw, count, steps_of(made))
    return made


def differing(path: Path, again: Path) -> tuple[int, ...]:
    """Return the raw frames of two event lists whose electrons differ."""
    a, b = Events(path), Events(again)
    if len(a) != len(b):
        return tuple(range(len(a)))
    return tuple(k for k in range(len(a)) if a.found(k, k + 1).digest() != b.found(k, k + 1).digest())


def _calibration(path: Path, digest: str, given: Path | None) -> Path:
    found = calibration_path(given) if given is not None else path.absolute().parent / NAME
    there = Calibration.load(found).digest if found.exists() else "none"
    if there != digest:
        raise ReferenceNotFoundError(
            f"{found}: {path.name} was counted with the calibration of digest {digest}; found {there}; say "
            f"where it is with --calibration"
        )
    return found


def _check_function(path: Path, said: Mapping[str, str] | None, given: str | None) -> None:
    about = None if given is None else DetectorScript.parse(given).about()
    if said == about:
        return
    expected = "the package's own method" if said is None else "{file}:{name}, digest {digest}".format(**said)
    found = "none" if about is None else "{file}:{name}, digest {digest}".format(**about)
    raise ReferenceNotFoundError(
        f"{path}: was counted with {expected}; --detector gives {found}; give the function that was used, "
        "or none where none was"
    )


def _check_frames(raw: Path, count: Mapping[str, Any], made: Steps) -> None:
    expected = count["inputs"][0]["frames_digest"]
    found = next(one for one in reversed(made) if one["name"] == STEP)["inputs"][0]["frames_digest"]
    if found != expected:
        raise SessionError(
            f"{raw}: its pixels have digest {found}, the footer names {expected}; it is not the input that "
            "was used"
        )
