"""Finds when a number that each session gives leaves its usual range: at once, or by slow growth."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

FEWEST = 5  # sessions without which nothing is usual
JUMP = 4.5  # sigma of one session
SLACK, LIMIT = 1.0, 6.0  # sigma a session that growth must have, and their sum that is an alarm
MOST = 3.0  # sigma that one session adds to a sum, and at which an excursion goes on
SIGMA = 1.2533  # standard deviations in a mean absolute deviation
MEDIAN = math.pi / 2  # variance of a median over that of a mean


@dataclass(frozen=True, slots=True)
class Excursion:
    """Record of consecutive sessions that lie outside of the usual range on one side.

    Attributes
    ----------
    first, last
        Their indices, from 0.
    usual
        The median of the sessions before.
    rises
        True if the values are above it.
    sudden
        True if the first one alone shows it, False if it took several to be sure.
    """

    first: int
    last: int
    usual: float
    rises: bool
    sudden: bool


@dataclass(frozen=True, slots=True)
class Chart:
    """Record of a control chart: what was usual before each session, and the excursions from it.

    Attributes
    ----------
    usual
        Median before each session; None where fewer than `FEWEST` are known.
    excursions
        In order of time.
    """

    usual: tuple[float | None, ...]
    excursions: tuple[Excursion, ...]


def control_chart(
    values: Sequence[float | None], least: float, starts: Collection[int] = (), errors: Sequence[float] = ()
) -> Chart:
    """Find the sessions at which a number leaves its usual range.

    Parameters
    ----------
    values
        A number of each session, in order of time; None where it is not known.
    least
        The smallest scatter (one sigma) that is believed.
    starts
        Indices at which everything before is forgotten, such as those of a new gain reference.
    errors
        Standard error of each number by itself, which is large in a short session; none = 0.

    Returns
    -------
    Chart
        What was usual, and the excursions.

    Notes
    -----
    A self-starting chart (Hawkins, J. Qual. Technol. 19, 1987): usual is the median of the sessions before,
    and their scatter is that around a straight line through them, so that steady growth does not hide itself.
    A deviation becomes the sigma of a normal distribution that is as likely (Student). An excursion begins
    where one session is `JUMP` sigma away, or the sum of what exceeds `SLACK` reaches `LIMIT` (CUSUM). Its
    sessions are not usual; `FEWEST` of them in a row are the new usual.
    """
    usual: list[float | None] = []
    excursions: list[Excursion] = []
    before: list[float] = []
    outside: list[float] = []
    sums = np.zeros(2)
    for k, value in enumerate(values):
        if k in starts:
            before, outside, sums = [], [], np.zeros(2)
        middle = float(np.median(before)) if len(before) >= FEWEST else None
        usual.append(middle)
        if value is None:
            continue
        if middle is None:
            before.append(value)
            continue
        sigma = _sigma(value, np.asarray(before), middle, math.hypot(least, errors[k] if errors else 0.0))
        step = min(MOST, max(-MOST, sigma))
        sums = np.maximum(0.0, sums - SLACK + np.array([step, -step]))
        sudden = abs(sigma) > (MOST if outside else JUMP)
        if not sudden and sums.max() <= LIMIT:
            if outside:
                outside, sums = [], np.zeros(2)
            before.append(value)
            continue
        outside.append(value)
        if len(outside) == 1:
            rises = sigma > 0 if sudden else bool(sums[0] > sums[1])
            excursions.append(Excursion(k, k, middle, rises, sudden))
        else:
            excursions[-1] = replace(excursions[-1], last=k)
        if len(outside) == FEWEST:
            before, outside, sums = outside, [], np.zeros(2)
    return Chart(tuple(usual), tuple(excursions))


def _sigma(value: float, before: np.ndarray, middle: float, least: float) -> float:
    """Return how far a value is from what was before, as sigma of a normal distribution."""
    n = before.size
    apart = (n + 1) // 2
    slope = float(np.median(before[apart:] - before[:-apart])) / apart
    level = before - slope * np.arange(n)
    deviation = SIGMA * float(np.abs(level - np.median(level)).mean()) * math.sqrt(n / (n - 2))
    t = (value - middle) / (max(least, deviation) * math.sqrt(1 + MEDIAN / n))
    return math.copysign(-float(special.ndtri(special.stdtr(n - 2, -abs(t)))), t)
