"""Resume counting: keep an earlier run's calibration and outputs if they match, or refuse to overwrite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mrcz_dask.correction.footer import ASK, last_steps, settings_changes
from mrcz_dask.counting.calibration import Calibration
from mrcz_dask.counting.counter import CountingMethod
from mrcz_dask.counting.plan import CountPlan
from mrcz_dask.counting.recording import STEP, parameters_beside
from mrcz_dask.counting.rendering import STEP as FRACTIONS
from mrcz_dask.counting.store import EventList, event_problems
from mrcz_dask.counting.tasks import Counted, result_of
from mrcz_dask.formats.places import measure
from mrcz_dask.formats.sources import read_footer
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.session.entries import StackEntry
from mrcz_dask.values.errors import OutputExistsError


def kept_calibration(plan: CountPlan) -> Calibration | None:
    """Return the calibration of an earlier run in the output folder; None if a new one is to be made.

    Raises
    ------
    OutputExistsError
        If it was made with other parameters or references.
    FormatError, DamagedError
        If it cannot be read.
    """
    if not plan.own_calibration.exists() or plan.overwrite:
        return None
    calibration = Calibration.load(plan.own_calibration)
    params = calibration.params
    counting = plan.find.counting(plan.find.charge or params.charge, plan.find.width or params.width)
    changes = settings_changes(params.to_dict(), counting.to_dict())
    before, now = calibration.about, plan.references.about
    changes += [
        name
        for name in ("gain", "dark", "defects")
        if (before.get(name) or {}).get("digest") != (now.get(name) or {}).get("digest")
    ]
    if changes:
        raise OutputExistsError(
            f"{plan.own_calibration}: a calibration is there that differs ({', '.join(changes)}); {ASK}"
        )
    return calibration


def kept_output(plan: CountPlan, stack: StackEntry, method: CountingMethod) -> Counted | None:
    """Return the result of a stack that an earlier run counted from the same input with the same parameters;
    None if there is none.

    Raises
    ------
    OutputExistsError
        If another output is there.
    """
    path, events = plan.target(stack), plan.events_target(stack)
    if plan.overwrite or not path.exists():
        return None
    steps = last_steps(read_footer(path) or {}) if verify_file(path).status == "sound" else {}
    difference = _difference(plan, stack, method, steps, path)
    if difference:
        raise OutputExistsError(f"{path.name}: an output is there that differs ({difference}); {ASK}")
    digest = steps[FRACTIONS]["inputs"][0]["digest"]
    if events is not None and (event_problems(events) or EventList(events).about["digest"] != digest):
        return None  # the counted stack is made anew, too: it comes out the same
    about = {
        "provenance": [steps[STEP]],
        "shape": list(stack.shape),
        "frames": stack.shape[0],
        "events": steps[STEP]["results"]["events"],
    }
    return result_of(
        stack.path.name, path, None if events is None else str(events), about, stack.size, kept=True
    )


def _difference(
    plan: CountPlan, stack: StackEntry, method: CountingMethod, steps: dict[str, dict[str, Any]], path: Path
) -> str:
    if not {STEP, FRACTIONS} <= steps.keys():
        return "no sound output of `count`"
    before = steps[STEP]["parameters"] | steps[FRACTIONS]["parameters"]
    beside = parameters_beside(None if method.script is None else method.script.about(), plan.inputs)
    changes = settings_changes(before, plan.find.to_dict() | beside | plan.fractions.to_dict())
    if changes:
        return f"parameters changed: {', '.join(changes)}"
    if steps[STEP]["results"]["calibration"] != method.digest:
        return "another calibration of the detector"
    raw = steps[STEP]["inputs"][0]
    if (raw["name"], raw["size"]) != (stack.path.name, stack.size) or measure(path).mtime_ns < stack.mtime_ns:
        return "its input is another, or has changed since"
    return ""
