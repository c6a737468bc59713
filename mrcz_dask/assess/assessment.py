"""Summary of measured noise: means over stacks, fitted curves, and the radius to use."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.assess.params import AssessParams
from mrcz_dask.assess.results import (
    KINDS,
    VARIANTS,
    Score,
    StackCurve,
    StackMethods,
    StackNoise,
    StackPairs,
    finite,
)
from mrcz_dask.assess.verdict import Verdict
from mrcz_dask.correction.judged_stacks import JudgedStack
from mrcz_dask.correction.plan import Plan
from mrcz_dask.numerics.doses import middle_doses
from mrcz_dask.numerics.noise.decay import SURE, DecayFit, fit_decay
from mrcz_dask.numerics.noise.radius import RadiusChoice, choose_radius
from mrcz_dask.values.records import Failure

SUMS = ("raw", "filtered")
WAYS = ("held_out", "in_sample")


@dataclass(frozen=True, slots=True)
class StackLine:
    """R of one stack, with the dose that the detector had seen by then.

    Attributes
    ----------
    noise
        Scores of the stack.
    dose
        Dose that the detector had seen in this session at the middle of the stack, counts per pixel.
    usable
        Whether the stack is a reference for others.
    """

    noise: StackNoise
    dose: float
    usable: bool


@dataclass(frozen=True, slots=True)
class OverDose:
    """Correlation between the sums of stack pairs, and its fitted decay with the dose between them (Fig. 11).

    Attributes
    ----------
    pairs
        Each stack that was compared, with its partners.
    fits
        Eq. 12, over all pixels (``raw``) and over those that are outliers in neither (``filtered``).
    """

    pairs: tuple[StackPairs, ...]
    fits: dict[str, DecayFit]


@dataclass(frozen=True, slots=True)
class OverRadius:
    """Mean held-out R of some stacks at each radius, with fitted curves and the radius to use (Fig. 12).

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
        The radius to use, with the filter and the method of the settings.
    """

    stacks: tuple[str, ...]
    radii: tuple[int, ...]
    law: tuple[float, ...]
    alone: dict[str, Score]
    curves: dict[str, list[Score]]
    fits: dict[str, DecayFit]
    choice: RadiusChoice


@dataclass(frozen=True, slots=True)
class ByMethod:
    """Held-out R of some stacks for each method, and its mean over these stacks.

    Attributes
    ----------
    stacks
        In order of time.
    means
        By method: mean of R over the stacks and its error, mean of R above that of the filter alone and its
        error. Differences are taken stack by stack, so that what the methods share drops out.
    """

    stacks: tuple[StackMethods, ...]
    means: dict[str, Score]


@dataclass(frozen=True, slots=True)
class Assessment:
    """All results of `assess` for a session; a part is None if it was not chosen or has too few stacks.

    Attributes
    ----------
    plan, params
        Session, and what was asked for.
    verdict
        The pattern, what harms, and what to do.
    stacks
        In order of time.
    means
        Held out and in sample, by kind: mean over stacks without high contrast, and its error.
    over_dose, over_radius, by_method
        Figures 11 and 12 of the preprint, and methods side by side.
    words
        What could not be said, and why.
    failures
        Stacks that could not be scored.
    copies
        By name of a stack, the others that hold the same data.
    """

    plan: Plan
    params: AssessParams
    verdict: Verdict | None
    stacks: tuple[StackLine, ...]
    means: dict[str, dict[str, Score]]
    over_dose: OverDose | None
    over_radius: OverRadius | None
    by_method: ByMethod | None
    words: tuple[str, ...]
    failures: tuple[Failure, ...]
    copies: dict[str, list[str]]

    @property
    def not_done(self) -> int:
        """Number of files whose noise should have been measured, but could not be."""
        return len({failure.name for failure in self.failures}) + len(self.plan.discovery.rejected)

    def to_dict(self) -> dict[str, Any]:
        """Return all results as a dict for JSON."""
        dose, radius, methods = self.over_dose, self.over_radius, self.by_method
        return {
            "settings": self.plan.settings.to_dict(),
            "params": self.params.to_dict(),
            "verdict": self.verdict and self.verdict.to_dict(),
            "stacks": [
                line.noise.to_dict() | {"cumulative_dose": line.dose, "usable": line.usable}
                for line in self.stacks
            ],
            "means": self.means,
            "over_dose": dose
            and {
                "pairs": [pairs.to_dict() for pairs in dose.pairs],
                "eq12": {kind: fit.to_dict() for kind, fit in dose.fits.items()},
            },
            "over_radius": radius
            and {
                "stacks": list(radius.stacks),
                "radii": list(radius.radii),
                "law": list(radius.law),
                "alone": radius.alone,
                "curves": radius.curves,
                "eq13": {variant: fit.to_dict() for variant, fit in radius.fits.items()},
                "choice": radius.choice.to_dict(),
            },
            "by_method": methods
            and {"stacks": [stack.to_dict() for stack in methods.stacks], "means": methods.means},
            "words": list(self.words),
            "failures": [failure.to_dict() for failure in self.failures],
            "copies": self.copies,
            "rejected": [
                {"name": file.path.name, "reason": file.reason} for file in self.plan.discovery.rejected
            ],
        }


def stack_lines(
    ready: Sequence[JudgedStack], noise: Sequence[StackNoise]
) -> tuple[tuple[StackLine, ...], dict[str, dict[str, Score]]]:
    """Combine each stack's R with the dose before it; also return the means without high contrast."""
    middles = middle_doses([stack.record.mean for stack in ready])
    places = {stack.entry.name: (dose, stack.usable) for stack, dose in zip(ready, middles, strict=True)}
    lines = tuple(StackLine(one, *places[one.name]) for one in noise)
    chosen = [line.noise for line in lines if line.usable] or [line.noise for line in lines]
    means = {
        way: {kind: mean_score([getattr(one, way)[kind][0] for one in chosen]) for kind in KINDS}
        for way in WAYS
    }
    return lines, means


