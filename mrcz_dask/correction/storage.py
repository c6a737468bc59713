"""How corrected pixels are stored: as floats, or as int16 in steps that are small against the noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mrcz_dask.correction.finish_task import FinishTask
from mrcz_dask.gain.applied import Exposed
from mrcz_dask.numerics.doses import relative_dose
from mrcz_dask.numerics.noise.correlation import FINENESS
from mrcz_dask.numerics.outliers.weights import is_masked
from mrcz_dask.numerics.reference.correction import ReadyCorrection
from mrcz_dask.numerics.reference.rounding import TOLERATED, fine_step, int16_steps, step_that_fits
from mrcz_dask.values.errors import DtypeError
from mrcz_dask.values.params import WriteParams
from mrcz_dask.values.records import StackRecord
from mrcz_dask.values.timing import phase

GENERATOR = "Philox4x32-10"
LOST = 4  # times the noise of a frame: a step that is coarser leaves nothing of it


def stored_counts(task: FinishTask) -> dict[str, Any]:
    """Return what the footer says of counts that stay as they are."""
    return {"unit": "counts", "dose_per_frame": task.record.dose}


def stored_normalized(task: FinishTask, ready: ReadyCorrection, exposed: Exposed) -> dict[str, Any]:
    """Return what the footer says of normalised pixels: in steps, if int16 holds them in fine ones.

    Raises
    ------
    DtypeError
        Neither int16 nor float32 can hold what the pixels tell, or what was asked for cannot.
    """
    settings = task.settings.write
    stored: dict[str, Any] = {"unit": "counts", "dose_per_frame": task.record.dose}
    steps = _storage(task, ready, exposed)
    if steps is not None:
        stored |= {"scale": steps[0], "offset": steps[1] + task.record.offset}
    if steps is not None or settings.dtype == "float16":
        stored |= {"rounding": "stochastic", "generator": GENERATOR}
    return stored


def _storage(task: FinishTask, ready: ReadyCorrection, exposed: Exposed) -> tuple[float, float] | None:
    """Return step and offset of int16, None for floats; see `stored_normalized`.

    Frames are looked at only if a quick bound asks for it: a hot pixel that is filled anyway is in the bound,
    and must not coarsen all others.
    """
    record, settings, asked = task.record, task.settings.write, _asked_step(task)
    weight = ready.correction.weight
    # without a sound mask the pixels stay as they are: integers exact in steps of 1 or less, floats as floats
    whole = exposed.gain is None and "int" in record.dtype
    coarsest = max(asked, _noise(record) / TOLERATED) if record.sound else float(whole)
    bound = exposed.largest(record.low, record.high)
    if record.blank:  # what is blank gets no gain
        bound = max(bound, abs(record.low), abs(record.high))
    # what a frame's good pixels may have at most, were all counts in them
    brightest = bound if record.low < 0 else exposed.largest(0, record.brightest)
    good = max(1, int(np.count_nonzero(~is_masked(weight))))
    factor = max(1.0, brightest * weight.size / good / record.dose) if record.dose > 0 else 1.0
    bound = ready.largest(-bound, bound, factor)
    if settings.dtype == "int16" and step_that_fits(asked, bound) == asked <= coarsest:
        return asked, 0.0
    if settings.dtype != "int16" and not record.offset and _float_tells(task, bound):
        return None
    with phase("apply"):
        doses = ((frame, relative_dose(frame, weight, record.dose)) for frame in exposed)
        made = (ready.at_dose(dose).apply(frame) for frame, dose in doses)
        ends = [(float(one.min()), float(one.max())) for one in made]
    low, high = min(least for least, _ in ends), max(most for _, most in ends)
    found = int16_steps(asked, low, high, coarsest) if settings.dtype == "int16" else None
    if found is None and (record.offset or not _float_tells(task, max(-low, high))):
        other = "" if settings.dtype == "int16" else "write --dtype int16 --format mrcz, or "
        raise DtypeError(
            f"{task.path}: its pixels reach from {low + record.offset:g} to {high + record.offset:g} with a "
            f"noise of {_noise(record):.3g} counts a frame, which {settings.dtype} cannot hold together; "
            f"{other}take the offset off in the file first"
        )
    return found


def _noise(record: StackRecord) -> float:
    return math.inf if record.noise is None else record.noise


def _asked_step(task: FinishTask) -> float:
    """Return the step that was asked for; the usual one is finer where the noise is small."""
    step, noise = task.settings.write.step, _noise(task.record)
    if not (noise and task.record.sound):
        return step
    if step == WriteParams().step:
        return fine_step(step, noise)
    if step > LOST * noise:
        raise DtypeError(
            f"{task.path}: --step {step:g} would hide the noise of a frame, {noise:.3g} counts; expected at "
            f"most {fine_step(step, noise):g}"
        )
    return step


def _float_tells(task: FinishTask, largest: float) -> bool:
    """Whether the step of floats of the type asked for is small against the noise of a frame."""
    record = task.record
    if task.settings.write.dtype == "float16" and record.sound:
        return float(np.spacing(np.float16(record.dose))) <= _noise(record) / TOLERATED
    kind = np.float16 if task.settings.write.dtype == "float16" else np.float32
    finest = _noise(record) / FINENESS if record.sound else 1.0
    return "int" not in record.dtype or float(np.spacing(kind(largest))) <= finest
