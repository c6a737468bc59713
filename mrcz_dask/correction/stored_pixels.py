"""Choose how the pixels of an output are stored: integers in steps, whole counts, or floats."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mrcz_dask.correction.tasks import CorrectionTask
from mrcz_dask.formats.writers import stored_type
from mrcz_dask.gain.applied import GainedFrames
from mrcz_dask.numerics.doses import relative_dose
from mrcz_dask.numerics.noise.correlation import FINENESS
from mrcz_dask.numerics.outliers.filling import poisson
from mrcz_dask.numerics.outliers.weights import is_masked
from mrcz_dask.numerics.philox import HIGHEST, key_of
from mrcz_dask.numerics.reference.correction import ReadyCorrection
from mrcz_dask.numerics.reference.rounding import TOLERATED, fine_step, int16_steps, step_that_fits
from mrcz_dask.values.errors import DtypeError
from mrcz_dask.values.params import WriteParams
from mrcz_dask.values.timing import phase

NIBBLE, BYTE = 15, 127
LOST = 4  # times the noise of a frame: a step that is coarser leaves nothing of it


def int16_storage(
    task: CorrectionTask, ready: ReadyCorrection, exposed: GainedFrames
) -> tuple[float, float] | None:
    """Return step and offset of int16 that hold the corrected pixels in fine steps; None for floats.

    Frames are corrected only if a quick bound asks for it: a hot pixel that is filled anyway is in the bound,
    and must not coarsen all others.

    Raises
    ------
    DtypeError
        If the type asked for, or neither int16 nor float32, can hold the pixels and their noise.
    """
    record, dtype, step = task.record, task.settings.write.dtype, _step(task)
    # without a sound mask the pixels stay as they are: integers exact in steps of 1 or less, floats as floats
    whole = exposed.gain is None and "int" in record.dtype
    coarsest = max(step, _noise(task) / TOLERATED) if record.sound else float(whole)
    bound = _bound(task, ready, exposed)
    if dtype == "int16" and step_that_fits(step, bound) == step <= coarsest:
        return step, 0.0
    if dtype != "int16" and not record.offset and _float_is_fine(task, bound):
        return None
    low, high = _extremes(task, ready, exposed)
    storage = int16_steps(step, low, high, coarsest) if dtype == "int16" else None
    if storage is None and (record.offset or not _float_is_fine(task, max(-low, high))):
        other = "" if dtype == "int16" else "write --dtype int16 --format mrcz, or "
        raise DtypeError(
            f"{task.path}: its pixels reach from {low + record.offset:g} to {high + record.offset:g} with a "
            f"noise of {_noise(task):.3g} counts a frame, which {dtype} cannot hold together; "
            f"{other}take the offset off in the file first"
        )
    return storage


def type_of_counts(
    task: CorrectionTask, ready: ReadyCorrection, exposed: GainedFrames
) -> tuple[np.dtype[Any], bool]:
    """Return the narrowest type that holds the corrected pixels as whole counts, and whether it has 4 bits.

    Raises
    ------
    DtypeError
        If the pixels are no counts of 0 and more, or no type of the format holds them.
    """
    record, format = task.record, task.settings.write.format
    if "int" not in record.dtype or record.low < 0 or record.offset:
        raise DtypeError(
            f"{task.path}: its pixels are {record.dtype} from {record.low:g}; --dtype counts expects whole "
            "counts of 0 and more: write --dtype int16 or float32"
        )
    bound = np.array([_bound(task, ready, exposed)])
    high = float(poisson(bound, np.array([HIGHEST]))[0])  # a draw around no more than the bound
    if high > (NIBBLE if format == "mrcs" else BYTE):  # hot pixels, which are filled, are in the bound
        high = _extremes(task, ready, exposed, key_of(record.digest))[1]
    return stored_type(format, np.int8 if high <= BYTE else np.int16, 0, math.ceil(high))


def _bound(task: CorrectionTask, ready: ReadyCorrection, exposed: GainedFrames) -> float:
    """Return a quick bound of the absolute value of corrected pixels; hot pixels are in it."""
    record, weight = task.record, ready.correction.weight
    bound = exposed.largest(record.low, record.high)
    if record.blank:  # what is blank gets no gain
        bound = max(bound, abs(record.low), abs(record.high))
    # what a frame's good pixels may have at most, were all counts in them
    brightest = bound if record.low < 0 else exposed.largest(0, record.brightest)
    good = max(1, int(np.count_nonzero(~is_masked(weight))))
    factor = max(1.0, brightest * weight.size / good / record.dose) if record.dose > 0 else 1.0
    return ready.largest(-bound, bound, factor)


def _extremes(
    task: CorrectionTask, ready: ReadyCorrection, exposed: GainedFrames, key: int | None = None
) -> tuple[float, float]:
    """Correct all frames, with outliers drawn where a `key` is given; return the lowest and highest pixel."""
    low, high = math.inf, -math.inf
    with phase("apply"):
        for k, frame in enumerate(exposed):
            its = ready.at_dose(relative_dose(frame, ready.correction.weight, task.record.dose))
            corrected = (its if key is None else its.drawn(key, k)).apply(frame)
            low, high = min(low, float(corrected.min())), max(high, float(corrected.max()))
    return low, high


def _noise(task: CorrectionTask) -> float:
    return math.inf if task.record.noise is None else task.record.noise


def _step(task: CorrectionTask) -> float:
    """Return the step of int16 in counts: the one asked for, or a default that small noise makes finer."""
    step, noise = task.settings.write.step, _noise(task)
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


def _float_is_fine(task: CorrectionTask, largest: float) -> bool:
    """Return whether floats as large as `largest` have steps that are small against a frame's noise."""
    record = task.record
    if task.settings.write.dtype == "float16" and record.sound:
        return float(np.spacing(np.float16(record.dose))) <= _noise(task) / TOLERATED
    kind = np.float16 if task.settings.write.dtype == "float16" else np.float32
    finest = _noise(task) / FINENESS if record.sound else 1.0
    return "int" not in record.dtype or float(np.spacing(kind(largest))) <= finest
