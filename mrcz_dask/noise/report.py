"""What a session's noise comes to: means, fits, the radius to use, and what the data cannot say."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.correction.assess import AssessedStack, copies_in
from mrcz_dask.correction.plan import Plan
from mrcz_dask.noise.results import (
    KINDS,
    VARIANTS,
    NoiseParams,
    Score,
    StackCurve,
    StackNoise,
    StackPairs,
    known,
)
from mrcz_dask.noise.work import middles_of
from mrcz_dask.numerics.noise.decay import SURE, DecayFit, fit_decay
from mrcz_dask.numerics.noise.radius import RadiusChoice, choose_radius
from mrcz_dask.values.records import Failure

SUMS = ("raw", "filtered")
FIGURES = ("noise_stacks", "noise_dose", "noise_radius")
WAYS = ("held_out", "in_sample")
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class StackLine:
    """A stack of the report.

    Attributes
    ----------
    noise
        Its scores.
    dose
        That the detector had seen in this session at the middle of the stack, counts per pixel.
    usable
        Whether it is a reference for others.
    """

    noise: StackNoise
    dose: float
    usable: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return self.noise.to_dict() | {"cumulative_dose": self.dose, "usable": self.usable}


@dataclass(frozen=True, slots=True)
class OverDose:
    """Correlation between sums against the dose between them (Fig. 11, Eq. 12).

    Attributes
    ----------
    pairs
        Of each stack that was compared.
    fits
        Eq. 12, over all pixels (``raw``) and over those that are outliers in neither (``filtered``).
    """

    pairs: tuple[StackPairs, ...]
    fits: dict[str, DecayFit]

    def points(self, kind: str) -> Iterator[tuple[str, float, float]]:
        """Yield the stack, the dose between and r of every pair."""
        for one in self.pairs:
            for dose, r in zip(one.doses, getattr(one, kind), strict=True):
                if r is not None and dose > 0:
                    yield one.name, dose, r

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        fits = {kind: fit.to_dict() for kind, fit in self.fits.items()}
        return {"pairs": [one.to_dict() for one in self.pairs], "eq12": fits}


@dataclass(frozen=True, slots=True)
class OverRadius:
    """Held-out noise against the radius (Fig. 12, Eq. 13), means over some stacks.

    Attributes
    ----------
    stacks
        Their names.
    radii
        a.
    law
        1/(2 a n): the shot noise of the windows, which `plain` prints into every frame.
    alone
        ``raw`` and ``filter``: mean and error over the stacks.
    curves
        By variant and radius: mean, error over the stacks, mean above that without KOMA, and its error.
    fits
        Eq. 13 by variant.
    choice
        The radius to use, with the filter and the method of the run.
    """

    stacks: tuple[str, ...]
    radii: tuple[int, ...]
    law: tuple[float, ...]
    alone: dict[str, Score]
    curves: dict[str, list[Score]]
    fits: dict[str, DecayFit]
    choice: RadiusChoice

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "stacks": list(self.stacks),
            "radii": list(self.radii),
            "law": list(self.law),
            "alone": self.alone,
            "curves": self.curves,
            "eq13": {variant: fit.to_dict() for variant, fit in self.fits.items()},
            "choice": self.choice.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class NoiseReport:
    """Correlated noise of a session; None is what was not asked for, or cannot be said.

    Attributes
    ----------
    plan, params
        Of the run.
    stacks
        In order of time.
    means
        Held out and in sample, by kind: mean over stacks without high contrast, and its error.
    over_dose, over_radius
        Figures 11 and 12.
    words
        What could not be said, and why.
    failures
        Stacks that could not be scored.
    copies
        By name of a stack, the others that hold the same data.
    """

    plan: Plan
    params: NoiseParams
    stacks: tuple[StackLine, ...]
    means: dict[str, dict[str, Score]]
    over_dose: OverDose | None
    over_radius: OverRadius | None
    words: tuple[str, ...]
    failures: tuple[Failure, ...]
    copies: dict[str, list[str]] = field(default_factory=dict)

    @property
    def not_done(self) -> int:
        """How many files that should have been stacks were not scored."""
        return len({one.name for one in self.failures}) + len(self.plan.discovery.rejected)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        found = self.plan.discovery
        return {
            "settings": self.plan.settings.to_dict(),
            "params": self.params.to_dict(),
            "stacks": [line.to_dict() for line in self.stacks],
            "means": self.means,
            "over_dose": self.over_dose and self.over_dose.to_dict(),
            "over_radius": self.over_radius and self.over_radius.to_dict(),
            "words": list(self.words),
            "failures": [one.to_dict() for one in self.failures],
            "copies": self.copies,
            "rejected": [{"name": r.path.name, "reason": r.reason} for r in found.rejected],
        }


def make_report(
    plan: Plan,
    params: NoiseParams,
    ready: Sequence[AssessedStack],
    stacks: Sequence[StackNoise] | None,
    pairs: Sequence[StackPairs] | None,
    curves: Sequence[StackCurve] | None,
    failures: Sequence[Failure],
) -> NoiseReport:
    """Return the report of what was scored; None stands for parts that were not asked for."""
    lines = _lines(ready, stacks or ())
    over_dose = _over_dose(pairs) if pairs else None
    over_radius = _over_radius(curves, f"{plan.settings.koma.method}+filter") if curves else None
    words = []
    if pairs is not None and over_dose is None:
        words.append("sums over dose: fewer than two stacks that may be compared")
    usable = sum(one.usable for one in ready)
    too_wide = (
        sorted({radius for radius in params.radii if 2 * radius >= usable}) if curves is not None else []
    )
    if too_wide:
        words.append(
            f"radius {', '.join(map(str, too_wide))} left out: radius a needs 2a + 1 usable stacks, "
            f"here are {usable}"
        )
    elif curves is not None and over_radius is None:
        words.append("against the radius: three usable stacks with a sound mask are needed, of two frames")
    in_order = sorted(failures, key=lambda one: (one.name, one.phase))
    return NoiseReport(
        plan,
        params,
        lines,
        _means(lines),
        over_dose,
        over_radius,
        tuple(words),
        tuple(in_order),
        copies_in(ready),
    )


def _lines(ready: Sequence[AssessedStack], stacks: Sequence[StackNoise]) -> tuple[StackLine, ...]:
    middles = middles_of([one.record.mean for one in ready])
    known_of = {one.entry.name: (dose, one.usable) for one, dose in zip(ready, middles, strict=True)}
    return tuple(StackLine(one, *known_of[one.name]) for one in stacks)


def _means(lines: Sequence[StackLine]) -> dict[str, dict[str, Score]]:
    chosen = [line.noise for line in lines if line.usable] or [line.noise for line in lines]
    return {
        way: {kind: mean_score([getattr(n, way)[kind][0] for n in chosen]) for kind in KINDS} for way in WAYS
    }


def mean_score(values: Sequence[float | None]) -> Score:
    """Return the mean of what is known, and its standard error from the scatter."""
    there = np.array([v for v in values if v is not None], np.float64)
    if not there.size:
        return [None, None]
    error = float(there.std(ddof=1)) / math.sqrt(there.size) if there.size > 1 else math.nan
    return [float(there.mean()), known(error)]


def _over_dose(pairs: Sequence[StackPairs]) -> OverDose:
    found = OverDose(tuple(pairs), {})
    for kind in SUMS:
        points = list(found.points(kind))
        if points:
            names, doses, values = zip(*points, strict=True)
            found.fits[kind] = fit_decay(doses, values, names, "dose")
    return found


def _over_radius(curves: Sequence[StackCurve], chosen: str) -> OverRadius | None:
    whole = [one for one in curves if None not in _numbers(one)]
    if not whole:
        return None
    radii = whole[0].radii
    scores = {v: np.stack([_values(one, v) for one in whole]) for v in VARIANTS}  # stacks, radii, (R, above)
    x, groups = [*radii] * len(whole), [one.name for one in whole for _ in radii]
    fits = {v: _eq13(x, s[..., 0], groups, radii) for v, s in scores.items()}
    raw, without = ([float(one.alone[kind][0] or 0.0) for one in whole] for kind in ("raw", "filter"))
    return OverRadius(
        stacks=tuple(one.name for one in whole),
        radii=radii,
        law=tuple(float(v) for v in np.mean([1 / np.array(one.window_frames) for one in whole], axis=0)),
        alone={"raw": mean_score(raw), "filter": mean_score(without)},
        curves={v: [_both(found[:, k]) for k in range(len(radii))] for v, found in scores.items()},
        fits=fits,
        choice=choose_radius(radii, scores[chosen][..., 0].tolist(), without),
    )


def _eq13(x: Sequence[float], scores: Floats, groups: Sequence[str], radii: Sequence[int]) -> DecayFit:
    """Fit Eq. 13 to (stacks, radii); say where R rises again, which it cannot describe."""
    fit = fit_decay(x, scores.ravel().tolist(), groups, "radius")
    lowest = int(np.argmin(scores.mean(axis=0)))
    rise, error = mean_score((scores[:, -1] - scores[:, lowest]).tolist())
    if fit.curve is None or rise is None or error is None or not rise > SURE * error:
        return fit
    text = (
        f"beyond {radii[lowest]} R rises again, by {rise:.2g} ± {error:.1g} up to {radii[-1]}: far "
        "neighbours know less of the pattern, or have other outliers; a power law does not describe that"
    )
    return replace(fit, words=(*fit.words, text))


def _numbers(curve: StackCurve) -> list[float | None]:
    """Return R and R above that without KOMA, of all variants and radii."""
    return [value for scores in curve.curves.values() for one in scores for value in (one[0], one[2])]


def _values(curve: StackCurve, variant: str) -> Floats:
    """Return (radii, 2) R and R above that without KOMA."""
    return np.array([[one[0], one[2]] for one in curve.curves[variant]], np.float64)


def _both(values: Floats) -> Score:
    return [*mean_score(values[:, 0].tolist()), *mean_score(values[:, 1].tolist())]
