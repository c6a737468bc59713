"""Breaks of a session: stacks from which on the pattern is another, or the dose.

Everything about a place is decided from the stacks near it, in integers and single operations on them, so
that stacks which come later change neither what is found nor a bit of its numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.session.sketch import sketch_sizes, sketch_words

Kind = Literal["dose", "pattern"]
Numbers = NDArray[np.float64]
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
class Found:
    """A break.

    Attributes
    ----------
    place
        Index of the first stack after it.
    kind
        ``dose`` or ``pattern``.
    numbers
        Of ``dose``: median counts per pixel and frame before and after. Of ``pattern``: the share of what
        neighbours have in common that is gone, and how many standard errors that is.
    """

    place: int
    kind: Kind
    numbers: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """One half of the sketches, and what it says about a break at every place.

    Attributes
    ----------
    words
        (stacks, words) uint64.
    bits
        How many of their bits count.
    z, share
        (stacks,) the drop of agreement across a place, in standard errors, and as a share of the agreement
        on its sides; 0 where there are too few stacks.
    """

    words: Words
    bits: int
    z: Numbers
    share: Numbers

    @property
    def passing(self) -> NDArray[np.bool_]:
        """(stacks,) whether a break at a place is found."""
        return (self.z >= SURE) & (self.share >= SHARE)


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What stacks in order of time say about breaks.

    Attributes
    ----------
    doses
        (stacks,) counts per pixel and frame.
    steps
        (stacks,) ratio of the median doses on both sides of a place, the larger by the smaller, minus 1.
    limit
        Of `steps`.
    channels
        Of the sketches; none where there are none.
    """

    doses: Numbers
    steps: Numbers
    limit: float
    channels: tuple[Channel, ...]

    @property
    def candidates(self) -> list[int]:
        """Places where a break may be, in order."""
        found = self.steps > self.limit
        for channel in self.channels:
            found |= channel.passing
        return [int(k) for k in np.flatnonzero(found)]


def gather(
    sketches: Sequence[bytes], shape: tuple[int, int], doses: Sequence[float], limit: float
) -> Evidence:
    """Return what stacks say about breaks.

    Parameters
    ----------
    sketches
        Of the stacks in order of time, see `sketch`; compared where all have their full length.
    shape
        (ny, nx) of their images.
    doses
        Counts per pixel and frame.
    limit
        The share by which the dose must change.
    """
    known = np.asarray(doses, np.float64)
    words = [sketch_words(one, shape) for one in sketches]
    whole = len({tuple(part.size for part in parts) for parts in words}) == 1
    halves = [np.stack(half) for half in zip(*words, strict=True)] if whole else []
    sizes = sketch_sizes(shape)
    channels = [_channel(half, bits) for half, bits in zip(halves, sizes, strict=False) if bits and half.size]
    return Evidence(known, dose_steps(known), limit, tuple(channels))


def _channel(words: Words, bits: int) -> Channel:
    apart = [_distances(words, lag) for lag in range(1, REACH)]
    return Channel(words, bits, *drops(apart, len(words), bits))


def _distances(words: Words, lag: int) -> NDArray[np.int64]:
    """Return in how many bits stacks i and i + lag differ."""
    found = np.zeros(max(0, len(words) - lag), np.int64)
    for start in range(0, found.size, ROWS):
        stop = min(start + ROWS, found.size)
        differing = words[start:stop] ^ words[start + lag : stop + lag]
        found[start:stop] = np.bitwise_count(differing).sum(axis=1, dtype=np.int64)
    return found


