"""Draws the figures of a report from their data as SVG and PNG, also where there is no display."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from mrcz_dask.numerics.arrays import Floats
from mrcz_dask.pages.template import BLUE, DARK, GREEN, SEQUENTIAL, VERMILION, figure_bytes
from mrcz_dask.report.data import FigureData

Style = tuple[str, str]
# Label and limits of the y-axis; values, style and label of each series.
PlotPanel = tuple[str, tuple[float | None, float | None], list[tuple[Floats, Style, str]]]

HOT, DEAD = (VERMILION, "o"), (BLUE, "s")
# More points than these are drawn as medians of groups, with their range.
MOST_POINTS = 400
WIDTH = 7.2
_ALONG = {
    "stack": "stack",
    "hours": "hours since the first stack",
    "session": "session",
    "days": "days since the first session",
    "cumulative_dose": "dose since the first stack, counts per pixel",
}
_SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "mrcz-dask",
    "font.size": 10,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "path.simplify_threshold": 0.5,
}


def drawn(data: FigureData, *kinds: str, dpi: int = 150) -> dict[str, bytes]:
    """Draw a report's figure; return the bytes of its files by kind (``svg``, ``png``).

    Parameters
    ----------
    data
        Data of the figure.
    kinds
        ``svg``, ``png``.
    dpi
        Dots per inch of the PNG, and of images in the SVG.
    """
    with mpl.rc_context(_SETTINGS):
        figure = DRAW[data.kind](data)
        return {kind: figure_bytes(figure, kind, dpi) for kind in kinds}


def is_grouped(data: FigureData) -> bool:
    """Return whether a figure has too many stacks for single points, so that medians of groups are drawn."""
    return "along" in data.notes and len(column(data, data.notes["along"])) > MOST_POINTS


def column(data: FigureData, name: str) -> Floats:
    """Return a column of a figure's data as floats, with NaN where a value is missing."""
    return np.array([np.nan if v is None else v for v in data.columns[name]], np.float64)


def _figure(height: float) -> Figure:
    return Figure(figsize=(WIDTH, height), layout="constrained")


def _series(axes: Axes, x: Floats, y: Floats, style: Style, label: str) -> None:
    """Draw points; of many, medians of groups and what lies between their extremes."""
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    color, marker = style
    if x.size <= MOST_POINTS:
        axes.plot(x, y, marker, color=color, markersize=7 if marker == "X" else 3.5, label=label)
        return
    groups = np.array_split(np.argsort(x, kind="stable"), MOST_POINTS // 2)
    middle = [float(np.median(x[g])) for g in groups]
    low, high = [float(y[g].min()) for g in groups], [float(y[g].max()) for g in groups]
    axes.fill_between(middle, low, high, color=color, alpha=0.25, linewidth=0)
    axes.plot(middle, [float(np.median(y[g])) for g in groups], color=color, linewidth=1.4, label=label)


def _over_stacks(data: FigureData, height: float, *panels: PlotPanel) -> Figure:
    """Draw series over the stacks in panels one above the other, and where the session breaks."""
    along = str(data.notes.get("along", "stack"))
    x, figure = column(data, along), _figure(height)
    both = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (ylabel, limits, lines) in zip(both, panels, strict=True):
        for place in data.notes.get("breaks", {}).values():
            axes.axvline(place, color=DARK, linewidth=1, linestyle=":")
        for y, style, label in lines:
            _series(axes, x, y, style, label)
        axes.set(ylabel=ylabel, ylim=limits)
    both[-1].set_xlabel(_ALONG[along])
    return figure


def _legend(axes: Axes, **more: Any) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(0, 1.16), ncols=4, frameon=False, **more)


def _timeline(data: FigureData) -> Figure:
    panels = []
    for kind, style in (("hot", HOT), ("dead", DEAD)):
        y = column(data, f"{kind}_percent")
        limits = (0, 1.1 * float(np.nanmax(y)) or 0.01)
        panels.append((f"{kind} pixels, %", limits, [(y, style, kind)]))
    return _over_stacks(data, 4.6, *panels)


def _turnover(data: FigureData) -> Figure:
    kinds = (("hot_births", HOT, "appear"), ("hot_deaths", (BLUE, "v"), "go"))
    lines = [(column(data, name), style, label) for name, style, label in kinds]
    figure = _over_stacks(data, 3.4, ("hot pixels per stack", (0, None), lines))
    _legend(figure.axes[0])
    return figure


