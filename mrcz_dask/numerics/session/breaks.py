"""Find the breaks of a session: stacks at which the detector's pattern or the dose changes.

Everything about a place is decided from the stacks near it, in integers and single operations on them, so
that stacks which come later change neither what is found nor a bit of its numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from mrcz_dask.numerics.arrays import Floats
from mrcz_dask.numerics.session.sketch import sketch_sizes, sketch_words

BreakKind = Literal["dose", "pattern"]

Words = NDArray[np.uint64]

REACH = 8
DOSE_REACH = 5
FEWEST = 3
APART = 4
NEAR = 2
SURE = 5.0
SHARE = 0.4  # two odd stacks in a row reach .35
ROWS = 256


@dataclass(frozen=True, slots=True)
class DetectedBreak:
    """A break: the stack at which the pattern or the dose changes, and by how much.

    Attributes
    ----------
    place
        Index of the first stack after it.
    kind
        ``dose`` or ``pattern``.
    numbers
        For ``dose``: median counts per pixel and frame before and after. For ``pattern``: the share of what
        neighbors have in common that is gone, and how many standard errors that is.
    """

    place: int
    kind: BreakKind
    numbers: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """One half of the stacks' sketches, with the measured change of pattern at every stack.

    Attributes
    ----------
    words
        (stacks, words) uint64.
    z, share
        (stacks,) the drop of agreement across a place, in standard errors, and as a share of the agreement
        on its sides; 0 where there are too few stacks.
    """

    words: Words
    z: Floats
    share: Floats

    @property
    def passing(self) -> NDArray[np.bool_]:
        """(stacks,) True where this half of the sketches shows a break."""
        return (self.z >= SURE) & (self.share >= SHARE)


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Measured changes of dose and pattern at every stack, from which breaks are found.

    Attributes
    ----------
    doses
        (stacks,) counts per pixel and frame.
    steps
        (stacks,) ratio of the median doses on both sides of a place, the larger by the smaller, minus 1.
    limit
        Step above which a dose is another one.
    channels
        The two halves of the sketches; none where there are none.
    """

    doses: Floats
    steps: Floats
    limit: float
    channels: tuple[Channel, ...]

    @property
    def candidates(self) -> list[int]:
        """Numbers of the stacks at which a break is possible, ascending."""
        possible = self.steps > self.limit
        for channel in self.channels:
            possible |= channel.passing
        return [int(k) for k in np.flatnonzero(possible)]


def gather_evidence(
    sketches: Sequence[bytes], shape: tuple[int, int], doses: Sequence[float], limit: float
) -> Evidence:
    """Measure at every stack how much dose and pattern change between the stacks before and after.

    Parameters
    ----------
    sketches
        One of each stack in order of time, see `sketch`; compared where all have their full length.
    shape
        (ny, nx) of their images.
    doses
        Counts per pixel and frame.
    limit
        The share by which the dose must change.
    """
    halves = [sketch_words(sketch, shape) for sketch in sketches]
    channels = []
    if len({tuple(half.size for half in pair) for pair in halves}) == 1:
        for half, bits in zip(zip(*halves, strict=True), sketch_sizes(shape), strict=True):
            words = np.stack(half)
            if bits and words.size:
                apart = [_differing_bits(words, lag) for lag in range(1, REACH)]
                channels.append(Channel(words, *drops(apart, len(words), bits)))
    known = np.asarray(doses, np.float64)
    return Evidence(known, dose_steps(known), limit, tuple(channels))


def _differing_bits(words: Words, lag: int) -> NDArray[np.int64]:
    """Return the number of bits in which stacks i and i + lag differ."""
    counts = np.zeros(max(0, len(words) - lag), np.int64)
    for start in range(0, counts.size, ROWS):
        stop = min(start + ROWS, counts.size)
        differing = words[start:stop] ^ words[start + lag : stop + lag]
        counts[start:stop] = np.bitwise_count(differing).sum(axis=1, dtype=np.int64)
    return counts