def mean_score(values: Sequence[float | None]) -> Score:
    """Return the mean of values, without missing ones, and its standard error from their scatter."""
    known = np.array([v for v in values if v is not None], np.float64)
    if not known.size:
        return [None, None]
    error = float(known.std(ddof=1)) / math.sqrt(known.size) if known.size > 1 else math.nan
    return [float(known.mean()), finite(error)]


def points(pairs: Sequence[StackPairs], kind: str) -> Iterator[tuple[str, float, float]]:
    """Yield stack name, dose between and correlation r of each pair; `kind` is ``raw`` or ``filtered``."""
    for stack in pairs:
        for dose, r in zip(stack.doses, getattr(stack, kind), strict=True):
            if r is not None and dose > 0:
                yield stack.name, dose, r


def over_dose(pairs: Sequence[StackPairs]) -> OverDose | None:
    """Fit the decay of the sums' correlation with the dose between stacks (Eq. 12); None without pairs."""
    fits = {}
    for kind in SUMS:
        found = list(points(pairs, kind))
        if found:
            names, doses, values = zip(*found, strict=True)
            fits[kind] = fit_decay(doses, values, names, "dose")
    return OverDose(tuple(pairs), fits) if pairs else None


def over_radius(stacks: Sequence[StackCurve], variant: str) -> OverRadius | None:
    """Average R over stacks for each radius, fit its decay (Eq. 13), and choose the radius to use."""
    stacks = [
        stack
        for stack in stacks
        if all(None not in (s[0], s[2]) for scores in stack.curves.values() for s in scores)
    ]
    if not stacks:
        return None
    radii = stacks[0].radii
    # stacks, radii, (R, R above that without KOMA)
    scores = {
        v: np.array([[[s[0], s[2]] for s in stack.curves[v]] for stack in stacks], np.float64)
        for v in VARIANTS
    }
    names = [stack.name for stack in stacks for _ in radii]
    curves = {
        v: [[value for both in s[:, k].T for value in mean_score(both.tolist())] for k in range(len(radii))]
        for v, s in scores.items()
    }
    raw, filtered = ([float(stack.alone[kind][0] or 0) for stack in stacks] for kind in ("raw", "filter"))
    shot_noise = np.mean([1 / np.array(stack.window_frames) for stack in stacks], axis=0)
    return OverRadius(
        stacks=tuple(stack.name for stack in stacks),
        radii=radii,
        law=tuple(float(v) for v in shot_noise),
        alone={"raw": mean_score(raw), "filter": mean_score(filtered)},
        curves=curves,
        fits={v: _eq13(radii, s[..., 0], names) for v, s in scores.items()},
        choice=choose_radius(radii, scores[variant][..., 0].tolist(), filtered),
    )


def _eq13(radii: Sequence[int], scores: NDArray[np.float64], names: Sequence[str]) -> DecayFit:
    """Fit Eq. 13 to (stacks, radii); say where R rises again, which it cannot describe."""
    fit = fit_decay([*radii] * len(scores), scores.ravel().tolist(), names, "radius")
    lowest = int(np.argmin(scores.mean(axis=0)))
    rise, error = mean_score((scores[:, -1] - scores[:, lowest]).tolist())
    if fit.curve is None or rise is None or error is None or not rise > SURE * error:
        return fit
    text = (
        f"beyond {radii[lowest]} R rises again, by {rise:.2g} ± {error:.1g} up to {radii[-1]}: far "
        "neighbors know less of the pattern, or have other outliers; a power law does not describe that"
    )
    return replace(fit, words=(*fit.words, text))


def by_method(stacks: Sequence[StackMethods], methods: Sequence[str]) -> ByMethod:
    """Average R of each method over the stacks, with errors."""
    means = {}
    for name in methods:
        scores = [stack.scores[name] for stack in stacks]
        means[name] = [*mean_score([s[0] for s in scores]), *mean_score([s[2] for s in scores])]
    return ByMethod(tuple(stacks), means)
