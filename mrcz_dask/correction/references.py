"""Makes the references of a stack from the sums of its windows, and leaves out what is the specimen's."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.correction.judged_stacks import RAW_SPREAD
from mrcz_dask.correction.tasks import CorrectionTask, MemberRef, member_ref
from mrcz_dask.correction.window_sums import WindowSums, advance_windows, as_member, window_task
from mrcz_dask.numerics.outliers.weights import is_masked, near_another
from mrcz_dask.numerics.reference.correction import Correction, make_correction
from mrcz_dask.numerics.reference.evidence import stack_evidence
from mrcz_dask.numerics.reference.koma import Pattern
from mrcz_dask.numerics.reference.movement import Movement
from mrcz_dask.numerics.reference.parts import MeanImage
from mrcz_dask.numerics.reference.structure import (
    SMALLEST_SIDE,
    CoarseStack,
    coarse_means,
    movement_of_reference,
    movement_of_removed,
    smooth_deviation,
    without_smooth,
)
from mrcz_dask.session.store import SessionStore

SAMPLED_ROWS = 256
COARSE_KEPT = 64  # coarse images of some 200 kB
WITHOUT_GAIN = 4  # times as much smooth structure has a detector whose gain was not applied

Image = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class StoredSums:
    """Mean image, outlier weights and mask of one stack, loaded from the session store: from all frames, or
    the even ones.

    Attributes
    ----------
    mean
        Mean of the frames, counts.
    n
        Number of frames.
    weight
        (ny, nx) uint8, in 255ths.
    mask, near
        (ny, nx) bool, True = outlier; outlier with another one near.
    """

    mean: MeanImage
    n: int
    weight: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    near: NDArray[np.bool_]

    @classmethod
    def load(cls, store: SessionStore, task: CorrectionTask, which: str) -> StoredSums:
        """Load sum and weights of all frames (`which` ''), or of frames 0, 2, 4, ... ('_even')."""
        record = task.record
        n = record.exposed(2 if which else 1)
        values, weight = (store.load(record.stem, f"{name}{which}") for name in ("sum", "weight"))
        mask = is_masked(weight)
        near = near_another(mask, task.settings.outliers.radius)
        return cls(MeanImage(values, 2.0**-record.exponent / n), n, weight, mask, near)

    def with_outliers(self, at: NDArray[np.int64], task: CorrectionTask) -> StoredSums:
        """Return the sums with more outliers, given by flat indices."""
        weight = self.weight.copy()
        weight.reshape(-1)[at] = 0
        mask = is_masked(weight)
        return replace(self, weight=weight, mask=mask, near=near_another(mask, task.settings.outliers.radius))

    def correction(self, pattern: Pattern | None, task: CorrectionTask) -> Correction:
        """Build the stack's correction from a pattern; without one (None) it only fills outliers."""
        image, scale = (None, None) if pattern is None else (pattern.image, pattern.scale)
        form, record = task.settings.koma.form, task.record
        noise = math.inf if record.noise is None else record.noise
        noise /= record.dose if form == "divide" and record.has_dose else 1
        return make_correction(form, image, self.mean, self.weight, self.near, scale, noise)


