"""Draws the figures of an assessment as PNG and SVG, also where there is no display."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mrcz_dask.assess.assessment import Assessment, ByMethod, OverDose, OverRadius, points
from mrcz_dask.assess.files import write_files
from mrcz_dask.assess.results import KINDS, Score
from mrcz_dask.numerics.noise.decay import Decay
from mrcz_dask.pages.template import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, figure_bytes

# Told apart by the color-blind; markers differ too.
COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, "#000000")
LINE = "#444444"
NAMES = {
    "raw": "raw",
    "filter": "outlier filter",
    "koma": "KOMA",
    "both": "filter and KOMA",
    "plain": "KOMA plain",
    "plain+filter": "filter, KOMA plain",
    "fit": "KOMA fit",
    "fit+filter": "filter, KOMA fit",
}
STYLES = dict(zip(KINDS, zip(COLORS[:4], "osD^", strict=True), strict=True)) | {
    "plain": (COLORS[4], "v"),
    "plain+filter": (COLORS[2], "D"),
    "fit": (COLORS[5], "P"),
    "fit+filter": (COLORS[3], "^"),
}
# Figures whose values are within this factor of each other have linear axes.
WIDE = 5.0
FAR = 1e4
POINTS = 60
MILLI = 1e3


def write_plots(assessment: Assessment, folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Draw the figures of an assessment, and write them as PNG and SVG files."""
    parts: tuple[tuple[str, Callable[[Any], Figure], Any], ...] = (
        ("assess_stacks", stacks_figure, assessment.stacks and assessment),
        ("assess_dose", dose_figure, assessment.over_dose),
        ("assess_radius", radius_figure, assessment.over_radius),
        ("assess_methods", methods_figure, assessment.by_method),
    )
    figures = ((name, draw(part)) for name, draw, part in parts if part)
    return write_files(rendered(figures), folder, overwrite)


def rendered(figures: Iterable[tuple[str, Figure]]) -> Iterator[tuple[str, bytes]]:
    """Yield file name and bytes of each figure as PNG and SVG; equal data give equal bytes.

    Parameters
    ----------
    figures
        Names without suffix, and figures, made while this is gone through.
    """
    with mpl.rc_context({"svg.hashsalt": "mrcz-dask", "font.size": 9, "axes.axisbelow": True}):
        for name, figure in figures:
            for kind in ("png", "svg"):
                yield f"{name}.{kind}", figure_bytes(figure, kind)


def legend_below(figure: Figure, *several: Axes, columns: int = 6) -> None:
    """Put one common legend for several axes below a figure."""
    labeled: dict[str, Any] = {}
    for axes in several:
        handles, labels = axes.get_legend_handles_labels()
        labeled |= dict(zip(labels, handles, strict=True))
    count = max(1, min(columns, len(labeled)))
    figure.legend(labeled.values(), labeled.keys(), loc="outside lower center", ncols=count)


