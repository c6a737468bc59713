"""The numbers that the rules of a verdict go by; None where a number is not known."""

from __future__ import annotations

import math
import statistics

from mrcz_dask.report.data import SessionData
from mrcz_dask.values.records import is_too_quiet

FEWEST = 6
END_SHARE = 10
NEIGHBORS = 5
FEWEST_PAIRS = 3


def _hot_ends(data: SessionData) -> tuple[float, float] | None:
    """Return median hot pixels of the first and of the last tenth of the stacks, of three or more each."""
    values = [s.mask.n_hot for s in data.stacks if s.outlier_share is not None and s.mask is not None]
    if len(values) < FEWEST:
        return None
    count = max(FEWEST // 2, len(values) // END_SHARE)
    return statistics.median(values[:count]), statistics.median(values[-count:])


def outlier_share(data: SessionData) -> float | None:
    """Return hot and dead pixels of the last stacks, as a share of all pixels."""
    shares = [s.outlier_share for s in data.stacks if s.outlier_share is not None]
    return statistics.median(shares[-max(FEWEST // 2, len(shares) // END_SHARE) :]) if shares else None


def hot_growth(data: SessionData) -> float | None:
    """Return how many times as many hot pixels the last stacks have as the first."""
    ends = _hot_ends(data)
    return None if ends is None else ends[1] / max(ends[0], 1.0)


def hot_words(data: SessionData) -> str:
    """Say how many hot pixels the first and the last stacks have."""
    ends = _hot_ends(data)
    return "" if ends is None else f"from {ends[0]:.0f} to {ends[1]:.0f}"


def births_per_hour(data: SessionData) -> float | None:
    """Return births less deaths of hot pixels in an hour, for each million pixels."""
    moved = [s for s in data.stacks if s.turnover.hot_births is not None and s.mask is not None]
    if not data.timed or len(moved) < FEWEST:
        return None
    net = sum((s.turnover.hot_births or 0) - (s.turnover.hot_deaths or 0) for s in moved)
    first = next(s for s in data.stacks if s.outlier_share is not None)
    hours, pixels = moved[-1].hours - first.hours, moved[0].mask.pixels if moved[0].mask else 0
    return net / hours / (pixels / 1e6) if hours > 0 and pixels else None


def standing_out(data: SessionData) -> float | None:
    """Return the number of columns, rows and corners with far more outliers than others."""
    kinds = [p for p in (data.health.hot, data.health.dead) if p is not None]
    return float(len({(o.what, o.place) for p in kinds for o in p.standing_out()})) if kinds else None


def _pairs(data: SessionData, before: str, after: str) -> list[tuple[float, float]]:
    """Return held-out R before and after a step, of stacks that are references and not too quiet."""
    stacks = [s for s in data.stacks if s.usable and not is_too_quiet(s.caveats)]
    pairs = [(s.noise.get(before), s.noise.get(after)) for s in stacks]
    return [(b, a) for b, a in pairs if b is not None and a is not None]


def noise_words(data: SessionData, before: str, after: str) -> str:
    """Say by how much a step changed the mean of held-out R."""
    means = [statistics.fmean(values) for values in zip(*_pairs(data, before, after), strict=True)]
    if not means or means[0] <= 0:
        return ""
    was, now = means
    return f"by {abs(now / was - 1):.0%}, {1000 * was:.2f} to {1000 * now:.2f} (x 1000)"


def noise_rise(data: SessionData, before: str, after: str) -> float | None:
    """Return by how many standard errors a step raised held-out R: below 0 it fell."""
    steps = [a - b for b, a in _pairs(data, before, after)]
    if len(steps) < FEWEST_PAIRS:
        return None
    error = statistics.stdev(steps) / math.sqrt(len(steps))
    mean = statistics.fmean(steps)
    return mean / error if error > 0 else math.copysign(math.inf, mean) if mean else 0.0


def too_quiet(data: SessionData) -> float:
    """Return how many stacks are quieter than counting allows."""
    return float(sum(is_too_quiet(s.caveats) for s in data.stacks))


def high_contrast(data: SessionData) -> float | None:
    """Return the share of stacks that are nobody's reference because of their contrast."""
    judged = [s for s in data.stacks if s.score is not None]
    return sum(s.high_contrast for s in judged) / len(judged) if judged else None


def dose_drift(data: SessionData) -> float | None:
    """Return how far the dose moves through the session: range of medians of five, against the median."""
    doses = [s.mask.dose for s in data.stacks if s.mask is not None and s.mask.sound and not s.high_contrast]
    if len(doses) < NEIGHBORS:
        return None
    running = [statistics.median(doses[k : k + NEIGHBORS]) for k in range(len(doses) - NEIGHBORS + 1)]
    middle = statistics.median(doses)
    return (max(running) - min(running)) / middle if middle > 0 else None


def breaks(data: SessionData) -> float | None:
    """Return the number of breaks of the session, which windows do not cross."""
    return float(len(data.breaks)) if data.stacks else None


def unsound_masks(data: SessionData) -> float | None:
    """Return the share of stacks whose mask could not be used."""
    masks = [m for _, m in data.masks]
    return sum(not m.sound for m in masks) / len(masks) if masks else None


def misfit(data: SessionData) -> float | None:
    """Return the typical difference between histogram and fit."""
    known = [m.misfit for _, m in data.masks if m.misfit is not None]
    return statistics.median(known) if known else None


def not_done(data: SessionData) -> float | None:
    """Return the share of files that should have been stacks and were not done."""
    wrong = len(data.failed) + len(data.rejected)
    total = len(data.stacks) + len(data.rejected)
    return wrong / total if total else None


def unended(data: SessionData) -> float | None:
    """Return 1 if the last run ended early, else 0."""
    return float(data.running not in ("finished", "running"))


def beyond_counting(data: SessionData) -> float | None:
    """Return the typical spread of sums beyond counting: wide where no gain was applied, or a wrong one."""
    known = [m.spread for _, m in data.masks if m.spread is not None]
    return statistics.median(known) if known else None


def disagreement(data: SessionData) -> float | None:
    """Return how many outputs say something else of their mask than the session store."""
    known = [s.agrees for s in data.stacks if s.agrees is not None]
    return float(known.count(False)) if known else None