def drops(distances: Sequence[NDArray[np.int64]], stacks: int, bits: int) -> tuple[Floats, Floats]:
    """Measure at every stack how much less the sketches agree across it than on either side: in standard
    errors, and as a share.

    Pairs of stacks across a place are set against pairs on either side of it that are as far apart in time,
    so that a pattern which changes evenly has no drop. Up to `REACH` stacks on a side, at least `FEWEST`.

    Parameters
    ----------
    distances
        For lags 1, 2, ...: in how many bits stacks i and i + lag differ.
    stacks, bits
        Number of stacks, and of bits in a sketch.

    Notes
    -----
    Half of the bits of unrelated stacks agree, with the error of so many throws of a coin.
    """
    k = np.arange(stacks)
    before, after = np.minimum(k, REACH), np.minimum(stacks - k, REACH)
    enough = (before >= FEWEST) & (after >= FEWEST)
    weight, drop, around = np.zeros(stacks), np.zeros(stacks), np.zeros(stacks)
    for lag, apart in enumerate(distances, 1):
        sums = np.concatenate([[0], np.cumsum(apart)])
        low, high = k - np.minimum(before, lag), k - np.maximum(0, lag - after)
        across, crossing = _sum(sums, low, high)
        left, on_left = _sum(sums, k - before, k - lag)
        right, on_right = _sum(sums, k, k + after - lag)
        beside = on_left + on_right
        both = enough & (crossing > 0) & (beside > 0)
        crossing, beside = np.where(both, crossing, 1), np.where(both, beside, 1)
        share = np.where(both, crossing * beside / (crossing + beside), 0.0)
        within = 1 - 2 * (left + right) / (beside * float(bits))
        weight += share
        around += share * within
        drop += share * (within - (1 - 2 * across / (crossing * float(bits))))
    safe = np.where(weight > 0, weight, 1.0)
    positive = around > 0
    lost = np.where(positive, drop / np.where(positive, around, 1.0), 0.0)
    return drop / safe * np.sqrt(bits * safe), lost


