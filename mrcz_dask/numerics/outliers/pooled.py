"""Find the outliers that one stack cannot show: pixels that stay hot or dead for several stacks.

Each pixel is a hidden Markov chain over the stacks: good, hot with one of a few excesses, cold, or dead. Its
sums are compared with what the pixels around it let expect. Log-likelihoods are whole numbers, made with
tables, so that the masks are the same on every processor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.arrays import Floats, Singles
from mrcz_dask.numerics.kernels import compiled, inner
from mrcz_dask.numerics.outliers.expected import (
    ExpectedCounts,
    expected_at,
    line_means,
    noise_of_stacks,
    pattern_at,
    spread_of_pattern,
)

RESPONSES = (1.35, 1.8, 2.8, 6.0, 0.4, 0.03)  # counts of a bad pixel relative to a good one: hot, cold, dead
BIRTH, DEATH = 5e-5, 0.03  # probabilities, from one stack to the next
SURE = 0.7  # least probability with which a masked pixel is bad
NAT_BITS, COUNT_BITS, LOG_BITS, TRUST_BITS = (
    8,
    8,
    16,
    20,
)  # of fixed point: log-odds, counts, logarithms, trust
NATS, COUNT, SHARES, LARGEST = 1 << NAT_BITS, 1 << COUNT_BITS, 1 << 20, 1 << 40

TOGETHER = 4  # stacks whose sums are scanned for candidates
SCAN = (1.6, 0.25)  # responses for which they are scanned
SCAN_NATS, SCAN_SIGMA, SCAN_EXCESS = 8.0, 4.0, 0.1
FEWEST_NATS = 9.0  # evidence of one run of stacks without which a candidate cannot be likely
PATTERN_SIGMAS = 4.5  # of the pattern, within which no pixel may look bad rather than good
LEAST_RARE, MOST_RARE = -2, 8  # powers of 2 by which bad pixels may be rarer than expected
LOG_2 = round(NATS * math.log(2))
DARKEST, BRIGHTEST = 1 / 8, 2.0  # brightness around a pixel for which a specimen is taken, not a broken block
FAINTEST = 0.02  # counts per pixel; a stack of fewer tells nothing

Ints = NDArray[np.int64]
LOG_SUMS = np.rint(NATS * np.log1p(np.exp(-np.arange(8 * NATS) / NATS))).astype(np.int64)
DOUBTS = np.rint(SHARES / (1 + np.exp(np.arange(16 * NATS) / NATS))).astype(np.int64)


class Pooled(NamedTuple):
    """Pixels of one stack that are outliers by the evidence of the stacks around it.

    Attributes
    ----------
    hot, dead
        Flat indices, ascending; by the evidence of all stacks.
    others
        Flat indices, ascending; by the evidence of the other stacks alone.
    """

    hot: Ints
    dead: Ints
    others: Ints


def pooled_outliers(
    strips: Iterable[NDArray[Any]], grids: Floats, shape: tuple[int, int], block: slice, tail_fdr: float
) -> list[Pooled]:
    """Find the outliers of some stacks from their sums and from those of the stacks around them.

    Parameters
    ----------
    strips
        (t, rows, nx) counts, int16 or float32: the sums of t stacks in order of time, in strips of whole rows
        from the first to the last.
    grids
        (t, by, bx) mean counts of each stack in a grid of blocks, without outliers.
    shape
        (ny, nx).
    block
        The stacks of which masks are wanted; the others are evidence.
    tail_fdr
        Largest expected share of good pixels among those that are masked in a stack.

    Returns
    -------
    list of Pooled
        One for each stack of `block`.
    """
    found, top = [], 0
    for strip in strips:
        level = ExpectedCounts.of(grids, shape, slice(top, top + strip.shape[1]))
        at, *odds = _odds(strip, level, block)
        found.append((at + top * shape[1], *odds))
        top += strip.shape[1]
    at, own, others, dead = (np.concatenate(parts) for parts in zip(*found, strict=True))
    rarer = _rarer(own, math.prod(shape))
    own, others = own - rarer, others - rarer
    sure = round(NATS * math.log(SURE / (1 - SURE)))
    pooled = []
    for t in range(own.shape[1]):
        ranked = -np.sort(-own[own[:, t] >= sure, t])
        doubts = np.cumsum(DOUBTS[np.minimum(ranked, DOUBTS.size - 1)])
        kept = np.count_nonzero(doubts <= round(tail_fdr * SHARES) * np.arange(1, doubts.size + 1))
        limit = ranked[kept - 1] if kept else LARGEST
        bad = own[:, t] >= limit
        pooled.append(
            Pooled(at[bad & ~dead[:, t]], at[bad & dead[:, t]], at[others[:, t] >= max(limit, sure)])
        )
    return pooled


def _rarer(own: Ints, pixels: int) -> int:
    """Return by how much log-odds are too large, as bad pixels are rarer than BIRTH says.

    Their share is halved until the odds confirm as many as it expects.
    """
    expected = round(SHARES * BIRTH / DEATH * pixels * own.shape[1])
    rarer = LEAST_RARE * LOG_2
    for halved in range(LEAST_RARE, MOST_RARE):
        rarer = halved * LOG_2
        doubts = DOUBTS[np.minimum(np.abs(own - rarer), DOUBTS.size - 1)]
        if np.where(own > rarer, SHARES - doubts, doubts).sum() * 2.0**halved >= expected:
            break
    return rarer


def _odds(
    strip: NDArray[Any], level: ExpectedCounts, block: slice
) -> tuple[Ints, Ints, Ints, NDArray[np.bool_]]:
    """Return the candidates of a strip, and for each stack of the block their log-odds to be bad, with and
    without this stack, and whether they are rather dead than hot.
    """
    noise = noise_of_stacks(strip, level)
    used = level.grids.mean(axis=(1, 2)) > FAINTEST
    trust = np.where(used, 1 / noise, 0).astype(np.float32)

    starts = np.arange(0, len(strip), TOGETHER)
    whole = level.summed(starts[:1])
    images = np.zeros((3, *strip.shape[1:]), np.float32)
    logs = np.array([np.log(SCAN), [1 - response for response in SCAN]], np.float32)
    _scan(
        strip,
        level.summed(starts).across(),
        level,
        np.minimum.reduceat(trust, starts),
        TOGETHER,
        logs,
        images,
    )
    lines, variance = line_means(images[0], whole), float(noise.mean())
    sigma = spread_of_pattern(images[0], whole, lines, variance)
    least = np.array([SCAN_NATS, SCAN_EXCESS, SCAN_SIGMA**2 * variance], np.float32)
    at = np.flatnonzero(_candidates(images, whole, lines, least))

    # where log(r) S = (r - 1) level a pixel is as likely bad as good
    nearest = [abs((r - 1) / math.log(r) - 1) for r in RESPONSES]
    last = max(nearest)
    responses = [r for r, d in zip(RESPONSES, nearest, strict=True) if d >= min(last, PATTERN_SIGMAS * sigma)]
    ends = [[round(2**LOG_BITS * math.log(r)), round(2**LOG_BITS * (r - 1))] for r in responses]
    birth, death = round(NATS * math.log(BIRTH / len(responses))), round(NATS * math.log(DEATH))
    own, others = np.empty((2, at.size, block.stop - block.start), np.int64)
    is_dead, likely = np.zeros(own.shape, bool), np.zeros(at.size, bool)
    _chains(
        strip, level, lines, at, np.rint(trust * 2**TRUST_BITS).astype(np.int64), np.array(ends),
        (block.start, sum(r > 1 for r in responses), birth, death, round(FEWEST_NATS * NATS)),
        LOG_SUMS, own, others, is_dead, likely,
    )  # fmt: skip
    return at[likely], own[likely], others[likely], is_dead[likely]


@compiled
def _scan(
    strip: NDArray[Any],
    across: Singles,
    level: Any,
    trust: Singles,
    together: int,
    logs: Singles,
    out: Singles,
) -> None:
    """Put into out the sum of each pixel, and the largest evidence of any run of stacks that it is hot, and
    dead: a running sum of log-likelihood ratios, which begins again where it falls below 0.
    """
    _, above, down, _, _ = level
    part, expected = np.empty(strip.shape[2], np.float32), np.empty(strip.shape[2], np.float32)
    hot, dead = np.empty(strip.shape[2], np.float32), np.empty(strip.shape[2], np.float32)
    for y in range(strip.shape[1]):
        hot[:] = 0
        dead[:] = 0
        for g in range(across.shape[0]):
            part[:] = 0
            for t in range(g * together, min(strip.shape[0], (g + 1) * together)):
                _add(strip[t, y], part)
            _add(part, out[0, y])
            upper, lower, share = across[g, above[y]], across[g, above[y] + 1], down[y]
            for x in range(part.size):
                expected[x] = upper[x] + (lower[x] - upper[x]) * share
            _run(part, expected, logs[0, 0] * trust[g], logs[1, 0] * trust[g], hot, out[1, y])
            _run(part, expected, logs[0, 1] * trust[g], logs[1, 1] * trust[g], dead, out[2, y])


@inner
def _add(row: NDArray[Any], total: Singles) -> None:
    for x in range(row.size):
        total[x] += np.float32(row[x])


@inner
def _run(part: Singles, expected: Singles, of_part: Any, of_level: Any, run: Singles, most: Singles) -> None:
    """Add evidence to a running sum that does not fall below 0, and keep its largest value."""
    nothing = np.float32(0)
    for x in range(part.size):
        now = run[x] + (part[x] * of_part + expected[x] * of_level)
        now = now if now > nothing else nothing
        run[x] = now
        most[x] = now if now > most[x] else most[x]


@compiled
def _candidates(images: NDArray[Any], whole: Any, lines: Any, least: Singles) -> NDArray[np.bool_]:
    """Return the pixels with enough evidence in a run of stacks, or over all of them."""
    _, ny, nx = images.shape
    found = np.empty((ny, nx), np.bool_)
    for y in range(ny):
        for x in range(nx):
            expected = expected_at(whole, 0, y, x) * pattern_at(lines, y, x)
            apart = abs(images[0, y, x] - expected)
            lasting = apart > least[1] * expected and apart * apart > least[2] * expected
            found[y, x] = lasting or images[1, y, x] > least[0] or images[2, y, x] > least[0]
    return found


@inner
def _add_logs(a: Any, b: Any, table: Ints) -> Any:
    """Return log(exp(a) + exp(b)), all in steps."""
    apart = abs(a - b)
    return max(a, b) + (table[apart] if apart < table.size else 0)


@inner
def _expected_near(image: NDArray[Any], expected: Any, pattern: Any, y: int, x: int, near: Singles) -> Any:
    """Return the counts that are expected of a pixel: the median of the 5 x 5 around times its pattern where
    that is another by more than counting, but not as broken pixels are. `near` has room for them.
    """
    for k in range(near.size):
        row = min(max(y + k // 5 - 2, 0), image.shape[0] - 1)
        value = np.float32(image[row, min(max(x + k % 5 - 2, 0), image.shape[1] - 1)])
        place = k
        while place > 0 and near[place - 1] > value:
            near[place] = near[place - 1]
            place -= 1
        near[place] = value
    around = near[near.size // 2] * pattern
    apart = around - expected
    whole = DARKEST * expected < around < BRIGHTEST * expected
    return around if whole and apart * apart > expected else expected


@compiled
def _chains(
    strip: NDArray[Any],
    level: Any,
    lines: Any,
    at: Ints,
    trust: Ints,
    responses: Ints,
    numbers: tuple[int, int, int, int, int],
    table: Ints,
    own: Ints,
    others: Ints,
    is_dead: NDArray[np.bool_],
    likely: NDArray[np.bool_],
) -> None:
    """Put the log-odds of pixels to be bad into own, and without the stack itself into others; and whether
    they are rather dead. Those without enough evidence in any run of stacks are not likely, and left out.

    The forward-backward algorithm of a hidden Markov chain whose states are 0 = good, and one for each
    response r, given as log(r) and r - 1: the log-likelihood ratio of a sum S is S log(r) - level (r - 1).
    A bad pixel becomes good before it is bad in another way. The first stack has the odds birth / death.
    """
    first, hot_states, birth, death, least = numbers
    stacks, bad, nx = strip.shape[0], responses.shape[0], strip.shape[2]
    evidence = np.empty((stacks, bad), np.int64)
    before = np.empty((stacks, bad + 1), np.int64)
    after, moved, run = np.zeros((3, bad + 1), np.int64)
    near = np.empty(25, np.float32)
    for c in range(at.size):
        y, x = at[c] // nx, at[c] % nx
        pattern, run[:] = pattern_at(lines, y, x), 0
        for t in range(stacks):
            expected = _expected_near(strip[t], expected_at(level, t, y, x) * pattern, pattern, y, x, near)
            counts = np.int64(np.rint(min(expected * COUNT, LARGEST)))
            value = np.int64(np.rint(min(np.float64(strip[t, y, x]) * COUNT, LARGEST)))
            for k in range(bad):
                ratio = value * responses[k, 0] - counts * responses[k, 1]
                ratio = (ratio >> (LOG_BITS + COUNT_BITS - NAT_BITS)) * trust[t] >> TRUST_BITS
                evidence[t, k] = min(max(ratio, -LARGEST), LARGEST)
                run[k] = max(0, run[k] + evidence[t, k])
                likely[c] |= run[k] >= least
        if not likely[c]:
            continue
        before[0] = birth - death
        before[0, 0] = 0
        for t in range(1, stacks):
            good = before[t - 1, 0]
            before[t, 0] = good
            for k in range(bad):
                stays = before[t - 1, k + 1] + evidence[t - 1, k]
                before[t, 0] = _add_logs(before[t, 0], stays + death, table)
                before[t, k + 1] = _add_logs(good + birth, stays, table)
        after[:] = 0
        for t in range(stacks - 1, first - 1, -1):
            if t < first + own.shape[1]:
                hot = dead = without = np.int64(-LARGEST)
                for k in range(bad):
                    state = before[t, k + 1] + after[k + 1]
                    without = _add_logs(without, state, table)
                    if k < hot_states:
                        hot = _add_logs(hot, state + evidence[t, k], table)
                    else:
                        dead = _add_logs(dead, state + evidence[t, k], table)
                good = before[t, 0] + after[0]
                own[c, t - first], others[c, t - first] = _add_logs(hot, dead, table) - good, without - good
                is_dead[c, t - first] = dead > hot
            moved[0] = after[0]
            for k in range(bad):
                stays = after[k + 1] + evidence[t, k]
                moved[0] = _add_logs(moved[0], stays + birth, table)
                moved[k + 1] = _add_logs(after[0] + death, stays, table)
            for k in range(bad + 1):  # copying a slice takes Numba two seconds to compile
                after[k] = moved[k]
