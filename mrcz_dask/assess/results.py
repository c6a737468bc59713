"""Records of the noise of each stack, which are kept between runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mrcz_dask.numerics.noise.error import Correlation
from mrcz_dask.values.records import Record

KINDS = ("raw", "filter", "koma", "both")
VARIANTS = ("plain", "plain+filter", "fit", "fit+filter")
# A value and its standard error; None where there is none.
Score = list[float | None]


@dataclass(frozen=True, slots=True)
class StackPattern(Record):
    """The pattern of one stack, and what its neighbors show of the specimen.

    Attributes
    ----------
    name
        Relative to the session.
    evidence
        See `numerics.reference.evidence.StackEvidence`; empty without a reference.
    smooth_left_out
        Whether smooth structure of its references is not the detector's.
    """

    name: str
    evidence: dict[str, Any]
    smooth_left_out: bool


@dataclass(frozen=True, slots=True)
class CommonPattern(Record):
    """The variance of the pattern that stacks far apart in time share; see `common_pattern.common_pattern`.

    Attributes
    ----------
    name
        The first stack.
    value, error
        Relative to the square of the mean; None = it cannot be measured.
    """

    name: str
    value: float | None
    error: float | None


@dataclass(frozen=True, slots=True)
class StackNoise(Record):
    """R of one stack with its error: raw, filtered, after KOMA and after both; held out and in sample.

    Attributes
    ----------
    name
        Relative to the session.
    frames
        Number of frames.
    held_out, in_sample
        By kind (``raw``, ``filter``, ``koma``, ``both``): R and its standard error. Held out: masks and
        coefficients from frames 0, 2, 4, ..., R over frames 1, 3, 5, ...; in sample: all of all frames.
    """

    name: str
    frames: int
    held_out: dict[str, Score]
    in_sample: dict[str, Score]


@dataclass(frozen=True, slots=True)
class StackPairs(Record):
    """Correlation of one stack's sum with the sums of other stacks, and the dose between them.

    Attributes
    ----------
    name
        Relative to the session.
    others, doses
        Their names, and the dose from the middle of one stack to that of the other, counts per pixel.
    raw, filtered
        Pearson's r over all pixels, and over those that are outliers in neither.
    """

    name: str
    others: tuple[str, ...]
    doses: tuple[float, ...]
    raw: tuple[float | None, ...]
    filtered: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class StackCurve(Record):
    """R of one stack (held out) at several radii, for plain and fit, with and without the outlier filter.

    Attributes
    ----------
    name
        Relative to the session.
    radii, window_frames
        a, and the frames of all members of its window.
    alone
        Without KOMA, ``raw`` and ``filter``: R and its error.
    curves
        By variant (``plain``, ``plain+filter``, ``fit``, ``fit+filter``), for each radius: R, its error, what
        it is above R without KOMA (raw, or filter), and the error of that.
    """

    name: str
    radii: tuple[int, ...]
    window_frames: tuple[int, ...]
    alone: dict[str, Score]
    curves: dict[str, list[Score]]


@dataclass(frozen=True, slots=True)
class StackMethods(Record):
    """Held-out R of one stack for each method, with its error, and its difference from the filter alone.

    Attributes
    ----------
    name
        Relative to the session.
    frames
        Number of frames.
    scores
        By method: R, its standard error, R above that of the filter alone, and the error of this.
    """

    name: str
    frames: int
    scores: dict[str, Score]


def score(noise: Correlation | None) -> Score:
    """Return R and its standard error as a list for JSON; None where one is missing."""
    return [None, None] if noise is None else [finite(noise.value), finite(noise.error)]


def score_above(noise: Correlation | None, base: Correlation | None) -> Score:
    """Return R and its error, then its difference from another R (`base`) and the error of that."""
    if noise is None or base is None or noise.n != base.n:
        return [*score(noise), None, None]
    return [*score(noise), *map(finite, noise.less(base))]


def finite(value: float) -> float | None:
    """Return a number as float, for JSON; None for infinity and not-a-number."""
    return float(value) if math.isfinite(value) else None