def _survival(data: FigureData) -> Figure:
    figure = _figure(3.4)
    axes = figure.subplots()
    lag = column(data, "lag")
    axes.plot(lag, column(data, "share"), "o", color=VERMILION, markersize=6, label="measured")
    if "lifetime" in data.notes:
        at = np.linspace(0, float(lag.max()), 100)
        life, seen = data.notes["lifetime"], data.notes["seen"]
        axes.plot(at, seen * np.exp(-at / life), color=DARK, label=f"mean life of {life:.1f} stacks")
    axes.set(xlabel="stacks later", ylabel="share still hot", ylim=(0, 1.05))
    _legend(axes)
    return figure


def _places(data: FigureData) -> Figure:
    kinds = [kind for kind in ("hot", "dead") if kind in data.columns["kind"]]
    figure = _figure(3.6)
    panels = figure.subplots(1, len(kinds), squeeze=False)[0]
    which = np.array(data.columns["kind"])
    for axes, kind in zip(panels, kinds, strict=True):
        image = _image(data, which == kind, "row", "column", "pixels")
        shown = axes.imshow(image, cmap=SEQUENTIAL, vmin=0, interpolation="none", aspect="equal")
        axes.set(title=f"{kind} pixels in a cell", xlabel="cell across", ylabel="cell down")
        axes.grid(visible=False)
        figure.colorbar(shown, ax=axes, shrink=0.85)
    return figure


def _image(data: FigureData, where: NDArray[np.bool_], y: str, x: str, value: str) -> Floats:
    """Return an image from three columns."""
    rows, columns = (column(data, name)[where].astype(int) for name in (y, x))
    rows, columns = rows - rows.min(), columns - columns.min()
    image = np.full((rows.max() + 1, columns.max() + 1), np.nan)
    image[rows, columns] = column(data, value)[where]
    return image


def _specimen(data: FigureData) -> Figure:
    figure = _figure(3.6)
    axes = figure.subplots()
    image = _image(data, np.ones(len(data.columns["row"]), bool), "row", "column", "percent")
    shown = axes.imshow(image, cmap="gray", interpolation="none", aspect="equal")
    axes.set(xlabel="block across", ylabel="block down")
    axes.grid(visible=False)
    figure.colorbar(shown, ax=axes, shrink=0.85, label="% of the mean")
    return figure


def _lines(data: FigureData) -> Figure:
    figure = _figure(3.8)
    kinds = np.array(data.columns["what"])
    for axes, kind in zip(figure.subplots(2, 1), ("column", "row"), strict=True):
        y = column(data, "hot")[kinds == kind]
        axes.plot(np.arange(y.size), y, color=VERMILION, linewidth=0.8)
        axes.set(xlabel=kind, ylabel="hot pixels", ylim=(0, None))
    return figure


def _thresholds(data: FigureData) -> Figure:
    kinds = (("t_hot", HOT, "hot"), ("t_dark", DEAD, "dead"))
    upper = [(column(data, name), style, label) for name, style, label in kinds]
    lower = [(column(data, "misfit"), (GREEN, "^"), "misfit")]
    panels = ("threshold, sigma", (None, None), upper), ("misfit", (0, None), lower)
    figure = _over_stacks(data, 4.6, *panels)
    _legend(figure.axes[0])
    return figure


def _bands(data: FigureData) -> Figure:
    names = list(dict.fromkeys(data.columns["band"]))
    which = np.array(data.columns["band"])
    figure = _figure(1.4 + 0.3 * len(names))
    left, right = figure.subplots(1, 2, sharey=True)
    taken = [
        (a or 0) + (b or 0)
        for a, b in zip(data.columns["coefficient_short"], data.columns["coefficient_long"], strict=True)
    ]
    for axes, values, style, title in (
        (left, column(data, "explained"), HOT, "share of power explained"),
        (right, np.array(taken, np.float64), (BLUE, "s"), "share of the reference taken off"),
    ):
        low, middle, high = (
            [float(np.nanquantile(values[which == name], q)) for name in names] for q in (0.1, 0.5, 0.9)
        )
        axes.hlines(range(len(names)), low, high, color=style[0], linewidth=2)
        axes.plot(middle, range(len(names)), style[1], color=style[0], markersize=6)
        axes.set(xlabel=title, yticks=range(len(names)), yticklabels=names)
        axes.set_xlim(min(0.0, *low), max(1.0, *high))
    left.invert_yaxis()
    figure.set_layout_engine("constrained", wspace=0.08)
    return figure


