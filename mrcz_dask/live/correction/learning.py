"""Learns mask and pattern from the last complete stacks, to correct the live frames that follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.correction.judged_stacks import reason_of
from mrcz_dask.formats.compression.chunks import decompress_into
from mrcz_dask.formats.compression.codecs import Codec
from mrcz_dask.gain.check import GainProblem
from mrcz_dask.gain.prepared import FIRST
from mrcz_dask.numerics.arrays import Image
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
from mrcz_dask.numerics.reference.window import Member
from mrcz_dask.numerics.session.breaks import FEWEST, REACH, find_breaks, gather_evidence
from mrcz_dask.numerics.session.contrast import BlockMeans, block_means, judge_contrast
from mrcz_dask.numerics.session.fingerprint import Copies, Fingerprint
from mrcz_dask.numerics.session.sketch import sketch
from mrcz_dask.numerics.sums import StackSum
from mrcz_dask.values.params import Settings
from mrcz_dask.values.records import SMALLEST_MEAN

CODEC = Codec("zstd", 1)
FEWEST_AFTER = FEWEST + 1  # with one less a jump of dose is placed a stack early
NO_VALUES = np.zeros((0, 0), np.int8)


@dataclass(frozen=True, slots=True, eq=False)
class StoredStack:
    """Record of a complete stack with its compressed sum, kept as a possible member of KOMA windows.

    Attributes
    ----------
    number
        Counts the stacks.
    name
        Name of the stack in messages.
    dose
        Counts per pixel and frame.
    shape, dtype, chunk
        (ny, nx), type and compressed values of the sum.
    member
        The member of windows that it becomes, without values.
    sketch
        Sketch of the sum, for the search for breaks.
    """

    number: int
    name: str
    dose: float
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    chunk: bytes
    member: Member
    sketch: bytes


class LastStacks:
    """Keeps the sums of the last complete stacks, as many as KOMA windows and the search for breaks need.

    Parameters
    ----------
    settings
        Radius, contrast, and the kinds of breaks that are looked for.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._most = 4 * max(settings.koma.radius, REACH)
        self._stacks: list[StoredStack] = []
        self._block_means: list[BlockMeans] = []
        self._count = 0

    @property
    def numbers(self) -> list[int]:
        """Return the numbers of the kept stacks, in order of time."""
        return [stack.number for stack in self._stacks]

    def load(self, number: int) -> Member:
        """Decompress the sum of a kept stack and return the stack as a member of KOMA windows."""
        stack = next(stack for stack in self._stacks if stack.number == number)
        values = np.empty(stack.shape, stack.dtype)
        decompress_into(stack.chunk, values)
        return replace(stack.member, values=values)

    def add(self, name: str, total: StackSum, mask: OutlierMask) -> StoredStack:
        """Keep the sum of a complete stack with a sound outlier mask, and drop the oldest stacks."""
        contrast = self._settings.contrast
        values = np.ascontiguousarray(total.values)
        newest = StoredStack(
            self._count,
            name,
            mask.mean / total.n,
            total.shape,
            values.dtype,
            CODEC.compress(values),
            Member(NO_VALUES, total.exponent, np.flatnonzero(mask.mask), mask.mean, total.n),
            sketch(values, mask.mask, self._count),
        )
        self._count += 1
        self._stacks = [*self._stacks, newest][-self._most :]
        means = block_means(total.values, mask.mask, contrast.blocks, 2.0**-total.exponent)
        self._block_means = [*self._block_means, means][-max(contrast.history, self._most) :]
        return newest

    def usable(self) -> list[StoredStack]:
        """Return the kept stacks that may be members of windows: those without high contrast,
        as known by now.
        """
        verdicts = judge_contrast(self._block_means, self._settings.koma.radius, self._settings.contrast)
        recent = verdicts[len(verdicts) - len(self._stacks) :]
        return [stack for stack, verdict in zip(self._stacks, recent, strict=True) if verdict.usable]

    def forget_old_epoch(self) -> str:
        """Drop the stacks before a lasting change of dose or pattern; return a note for the user,
        '' for none.

        A break is found when four usable stacks have come after it.
        """
        koma, usable = self._settings.koma, self.usable()
        if koma.breaks != "auto" or not usable:
            return ""
        doses, sketches = [stack.dose for stack in usable], [stack.sketch for stack in usable]
        breaks = find_breaks(gather_evidence(sketches, usable[0].shape, doses, koma.break_dose))
        if not breaks or len(usable) - breaks[-1].place < FEWEST_AFTER:
            return ""
        first = usable[breaks[-1].place]
        self._stacks = [stack for stack in self._stacks if stack.number >= first.number]
        return f"corrections begin anew with {first.name}: {reason_of(breaks[-1])}"