def _sum(
    sums: NDArray[np.int64], low: NDArray[np.intp], high: NDArray[np.intp]
) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Return sums over low..high-1, and the number of items in each; 0 where there are none."""
    high = np.minimum(high, sums.size - 1)
    number = np.maximum(0, high - low)
    return np.where(number > 0, sums[np.maximum(high, 0)] - sums[np.clip(low, 0, sums.size - 1)], 0), number


def dose_steps(doses: Floats) -> Floats:
    """Return, at every stack, how much the median doses of up to five stacks before and after it differ.

    Parameters
    ----------
    doses
        (stacks,) counts per pixel and frame.

    Returns
    -------
    ndarray
        (stacks,) the larger by the smaller, minus 1; 0 with fewer than three on a side, or without a dose.
    """
    steps, n = np.zeros(doses.size), doses.size
    if n < 2 * FEWEST:
        return steps
    k = np.arange(FEWEST, n - FEWEST + 1)
    # all windows of five at once, and shorter ones at the ends
    medians = {size: np.median(sliding_window_view(doses, size), axis=1) for size in (3, 4, 5)}
    before = np.concatenate([medians[3][:1], medians[4][:1], medians[5]])[: k.size]
    after = np.concatenate([medians[5], medians[4][-1:], medians[3][-1:]])[-k.size :]
    low, high = np.minimum(before, after), np.maximum(before, after)
    steps[k] = np.where(low > 0, high / np.where(low > 0, low, 1) - 1, 0.0)
    return steps


def find_breaks(evidence: Evidence, known: Sequence[int] = ()) -> list[DetectedBreak]:
    """Find the breaks of a session, in order of time, from the measured changes.

    Parameters
    ----------
    evidence
        Signs of breaks in all stacks.
    known
        Places of breaks that are known otherwise: one that is found beside them is the same.
    """
    breaks: list[DetectedBreak] = []
    for group in groups(evidence.candidates):
        of_dose = _dose_breaks(evidence, group, known)
        places = [*known, *(step.place for step in of_dose)]
        of_pattern = _pattern_breaks(evidence, group, places)
        breaks += sorted([*of_dose, *of_pattern], key=lambda detected: detected.place)
    return breaks


def final_below(candidates: Sequence[int], settled: int) -> int:
    """Return the stack before which breaks are final, whatever stacks follow the first `settled`.

    A candidate needs `REACH` stacks after it; one that later ones may join is not final yet.
    """
    limit = settled - REACH
    last = groups([k for k in candidates if k <= limit])[-1:]
    opened = [group[0] - 1 for group in last if group[-1] + APART > limit]
    return max(0, min([limit, *opened]))


def groups(candidates: Sequence[int]) -> list[list[int]]:
    """Group possible breaks that are at most `APART` stacks apart: they may be one and the same."""
    together: list[list[int]] = []
    for k in candidates:
        if together and k - together[-1][-1] <= APART:
            together[-1].append(k)
        else:
            together.append([k])
    return together


def _dose_breaks(evidence: Evidence, group: Sequence[int], known: Sequence[int]) -> list[DetectedBreak]:
    doses, breaks = evidence.doses, []
    left = [k for k in group if evidence.steps[k] > evidence.limit]
    while left:
        best = max(left, key=lambda k: (evidence.steps[k], -k))
        start, stop = max(0, best - DOSE_REACH), best + DOSE_REACH

        def misfit(k: int, start: int = start, stop: int = stop) -> float:
            """Return the sum of deviations from the medians before and after k."""
            before, after = (float(np.median(part)) for part in (doses[start:k], doses[k:stop]))
            return float(sum(abs(doses[start:k] - before)) + sum(abs(doses[k:stop] - after)))

        place = min((k for k in left if abs(k - best) < DOSE_REACH), key=misfit)
        if not _near(place, known):
            before = float(np.median(doses[max(0, place - DOSE_REACH) : place]))
            after = float(np.median(doses[place : place + DOSE_REACH]))
            breaks.append(DetectedBreak(place, "dose", (before, after)))
        left = [k for k in left if abs(k - place) >= DOSE_REACH]
    return breaks


def _pattern_breaks(evidence: Evidence, group: Sequence[int], known: Sequence[int]) -> list[DetectedBreak]:
    breaks: list[DetectedBreak] = []
    left: dict[int, Channel] = {}
    for k in group:
        passing = [channel for channel in evidence.channels if channel.passing[k]]
        if passing:
            left[k] = passing[int(np.argmax([channel.z[k] for channel in passing]))]
    while left:
        best = max(left, key=lambda k: (left[k].z[k], -k))
        channel = left[best]
        place = _change_at(channel.words, best, (group[0] - 1, group[-1] + 1))
        if not _near(place, [*known, *(detected.place for detected in breaks)]):
            numbers = float(channel.share[best]), float(channel.z[best])
            breaks.append(DetectedBreak(place, "pattern", numbers))
        left = {k: other for k, other in left.items() if abs(k - best) >= REACH}
    return breaks


def _change_at(words: Words, best: int, bounds: tuple[int, int]) -> int:
    """Return the place near the best one where a change explains best how pairs around it agree."""
    start, stop = max(0, best - REACH), min(len(words), best + REACH)
    words = words[start:stop]
    differing = np.bitwise_count(words[:, None] ^ words[None]).sum(axis=2, dtype=np.int64)
    pairs = np.triu(np.ones(differing.shape, np.bool_), 1)

    def on_one_side(k: int) -> NDArray[np.bool_]:
        """Return the pairs of stacks that are both before, or both after k."""
        side = np.arange(start, stop) >= k
        return np.asarray(pairs & (side[:, None] == side))

    same = on_one_side(best)
    across = pairs & ~same
    middle = (differing[same].sum() / same.sum() + differing[across].sum() / across.sum()) / 2

    def gain(k: int) -> float:
        """Return how much better pairs on one side of k agree than pairs across it."""
        same = on_one_side(k)
        return float(same.sum() * middle - differing[same].sum())

    low, high = max(bounds[0], best - NEAR, start + 2), min(bounds[1], best + NEAR, stop - 2)
    return max(range(low, high + 1), key=gain)


def _near(place: int, others: Sequence[int]) -> bool:
    return any(abs(place - other) <= NEAR for other in others)
