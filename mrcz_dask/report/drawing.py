"""Drawing figures from their columns, as SVG and PNG; without pyplot, so that no display is looked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mrcz_dask.assess.plots import figure_bytes
from mrcz_dask.pages.palette import BLUE, DARK, GREEN, SEQUENTIAL, VERMILION
from mrcz_dask.report.tables import FigureData

Floats = NDArray[np.float64]
Style = tuple[str, str]

HOT, DEAD = (VERMILION, "o"), (BLUE, "s")
# More points than these are drawn as medians of groups, with their range.
MOST_POINTS = 400
WIDTH = 7.2
_ALONG = {
    "stack": "stack",
    "hours": "hours since the first stack",
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
    """Return a figure as files.

    Parameters
    ----------
    data
        What it shows.
    kinds
        ``svg``, ``png``.
    dpi
        Of the PNG, and of images in the SVG.
    """
    with mpl.rc_context(_SETTINGS):
        figure = DRAW[data.kind](data)
        return {kind: figure_bytes(figure, kind, dpi) for kind in kinds}


def is_grouped(data: FigureData) -> bool:
    """Return whether there are so many stacks that groups of them are drawn."""
    return "along" in data.notes and len(data.columns["stack"]) > MOST_POINTS


def column(data: FigureData, name: str) -> Floats:
    """Return a column as numbers, not a number where nothing is known."""
    return np.array([np.nan if v is None else v for v in data.columns[name]], np.float64)


def _figure(height: float) -> Figure:
    return Figure(figsize=(WIDTH, height), layout="constrained")


def _series(axes: Axes, x: Floats, y: Floats, style: Style, label: str, *, size: float = 3.5) -> None:
    """Draw points; of many, medians of groups and what lies between their extremes."""
    there = np.isfinite(x) & np.isfinite(y)
    x, y = x[there], y[there]
    color, marker = style
    if x.size <= MOST_POINTS:
        axes.plot(x, y, marker, color=color, markersize=size, label=label)
        return
    groups = np.array_split(np.argsort(x, kind="stable"), MOST_POINTS // 2)
    middle = [float(np.median(x[g])) for g in groups]
    low, high = [float(y[g].min()) for g in groups], [float(y[g].max()) for g in groups]
    axes.fill_between(middle, low, high, color=color, alpha=0.25, linewidth=0)
    axes.plot(middle, [float(np.median(y[g])) for g in groups], color=color, linewidth=1.4, label=label)


def _over_stacks(data: FigureData, *panels: Axes) -> tuple[Floats, str]:
    """Return along what stacks are drawn, and what it is called; draw where the session breaks."""
    along = str(data.notes.get("along", "stack"))
    for axes in panels:
        for place in data.notes.get("breaks", {}).values():
            axes.axvline(place, color=DARK, linewidth=1, linestyle=":")
    return column(data, along), _ALONG[along]


def _legend(axes: Axes, **more: Any) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(0, 1.16), ncols=4, frameon=False, **more)


def _timeline(data: FigureData) -> Figure:
    figure = _figure(4.6)
    panels = figure.subplots(2, 1, sharex=True)
    x, label = _over_stacks(data, *panels)
    for axes, kind, style in zip(panels, ("hot", "dead"), (HOT, DEAD), strict=True):
        y = column(data, f"{kind}_percent")
        _series(axes, x, y, style, kind)
        axes.set(ylabel=f"{kind} pixels, %", ylim=(0, 1.1 * float(np.nanmax(y)) or 0.01))
    panels[1].set_xlabel(label)
    return figure


def _turnover(data: FigureData) -> Figure:
    figure = _figure(3.4)
    axes = figure.subplots()
    x, label = _over_stacks(data, axes)
    _series(axes, x, column(data, "hot_births"), HOT, "appear")
    _series(axes, x, column(data, "hot_deaths"), (BLUE, "v"), "go")
    axes.set(xlabel=label, ylabel="hot pixels per stack")
    axes.set_ylim(0, None)
    _legend(axes)
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


def _lines(data: FigureData) -> Figure:
    figure = _figure(3.8)
    what = np.array(data.columns["what"])
    for axes, kind in zip(figure.subplots(2, 1), ("column", "row"), strict=True):
        y = column(data, "hot")[what == kind]
        axes.plot(np.arange(y.size), y, color=VERMILION, linewidth=0.8)
        axes.set(xlabel=kind, ylabel="hot pixels", ylim=(0, None))
    return figure


def _thresholds(data: FigureData) -> Figure:
    figure = _figure(4.6)
    upper, lower = figure.subplots(2, 1, sharex=True)
    x, label = _over_stacks(data, upper, lower)
    _series(upper, x, column(data, "t_hot"), HOT, "hot")
    _series(upper, x, column(data, "t_dark"), DEAD, "dead")
    upper.set_ylabel("threshold, sigma")
    _legend(upper)
    _series(lower, x, column(data, "misfit"), (GREEN, "^"), "misfit")
    lower.set(xlabel=label, ylabel="misfit", ylim=(0, None))
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
    figure = _figure(4.2)
    axes = figure.subplots()
    x, label = _over_stacks(data, axes)
    styles = {"raw": (DARK, "^"), "filtered": HOT, "corrected": DEAD}
    names = {"raw": "raw", "filtered": "outliers filtered", "corrected": "filtered and corrected"}
    values = {kind: column(data, kind) for kind in styles}
    for kind, style in styles.items():
        _series(axes, x, values[kind], style, names[kind])
    known = np.concatenate([v[np.isfinite(v)] for v in values.values()])
    if known.size and known.min() > 0 and known.max() > 10 * known.min():
        axes.set_yscale("log")
    axes.set(xlabel=label, ylabel="correlated noise R, held out")
    _legend(axes)
    return figure


def _dose(data: FigureData) -> Figure:
    figure = _figure(3.2)
    axes = figure.subplots()
    x, label = _over_stacks(data, axes)
    y, apart = column(data, "dose"), column(data, "high_contrast") > 0
    _series(axes, x[~apart], y[~apart], (BLUE, "s"), "stacks")
    _series(axes, x[apart], y[apart], (VERMILION, "X"), "high contrast", size=7)
    axes.set(xlabel=label, ylabel="counts / pixel / frame", ylim=(0, 1.15 * max(float(np.nanmax(y)), 1e-9)))
    _legend(axes)
    return figure


def _contrast(data: FigureData) -> Figure:
    figure = _figure(3.2)
    axes = figure.subplots()
    x, label = _over_stacks(data, axes)
    y, out = column(data, "score"), column(data, "left_out") > 0
    _series(axes, x[~out], y[~out], (BLUE, "s"), "in windows")
    _series(axes, x[out], y[out], (VERMILION, "X"), "left out of windows", size=7)
    if data.notes.get("floor") is not None:
        axes.axhline(
            data.notes["floor"], color=DARK, linestyle="--", linewidth=1, label="never left out below"
        )
    axes.set(xlabel=label, ylabel="contrast score", ylim=(0, None))
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
    _mark_thresholds((above, middle, below), edge, z, data.notes)
    return figure


def _tail_lines(axes: Axes, edge: Floats, z: Floats, notes: Mapping[str, Any]) -> None:
    for name, color in (("dark_line", BLUE), ("hot_line", VERMILION)):
        if notes[name] is not None:
            slope, intercept = notes[name]
            drawn_at = slope * z + intercept
            ours = (z < -2) if name == "dark_line" else (z > 2)
            label = f"line of the {name[:-5].replace('dark', 'dead')} tail"
            axes.plot(edge[ours], drawn_at[ours], color=color, linestyle=":", label=label)


def _mark_thresholds(panels: Any, edge: Floats, z: Floats, notes: Mapping[str, Any]) -> None:
    for name, color in (("t_dark", BLUE), ("t_hot", VERMILION)):
        there = np.isfinite(z)
        if notes[name] is not None and there.any() and z[there].min() < notes[name] < z[there].max():
            at = float(np.interp(notes[name], z[there], edge[there]))
            for axes in panels:
                axes.axvline(at, color=color, linewidth=1, linestyle="-.")


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


DRAW: Mapping[str, Callable[[FigureData], Figure]] = {
    "timeline": _timeline,
    "turnover": _turnover,
    "survival": _survival,
    "places": _places,
    "lines": _lines,
    "thresholds": _thresholds,
    "bands": _bands,
    "noise": _noise,
    "dose": _dose,
    "contrast": _contrast,
    "speed": _speed,
    "histogram": _histogram,
    "patch": _patch,
}
