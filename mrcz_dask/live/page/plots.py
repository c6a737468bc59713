"""Plots the outputs of a live processor, and reduces frames to small gray images for the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from bokeh.models import BoxZoomTool, ColumnDataSource, DataRange1d, HoverTool, LinearColorMapper
from bokeh.models.annotations import ColorBar
from bokeh.palettes import Viridis256, interp_palette
from bokeh.plotting import figure
from numpy.typing import NDArray

from mrcz_dask.live.processors.declare import Image, ProcessorOutput, Profile, Scalar
from mrcz_dask.live.view import Result

SIDE = 512  # most pixels a side that are sent to a browser
CLIPPED = 0.005  # share of the pixels that is darker than black, and brighter than white
WHITE = 255
SAMPLED = 128  # pixels a side, evenly spread, from which quantiles are found
MARGIN = 0.25  # of the part that is seen, sent on each side of it, for moving it

Contrast = Literal["automatic", "min-max", "fixed"]
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class FrameDisplay:
    """Options of showing a frame: its contrast, and the part of it that is on the screen.

    Attributes
    ----------
    contrast
        Black and white are percentiles, minimum and maximum, or `fixed`.
    fixed
        Values of black and white.
    seen
        x0, x1, y0, y1 of the part on the screen, pixels; None = all.
    """

    contrast: Contrast = "automatic"
    fixed: tuple[float, float] = (0.0, 1.0)
    seen: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """A frame, or a part of it, as a small gray image for the screen.

    Attributes
    ----------
    shape
        (ny, nx) of the frame.
    grays
        (y, x) uint8.
    box
        y0, y1, x0, x1 of the part, pixels of the frame.
    scale
        Values of black and white.
    """

    shape: tuple[int, int]
    grays: NDArray[np.uint8]
    box: Box
    scale: tuple[float, float]


def picture(frame: NDArray[Any], look: FrameDisplay) -> Picture:
    """Return a frame, or the part of it on the screen, as a gray image of few pixels.

    Parameters
    ----------
    frame
        (ny, nx), real numbers.
    look
        Contrast, and part of the frame.
    """
    shape = int(frame.shape[0]), int(frame.shape[1])
    y0, y1, x0, x1 = 0, shape[0], 0, shape[1]
    if look.seen is not None:
        columns, rows = _with_margin(look.seen[:2], shape[1]), _with_margin(look.seen[2:], shape[0])
        if rows[0] < rows[1] and columns[0] < columns[1]:
            y0, y1, x0, x1 = *rows, *columns
    image, block = binned(frame[y0:y1, x0:x1])
    box = y0, y0 + block * image.shape[0], x0, x0 + block * image.shape[1]
    low, high = look.fixed if look.contrast == "fixed" else limits(image, look.contrast == "automatic")
    factor = np.float32(WHITE / (high - low) if high > low else 0.0)
    scaled = np.clip((image - np.float32(low)) * factor, 0, WHITE)
    return Picture(shape, np.asarray(np.nan_to_num(scaled, nan=0.0), np.uint8), box, (low, high))


def binned(image: NDArray[Any]) -> tuple[NDArray[np.float32], int]:
    """Reduce an image to at most `SIDE` pixels a side; return means of blocks, and a block's side in pixels.

    Last rows and columns that fill no block are left out.
    """
    block = int(min(max(1, -(-max(image.shape) // SIDE)), *image.shape))
    if block == 1:
        return np.asarray(image, np.float32), 1
    ny, nx = (n // block * block for n in image.shape)
    rows = np.zeros((ny // block, nx), np.float32)
    for k in range(block):
        np.add(rows, image[k:ny:block, :nx], out=rows, casting="unsafe")
    means: NDArray[np.float32] = rows[:, ::block].copy()
    for k in range(1, block):
        means += rows[:, k::block]
    means /= np.float32(block * block)
    return means, block


def limits(image: NDArray[Any], clipped: bool) -> tuple[float, float]:
    """Return the pixel values to show as black and white: the extremes, or quantiles if `clipped`.

    They are (0, 1) if no pixel is finite.
    """
    step = 1 + max(image.shape) // SAMPLED if clipped else 1
    sampled = image[::step, ::step]
    finite = sampled[np.isfinite(sampled)]
    if finite.size == 0:
        return 0.0, 1.0
    black, white = np.quantile(finite, (CLIPPED, 1 - CLIPPED)) if clipped else (finite.min(), finite.max())
    low, high = float(black), float(white)
    return (low, high) if high > low else (low, low + 1.0)


def _with_margin(ends: tuple[float, ...], size: int) -> tuple[int, int]:
    """Return first and last pixel of a range that is seen, with a margin, along an axis of `size` pixels."""
    low, high = min(ends), max(ends)
    margin = MARGIN * (high - low)
    return max(0, int(low - margin)), min(size, int(high + margin) + 1)


# Most points of a series, lines of a profile, and points of a line that are shown.
POINTS, LINES, PLACES = 2000, 30, 1024
HEIGHT, IMAGE_HEIGHT = 180, 240
LINE, NEWEST = "#0072b2", "#d55e00"
AGES = interp_palette(("#d5e3f0", "#6baed6", "#08306b"), LINES)
NO_IMAGE: dict[str, list[Any]] = {name: [] for name in ("image", "x", "y", "dw", "dh")}
NO_LINE: dict[str, list[Any]] = {name: [] for name in ("x", "y")}
LONGEST = 4.0  # ratio of sides; nothing could be seen of a longer image if it was drawn to scale
WHEN = ("time, UTC", "@time{%H:%M:%S.%3N}")

Figure = Any


class ScalarPlot:
    """Plots a scalar output of a processor against the frame number, one point a frame."""

    def __init__(self, name: str, output: Scalar) -> None:
        self._name = output.name
        self._source = ColumnDataSource(name=name)
        self.clear()
        self.figure = _figure(output, tools="xpan,xwheel_zoom,box_zoom,reset,save")
        self.figure.line("frame", "value", source=self._source, color=LINE, alpha=0.5)
        points = self.figure.scatter("frame", "value", source=self._source, color=LINE, size=3)
        self.figure.xaxis.axis_label = "frame"
        tooltips = [("frame", "@frame{0}"), WHEN, (output.name, "@value{0.0000[0000]}")]
        self.figure.add_tools(
            HoverTool(renderers=[points], tooltips=tooltips, formatters={"@time": "datetime"}, mode="vline")
        )

    def show(self, results: Sequence[Result]) -> None:
        """Add a point for each new result that has a value of this output."""
        values = [(result, result.values.get(self._name)) for result in results[-POINTS:]]
        points = [(r.number, 1000 * r.time, v) for r, v in values if isinstance(v, (int, float))]
        if points:
            frame, time, value = np.array(points, float).T
            self._source.stream({"frame": frame, "time": time, "value": value}, rollover=POINTS)
            self.figure.visible = True

    def clear(self) -> None:
        """Remove all points, after the processor was reset."""
        self._source.data = {name: np.empty(0) for name in ("frame", "time", "value")}


class ProfilePlot:
    """Plots a processor's last profiles as lines: newer ones darker, the newest in a color of its own."""

    def __init__(self, name: str, output: Profile) -> None:
        self._name, self._count = output.name, 0
        self._source = ColumnDataSource(name=name)
        self._newest = ColumnDataSource()
        self.clear()
        self._ages = LinearColorMapper(palette=AGES, low=0, high=LINES - 1)
        self.figure = _figure(output, tools="pan,wheel_zoom,box_zoom,reset,save")
        color = {"field": "order", "transform": self._ages}
        lines = self.figure.multi_line("xs", "ys", source=self._source, line_color=color, line_width=1.2)
        self.figure.line("x", "y", source=self._newest, color=NEWEST, line_width=1.6)
        self.figure.xaxis.axis_label = with_unit(output.axis, output.axis_unit)
        tooltips = [("frame", "@frame"), ("at", "$x{0.0000}"), (output.name, "$y{0.0000[0000]}")]
        self.figure.add_tools(HoverTool(renderers=[lines], tooltips=tooltips, line_policy="nearest"))

    def show(self, results: Sequence[Result]) -> None:
        """Add a line for each new result that has this profile, and remove the oldest lines."""
        shown = [result for result in results if isinstance(result.values.get(self._name), tuple)][-LINES:]
        if not shown:
            return
        lines = []
        for x, y in (result.values[self._name] for result in shown):
            block = max(1, -(-y.size // PLACES))  # points that are drawn as one: a screen has no more
            most = y.size // block * block
            lines.append((x[:most].reshape(-1, block).mean(axis=1), y[:most].reshape(-1, block).mean(axis=1)))
        columns: dict[str, Any] = {
            "xs": [x for x, _ in lines],
            "ys": [y for _, y in lines],
            "order": list(range(self._count, self._count + len(shown))),
            "frame": [result.number for result in shown],
        }
        self._count += len(shown)
        self._ages.update(low=self._count - LINES, high=self._count - 1)
        self._source.stream(columns, rollover=LINES)
        self.figure.visible = True
        self._newest.data = {"x": lines[-1][0], "y": lines[-1][1]}

    def clear(self) -> None:
        """Remove all lines, after the processor was reset."""
        self._source.data, self._newest.data = {name: [] for name in ("xs", "ys", "order", "frame")}, NO_LINE


class ImagePlot:
    """Plots the newest image of a processor's output, y downwards, with a color bar."""

    def __init__(self, name: str, output: Image) -> None:
        self._name = output.name
        self._source = ColumnDataSource(NO_IMAGE, name=name)
        self._outline = ColumnDataSource({"x": [], "y": [], "width": [], "height": []})
        self._colors = LinearColorMapper(palette=Viridis256, low=0, high=1, nan_color="#d0d0d0")
        self.figure = _figure(output, tools="pan,wheel_zoom,reset,save", height=IMAGE_HEIGHT)
        fit_to(self.figure, self._outline)
        image = self.figure.image(
            "image", x="x", y="y", dw="dw", dh="dh", source=self._source, color_mapper=self._colors
        )
        y, x = output.axes
        self.figure.xaxis.axis_label = with_unit(x, output.axes_unit)
        self.figure.yaxis.axis_label = with_unit(y, output.axes_unit)
        self.figure.add_layout(ColorBar(color_mapper=self._colors, width=10, padding=4), "right")
        self.figure.add_tools(
            BoxZoomTool(match_aspect=True),
            HoverTool(renderers=[image], tooltips=[("x", "$x{0}"), ("y", "$y{0}"), (output.name, "@image")]),
        )

    def show(self, results: Sequence[Result]) -> None:
        """Show the newest image among new results of this output."""
        values = [result.values.get(self._name) for result in results]
        images: list[Any] = [value for value in values if getattr(value, "ndim", 0) == 2]
        if not images:
            return
        image, block = binned(images[-1])
        low, high = limits(image, clipped=True)
        height, width = block * image.shape[0], block * image.shape[1]
        outline = {"x": [width / 2], "y": [height / 2], "width": [width], "height": [height]}
        if self._outline.data != outline:
            self.figure.match_aspect = max(height, width) <= LONGEST * min(height, width)
            self._outline.data = outline
        self._colors.update(low=low, high=high)
        self._source.data = {"image": [image], "x": [0], "y": [0], "dw": [width], "dh": [height]}
        self.figure.visible = True

    def clear(self) -> None:
        """Remove the image, after the processor was reset."""
        self._source.data = NO_IMAGE


Plot = ScalarPlot | ProfilePlot | ImagePlot
PLOTS: dict[type[ProcessorOutput], Any] = {Scalar: ScalarPlot, Profile: ProfilePlot, Image: ImagePlot}


def fit_to(plot: Figure, outline: ColumnDataSource) -> None:
    """Make a plot show a whole rectangle (x, y, width, height) with equal scale on both axes, y downwards."""
    frame = plot.rect(
        "x", "y", "width", "height", source=outline, fill_color=None, line_color="#bbbbbb", level="underlay"
    )
    plot.x_range = DataRange1d(renderers=[frame], range_padding=0)
    plot.y_range = DataRange1d(renderers=[frame], range_padding=0, flipped=True)
    plot.match_aspect = True
    plot.grid.visible = False


def bare_figure(**options: Any) -> Figure:
    """Return an empty Bokeh plot in the style of the live page."""
    plot: Figure = figure(**({"sizing_mode": "stretch_width", "toolbar_location": "above"} | options))
    plot.axis.axis_label_text_font_style = "normal"
    plot.axis.axis_label_text_color = plot.axis.major_label_text_color = "#333333"
    plot.title.text_font_size = "13px"
    plot.toolbar.logo = None
    plot.toolbar.autohide = True
    plot.outline_line_color = None
    plot.grid.grid_line_color = "#eeeeee"
    plot.min_border_left = 52
    return plot


def _figure(output: ProcessorOutput, tools: str, height: int = HEIGHT) -> Figure:
    """Make the figure of an output, which appears with the first result."""
    # without an active drag a finger on a plot scrolls the page
    title = with_unit(output.name, output.unit)
    return bare_figure(title=title, height=height, tools=tools, active_drag=None, visible=False)


def with_unit(name: str, unit: str) -> str:
    """Return an axis label: a name with its unit in parentheses, if it has one."""
    return f"{name} ({unit})" if unit else name