class WindowReferences(NamedTuple):
    """Record of the references of a stack, and of what was left out of them as the specimen's.

    Attributes
    ----------
    images
        (ny, nx) float32 each, as `PatternFit` takes them; none where the specimen is all over.
    movement
        How the smooth structure moves with the drift of the specimen.
    smooth, limit
        Standard deviation of the smooth structure of each, relative to the mean, and the largest that is
        taken for the detector's.
    left_out, unlike
        Whether smooth structure that is no detector's was left out, or stays in by `trust_reference`.
    coarse
        The stack and the members of its short window, from which that was found; empty if it was not.
    """

    images: tuple[Image, ...]
    movement: Movement = Movement()
    smooth: tuple[float, ...] = ()
    limit: float = math.inf
    left_out: bool = False
    unlike: bool = False
    coarse: tuple[CoarseStack, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the results of the search as plain, rounded values for the footer of an output."""
        if not self.coarse:
            return {}
        return {
            "smooth": [round(one, 6) for one in self.smooth],
            "smooth_limit": self.limit if self.smooth else None,
            "moves_with_specimen": {"share": round(self.movement.share, 4), "z": round(self.movement.z, 3)},
            "smooth_left_out": self.left_out,
        }


def references_of(
    task: CorrectionTask,
    sums: StoredSums,
    windows: WindowSums | Exception | None = None,
    *,
    masked: bool = True,
) -> WindowReferences:
    """Return the images that are fitted to a stack: references of its windows, or mean and deviation of the
    session; less what of them is the specimen's.

    Parameters
    ----------
    task
        Correction task of the stack.
    sums
        Sum and mask of all its frames: it is subtracted from the windows' sums where these hold it.
    windows
        Sums of its windows; None, or the error that they gave = they are summed here.
    masked
        Whether the outliers of all stacks are left out.
    """
    own_task = window_task(task, masked=masked)
    totals = windows if isinstance(windows, dict) else advance_windows(None, own_task)
    if isinstance(totals, Exception):
        raise totals
    own = None
    if task.usable:
        own = as_member(member_ref(task.record), sums.mean.values, sums.mask if masked else None)
    images = [
        image
        for name, window in own_task.windows.items()
        for image in totals[name].images(without=own if window.held is not None else None)
    ]
    if not images or min(images[0].shape) < SMALLEST_SIDE:
        return WindowReferences(tuple(images))
    return _detectors_part(task, images)


def _detectors_part(task: CorrectionTask, images: list[Image]) -> WindowReferences:
    """Return references without smooth structure that the stacks share, if it is no detector's."""
    koma = task.settings.koma
    own, *members = stacks = _coarse_stacks(task)
    movement = movement_of_reference(own, members)
    raw = not task.settings.gain.gain and _pixel_spread(task, images[0]) > RAW_SPREAD
    limit = WITHOUT_GAIN * koma.smooth_limit if raw else koma.smooth_limit
    smooth, cleaned = [], list(images)
    for k, image in enumerate(images[:1] if koma.method == "session" else images):
        coarse = coarse_means(image)
        smooth.append(smooth_deviation(coarse))
        if not koma.trust_reference and (movement.seen or smooth[k] > limit):
            cleaned[k] = without_smooth(image, coarse)
    unlike = movement.seen or max(smooth) > limit
    left_out = unlike and not koma.trust_reference
    taken = unlike and not left_out
    return WindowReferences(tuple(cleaned), movement, tuple(smooth), limit, left_out, taken, stacks)


def _pixel_spread(task: CorrectionTask, reference: Image) -> float:
    """Return how much adjacent pixels of a reference differ beyond counting, relative to the mean.

    It is large without a gain, and small for any specimen.
    """
    lines = reference[:: max(1, reference.shape[0] // SAMPLED_ROWS)].astype(np.float64)
    mean = lines.mean() or 1.0
    counts = sum(member.mean for member in task.short)
    variance = np.diff(lines, axis=1).var() / 2 / mean**2 - (1 / counts if counts > 0 else 0.0)
    return math.sqrt(max(0.0, float(variance)))


def _coarse_stacks(task: CorrectionTask) -> tuple[CoarseStack, ...]:
    """Load the coarse images of a stack, and of the members of its short window."""
    made_with = task.record.made_with
    members = (member_ref(task.record), *task.short)
    return tuple(_coarse_stack(task.store, member, made_with) for member in members)


@lru_cache(maxsize=COARSE_KEPT)
def _coarse_stack(store: str, member: MemberRef, made_with: str) -> CoarseStack:
    """Load the coarse image of a stack; the next windows take it, too."""
    image, *differences = SessionStore(store).load(member.stem, "coarse").astype(np.float64)
    return CoarseStack(image, np.array(differences), member.mean)


def evidence_of(
    task: CorrectionTask, references: WindowReferences, pattern: Pattern, even: Pattern, good: int
) -> dict[str, Any]:
    """Return the evidence of a stack's pattern as plain values; empty if it cannot be measured.

    Parameters
    ----------
    task, references
        Correction task of the stack, and its references.
    pattern, even
        Patterns that were fitted to all its frames, and to frames 0, 2, 4, ...
    good
        Number of pixels that are no outliers.
    """
    record, movement, form = task.record, Movement(), task.settings.koma.form
    if record.mean_even is None or not record.has_dose or form == "subtract-raw":
        return {}
    if pattern.fits and references.coarse:
        own, *members = references.coarse
        unit = record.dose if form == "subtract" else 1.0
        movement = movement_of_removed(pattern.image, unit, own, members)
    noise = record.noise and (record.noise / record.mean) ** 2 * record.exposed()
    counts = record.mean, record.mean_even
    found = stack_evidence(
        pattern, even, counts, good, noise, movement, task.same_specimen, references.unlike
    )
    return {} if found is None else found.to_dict()
