"""The noise of a session as figures, PNG and SVG; without pyplot, so that no display is looked for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mrcz_dask.noise.files import write_files
from mrcz_dask.noise.plotting import COLOURS, LINE, legend_below, rendered
from mrcz_dask.noise.report import FIGURES, NoiseReport, OverDose, OverRadius
from mrcz_dask.noise.results import KINDS, Score
from mrcz_dask.numerics.noise.decay import DecayFit

NAMES = {"raw": "raw", "filter": "outlier filter", "koma": "KOMA", "both": "filter and KOMA"}
VARIANT_NAMES = {
    "plain": "KOMA plain",
    "plain+filter": "filter, KOMA plain",
    "fit": "KOMA fit",
    "fit+filter": "filter, KOMA fit",
}
STYLES = dict(zip(KINDS, zip(COLOURS[:4], "osD^", strict=True), strict=True))
VARIANT_STYLES = {
    "plain": (COLOURS[4], "v"),
    "plain+filter": (COLOURS[2], "D"),
    "fit": (COLOURS[5], "P"),
    "fit+filter": (COLOURS[3], "^"),
}
# Figures whose values are within this factor of each other have linear axes.
WIDE = 5.0
FAR = 1e4
POINTS = 60


def write_plots(report: NoiseReport, folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Draw the figures as PNG and SVG; see `write_files`."""
    return write_files(rendered(_figures(report)), folder, overwrite)


def _figures(report: NoiseReport) -> Iterator[tuple[str, Figure]]:
    if report.stacks:
        yield FIGURES[0], stacks_figure(report)
    if report.over_dose is not None:
        yield FIGURES[1], dose_figure(report.over_dose)
    if report.over_radius is not None:
        yield FIGURES[2], radius_figure(report.over_radius)