def _noise(data: FigureData) -> Figure:
    names = {"raw": "raw", "filtered": "outliers filtered", "corrected": "filtered and corrected"}
    styles = ((DARK, "^"), HOT, DEAD)
    lines = [(column(data, kind), style, names[kind]) for kind, style in zip(names, styles, strict=True)]
    figure = _over_stacks(data, 4.2, ("correlated noise R, held out", (None, None), lines))
    known = np.concatenate([y[np.isfinite(y)] for y, _, _ in lines])
    if known.size and known.min() > 0 and known.max() > 10 * known.min():
        figure.axes[0].set_yscale("log")
    _legend(figure.axes[0])
    return figure


def _two_kinds(data: FigureData, y: str, apart: str, ylabel: str, labels: tuple[str, str]) -> Figure:
    """Draw a column over the stacks, with another mark for those that another column sets apart."""
    values, set_apart = column(data, y), column(data, apart) > 0
    lines = [
        (np.where(set_apart, np.nan, values), (BLUE, "s"), labels[0]),
        (np.where(set_apart, values, np.nan), (VERMILION, "X"), labels[1]),
    ]
    return _over_stacks(data, 3.2, (ylabel, (0, None), lines))


def _dose(data: FigureData) -> Figure:
    labels = "stacks", "high contrast"
    figure = _two_kinds(data, "dose", "high_contrast", "counts / pixel / frame", labels)
    figure.axes[0].set_ylim(0, 1.15 * max(float(np.nanmax(column(data, "dose"))), 1e-9))
    _legend(figure.axes[0])
    return figure


def _contrast(data: FigureData) -> Figure:
    labels = "in windows", "left out of windows"
    figure = _two_kinds(data, "score", "left_out", "contrast score", labels)
    if (floor := data.notes.get("floor")) is not None:
        label = "never left out below"
        figure.axes[0].axhline(floor, color=DARK, linestyle="--", linewidth=1, label=label)
    _legend(figure.axes[0])
    return figure


def _sessions(data: FigureData) -> Figure:
    """Draw the panels of the notes: label of the y-axis; column, label and role of each series."""
    roles: Mapping[str, Style] = {
        "value": (BLUE, "o"),
        "other": (GREEN, "v"),
        "usual": (DARK, "_"),
        "alarm": (VERMILION, "X"),
    }
    panels: list[PlotPanel] = []
    for ylabel, names in data.notes["panels"]:
        lines = [(column(data, name), roles[role], label) for name, label, role in names]
        highest = max((float(y[np.isfinite(y)].max(initial=0)) for y, _, _ in lines), default=0.0)
        panels.append((ylabel, (0, 1.15 * highest or 1.0), lines))
    figure = _over_stacks(data, 0.6 + 2.3 * len(panels), *panels)
    for axes, (_, _, lines) in zip(figure.axes, panels, strict=True):
        whole = all((y[np.isfinite(y)] % 1 == 0).all() for y, _, _ in lines)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=whole))
        _legend(axes)
    return figure


def _speed(data: FigureData) -> Figure:
    figure = _figure(3.2)
    axes = figure.subplots()
    which, minutes = np.array(data.columns["pass"]), column(data, "seconds") / 60
    done = column(data, "stacks")
    for name, color in zip(dict.fromkeys(data.columns["pass"]), (BLUE, VERMILION, GREEN), strict=False):
        x, y = minutes[which == name], done[which == name]
        axes.plot(x, y, color=color, marker="." if x.size < 30 else "", label=name)
    axes.set(xlabel="minutes since the beginning", ylabel="stacks", xlim=(0, None), ylim=(0, None))
    _legend(axes)
    return figure