def drops(distances: Sequence[NDArray[np.int64]], stacks: int, bits: int) -> tuple[Numbers, Numbers]:
    """Return the drop of agreement across every place: in standard errors, and as a share of what is around.

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
    Of unrelated stacks, half of the bits agree, with the error of so many throws of a coin.
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
    """Return sums over low..high-1, and how many they are of; 0 where there are none."""
    high = np.minimum(high, sums.size - 1)
    number = np.maximum(0, high - low)
    return np.where(number > 0, sums[np.maximum(high, 0)] - sums[np.clip(low, 0, sums.size - 1)], 0), number


def dose_steps(doses: Numbers) -> Numbers:
    """Return by what share the median doses of up to five stacks on both sides of a place differ.

    Parameters
    ----------
    doses
        (stacks,) counts per pixel and frame.

    Returns
    -------
    ndarray
        (stacks,) the larger by the smaller, minus 1; 0 with fewer than three on a side, or without a dose.
    """
    steps = np.zeros(doses.size)
    for k in range(FEWEST, doses.size - FEWEST + 1):
        low, high = sorted(_medians(doses, k, max(0, k - DOSE_REACH), k + DOSE_REACH))
        steps[k] = high / low - 1 if low > 0 else 0.0
    return steps


def _medians(doses: Numbers, k: int, start: int, stop: int) -> tuple[float, float]:
    return float(np.median(doses[start:k])), float(np.median(doses[k:stop]))


def find_breaks(evidence: Evidence, known: Sequence[int] = ()) -> list[Found]:
    """Return the breaks, in order.

    Parameters
    ----------
    evidence
        Of all stacks.
    known
        Places of breaks that are known otherwise: one that is found beside them is the same.
    """
    found: list[Found] = []
    for group in groups(evidence.candidates):
        doses = _of_dose(evidence, group, known)
        taken = [*known, *(one.place for one in doses)]
        found += sorted([*doses, *_of_pattern(evidence, group, taken)], key=lambda one: one.place)
    return found


def decided_places(candidates: Sequence[int], settled: int) -> int:
    """Return below which place breaks stay as they are, whatever stacks come after the first `settled`.

    A candidate needs `REACH` stacks after it; one that later ones may join is not decided yet.
    """
    limit = settled - REACH
    last = groups([k for k in candidates if k <= limit])[-1:]
    opened = [group[0] - 1 for group in last if group[-1] + APART > limit]
    return max(0, min([limit, *opened]))


def groups(candidates: Sequence[int]) -> list[list[int]]:
    """Return candidates that are no more than `APART` from the one before, together."""
    found: list[list[int]] = []
    for k in candidates:
        if found and k - found[-1][-1] <= APART:
            found[-1].append(k)
        else:
            found.append([k])
    return found


def _of_dose(evidence: Evidence, group: Sequence[int], known: Sequence[int]) -> list[Found]:
    left = [k for k in group if evidence.steps[k] > evidence.limit]
    found: list[Found] = []
    while left:
        best = max(left, key=lambda k: (evidence.steps[k], -k))
        place = _step_at(evidence.doses, best, [k for k in left if abs(k - best) < DOSE_REACH])
        if not _near(place, known):
            numbers = _medians(evidence.doses, place, max(0, place - DOSE_REACH), place + DOSE_REACH)
            found.append(Found(place, "dose", numbers))
        left = [k for k in left if abs(k - place) >= DOSE_REACH]
    return found


def _step_at(doses: Numbers, best: int, places: Sequence[int]) -> int:
    """Return the place at which two medians fit the doses around the best one best."""
    start, stop = max(0, best - DOSE_REACH), best + DOSE_REACH

    def misfit(k: int) -> float:
        before, after = _medians(doses, k, start, stop)
        return float(
            sum(abs(d - before) for d in doses[start:k]) + sum(abs(d - after) for d in doses[k:stop])
        )

    return min(places, key=misfit)


def _of_pattern(evidence: Evidence, group: Sequence[int], known: Sequence[int]) -> list[Found]:
    found: list[Found] = []
    left = {k: one for k in group if (one := _strongest(evidence, k)) is not None}
    while left:
        best = max(left, key=lambda k: (left[k].z[k], -k))
        channel = left[best]
        numbers = float(channel.share[best]), float(channel.z[best])
        place = _change_at(channel, best, (group[0] - 1, group[-1] + 1))
        if not _near(place, [*known, *(one.place for one in found)]):
            found.append(Found(place, "pattern", numbers))
        left = {k: one for k, one in left.items() if abs(k - best) >= REACH}
    return found


def _strongest(evidence: Evidence, k: int) -> Channel | None:
    passing = [channel for channel in evidence.channels if channel.passing[k]]
    return max(passing, key=lambda channel: float(channel.z[k]), default=None)


def _change_at(channel: Channel, best: int, bounds: tuple[int, int]) -> int:
    """Return the place near the best one where a change explains best how pairs around it agree."""
    start, stop = max(0, best - REACH), min(len(channel.words), best + REACH)
    words = channel.words[start:stop]
    differing = np.bitwise_count(words[:, None] ^ words[None]).sum(axis=2, dtype=np.int64)
    pairs = np.triu(np.ones(differing.shape, np.bool_), 1)
    side = np.arange(start, stop) >= best
    same = pairs & (side[:, None] == side)
    across = pairs & ~same
    middle = (differing[same].sum() / same.sum() + differing[across].sum() / across.sum()) / 2

    def gain(k: int) -> float:
        side = np.arange(start, stop) >= k
        same = pairs & (side[:, None] == side)
        return float(same.sum() * middle - differing[same].sum())

    low, high = max(bounds[0], best - NEAR, start + 2), min(bounds[1], best + NEAR, stop - 2)
    return max(range(low, high + 1), key=gain)


def _near(place: int, others: Sequence[int]) -> bool:
    return any(abs(place - other) <= NEAR for other in others)
