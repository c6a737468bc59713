"""The plots of a processor's outputs: a series of numbers, a stack of lines, an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from bokeh.models import (
    BoxZoomTool,
    ColumnDataSource,
    DataRange1d,
    HoverTool,
    LinearColorMapper,
)
from bokeh.models.annotations import ColorBar
from bokeh.palettes import Viridis256, interp_palette
from bokeh.plotting import figure
from numpy.typing import NDArray

from mrcz_dask.live.page.pixels import binned, limits
from mrcz_dask.live.processors.declare import Image, Output, Profile, Scalar
from mrcz_dask.live.view import Result

# Of a series so many points are shown, of profiles so many lines, of a line so many points.
POINTS, LINES, PLACES = 2000, 30, 1024
HEIGHT, IMAGE_HEIGHT = 180, 240
LINE, NEWEST = "#0072b2", "#d55e00"
AGES = interp_palette(("#d5e3f0", "#6baed6", "#08306b"), LINES)
NO_IMAGE: dict[str, list[Any]] = {name: [] for name in ("image", "x", "y", "dw", "dh")}
# An image that is longer is not drawn to scale: nothing could be seen of it.
LONGEST = 4.0
WHEN = ("time, UTC", "@time{%H:%M:%S.%3N}")

Figure = Any


class Plot(Protocol):
    """One output on the page.

    Attributes
    ----------
    figure
        What Bokeh draws.
    """

    figure: Figure

    def show(self, results: Sequence[Result]) -> None:
        """Add results; those without this output, or with something else under its name, are passed over."""
        ...

    def clear(self) -> None:
        """Show nothing."""
        ...


def plot_of(panel: str, output: Output) -> Plot:
    """Return the plot of an output of a panel."""
    name = f"{panel}.{output.name}"
    if isinstance(output, Scalar):
        return Series(name, output)
    return Lines(name, output) if isinstance(output, Profile) else Picture(name, output)


class Series:
    """Numbers over the number of the frame."""

    def __init__(self, name: str, output: Scalar) -> None:
        self._name = output.name
        self._source = ColumnDataSource(_no_points(), name=name)
        self.figure = _figure(output, tools="xpan,xwheel_zoom,box_zoom,reset,save")
        self.figure.line("frame", "value", source=self._source, color=LINE, alpha=0.5)
        points = self.figure.scatter("frame", "value", source=self._source, color=LINE, size=3)
        self.figure.xaxis.axis_label = "frame"
        tooltips = [("frame", "@frame{0}"), WHEN, (output.name, "@value{0.0000[0000]}")]
        self.figure.add_tools(
            HoverTool(renderers=[points], tooltips=tooltips, formatters={"@time": "datetime"}, mode="vline")
        )

    def show(self, results: Sequence[Result]) -> None:
        """Add points."""
        found = [one for one in results[-POINTS:] if isinstance(one.values.get(self._name), (int, float))]
        if found:
            columns: dict[str, Any] = {
                "frame": np.array([one.number for one in found], float),
                "time": np.array([1000 * one.time for one in found], float),
                "value": np.array([one.values[self._name] for one in found], float),
            }
            self._source.stream(columns, rollover=POINTS)
            unfold(self.figure)

    def clear(self) -> None:
        """Take all points away."""
        self._source.data = _no_points()


class Lines:
    """The last profiles, newer ones on top and darker, the newest one in a colour of its own."""

    def __init__(self, name: str, output: Profile) -> None:
        self._name, self._count = output.name, 0
        self._source = ColumnDataSource(_no_lines(), name=name)
        self._newest = ColumnDataSource({"x": [], "y": []})
        self._ages = LinearColorMapper(palette=AGES, low=0, high=LINES - 1)
        self.figure = _figure(output, tools="pan,wheel_zoom,box_zoom,reset,save")
        colour = {"field": "order", "transform": self._ages}
        lines = self.figure.multi_line("xs", "ys", source=self._source, line_color=colour, line_width=1.2)
        self.figure.line("x", "y", source=self._newest, color=NEWEST, line_width=1.6)
        self.figure.xaxis.axis_label = _with_unit(output.axis, output.axis_unit)
        tooltips = [("frame", "@frame"), ("at", "$x{0.0000}"), (output.name, "$y{0.0000[0000]}")]
        self.figure.add_tools(HoverTool(renderers=[lines], tooltips=tooltips, line_policy="nearest"))

    def show(self, results: Sequence[Result]) -> None:
        """Add lines; the oldest ones go."""
        found = [one for one in results if isinstance(one.values.get(self._name), tuple)][-LINES:]
        if not found:
            return
        lines = [_thinned(*one.values[self._name]) for one in found]
        columns = {
            "xs": [x for x, _ in lines],
            "ys": [y for _, y in lines],
            "order": list(range(self._count, self._count + len(found))),
            "frame": [one.number for one in found],
        }
        self._count += len(found)
        self._ages.update(low=self._count - LINES, high=self._count - 1)
        self._source.stream(columns, rollover=LINES)
        unfold(self.figure)
        self._newest.data = {"x": lines[-1][0], "y": lines[-1][1]}

    def clear(self) -> None:
        """Take all lines away."""
        self._source.data, self._newest.data = _no_lines(), {"x": [], "y": []}


class Picture:
    """The newest image, y downwards, with its colours."""

    def __init__(self, name: str, output: Image) -> None:
        self._name = output.name
        self._source = ColumnDataSource(NO_IMAGE, name=name)
        self._outline = ColumnDataSource({"x": [], "y": [], "width": [], "height": []})
        self._colours = LinearColorMapper(palette=Viridis256, low=0, high=1, nan_color="#d0d0d0")
        self.figure = _figure(output, tools="pan,wheel_zoom,reset,save", height=IMAGE_HEIGHT)
        fit_to(self.figure, self._outline)
        image = self.figure.image(
            "image", x="x", y="y", dw="dw", dh="dh", source=self._source, color_mapper=self._colours
        )
        y, x = output.axes
        self.figure.xaxis.axis_label = _with_unit(x, output.axes_unit)
        self.figure.yaxis.axis_label = _with_unit(y, output.axes_unit)
        self.figure.add_layout(ColorBar(color_mapper=self._colours, width=10, padding=4), "right")
        self.figure.add_tools(
            BoxZoomTool(match_aspect=True),
            HoverTool(renderers=[image], tooltips=[("x", "$x{0}"), ("y", "$y{0}"), (output.name, "@image")]),
        )

    def show(self, results: Sequence[Result]) -> None:
        """Show the newest image."""
        found = [one for one in results if getattr(one.values.get(self._name), "ndim", 0) == 2]
        if not found:
            return
        image, block = binned(found[-1].values[self._name])
        low, high = limits(image, True)
        height, width = block * image.shape[0], block * image.shape[1]
        self._fit(height, width)
        self._colours.update(low=low, high=high)
        self._source.data = {"image": [image], "x": [0], "y": [0], "dw": [width], "dh": [height]}
        unfold(self.figure)

    def _fit(self, height: int, width: int) -> None:
        box = {"x": [width / 2], "y": [height / 2], "width": [width], "height": [height]}
        if self._outline.data != box:
            self.figure.match_aspect = max(height, width) <= LONGEST * min(height, width)
            self._outline.data = box

    def clear(self) -> None:
        """Take the image away."""
        self._source.data = NO_IMAGE


def fit_to(plot: Figure, outline: ColumnDataSource) -> None:
    """Let a plot show all of an outline (x, y, width, height), to scale, with y downwards."""
    frame = plot.rect(
        "x", "y", "width", "height", source=outline, fill_color=None, line_color="#bbbbbb", level="underlay"
    )
    plot.x_range = DataRange1d(renderers=[frame], range_padding=0)
    plot.y_range = DataRange1d(renderers=[frame], range_padding=0, flipped=True)
    plot.match_aspect = True
    plot.grid.visible = False


def unfold(plot: Figure) -> None:
    """Show a plot that there is something of."""
    if not plot.visible:
        plot.visible = True


def bare_figure(**more: Any) -> Figure:
    """Return a figure in the style of the page."""
    plot: Figure = figure(**({"sizing_mode": "stretch_width", "toolbar_location": "above"} | more))
    plot.axis.axis_label_text_font_style = "normal"
    plot.axis.axis_label_text_color = plot.axis.major_label_text_color = "#333333"
    plot.title.text_font_size = "13px"
    plot.toolbar.logo = None
    plot.toolbar.autohide = True
    plot.outline_line_color = None
    plot.grid.grid_line_color = "#eeeeee"
    plot.min_border_left = 52
    return plot


def _figure(output: Output, tools: str, height: int = HEIGHT) -> Figure:
    # Without an active drag a finger on a plot scrolls the page.
    title = _with_unit(output.name, output.unit)
    return bare_figure(title=title, height=height, tools=tools, active_drag=None, visible=False)


def _with_unit(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit else name


def _no_points() -> dict[str, Any]:
    return {name: np.empty(0) for name in ("frame", "time", "value")}


def _no_lines() -> dict[str, list[Any]]:
    return {name: [] for name in ("xs", "ys", "order", "frame")}


def _thinned(
    places: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return means over neighbours of a line with more points than a screen has."""
    block = -(-values.size // PLACES)
    if block <= 1:
        return places, values
    kept = values.size // block * block
    return (places[:kept].reshape(-1, block).mean(axis=1), values[:kept].reshape(-1, block).mean(axis=1))