def _histogram(data: FigureData) -> Figure:
    figure = _figure(6.2)
    above, middle, below = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 1.2))
    edge, pixels, model = (column(data, name) for name in ("edge", "pixels", "model"))
    above.step(edge, np.where(pixels > 0, pixels, np.nan), color=BLUE, label="pixels")
    above.plot(edge, np.where(model > 0.3, model, np.nan), color=DARK, linestyle="--", label="fit")
    above.set(yscale="log", ylabel="pixels", ylim=(0.5, None))
    _legend(above)
    z, residual = column(data, "z"), column(data, "residual")
    middle.plot(edge, residual, color=BLUE, label="residual")
    _tail_lines(middle, edge, z, data.notes)
    known = residual[np.isfinite(residual)]
    if known.size:
        middle.set_ylim(max(-6.0, float(known.min()) - 0.5), min(9.0, float(known.max()) + 0.5))
    middle.set_ylabel("residual, sigma")
    _legend(middle)
    below.plot(edge, column(data, "weight"), color=GREEN)
    below.set(xlabel="counts of the sum", ylabel="weight", ylim=(-0.05, 1.05))
    for name, color in (("t_dark", BLUE), ("t_hot", VERMILION)):
        if (at := threshold_at(data, name)) is not None:
            for axes in (above, middle, below):
                axes.axvline(at, color=color, linewidth=1, linestyle="-.")
    return figure


def _tail_lines(axes: Axes, edge: Floats, z: Floats, notes: Mapping[str, Any]) -> None:
    for name, color in (("dark_line", BLUE), ("hot_line", VERMILION)):
        if notes[name] is not None:
            slope, intercept = notes[name]
            drawn_at = slope * z + intercept
            ours = (z < -2) if name == "dark_line" else (z > 2)
            label = f"line of the {name[:-5].replace('dark', 'dead')} tail"
            axes.plot(edge[ours], drawn_at[ours], color=color, linestyle=":", label=label)


def threshold_at(data: FigureData, name: str) -> float | None:
    """Return an outlier threshold in counts, for the histogram's axis; None if it is off or outside."""
    z, limit = column(data, "z"), data.notes[name]
    known = np.isfinite(z)
    if limit is None or not known.any() or not z[known].min() < limit < z[known].max():
        return None
    return float(np.interp(limit, z[known], column(data, "edge")[known]))


def _patch(data: FigureData) -> Figure:
    everywhere = np.ones(len(data.columns["row"]), bool)
    before, after, weight = (
        _image(data, everywhere, "row", "column", name) for name in ("before", "after", "weight")
    )
    low, high = np.quantile(after[np.isfinite(after)], (0.005, 0.995))
    top, left = min(data.columns["row"]), min(data.columns["column"])
    ny, nx = before.shape
    figure = _figure(3.2)
    panels = figure.subplots(1, 3, sharey=True)
    for axes, image, title in zip(
        panels, (before, before, after), ("before", "outliers marked", "after"), strict=True
    ):
        extent = (left - 0.5, left + nx - 0.5, top + ny - 0.5, top - 0.5)
        axes.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="none", extent=extent)
        axes.set_title(title)
        axes.grid(visible=False)
    y, x = np.nonzero(weight < 128)
    panels[1].plot(x + left, y + top, "o", markersize=4, markeredgecolor=VERMILION, fillstyle="none")
    return figure


def _picture(data: FigureData) -> Figure:
    figure = _figure(2.9)
    everywhere = np.ones(len(data.columns["row"]), bool)
    low, high, span = (data.notes[name] for name in ("low", "high", "span_percent"))
    scales = {"before": (low, high), "after": (low, high), "pattern_percent": (-span, span)}
    for axes, (name, (black, white)) in zip(figure.subplots(1, 3), scales.items(), strict=True):
        image = _image(data, everywhere, "row", "column", name)
        shown = axes.imshow(image, cmap="gray", vmin=black, vmax=white, interpolation="none")
        axes.set(xticks=[], yticks=[], title="pattern, % of the mean" if name[0] == "p" else name)
        bar = figure.colorbar(shown, ax=axes, orientation="horizontal", pad=0.03, aspect=30)
        bar.locator = MaxNLocator(4)
    return figure


DRAW: Mapping[str, Callable[[FigureData], Figure]] = {
    "picture": _picture,
    "timeline": _timeline,
    "turnover": _turnover,
    "survival": _survival,
    "places": _places,
    "lines": _lines,
    "thresholds": _thresholds,
    "bands": _bands,
    "specimen": _specimen,
    "noise": _noise,
    "dose": _dose,
    "contrast": _contrast,
    "sessions": _sessions,
    "speed": _speed,
    "histogram": _histogram,
    "patch": _patch,
}
