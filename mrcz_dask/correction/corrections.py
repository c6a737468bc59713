"""The corrections of one stack: the one that is written, and those that the score holds out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.correction.finish_task import FinishTask
from mrcz_dask.correction.window import (
    Block,
    Kind,
    Window,
    WindowTask,
    images_of,
    member_ref,
    unmasked_member,
    window,
)
from mrcz_dask.correction.window import Sums as WindowSums
from mrcz_dask.numerics.outliers.neighbours import near_another
from mrcz_dask.numerics.outliers.weights import is_masked
from mrcz_dask.numerics.reference.correction import Correction, ReadyCorrection, make_correction
from mrcz_dask.numerics.reference.koma import Finder, Pattern
from mrcz_dask.numerics.reference.parts import MeanImage
from mrcz_dask.numerics.reference.window import Member
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.timing import phase

Image = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The corrections that frames 0, 2, 4, ... alone would give: the filter, and filter and pattern."""

    filtered: Correction
    corrected: Correction

    def ready(self, rows: NDArray[np.intp]) -> dict[str, ReadyCorrection]:
        """Return both for some rows."""
        both = {"filtered": self.filtered, "corrected": self.corrected}
        return {kind: one.take_rows(rows).ready() for kind, one in both.items()}


@dataclass(frozen=True, slots=True)
class Sums:
    """What the store has of all frames of a stack, or of its even ones.

    Attributes
    ----------
    mean
        Their mean, counts per frame.
    n
        How many they are.
    weight
        (ny, nx) uint8, in 255ths.
    mask, near
        (ny, nx) bool, True = outlier, and one with another near.
    """

    mean: MeanImage
    n: int
    weight: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    near: NDArray[np.bool_]

    @classmethod
    def load(cls, store: SessionStore, task: FinishTask, which: str) -> Sums:
        """Read those of all frames (`which` ''), or of the even ones ('_even')."""
        record = task.record
        n = record.exposed(2 if which else 1)
        values, weight = (store.load(record.stem, f"{name}{which}") for name in ("sum", "weight"))
        mask = is_masked(weight)
        near = near_another(mask, task.settings.outliers.radius)
        return cls(MeanImage(values, 2.0**-record.exponent / n), n, weight, mask, near)

    def correction(self, pattern: Pattern | None, task: FinishTask) -> Correction:
        """Return the correction that a pattern makes; None = the filter alone."""
        image, scale = (None, None) if pattern is None else (pattern.image, pattern.scale)
        form, record = task.settings.koma.form, task.record
        noise = math.inf if record.noise is None else record.noise
        noise /= record.dose if form == "divide" and record.has_dose else 1
        return make_correction(form, image, self.mean, self.weight, self.near, scale, noise)


def corrections(
    store: SessionStore, task: FinishTask, windows: WindowSums | Exception | None, *, scored: bool = True
) -> tuple[MeanImage, Pattern, Correction, HeldOut | None]:
    """Return mean, pattern and correction of a stack, and if it is scored what its even frames would give.

    Raises
    ------
    DamagedError
        When the store cannot be read.
    """
    record, koma = task.record, task.settings.koma
    sums = Sums.load(store, task, "")
    with phase("window"):
        finder = Finder(references_of(task, sums, windows), koma)
    with phase("fit"):
        # without a sound mask nothing but pixels that are not finite is masked, and no pattern is taken off
        used = finder if record.sound else Finder((), koma)
        pattern = used.find(sums.mean, record.mean / sums.n, sums.mask)
        correction = sums.correction(pattern, task)
        return sums.mean, pattern, correction, _held_out(store, task, finder) if scored else None


def _held_out(store: SessionStore, task: FinishTask, finder: Finder) -> HeldOut | None:
    mean = task.record.mean_even
    if mean is None or not task.record.sound:
        return None
    sums = Sums.load(store, task, "_even")
    corrected = finder.find(sums.mean, mean / sums.n, sums.mask)
    return HeldOut(sums.correction(None, task), sums.correction(corrected, task))


def references_of(
    task: FinishTask, sums: Sums, windows: WindowSums | Exception | None = None, *, masked: bool = True
) -> list[Image]:
    """Return the images that the method of a task takes: references of its windows, or mean and factor.

    Parameters
    ----------
    task
        Of the stack.
    sums
        Of all its frames.
    windows
        The sums of its windows; None, or what went wrong with them = they are summed here.
    masked
        Whether outliers are left out of all stacks.
    """
    asked = window_task(task, masked=masked)
    found = windows if isinstance(windows, dict) else window(None, asked)
    if isinstance(found, Exception):
        raise found
    ref, own = member_ref(task.record), None
    if task.usable:
        masked_pixels = np.flatnonzero(sums.mask)
        values = sums.mean.values
        own = (
            Member(values, ref.exponent, masked_pixels, ref.mean, ref.n)
            if masked
            else unmasked_member(ref, values)
        )
    return images_of(found, asked, own)


def window_task(task: FinishTask, *, masked: bool = True, blocks: tuple[Block, ...] = ()) -> WindowTask:
    """Return what the windows of a stack are made from.

    Parameters
    ----------
    task
        Of the stack.
    masked
        Whether outliers are left out of all stacks.
    blocks
        Sums in the store that the long window may begin with.
    """
    koma, own = task.settings.koma, member_ref(task.record) if task.usable else None
    kind: Kind = "reference-raw" if koma.form == "subtract-raw" else "reference"
    asked = {"short": task.short, "long": task.long}
    if koma.method == "session":
        kind, asked = "session", {"session": task.short}
    windows = {
        f"{name} {masked}": Window(kind, masked, members, own, blocks if name == "long" else ())
        for name, members in asked.items()
        if members
    }
    return WindowTask(task.name, task.store, task.record.shape[1:], windows)
