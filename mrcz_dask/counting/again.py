"""Count raw frames again, as an output's provenance says, to check that the output can be reproduced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from mrcz_dask.counting.calibration import NAME, Calibration, calibration_path
from mrcz_dask.counting.counter import DetectorScript
from mrcz_dask.counting.params import FindParams, FractionParams
from mrcz_dask.counting.plan import count_plan
from mrcz_dask.counting.recording import STEP
from mrcz_dask.counting.rendering import STEP as FRACTIONS
from mrcz_dask.counting.run import run_plan
from mrcz_dask.counting.store import SUFFIX, EventList
from mrcz_dask.formats.sources import read_footer
from mrcz_dask.session.entries import Acquired
from mrcz_dask.values.errors import ReferenceNotFoundError, SessionError
from mrcz_dask.values.messages import Listener
from mrcz_dask.values.params import InputParams

Steps = list[dict[str, Any]]


def is_events(path: Path) -> bool:
    """Return whether a path is an event list: a folder ``STEM.events.zarr``."""
    return path.name.endswith(SUFFIX) and path.is_dir()


def steps_of(path: Path) -> Steps:
    """Return the provenance steps of a stack or an event list."""
    if is_events(path):
        return EventList(path).provenance
    steps: Steps = (read_footer(path) or {}).get("provenance") or []
    return steps


def count_again(
    path: Path,
    raw: Path,
    place: Path,
    listen: Listener,
    calibration: Path | None = None,
    detector: str | None = None,
) -> Path:
    """Count an output's raw frames again with the parameters in its provenance; return the new path.

    Parameters
    ----------
    path
        A counted stack, or an event list.
    raw
        The stack of raw frames that it was counted from.
    place
        Folder for the new output.
    listen
        Listener that hears of the progress.
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
    steps = {step["name"]: step for step in steps_of(path)}
    counting, listed = steps[STEP], is_events(path)
    params = dict(counting["parameters"])
    inputs = InputParams.from_dict(params.pop("input", {}))
    _check_function(path, params.pop("detector", None), detector)
    digest = counting["results"]["calibration"]
    store = path.absolute().parent / NAME if calibration is None else calibration_path(calibration)
    present = Calibration.load(store).digest if store.exists() else "none"
    if present != digest:
        raise ReferenceNotFoundError(
            f"{store}: {path.name} was counted with the calibration of digest {digest}; found {present}; say "
            f"where it is with --calibration"
        )
    plan = count_plan(
        [raw],
        place,
        FindParams.from_dict(params),
        None if listed else FractionParams.from_dict(steps[FRACTIONS]["parameters"]),
        inputs=inputs,
        events=listed,
        calibration=store,
        detector=detector,
    )
    if listed:  # a copy of the raw frames has another modification time
        about = EventList(path).about
        acquired = Acquired(datetime.fromisoformat(about["acquired"]), about["acquired_from"])
        plan = replace(plan, stacks=(replace(plan.stacks[0], acquired=acquired),))
    for failure in run_plan(plan, listen=listen).failures:
        raise SessionError(failure.reason)
    again = plan.events_target(plan.stacks[0]) or plan.target(plan.stacks[0])
    again_step = next(step for step in reversed(steps_of(again)) if step["name"] == STEP)
    found, expected = (step["inputs"][0]["frames_digest"] for step in (again_step, counting))
    if found != expected:
        raise SessionError(
            f"{raw}: its pixels have digest {found}, the footer names {expected}; it is not the input that "
            "was used"
        )
    return again


def differing(path: Path, again: Path) -> tuple[int, ...]:
    """Compare two event lists, and return the numbers of the raw frames in which they differ."""
    a, b = EventList(path), EventList(again)
    if len(a) != len(b):
        return tuple(range(len(a)))
    return tuple(k for k in range(len(a)) if a.read(k, k + 1).digest() != b.read(k, k + 1).digest())


def _check_function(path: Path, recorded: Mapping[str, str] | None, detector: str | None) -> None:
    about = None if detector is None else DetectorScript.parse(detector).about()
    if recorded == about:
        return
    form = "{file}:{name}, digest {digest}"
    expected = "the package's own method" if recorded is None else form.format(**recorded)
    counted = "none" if about is None else form.format(**about)
    raise ReferenceNotFoundError(
        f"{path}: was counted with {expected}; --detector gives {counted}; give the function that was used, "
        "or none where none was"
    )
