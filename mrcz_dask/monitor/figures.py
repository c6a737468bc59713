"""Draws the plots of the session's web page in Bokeh, with one point for each stack."""

from __future__ import annotations

from typing import Any

from bokeh.models import (
    ColumnDataSource,
    DataRange1d,
    FixedTicker,
    HoverTool,
    LinearAxis,
    LinearColorMapper,
)
from bokeh.models.annotations import Legend, LegendItem
from bokeh.models.glyphs import Image
from bokeh.palettes import Greys256
from bokeh.plotting import figure
from bokeh.transform import factor_cmap, factor_mark

from mrcz_dask.monitor.listener import LANES, NOISE_FLOOR
from mrcz_dask.monitor.state import STATES
from mrcz_dask.pages.template import BLUE, GRAY, GREEN, ORANGE, PURPLE, SKY, VERMILION

# Columns of the plots, which are shown as soon as there is a number in them.
SHOWS = {"outliers": "hot", "noise": "raw", "thresholds": "mu", "dose": "dose"}
COLORS = (GRAY, SKY, ORANGE, GREEN, VERMILION)
MARKERS = ("circle", "square", "triangle", "circle", "x")
TOOLS = "xpan,xwheel_zoom,xbox_zoom,reset"
STACK = [("stack", "@name"), ("number", "@number{0}"), ("acquired", "@acquired")]
POINT = 4

Figure = Any


def timeline(source: ColumnDataSource, x: DataRange1d) -> Figure:
    """Plot the stacks in order of time, each at the height of its state (found, summed, done, ...)."""
    plot = _figure("timeline", "Stacks", x, y_range=(len(LANES) - 0.4, -0.6))
    colors, markers = factor_cmap("state", COLORS, STATES), factor_mark("state", MARKERS, STATES)
    states = plot.scatter("number", "lane", source=source, size=8, color=colors, marker=markers)
    states.glyph.line_width = 2
    contrast = plot.scatter("number", "contrast", source=source, size=9, color=PURPLE, marker="diamond")
    plot.visible = True
    plot.xaxis.axis_label = "stack, in order of time; the same below"
    plot.yaxis.ticker = FixedTicker(ticks=list(range(len(LANES))))
    plot.yaxis.major_label_overrides = dict(enumerate(LANES))
    plot.ygrid.grid_line_color = "#eeeeee"
    _hover(plot, [states, contrast], [("state", "@state"), ("reason", "@reason")])
    return plot


def outliers(source: ColumnDataSource, x: DataRange1d) -> Figure:
    """Plot each stack's number of hot pixels (left axis) and dead pixels (right axis)."""
    plot = _figure("outliers", "Outlier pixels", x, y_axis_label="hot")
    hot = _line(plot, source, "hot", VERMILION, "circle")
    dead = _line_on_the_right(plot, source, "dead", BLUE, "triangle", "dead")
    plot.y_range.renderers = hot
    _legend(plot, {"hot (left)": hot, "dead (right)": dead})
    _hover(plot, [hot[1], dead[1]], [("hot", "@hot{0,0}"), ("dead", "@dead{0,0}")])
    return plot


def noise(source: ColumnDataSource, x: DataRange1d) -> Figure:
    """Plot each stack's held-out R: raw, filtered, corrected."""
    label = f"R, drawn from {NOISE_FLOOR:.0e} up"
    plot = _figure("noise", "Correlated noise, held out", x, y_axis_type="log", y_axis_label=label)
    raw = _line(plot, source, "raw", GRAY, "circle")
    filtered = _line(plot, source, "filtered", ORANGE, "triangle")
    corrected = _line(plot, source, "corrected", BLUE, "square")
    powers = [10.0**k for k in range(-5, 1)]
    plot.yaxis.ticker = FixedTicker(ticks=powers, minor_ticks=[m * p for p in powers for m in range(2, 10)])
    _legend(plot, {"raw": raw, "filtered": filtered, "corrected": corrected})
    _hover(plot, [raw[1], filtered[1], corrected[1]], [("noise", "@noise"), ("contrast", "@usable")])
    return plot


