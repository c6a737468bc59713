"""Outputs that are there already: kept if they are those of this run, else refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mrcz_dask.correction.footer import ASK, last_steps, settings_changes
from mrcz_dask.counting.calibration import Calibration
from mrcz_dask.counting.counter import Method
from mrcz_dask.counting.plan import CountPlan
from mrcz_dask.counting.recording import STEP, parameters_beside
from mrcz_dask.counting.rendering import STEP as FRACTIONS
from mrcz_dask.counting.store import Events
from mrcz_dask.counting.tasks import Counted, counted_of
from mrcz_dask.formats.places import measure
from mrcz_dask.formats.sources import read_footer
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.session.entries import StackEntry
from mrcz_dask.values.errors import OutputExistsError


def own_calibration(plan: CountPlan) -> Calibration | None:
    """Return the calibration in the output folder; None where a new one is to be made.

    Raises
    ------
    OutputExistsError
        It was made with other parameters or references.
    FormatError, DamagedError
        It cannot be read.
    """
    if not plan.own_calibration.exists() or plan.overwrite:
        return None
    found = Calibration.load(plan.own_calibration)
    asked = plan.find.counting(plan.find.charge or found.params.charge, plan.find.width or found.params.width)
    changes = settings_changes(found.params.to_dict(), asked.to_dict())
    given = plan.given.about
    changes += [
        name
        for name in ("gain", "dark", "defects")
        if (found.about.get(name) or {}).get("digest") != (given.get(name) or {}).get("digest")
    ]
    if changes:
        raise OutputExistsError(
            f"{plan.own_calibration}: a calibration is there that differs ({', '.join(changes)}); {ASK}"
        )
    return found


def kept_output(plan: CountPlan, stack: StackEntry, method: Method) -> Counted | None:
    """Return the result of an output that is there, sound, and of the same input and parameters; else None.

    Raises
    ------
    OutputExistsError
        Something else is there.
    """
    path, events = plan.target(stack), plan.events_target(stack)
    if plan.overwrite or not path.exists():
        return None
    last = last_steps(read_footer(path) or {}) if verify_file(path).status == "sound" else {}
    why = _difference(plan, stack, method, last, path)
    if why:
        raise OutputExistsError(f"{path.name}: an output is there that differs ({why}); {ASK}")
    if events is not None and not _same_events(events, last):
        return None  # the counted stack is made anew, too: it comes out the same
    return counted_of(
        stack.path.name,
        path,
        None if events is None else str(events),
        _about(last, stack),
        stack.size,
        kept=True,
    )


def _difference(
    plan: CountPlan, stack: StackEntry, method: Method, last: dict[str, dict[str, Any]], path: Path
) -> str:
    if not {STEP, FRACTIONS} <= last.keys():
        return "no sound output of `count`"
    before = last[STEP]["parameters"] | last[FRACTIONS]["parameters"]
    beside = parameters_beside(None if method.script is None else method.script.about(), plan.inputs)
    changes = settings_changes(before, plan.find.to_dict() | beside | plan.fractions.to_dict())
    if changes:
        return f"parameters changed: {', '.join(changes)}"
    if last[STEP]["results"]["calibration"] != method.digest:
        return "another calibration of the detector"
    was = last[STEP]["inputs"][0]
    if (was["name"], was["size"]) != (stack.path.name, stack.size) or measure(path).mtime_ns < stack.mtime_ns:
        return "its input is another, or has changed since"
    return ""


def _same_events(path: Path, last: dict[str, dict[str, Any]]) -> bool:
    if not path.exists():
        return False
    return bool(Events(path).about["digest"] == last[FRACTIONS]["inputs"][0]["digest"])


def _about(last: dict[str, dict[str, Any]], stack: StackEntry) -> dict[str, Any]:
    return {
        "provenance": [last[STEP]],
        "shape": list(stack.shape),
        "frames": stack.shape[0],
        "events": last[STEP]["results"]["events"],
    }