Weight = NDArray[np.uint8]
Against = Callable[[SessionPattern], tuple[GainProblem, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class LearnedCorrection:
    """Record of a correction for live frames after the gain (mask, pattern, filling), and its description.

    Attributes
    ----------
    correction
        None = none yet.
    level
        Mean counts of a frame as read, minus dark, that it was made for; 0 = unknown.
    about
        Plain values: `mask`, {stack: number of its frames}, and `reference`: None, or the `method`, the
        number of stacks in the short (`stacks`) and in the `long` window, and the `newest` of them.
    notes
        Caveats about the last complete stack; None = as before.
    """

    correction: ReadyCorrection | None = None
    level: float = 0.0
    about: Mapping[str, Any] = field(default_factory=lambda: {"mask": {}, "reference": None})
    notes: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LiveSum:
    """Record of a complete or growing stack: its name, its exact sum before the gain, and its fingerprint."""

    name: str
    total: StackSum
    fingerprint: Fingerprint | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _LastStack:
    """Mask, pattern and filling from the last stack that was learned from."""

    mask: dict[str, int]
    weight: Weight
    mean: MeanImage
    level: float
    pattern: Image | None = None
    reference: dict[str, Any] | None = None


class Learner:
    """Learns outlier mask and pattern from one complete stack after another, all of one frame shape and type.

    Parameters
    ----------
    shape
        (ny, nx).
    settings
        As those of `koma`; a pause is no break.
    gain
        Gain of the frames, with its gamma; None = none.
    exponent
        Binary exponent of sums before the gain.
    against
        Compares the gain with the pattern of stacks before the gain; called after one stack, and after five.
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
        empty = StackSum(np.zeros((1, 1), np.int8), exponent, 1)
        self._exponent = exponent if gain is None else gained_exponent(empty, gain)
        self._dark = 0.0 if gain is None or gain.dark is None else float(gain.dark.mean(dtype=np.float64))
        self._stacks = LastStacks(settings)
        self._copies, self._names = Copies(), list[str]()
        self._begin_epoch()
        self._last: _LastStack | None = None
        self._against, self._gain_notes = against, tuple[str, ...]()
        self._pattern = None if against is None else PatternSum(shape)

    def _begin_epoch(self) -> None:
        self._windows = OneSided(self._shape, self._exponent, self._settings.koma)
        self._fits: tuple[BandFit, ...] = ()

    def level(self, mean: float) -> float:
        """Return the mean counts per pixel of a frame, less those of the dark reference."""
        return mean - self._dark

    def fill_defects(self, frame: NDArray[Any]) -> LearnedCorrection:
        """Return a correction for the first frames, which only fills the gain's defects:
        no stack is complete yet.

        Parameters
        ----------
        frame
            (ny, nx) as read; defects are filled from it, scaled to the dose of other frames.
        """
        if self._gain is None or not self._gain.bad.any():
            return LearnedCorrection()
        weight = np.where(self._gain.bad, np.uint8(0), np.uint8(WEIGHT_STEPS))
        level = self.level(float(frame.mean(dtype=np.float64)))
        return self._correction(_LastStack({}, weight, MeanImage(self._gain.apply(frame)), level))

    def update_mask(self, so_far: LiveSum) -> LearnedCorrection:
        """Return a correction whose mask adds the outliers found in the frames of
        the stack still being recorded.

        Hot pixels come and go: a pixel that was good in the last stack may be hot in this one.

        Raises
        ------
        OutlierError
            No pixel of the sum is finite.
        """
        _, mask, running = self._measure(so_far)
        last = self._last
        if last is None:
            return self._correction(running)
        if not mask.usable:
            return self._correction(last)
        weight = np.minimum(last.weight, running.weight)
        return self._correction(replace(last, mask=last.mask | running.mask, weight=weight))

    def learn(self, stack: LiveSum) -> LearnedCorrection:
        """Learn from a complete stack, and return the correction of the frames that come after it.

        Raises
        ------
        OutlierError
            No pixel of the sum is finite.
        """
        total, mask, measured = self._measure(stack)
        copies: Sequence[int] = ()
        if stack.fingerprint is not None:
            self._copies.add(stack.fingerprint)
            copies = self._copies.of(len(self._names))
            self._names.append(stack.name)
        notes: tuple[str, ...]
        if copies:
            original = self._names[copies[0]]
            notes = (f"{stack.name}: holds the same data as {original}: not learned from again",)
        elif mask.usable and mask.mean >= SMALLEST_MEAN:
            notes = self._add(stack.name, total, mask, measured)
            if self._against is not None and self._pattern is not None:
                self._pattern.add(stack.total, mask.mask, masked_mean(stack.total, mask.mask))
                if self._pattern.stacks in (1, FIRST):  # once it is decided, or there are five stacks
                    findings = self._against(self._pattern.pattern())
                    if self._pattern.stacks == FIRST or not any(problem.undecided for problem in findings):
                        self._gain_notes = tuple(finding.text for finding in findings)
                        self._pattern = None
        else:
            notes = (f"{stack.name}: outlier mask {mask.status}, mean {mask.mean:.3g}: not learned from",)
        correction = LearnedCorrection() if self._last is None else self._correction(self._last)
        return replace(correction, notes=(*self._gain_notes, *notes))

    def _measure(self, stack: LiveSum) -> tuple[StackSum, OutlierMask, _LastStack]:
        """Return the sum behind the gain, its outlier mask, and a correction from this stack alone."""
        before, gain = stack.total, self._gain
        total = before if gain is None else gained_sum(before, gain, self._exponent)
        mask = gained_mask(before, total, self._settings.outliers)
        mean = MeanImage(total.values, 2.0**-total.exponent / total.n)
        counts = float(before.values.sum(dtype=np.int64)) * 2.0**-before.exponent
        level = self.level(counts / before.n / before.values.size)
        return total, mask, _LastStack({stack.name: total.n}, mask.weight255, mean, level)

    def _add(self, name: str, total: StackSum, mask: OutlierMask, measured: _LastStack) -> tuple[str, ...]:
        """Make a stack a member of the windows if it is usable, learn from them, and return notes."""
        newest = self._stacks.add(name, total, mask)
        epoch_note = self._stacks.forget_old_epoch()
        if epoch_note:
            self._begin_epoch()
        windows, koma = self._windows, self._settings.koma
        usable = [stack.number for stack in self._stacks.usable()]
        if usable[-1:] != [newest.number]:
            self._move_windows(usable)
            self._last = self._last or measured
            return (f"{name}: high contrast, no reference for others",)
        dose = 1.0 if koma.form == "subtract-raw" else newest.dose
        self._move_windows(usable[:-1])
        self._fits = windows.fit(replace(measured.mean, dose=dose), mask.mask) or self._fits
        self._move_windows(usable)
        windows.hand_over(newest.number)
        pattern, reference = windows.pattern(self._fits, mask.mask), None
        if pattern is not None:
            short, long = windows.members
            reference = {"method": koma.method, "stacks": short, "long": long, "newest": name}
            pattern = scaled(pattern, newest.dose) if koma.form == "subtract" else pattern
        mean = MeanImage(windows.images()[0], dose)
        self._last = replace(measured, mean=mean, pattern=pattern, reference=reference)
        return (epoch_note,) if epoch_note else ()

    def _move_windows(self, usable: Sequence[int]) -> None:
        self._windows.move(self._stacks.numbers, usable, self._stacks.load)

    def _correction(self, stack: _LastStack) -> LearnedCorrection:
        form = self._settings.koma.form
        near = near_another(is_masked(stack.weight), self._settings.outliers.radius)
        correction = make_correction(form, stack.pattern, stack.mean, stack.weight, near)
        about = {"mask": stack.mask, "reference": stack.reference}
        return LearnedCorrection(correction.ready(), stack.level, about)
