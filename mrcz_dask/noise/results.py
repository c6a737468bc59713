"""What is found out about the correlated noise of stacks, as records that are kept between runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain

from mrcz_dask.numerics.noise.error import Correlation
from mrcz_dask.values.checks import raise_all, whole
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.params import Parameters
from mrcz_dask.values.records import Record

KINDS = ("raw", "filter", "koma", "both")
VARIANTS = ("plain", "plain+filter", "fit", "fit+filter")
PARTS = ("stacks", "dose", "radius")
RADII = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)

# A value and its standard error; None where there is none.
Score = list[float | None]


@dataclass(frozen=True, slots=True)
class NoiseParams(Parameters):
    """How much of a session is looked at.

    Attributes
    ----------
    parts
        Some of ``stacks``, ``dose`` and ``radius``.
    sample
        Stacks that are scored against the radius.
    anchors
        Stacks whose sums are correlated with others at growing distance.
    radii
        The radii that are compared; empty = `RADII` and the radius of the run, as far as the session fills
        their windows.
    """

    parts: tuple[str, ...] = PARTS
    sample: int = 8
    anchors: int = 12
    radii: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        raise_all("noise", chain.from_iterable(whole("radius", one, 1, 1000) for one in self.radii))
        unknown = sorted(set(self.parts) - set(PARTS))
        if unknown or not self.parts or self.sample < 1 or self.anchors < 1:
            raise ParameterError(
                f"parts {list(self.parts)}, {self.sample} stacks against the radius, {self.anchors} against "
                f"dose; expected some of {', '.join(PARTS)}, and at least one stack each"
            )


@dataclass(frozen=True, slots=True)
class StackNoise(Record):
    """Correlated noise of a stack.

    Attributes
    ----------
    name
        Relative to the session.
    frames
        Of the stack.
    held_out, in_sample
        By kind (``raw``, ``filter``, ``koma``, ``both``): R and its standard error. Held out: masks and
        coefficients from frames 0, 2, 4, ..., R over frames 1, 3, 5, ...; in sample: all of all frames.
    """

    name: str
    frames: int
    held_out: dict[str, Score]
    in_sample: dict[str, Score]


@dataclass(frozen=True, slots=True)
class StackCurve(Record):
    """Held-out correlated noise of a stack against the radius.

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
class StackPairs(Record):
    """Correlation of a stack's sum with those of others.

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


def score(found: Correlation | None) -> Score:
    """Return R and its error."""
    return [None, None] if found is None else [known(found.value), known(found.error)]


def against(found: Correlation | None, base: Correlation | None) -> Score:
    """Return R, its error, R above that of a base, and the error of this."""
    if found is None or base is None:
        return [*score(found), None, None]
    apart, error = found.less(base) if found.n == base.n else (math.nan, math.nan)
    return [*score(found), known(apart), known(error)]


def known(value: float) -> float | None:
    """Return a number; None where it is none."""
    return float(value) if math.isfinite(value) else None