def stacks_figure(assessment: Assessment) -> Figure:
    """Draw R of every stack over the dose that the detector had seen, held out and in sample."""
    figure = Figure(figsize=(9, 6.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    doses = [line.dose for line in assessment.stacks]
    for axes, way, title in ((upper, "held_out", "held out"), (lower, "in_sample", "in sample")):
        for kind in KINDS:
            scores = [getattr(line.noise, way)[kind] for line in assessment.stacks]
            _errorbars(axes, doses, scores, kind, line="")
        _scale(axes, [v for line in assessment.stacks for v, _ in getattr(line.noise, way).values()])
        axes.set(ylabel=f"R, {title}")
    lower.set_xlabel("dose that the detector has seen in this session, counts/pixel")
    radius = assessment.plan.settings.koma.radius
    figure.suptitle(f"Correlated noise of {len(doses)} stacks (radius {radius})")
    legend_below(figure, upper)
    return figure


def dose_figure(over_dose: OverDose) -> Figure:
    """Draw the correlation between sums over the dose between them (Fig. 11), with the fitted decay."""
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    titles = {"raw": "all pixels", "filtered": "pixels that are outliers in neither"}
    for axes, kind, color in zip(figure.subplots(1, 2), titles, COLORS[:2], strict=True):
        pairs = sorted((dose, r) for _, dose, r in points(over_dose.pairs, kind))
        if not pairs:
            continue
        doses, values = zip(*pairs, strict=True)
        axes.plot(doses, values, "o", color=color, markersize=4, alpha=0.6, label="pairs of stacks")
        fit = over_dose.fits[kind]
        if fit.curve is not None:
            doubt = "; not all of it is decided" if fit.words else ""
            label = f"Eq. 12: {fit.curve.a:.3g} dose^{fit.curve.b:.3g} {fit.curve.c:+.3g}{doubt}"
            _curve(axes, fit.curve, doses, label=label)
        else:
            level, error = fit.constant
            axes.axhline(level, color=LINE, label=f"no decay is seen: {level:.4f} ± {error:.4f}")
        axes.set(title=titles[kind], xlabel="dose between the stacks, counts/pixel", xscale="log")
        axes.set(ylabel="r between sums")
        _round_ticks(axes.xaxis, doses)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False)
    figure.suptitle("Fig. 11: how long a detector remembers")
    return figure


def radius_figure(found: OverRadius) -> Figure:
    """Draw held-out R over the radius (Fig. 12): left every variant, right those with the outlier filter."""
    figure = Figure(figsize=(9, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, alone, variants in (
        (left, ("raw", "filter"), tuple(found.curves)),
        (right, ("filter",), ("plain+filter", "fit+filter")),
    ):
        for kind in alone:
            value, error = found.alone[kind]
            if value is not None:
                color, error = STYLES[kind][0], error or 0
                axes.axhline(value, color=color, label=f"{NAMES[kind]} alone")
                axes.axhspan(value - error, value + error, color=color, alpha=0.15)
        for variant in variants:
            _errorbars(axes, found.radii, [score[:2] for score in found.curves[variant]], variant, line="-")
        axes.set(xlabel="radius a", xscale="log", yscale="log")
        axes.set_xticks(found.radii, [str(a) for a in found.radii])
        axes.minorticks_off()
        for variant in variants:
            curve = found.fits[variant].curve
            if curve is not None:
                _curve(axes, curve, found.radii, linewidth=0.8, zorder=3, label="Eq. 13")
    _draw_law(right, found)
    right.axvline(found.choice.radius, color=LINE, linestyle=":", label=f"to use: {found.choice.radius}")
    for axes in (left, right):
        _round_ticks(axes.yaxis, axes.get_ylim())
    left.set(ylabel="R, held out", title="all")
    right.set_title("with the outlier filter")
    figure.suptitle(f"Fig. 12: mean over {len(found.stacks)} stacks")
    legend_below(figure, left, right, columns=5)
    return figure


def _draw_law(axes: Axes, found: OverRadius) -> None:
    """Draw the law: what `plain` leaves at infinity, and the shot noise of the window on top."""
    plain = [score[0] or 0.0 for score in found.curves["plain+filter"]]
    left = float(np.mean([v - law for v, law in zip(plain, found.law, strict=True)]))
    axes.plot(found.radii, found.law, color=LINE, linestyle="--", label="1/(2an)")
    if left > 0:
        drawn = [left + law for law in found.law]
        axes.plot(found.radii, drawn, color=LINE, linestyle="-.", label=f"{left:.2e} + 1/(2an)")


def methods_figure(by_method: ByMethod) -> Figure:
    """Draw R for each method: left its value in every stack, right its difference from the filter alone."""
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = list(by_method.means)
    for axes, first, shown in (
        (left, 0, names),
        (right, 2, [name for name in names if name not in ("raw", "outliers")]),
    ):
        for x, name in enumerate(shown):
            values = [MILLI * v for stack in by_method.stacks if (v := stack.scores[name][first]) is not None]
            axes.plot([x] * len(values), values, "o", color=COLORS[0], markersize=3, alpha=0.4)
            mean, error = by_method.means[name][first : first + 2]
            if mean is not None:
                axes.errorbar(x, MILLI * mean, MILLI * (error or 0), fmt="_", color=COLORS[1], capsize=5)
        axes.set_xticks(range(len(shown)), shown)
        axes.margins(x=0.2)
    if all(s[0] is None or s[0] > 0 for stack in by_method.stacks for s in stack.scores.values()):
        left.set_yscale("log")
    right.axhline(0, color=LINE, linewidth=0.8)
    left.set(ylabel="R x 1000, held out")
    right.set(ylabel="R x 1000 above that of the outlier filter alone")
    figure.suptitle(f"{len(by_method.stacks)} stacks (dots), means and their errors (bars)")
    return figure


def _curve(axes: Axes, curve: Decay, xs: Sequence[float], **style: Any) -> None:
    places = np.geomspace(min(xs), max(xs), POINTS)
    axes.plot(places, [curve.at(x) for x in places], color=LINE, **style)


def _round_ticks(axis: Any, values: Sequence[float]) -> None:
    """Label a logarithmic axis at 1, 2 and 5 times powers of ten."""
    low, high = min(values), max(values)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    ticks = [k * 10.0**p for p in range(first, last + 1) for k in (1, 2, 5)]
    inside = [tick for tick in ticks if low <= tick <= high]
    axis.set_ticks(inside, [f"{tick:g}" for tick in inside])
    axis.set_ticks([], minor=True)


def _errorbars(axes: Axes, xs: Sequence[float], scores: Sequence[Score], kind: str, *, line: str) -> None:
    known = [(x, v, e or 0.0) for x, (v, e) in zip(xs, scores, strict=True) if v is not None]
    if known:
        x, value, error = zip(*known, strict=True)
        color, marker = STYLES[kind]
        style: dict[str, Any] = {"color": color, "marker": marker, "markersize": 4, "linewidth": 1}
        axes.errorbar(x, value, error, linestyle=line, label=NAMES[kind], **style)


def _scale(axes: Axes, values: Sequence[float | None]) -> None:
    """Take a logarithmic axis for values of different size, linear near 0 where some are below it."""
    known = [v for v in values if v is not None]
    if not known or max(known) <= WIDE * max(0.0, min(known)):
        return
    if min(known) > 0:
        axes.set_yscale("log")
        return
    axes.set_yscale("symlog", linthresh=max(-2 * min(known), max(known) / FAR))
    axes.set_ylim(1.5 * min(known), 2 * max(known))