def stacks_figure(report: NoiseReport) -> Figure:
    """Draw R of every stack over the dose that the detector has seen, held out and in sample."""
    figure = Figure(figsize=(9, 6.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    doses = [line.dose for line in report.stacks]
    for axes, way, title in ((upper, "held_out", "held out"), (lower, "in_sample", "in sample")):
        for kind in KINDS:
            scores = [getattr(line.noise, way)[kind] for line in report.stacks]
            _errorbars(axes, doses, scores, *STYLES[kind], NAMES[kind], line="")
        _scale(axes, [v for line in report.stacks for v, _ in getattr(line.noise, way).values()])
        axes.set(ylabel=f"R, {title}")
    lower.set_xlabel("dose that the detector has seen in this session, counts/pixel")
    figure.suptitle(f"Correlated noise of {len(doses)} stacks (radius {report.plan.settings.koma.radius})")
    legend_below(figure, upper)
    return figure


def dose_figure(found: OverDose) -> Figure:
    """Draw r between sums against the dose between them (Fig. 11), with Eq. 12 where it is decided."""
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, kind, colour, title in zip(
        panels,
        ("raw", "filtered"),
        COLOURS[:2],
        ("all pixels", "pixels that are outliers in neither"),
        strict=True,
    ):
        points = sorted((dose, r) for _, dose, r in found.points(kind))
        if not points:
            continue
        doses, values = zip(*points, strict=True)
        axes.plot(doses, values, "o", color=colour, markersize=4, alpha=0.6, label="pairs of stacks")
        _fitted(axes, found.fits[kind], doses)
        axes.set(title=title, xlabel="dose between the stacks, counts/pixel", xscale="log")
        axes.set(ylabel="r between sums")
        _round_ticks(axes.xaxis, doses)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False)
    figure.suptitle("Fig. 11: how long a detector remembers")
    return figure


def radius_figure(found: OverRadius) -> Figure:
    """Draw held-out R against the radius (Fig. 12), on the left all, on the right with the filter."""
    figure = Figure(figsize=(9, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, alone, variants in (
        (left, ("raw", "filter"), tuple(found.curves)),
        (right, ("filter",), ("plain+filter", "fit+filter")),
    ):
        for kind in alone:
            _level(axes, found.alone[kind], STYLES[kind][0], f"{NAMES[kind]} alone")
        for variant in variants:
            scores = [one[:2] for one in found.curves[variant]]
            _errorbars(axes, found.radii, scores, *VARIANT_STYLES[variant], VARIANT_NAMES[variant], line="-")
        axes.set(xlabel="radius a", xscale="log", yscale="log")
        axes.set_xticks(found.radii, [str(a) for a in found.radii])
        axes.minorticks_off()
        _eq13(axes, found, variants)
    _law(right, found)
    right.axvline(found.choice.radius, color=LINE, linestyle=":", label=f"to use: {found.choice.radius}")
    for axes in (left, right):
        _round_ticks(axes.yaxis, axes.get_ylim())
    left.set(ylabel="R, held out", title="all")
    right.set_title("with the outlier filter")
    figure.suptitle(f"Fig. 12: mean over {len(found.stacks)} stacks")
    legend_below(figure, left, right, columns=5)
    return figure


def _law(axes: Axes, found: OverRadius) -> None:
    """Draw the law: what `plain` leaves at infinity, and the shot noise of the window on top."""
    plain = [one[0] or 0.0 for one in found.curves["plain+filter"]]
    left = float(np.mean([v - law for v, law in zip(plain, found.law, strict=True)]))
    axes.plot(found.radii, found.law, color=LINE, linestyle="--", label="1/(2an)")
    if left > 0:
        drawn = [left + law for law in found.law]
        axes.plot(found.radii, drawn, color=LINE, linestyle="-.", label=f"{left:.2e} + 1/(2an)")


def _eq13(axes: Axes, found: OverRadius, variants: Sequence[str]) -> None:
    for variant in variants:
        curve = found.fits[variant].curve
        if curve is not None:
            places = np.geomspace(min(found.radii), max(found.radii), POINTS)
            drawn = [curve.at(x) for x in places]
            axes.plot(places, drawn, color=LINE, linewidth=0.8, zorder=3, label="Eq. 13")


def _fitted(axes: Axes, fit: DecayFit, xs: Sequence[float]) -> None:
    if fit.curve is not None:
        places = np.geomspace(min(xs), max(xs), POINTS)
        doubt = "; not all of it is decided" if fit.words else ""
        label = f"Eq. 12: {fit.curve.a:.3g} dose^{fit.curve.b:.3g} {fit.curve.c:+.3g}{doubt}"
        axes.plot(places, [fit.curve.at(x) for x in places], color=LINE, label=label)
    else:
        level, error = fit.constant
        axes.axhline(level, color=LINE, label=f"no decay is seen: {level:.4f} ± {error:.4f}")


def _round_ticks(axis: Any, values: Sequence[float]) -> None:
    """Label a logarithmic axis at 1, 2 and 5 times powers of ten."""
    low, high = min(values), max(values)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    ticks = [k * 10.0**p for p in range(first, last + 1) for k in (1, 2, 5)]
    inside = [tick for tick in ticks if low <= tick <= high]
    axis.set_ticks(inside, [f"{tick:g}" for tick in inside])
    axis.set_ticks([], minor=True)


def _errorbars(
    axes: Axes,
    xs: Sequence[float],
    scores: Sequence[Score],
    colour: str,
    marker: str,
    name: str,
    *,
    line: str,
) -> None:
    there = [(x, v, e or 0.0) for x, (v, e) in zip(xs, scores, strict=True) if v is not None]
    if not there:
        return
    x, value, error = zip(*there, strict=True)
    axes.errorbar(
        x, value, error, color=colour, marker=marker, markersize=4, linestyle=line, linewidth=1, label=name
    )


def _level(axes: Axes, one: Score, colour: str, name: str) -> None:
    value, error = one
    if value is not None:
        axes.axhline(value, color=colour, label=name)
        axes.axhspan(value - (error or 0), value + (error or 0), color=colour, alpha=0.15)


def _scale(axes: Axes, values: Sequence[float | None]) -> None:
    """Take a logarithmic axis for values of different size, linear near 0 where some are below it."""
    there = [v for v in values if v is not None]
    if not there or max(there) <= WIDE * max(0.0, min(there)):
        return
    if min(there) > 0:
        axes.set_yscale("log")
        return
    axes.set_yscale("symlog", linthresh=max(-2 * min(there), max(there) / FAR))
    axes.set_ylim(1.5 * min(there), 2 * max(there))