def thresholds(source: ColumnDataSource, x: DataRange1d) -> Figure:
    """Plot each stack's outlier thresholds in sigma, and the mean counts of its sum."""
    plot = _figure("thresholds", "Outlier thresholds, mean counts", x, y_axis_label="sigma")
    high = _line(plot, source, "t_hot", VERMILION, "circle")
    low = _line(plot, source, "t_dark", BLUE, "triangle")
    center = _line_on_the_right(plot, source, "mu", GREEN, "square", "counts/pixel")
    plot.y_range.renderers = [*high, *low]
    _legend(plot, {"hot (left)": high, "dead (left)": low, "sum (right)": center})
    values = [("hot", "@t_hot{0.00} sigma"), ("dead", "@t_dark{0.00} sigma"), ("sum", "@mu{0.00}")]
    _hover(plot, [high[1], low[1], center[1]], values)
    return plot


def dose(source: ColumnDataSource, x: DataRange1d) -> Figure:
    """Plot each stack's dose, in counts per pixel and frame."""
    plot = _figure("dose", "Dose", x, y_axis_label="counts/pixel/frame")
    each = _line(plot, source, "dose", PURPLE, "diamond")
    _hover(plot, each[1:], [("dose", "@dose{0.0000}")])
    return plot


def thumbnails(source: ColumnDataSource) -> Figure:
    """Show the mean image of the stack that was corrected last, before and after correction."""
    plot = figure(
        name="thumbnails",
        title="",
        height=260,
        sizing_mode="stretch_width",
        tools="",
        toolbar_location=None,
        match_aspect=True,
        y_range=DataRange1d(range_padding=0.16),
        visible=False,
    )
    grays = LinearColorMapper(palette=Greys256, low=0, high=255)
    plot.add_glyph(source, Image(image="image", x="x", y="y", dw="dw", dh="dh", color_mapper=grays))
    plot.text("x", "dh", text="label", source=source, text_font_size="12px", y_offset=-3)
    plot.axis.visible = False
    plot.grid.visible = False
    plot.outline_line_color = None
    return plot


def _figure(name: str, title: str, x: DataRange1d, **more: Any) -> Figure:
    plot = figure(
        name=name,
        title=title,
        x_range=x,
        height=240,
        sizing_mode="stretch_width",
        tools=TOOLS,
        active_drag="xbox_zoom",
        toolbar_location="right",
        visible=False,
        **more,
    )
    plot.axis.axis_label_text_font_style = "normal"
    plot.toolbar.logo = None
    plot.toolbar.autohide = True
    plot.xgrid.grid_line_color = None
    return plot


def _line(plot: Figure, source: ColumnDataSource, y: str, color: str, marker: str, **more: Any) -> list[Any]:
    line = plot.line("number", y, source=source, color=color, alpha=0.6, **more)
    points = plot.scatter("number", y, source=source, color=color, marker=marker, size=POINT, **more)
    return [line, points]


def _line_on_the_right(
    plot: Figure, source: ColumnDataSource, y: str, color: str, marker: str, label: str
) -> list[Any]:
    """Return a line with an axis of its own."""
    plot.extra_y_ranges = {y: (own := DataRange1d())}
    axis = LinearAxis(y_range_name=y, axis_label=label, axis_label_text_font_style="normal")
    plot.add_layout(axis, "right")
    own.renderers = _line(plot, source, y, color, marker, y_range_name=y)
    return list(own.renderers)


def _legend(plot: Figure, items: dict[str, list[Any]]) -> None:
    legend = Legend(
        items=[LegendItem(label=label, renderers=lines) for label, lines in items.items()],
        orientation="horizontal",
        border_line_color=None,
        margin=4,
        spacing=12,
        label_text_font_size="12px",
        click_policy="hide",
    )
    plot.add_layout(legend, "above")


def _hover(plot: Figure, renderers: list[Any], more: list[tuple[str, str]]) -> None:
    plot.add_tools(HoverTool(renderers=renderers, tooltips=[*STACK, *more]))
