"""What complete stacks teach about the frames that follow: mask, pattern, and what fills come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.gain.check import Finding
from mrcz_dask.gain.prepared import FIRST
from mrcz_dask.live.correction.last_stacks import Kept, LastStacks
from mrcz_dask.numerics.gain.estimate import PatternSum, SessionPattern
from mrcz_dask.numerics.gain.gain import Gain
from mrcz_dask.numerics.gain.sums import gained_exponent, gained_mask, gained_sum
from mrcz_dask.numerics.outliers.mask import OutlierMask, masked_mean
from mrcz_dask.numerics.outliers.weights import WEIGHT_STEPS, is_masked, near_another
from mrcz_dask.numerics.reference.correction import ReadyCorrection, make_correction
from mrcz_dask.numerics.reference.koma import scaled
from mrcz_dask.numerics.reference.one_sided import OneSided
from mrcz_dask.numerics.reference.parts import MeanImage
from mrcz_dask.numerics.reference.regression import BandFit
from mrcz_dask.numerics.session.copies import Copies
from mrcz_dask.numerics.session.fingerprint import Fingerprint
from mrcz_dask.numerics.sums import StackSum
from mrcz_dask.values.params import Settings
from mrcz_dask.values.records import SMALLEST_MEAN

Image = NDArray[np.float32]
Weight = NDArray[np.uint8]
Against = Callable[[SessionPattern], tuple[Finding, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Applied:
    """What is done to frames behind the gain, and what it is made of.

    Attributes
    ----------
    ready
        The correction; None = nothing.
    level
        Mean counts of a frame as read, minus dark, that it was made for; 0 = unknown.
    about
        Plain values: `mask`, {stack: of how many of its frames}, and `reference`: None, or the `method`, how
        many `stacks` are in the short and in the `long` window, and the `newest` of them.
    notes
        What a person should know of the last complete stack; None = as before.
    """

    ready: ReadyCorrection | None = None
    level: float = 0.0
    about: Mapping[str, Any] = field(default_factory=lambda: {"mask": {}, "reference": None})
    notes: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Summed:
    """A stack, or what there is of it so far: its name, its exact sum before the gain, what tells copies."""

    name: str
    total: StackSum
    prints: Fingerprint | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """What the last stack that counts left: mask, pattern, and the image that fills come from."""

    mask: dict[str, int]
    weight: Weight
    mean: MeanImage
    level: float
    pattern: Image | None = None
    reference: dict[str, Any] | None = None


class Learner:
    """Learns from complete stacks, one after the other, of one shape and type of frames.

    Parameters
    ----------
    shape
        (ny, nx).
    settings
        As those of `koma`; a pause is no break.
    gain
        What is applied to frames first, its power taken; None = nothing.
    exponent
        Binary exponent of sums before the gain.
    against
        Says what a pattern of stacks before the gain has against it; asked after one stack, and after five.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        settings: Settings,
        gain: Gain | None,
        exponent: int,
        against: Against | None = None,
    ) -> None:
        self._shape, self._settings, self._gain = shape, settings, gain
        nothing = StackSum(np.zeros((1, 1), np.int8), exponent, 1)
        self._exponent = exponent if gain is None else gained_exponent(nothing, gain)
        self._dark = 0.0 if gain is None or gain.dark is None else float(gain.dark.mean(dtype=np.float64))
        self._stacks = LastStacks(settings)
        self._copies, self._names = Copies(), list[str]()
        self._windows = self._new_windows()
        self._fits: tuple[BandFit, ...] = ()
        self._known: _Known | None = None
        self._against, self._told = against, tuple[str, ...]()
        self._pattern = None if against is None else PatternSum(shape)

    def _new_windows(self) -> OneSided:
        return OneSided(self._shape, self._exponent, self._settings.koma)

    def level(self, mean: float) -> float:
        """Return the mean of a frame as read without the dark's, counts per pixel."""
        return mean - self._dark

    def begin(self, frame: NDArray[Any]) -> Applied:
        """Return what is done to frames before anything is known: defects of the gain are filled.

        Parameters
        ----------
        frame
            (ny, nx) as read; defects are filled from it, scaled to the dose of others.
        """
        if self._gain is None or not self._gain.bad.any():
            return Applied()
        weight = np.where(self._gain.bad, np.uint8(0), np.uint8(WEIGHT_STEPS))
        level = self.level(float(frame.mean(dtype=np.float64)))
        return self._applied(_Known({}, weight, MeanImage(self._gain.apply(frame)), level))

    def look(self, so_far: Summed) -> Applied:
        """Return a correction whose mask is also from the first frames of the running stack.

        Hot pixels come and go: what was good in the last stack may be hot in this one.

        Raises
        ------
        OutlierError
            No pixel of it is finite.
        """
        total, mask = self._masked(so_far.total)
        own = {so_far.name: total.n}
        known = self._known
        if known is None:
            return self._applied(_Known(own, mask.weight255, _mean(total), self._level_of(so_far.total)))
        if not mask.usable:
            return self._applied(known)
        weight = np.minimum(known.weight, mask.weight255)
        return self._applied(replace(known, mask=known.mask | own, weight=weight))

    def learn(self, stack: Summed) -> Applied:
        """Take in a complete stack, and return the correction of the frames that come after it.

        Raises
        ------
        OutlierError
            No pixel of it is finite.
        """
        total, mask = self._masked(stack.total)
        same = self._same(stack)
        if same:
            notes: tuple[str, ...] = (f"{stack.name}: holds the same data as {same}: not learned from again",)
        elif mask.usable and mask.mean >= SMALLEST_MEAN:
            notes = self._take_in(stack, total, mask)
            self._compare(stack.total, mask)
        else:
            notes = (f"{stack.name}: outlier mask {mask.status}, mean {mask.mean:.3g}: not learned from",)
        applied = Applied() if self._known is None else self._applied(self._known)
        return replace(applied, notes=(*self._told, *notes))

    def _same(self, stack: Summed) -> str:
        """Return the name of an earlier stack that holds the data of this one; '' for none."""
        if stack.prints is None:
            return ""
        self._copies.add(stack.prints)
        found = self._copies.of(len(self._names))
        self._names.append(stack.name)
        return self._names[found[0]] if found else ""

    def _compare(self, before: StackSum, mask: OutlierMask) -> None:
        """Compare the gain with the pattern of the first stacks, once it can be told or there are five."""
        if self._against is None or self._pattern is None:
            return
        self._pattern.add(before, mask.mask, masked_mean(before, mask.mask))
        if self._pattern.stacks in (1, FIRST):
            found = self._against(self._pattern.pattern())
            if self._pattern.stacks == FIRST or not any(one.undecided for one in found):
                self._told, self._pattern = tuple(one.text for one in found), None

    def _masked(self, before: StackSum) -> tuple[StackSum, OutlierMask]:
        """Return a sum behind the gain, and its mask."""
        gain = self._gain
        total = before if gain is None else gained_sum(before, gain, self._exponent)
        return total, gained_mask(before, total, self._settings.outliers)

    def _level_of(self, before: StackSum) -> float:
        whole = float(before.values.sum(dtype=np.int64)) * 2.0**-before.exponent
        return self.level(whole / before.n / before.values.size)

    def _take_in(self, stack: Summed, total: StackSum, mask: OutlierMask) -> tuple[str, ...]:
        """Let a stack be a reference if it may, and know what comes of it."""
        newest = self._stacks.add(stack.name, total, mask)
        begun = self._stacks.part()
        if begun:
            self._windows, self._fits = self._new_windows(), ()
        usable = [one.number for one in self._stacks.usable()]
        if usable[-1:] == [newest.number]:
            self._move(usable[:-1])
            self._fits = self._windows.fit(self._relative(total, newest), mask.mask) or self._fits
            self._move(usable)
            self._windows.hand_over(newest.number)
            self._known = self._found(stack, total, mask, newest)
            return (begun,) if begun else ()
        self._move(usable)
        if self._known is None:
            self._known = _Known(
                {stack.name: total.n}, mask.weight255, _mean(total), self._level_of(stack.total)
            )
        return (f"{stack.name}: high contrast, no reference for others",)

    def _move(self, usable: Sequence[int]) -> None:
        self._windows.move(self._stacks.numbers, usable, self._stacks.load)

    def _relative(self, total: StackSum, newest: Kept) -> MeanImage:
        """Return the mean image of a stack on the scale of references."""
        return replace(_mean(total), dose=1.0 if self._raw else newest.dose)

    @property
    def _raw(self) -> bool:
        return self._settings.koma.form == "subtract-raw"

    def _found(self, stack: Summed, total: StackSum, mask: OutlierMask, newest: Kept) -> _Known:
        """Return what is known when the windows end with a stack."""
        koma, windows = self._settings.koma, self._windows
        pattern, reference = windows.pattern(self._fits, mask.mask), None
        if pattern is not None:
            short, long = windows.members
            reference = {"method": koma.method, "stacks": short, "long": long, "newest": stack.name}
            pattern = scaled(pattern, newest.dose) if koma.form == "subtract" else pattern
        mean = MeanImage(windows.images()[0], 1.0 if self._raw else newest.dose)
        level = self._level_of(stack.total)
        return _Known({stack.name: total.n}, mask.weight255, mean, level, pattern, reference)

    def _applied(self, known: _Known) -> Applied:
        near = near_another(is_masked(known.weight), self._settings.outliers.radius)
        form = self._settings.koma.form
        made = make_correction(form, known.pattern, known.mean, known.weight, near)
        return Applied(made.ready(), known.level, {"mask": known.mask, "reference": known.reference})


def _mean(total: StackSum) -> MeanImage:
    """Return the mean over frames of a sum, counts per frame."""
    return MeanImage(total.values, 2.0**-total.exponent / total.n)
