"""Tasks that measure one stack: its R before and after correction, and its correlation with others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.assess.results import (
    KINDS,
    VARIANTS,
    CommonPattern,
    Score,
    StackCurve,
    StackMethods,
    StackNoise,
    StackPairs,
    StackPattern,
    finite,
    score,
    score_above,
)
from mrcz_dask.assess.tasks import CommonTask, CurveTask, MethodsTask, PairTask
from mrcz_dask.correction.pooling import pooled_of
from mrcz_dask.correction.references import StoredSums, evidence_of, references_of
from mrcz_dask.correction.tasks import CorrectionTask, MemberRef
from mrcz_dask.correction.window_sums import WindowSums
from mrcz_dask.formats.sources import open_source
from mrcz_dask.gain.applied import GainedFrames, gain_for
from mrcz_dask.numerics.arrays import Image
from mrcz_dask.numerics.doses import relative_dose
from mrcz_dask.numerics.noise.correlation import noise_rows
from mrcz_dask.numerics.noise.error import BlockedCorrelation, Correlation
from mrcz_dask.numerics.outliers.weights import WEIGHT_STEPS, is_masked
from mrcz_dask.numerics.reference.common_pattern import common_pattern
from mrcz_dask.numerics.reference.correction import ReadyCorrection
from mrcz_dask.numerics.reference.fused import masked_sum
from mrcz_dask.numerics.reference.koma import PatternFit
from mrcz_dask.numerics.reference.parts import MeanImage
from mrcz_dask.session.store import SessionStore

# Rows of frames that are kept in memory, bytes; more are read again for every radius.
KEPT_ROWS = 1 << 27

MIDDLE = 2048  # pixels along each side in which a common pattern is sought

# Pixels of a reference so many standard deviations off are hot or dead, though no single stack shows it.
ALWAYS_HOT, NORMAL = 4.0, 1.4826

# Corrections of the rows that are scored, by name; None = the pixels stay as they are.
Corrections = dict[str, ReadyCorrection | None]
# Rows of a frame, and its dose relative to the stack's; None if it is blank.
DosedRows = tuple[NDArray[Any], float | None]


def score_pattern(task: CorrectionTask, windows: WindowSums | Exception | None = None) -> StackPattern:
    """Measure the pattern of a stack by scale, without pixels that are hot in most of its neighbors.

    Parameters
    ----------
    task
        The stack.
    windows
        The sums of its windows; None = they are summed here.

    Raises
    ------
    DamagedError
        When the store cannot be read.
    """
    record, store = task.record, SessionStore(task.store)
    if not record.sound or record.mean_even is None:
        return StackPattern(task.name, {}, False)
    whole, even = (StoredSums.load(store, task, which) for which in ("", "_even"))
    found = references_of(task, whole, windows)
    whole, even = _with_lasting(whole, task, ""), _with_lasting(even, task, "_even")
    if not found.images:
        return StackPattern(task.name, {}, False)
    finder = PatternFit(found.images, replace(task.settings.koma, method="fit"))
    away = np.abs(found.images[-1] - np.median(found.images[-1]))
    hot = away > ALWAYS_HOT * NORMAL * np.median(away)
    pattern, pattern_even = (
        finder.find(sums.mean, mean / sums.n, sums.mask | hot)
        for sums, mean in ((whole, record.mean), (even, record.mean_even))
    )
    good = int(np.count_nonzero(~(whole.mask | hot)))
    evidence = evidence_of(task, found, pattern, pattern_even, good)
    return StackPattern(task.name, evidence, found.left_out)


def _with_lasting(sums: StoredSums, task: CorrectionTask, which: str) -> StoredSums:
    """Return the sums of a stack without the outliers, too, that only the stacks around it show."""
    pooled = pooled_of(task.pool, task.name)
    if pooled is None:
        return sums
    return sums.with_outliers(pooled.others if which else np.concatenate([pooled.hot, pooled.dead]), task)


def score_common(task: CommonTask) -> CommonPattern:
    """Measure the pattern that parts of the session share, in the middle of the image.

    Raises
    ------
    DamagedError
        When the store cannot be read.
    """
    store = SessionStore(task.store)
    found = common_pattern((_mean_image(store, part) for part in task.parts), task.pairs)
    return CommonPattern(task.name, *((None, None) if found is None else (found.value, found.error)))


def _mean_image(store: SessionStore, members: Sequence[MemberRef]) -> Image:
    """Return the middle of the mean of some stacks, relative to their mean, less 1, without outliers."""
    total = dose = np.zeros((), np.float32)
    for member in members:
        values = store.load(member.stem, "sum")
        middle = tuple(slice(max(0, (n - MIDDLE) // 2), (n + MIDDLE) // 2) for n in values.shape)
        good = ~is_masked(store.load(member.stem, "weight")[middle])
        total = total + np.where(good, values[middle] * np.float32(2.0**-member.exponent), np.float32(0))
        dose = dose + np.where(good, np.float32(member.mean), np.float32(0))
    return np.divide(total, dose, out=np.ones_like(total), where=dose > 0) - 1


def score_stack(task: CorrectionTask, windows: WindowSums | Exception | None = None) -> StackNoise:
    """Measure R of a stack: raw, filtered, after KOMA and after both; held out and in sample.

    Parameters
    ----------
    task
        The stack.
    windows
        The sums of its windows, with outliers left out and without; None = they are summed here.

    Raises
    ------
    FormatError, OSError
        When the stack or the store cannot be read.
    """
    in_sample: Corrections = {"raw": None}
    held_out: Corrections = {"raw": None}
    for masked in (True, False):
        side = _Side(task, masked)
        finder = side.finder(task, windows)
        for sums, corrections in ((side.whole, in_sample), (side.even, held_out)):
            if sums is not None and masked:
                corrections["filter"] = side.correction(sums)
            if sums is not None and finder is not None:
                corrections["both" if masked else "koma"] = side.correction(sums, finder)
    with _opened(task) as frames:
        of_all, of_odd = _Scores(in_sample, frames.shape), _Scores(held_out, frames.shape)
        for k in range(task.record.shape[0]):
            pixels, dose = frames.rows_of(k)
            of_all.add(pixels, dose)
            if k % 2:
                of_odd.add(pixels, dose)
    by_kind = [{kind: score(scores.results().get(kind)) for kind in KINDS} for scores in (of_odd, of_all)]
    return StackNoise(task.name, task.record.shape[0], *by_kind)


def score_curve(task: CurveTask) -> StackCurve:
    """Measure held-out R of a stack at several radii, for `plain` and `fit`, with filter and without.

    Raises
    ------
    FormatError, OSError
        When the stack or the store cannot be read.
    """
    masked = _Side(task.finish, True)
    sides = {"": _Side(task.finish, False), "+filter": masked}
    base: Corrections = {"raw": None}
    if masked.even is not None:
        base["filter"] = masked.correction(masked.even)
    with _opened(task.finish) as frames:
        kept = [*frames.odd()] if frames.odd_bytes <= KEPT_ROWS else None
        alone = frames.scores(base, kept)
        curves: dict[str, list[Score]] = {variant: [] for variant in VARIANTS}
        for radius, short, long in task.windows:
            corrections = _at_radius(task.finish, sides, radius, short, long)
            found = frames.scores(corrections, kept)
            for variant, scores in curves.items():
                without = alone.get("filter" if variant.endswith("+filter") else "raw")
                scores.append(score_above(found.get(variant), without))
    return StackCurve(
        name=task.name,
        radii=tuple(radius for radius, _, _ in task.windows),
        window_frames=tuple(sum(member.n for member in short) for _, short, _ in task.windows),
        alone={kind: score(alone.get(kind)) for kind in ("raw", "filter")},
        curves=curves,
    )


def score_methods(task: MethodsTask) -> StackMethods:
    """Measure held-out R of a stack as recorded, after the filter, and after each method of KOMA.

    Raises
    ------
    FormatError, OSError
        When the stack or the store cannot be read.
    """
    corrections: Corrections = {"raw": None}
    side = _Side(task.filtered, True)
    if side.whole is not None and side.even is not None:
        corrections["outliers"] = side.correction(side.even)
        for name, finish in task.methods.items():
            finder = side.finder(finish)
            if finder is not None:
                side.correction(side.whole, finder)  # as `koma` does it: references are seen with this mask
                corrections[name] = side.correction(side.even, finder)
    with _opened(task.filtered) as frames:
        found = frames.scores(corrections)
    base = found.get("outliers")
    scores = {name: score_above(found.get(name), base) for name in task.names}
    return StackMethods(task.name, task.filtered.record.shape[0], scores)


def score_pairs(task: PairTask) -> StackPairs:
    """Measure the correlation (Pearson's r) of a stack's sum with the sums of other stacks.

    Raises
    ------
    DamagedError
        When the store cannot be read.
    """
    store = SessionStore(task.store)
    own, own_mask = _rows_of_sum(store, task.anchor)
    raw, filtered = [], []
    for ref in task.others:
        other, other_mask = _rows_of_sum(store, ref)
        good = ~(own_mask | other_mask)
        raw.append(finite(_pearson(own.reshape(-1), other.reshape(-1))))
        filtered.append(finite(_pearson(own[good], other[good])))
    others = tuple(ref.name for ref in task.others)
    return StackPairs(task.name, others, task.doses, tuple(raw), tuple(filtered))


def _rows_of_sum(store: SessionStore, ref: MemberRef) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    values = store.load(ref.stem, "sum")
    rows = noise_rows(values.shape)
    return values[rows], is_masked(store.load(ref.stem, "weight")[rows])


def _pearson(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return r without BLAS, whose sums depend on the number of threads; not a number for a constant."""
    if one.size < 2:
        return float("nan")
    x, y = (v - v.mean(dtype=np.float64) for v in (one, other))
    power = float((x * x).sum()) * float((y * y).sum())
    return float((x * y).sum()) / power**0.5 if power > 0 else float("nan")


class _Side:
    """A stack with its outliers masked, in its windows too, or without any mask.

    Attributes
    ----------
    own, whole, even
        Sums of all frames as windows hold them, and, without lasting outliers, of all frames and of frames
        0, 2, 4, ...; None without a sound mask.
    """

    def __init__(self, task: CorrectionTask, masked: bool) -> None:
        self.masked, self._task = masked, task
        self._rows = noise_rows(task.record.shape[1:])
        self.own = self._sums("")  # as the windows hold it
        self.whole, self.even = (
            _with_lasting(sums, task, which) if masked and sums is not None else sums
            for sums, which in ((self.own, ""), (self._sums("_even"), "_even"))
        )

    def _sums(self, which: str) -> StoredSums | None:
        record, store = self._task.record, SessionStore(self._task.store)
        if self.masked:
            there = record.sound and (not which or record.mean_even is not None)
            return StoredSums.load(store, self._task, which) if there else None
        values = store.load(record.stem, f"sum{which}")
        n = record.exposed(2 if which else 1)
        nowhere = np.zeros(values.shape, bool)
        weight = np.full(values.shape, WEIGHT_STEPS, np.uint8)
        return StoredSums(MeanImage(values, 2.0**-record.exponent / n), n, weight, nowhere, nowhere)

    def finder(
        self, task: CorrectionTask, windows: WindowSums | Exception | None = None
    ) -> PatternFit | None:
        """Prepare to find the pattern with a task's windows and method; None without windows or mask."""
        if self.own is None:
            return None
        images = references_of(task, self.own, windows, masked=self.masked).images
        return PatternFit(images, task.settings.koma) if images else None

    def correction(self, sums: StoredSums, finder: PatternFit | None = None) -> ReadyCorrection:
        """Return the correction by the pattern, if there is one, and by the filter, if there is a mask."""
        pattern = None
        if finder is not None:
            record = self._task.record
            if self.masked:
                dose = ((record.mean if sums is self.whole else record.mean_even) or 0.0) / sums.n
            else:
                total, good = masked_sum(sums.mean.arguments(), sums.mask)
                dose = float(total) / good
            pattern = finder.find(sums.mean, dose, sums.mask)
        return sums.correction(pattern, self._task).take_rows(self._rows).ready()


def _at_radius(
    task: CorrectionTask,
    sides: dict[str, _Side],
    radius: int,
    short: tuple[MemberRef, ...],
    long: tuple[MemberRef, ...],
) -> Corrections:
    """Return the corrections by `plain` and `fit` with the windows of a radius."""
    koma = replace(task.settings.koma, radius=radius)
    at_radius = replace(task, short=short, long=long, settings=replace(task.settings, koma=koma))
    corrections: Corrections = {}
    for ending, side in sides.items():
        if side.own is not None and side.even is not None:
            images = references_of(at_radius, side.own, masked=side.masked).images
            plain = PatternFit(images[:1], replace(koma, method="plain"))
            corrections[f"plain{ending}"] = side.correction(side.even, plain)
            fit = PatternFit(images, replace(koma, method="fit"))
            corrections[f"fit{ending}"] = side.correction(side.even, fit)
    return corrections


class _Scores:
    """Correlated noise of the same frames after several corrections."""

    def __init__(self, corrections: Corrections, shape: tuple[int, int]) -> None:
        self._corrections = corrections
        self._sums = {name: BlockedCorrelation(shape) for name in corrections}
        self._buffer = np.empty(shape, np.float32)

    def add(self, pixels: NDArray[Any], dose: float | None) -> None:
        """Add a frame's rows; a blank frame has nothing to score."""
        if dose is None:
            return
        with np.errstate(invalid="ignore"):  # frames that are not finite are left out, without a word
            for name, ready in self._corrections.items():
                corrected = pixels if ready is None else ready.at_dose(dose).apply(pixels, self._buffer)
                self._sums[name].add(corrected)

    def results(self) -> dict[str, Correlation]:
        """Return R of the frames added so far, for each correction that is compared, by its name."""
        return {name: total.result() for name, total in self._sums.items()}


class _Frames:
    """The frames of a stack after its gain: the rows that noise is scored on."""

    def __init__(self, exposed: GainedFrames, weight: NDArray[np.uint8], dose: float) -> None:
        self._exposed, self._weight, self._dose = exposed, weight, dose
        source = exposed.source
        self._rows = noise_rows(source.shape[1:])
        self._frame = np.empty(source.shape[1:], source.dtype)
        self.shape = self._rows.size, source.shape[2]
        itemsize = source.dtype.itemsize if exposed.gain is None else 4
        self.odd_bytes = source.shape[0] // 2 * self._rows.size * source.shape[2] * itemsize

    def rows_of(self, k: int) -> DosedRows:
        """Return the rows of frame `k`, and its dose relative to the stack's, None if it is blank."""
        self._exposed.source.frame(k, self._frame)
        gained = self._exposed.gained(self._frame)
        return gained[self._rows], relative_dose(gained, self._weight, self._dose)

    def odd(self) -> Iterator[DosedRows]:
        """Yield the rows of frames 1, 3, 5, ..."""
        return (self.rows_of(k) for k in range(1, self._exposed.source.shape[0], 2))

    def scores(
        self, corrections: Corrections, odd: Iterable[DosedRows] | None = None
    ) -> dict[str, Correlation]:
        """Return R of the odd frames after corrections; `odd` are their rows, if they were kept."""
        scores = _Scores(corrections, self.shape)
        for pixels, dose in self.odd() if odd is None else odd:
            scores.add(pixels, dose)
        return scores.results()


@contextmanager
def _opened(task: CorrectionTask) -> Iterator[_Frames]:
    """Open the frames of a stack with its gain; an error where it must not be corrected."""
    task.check()
    with open_source(task.path, task.settings.input) as reader:
        gain = gain_for(task.store, task.settings.gain, task.record.gamma)
        weight = SessionStore(task.store).load(task.record.stem, "weight")
        yield _Frames(GainedFrames(reader, gain, task.record.offset), weight, task.record.dose)
