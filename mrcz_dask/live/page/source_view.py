"""The newest frame on the page: contrast, colours, region of interest."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from typing import Any, get_args

from bokeh.events import RangesUpdate, Reset
from bokeh.models import (
    BoxEditTool,
    BoxZoomTool,
    Column,
    ColumnDataSource,
    CustomJSHover,
    HoverTool,
    LinearColorMapper,
)
from bokeh.models.annotations import ColorBar
from bokeh.models.widgets import Button, RangeSlider, Select
from bokeh.palettes import Greys256, Inferno256, Viridis256

from mrcz_dask.live.frames import Roi
from mrcz_dask.live.page.panels import row
from mrcz_dask.live.page.pixels import WHITE, Contrast, Look, Picture, picture
from mrcz_dask.live.page.plots import NO_IMAGE, bare_figure, fit_to
from mrcz_dask.live.page.template import STYLE
from mrcz_dask.live.view import LiveView, SourceState
from mrcz_dask.pages.widgets import put, text
from mrcz_dask.values.errors import ParameterError

PALETTES = {"grey": Greys256, "viridis": Viridis256, "inferno": Inferno256}
REGION = "#ff7f0e"
ALL = "all processors"
# About how wide the plot is, and what is beside and above its image: axes, colours, tools.
WIDTH, BESIDE, ABOVE = 400, 110, 58
HELP = (
    "<div class='quiet'>Shift and drag draws the region that all processors, or the chosen one, look at (on "
    "a touch screen: press long at two corners); drag moves it. The tools above the image zoom and pan.</div>"
)
# The screen has greys, a person wants counts.
COUNTS = f"return (scale.low + value / {WHITE} * (scale.high - scale.low)).toPrecision(5)"


class SourceView:
    """The newest frame in one document.

    Parameters
    ----------
    view
        The session.
    reader
        Where frames are made small: large ones must not stop the server.

    Attributes
    ----------
    root
        What Bokeh lays out.
    """

    def __init__(self, view: LiveView, reader: Executor) -> None:
        self._view, self._reader = view, reader
        self._look, self._wanted = Look(), True
        self._black_and_white = 0.0, 1.0
        self._making: Future[Picture] | None = None
        self._number = -1
        self._shape: tuple[int, int] | None = None
        self._roi: Roi | None = None
        self._paused = False
        self._image = ColumnDataSource(NO_IMAGE, name="source.image")
        self._outline = ColumnDataSource(_boxes(None))
        self._region = ColumnDataSource(_boxes(None), name="source.region")
        self._region.on_change("data", self._drawn)
        self._greys = LinearColorMapper(palette=Greys256, low=0, high=WHITE)
        self._scale = LinearColorMapper(palette=Greys256, low=0, high=1, name="source.scale")
        self._figure = self._make_figure()
        self._make_controls()
        parts = [self._figure, self._controls, self._fixed, text(HELP, style=STYLE)]
        self.root = Column(children=parts, sizing_mode="stretch_width", name="source")

    def _make_figure(self) -> Any:
        plot = bare_figure(
            tools="pan,wheel_zoom,reset,save",
            active_scroll="wheel_zoom",
            aspect_ratio=1,
            sizing_mode="scale_width",
            name="source.plot",
        )
        fit_to(plot, self._outline)
        columns = {"x": "x", "y": "y", "dw": "dw", "dh": "dh"}
        image = plot.image("image", source=self._image, color_mapper=self._greys, **columns)
        faint = {"fill_alpha": 0, "nonselection_fill_alpha": 0, "nonselection_line_alpha": 1}
        region = plot.rect(
            "x", "y", "width", "height", source=self._region, color=REGION, line_width=2, **faint
        )
        draw = BoxEditTool(renderers=[region], num_objects=1, description="region: shift and drag")
        counts = CustomJSHover(args={"scale": self._scale}, code=COUNTS)
        hover = HoverTool(
            renderers=[image],
            tooltips=[("x, y", "$x{0}, $y{0}"), ("value", "@image{custom}")],
            formatters={"@image": counts},
        )
        plot.add_tools(draw, BoxZoomTool(match_aspect=True), hover)
        plot.toolbar.active_drag = draw
        plot.toolbar.autohide = False
        plot.add_layout(ColorBar(color_mapper=self._scale, width=10, padding=4), "right")
        plot.on_event(RangesUpdate, self._moved)
        plot.on_event(Reset, self._back)
        return plot

    def _make_controls(self) -> None:
        self._contrast = _select("contrast", list(get_args(Contrast)), self._choose_contrast)
        self._colours = _select("colours", list(PALETTES), self._choose_colours)
        names = [one.name for one in self._view.panels()]
        self._whose = _select("region of", [ALL, *names], self._choose_whose)
        self._whose.visible = len(names) > 1
        self._clear = Button(label="clear region", width=90, name="source.clear")
        self._clear.on_click(self._press_clear)
        self._pause = Button(label="pause all", width=80, name="source.pause")
        self._pause.on_click(self._press_pause)
        self._fixed = RangeSlider(
            title="black and white", start=0, end=1, value=(0, 1), step=0.01, visible=False,
            sizing_mode="stretch_width", name="source.fixed", format="0[.]0[000]",
        )  # fmt: skip
        self._fixed.on_change("value", self._choose_fixed)
        self._controls = row(self._contrast, self._colours, self._whose, self._clear, self._pause)

    def _choose_contrast(self, name: str, old: str, new: Any) -> None:
        if new == "fixed":
            self._offer(*self._black_and_white)
        self._fixed.visible = new == "fixed"
        self._see(contrast=new)

    def _offer(self, low: float, high: float) -> None:
        """Let black and white be chosen around those that are there."""
        wide = high - low
        self._look = Look(self._look.contrast, (low, high), self._look.seen)
        self._fixed.update(start=low - wide, end=high + wide, step=wide / 100, value=(low, high))

    def _choose_fixed(self, name: str, old: object, new: tuple[float, float]) -> None:
        self._see(fixed=(float(new[0]), float(new[1])))

    def _choose_colours(self, name: str, old: str, new: str) -> None:
        self._greys.palette = self._scale.palette = PALETTES[new]

    def _moved(self, event: RangesUpdate) -> None:
        corners = (event.x0, event.x1, event.y0, event.y1)
        self._see(seen=None if None in corners else corners)

    def _back(self, event: Reset) -> None:
        self._see(seen=None)

    def _see(self, **changed: Any) -> None:
        was = {"contrast": self._look.contrast, "fixed": self._look.fixed, "seen": self._look.seen}
        self._look, self._wanted = Look(**(was | changed)), True

    def _press_pause(self) -> None:
        self._view.pause(not self._paused)

    def _press_clear(self) -> None:
        self._set_region(None)
        self._region.data = _boxes(None)

    def _choose_whose(self, name: str, old: str, new: str) -> None:
        self._update_region(self._view.source())

    def _set_region(self, region: Roi | None) -> None:
        if self._whose.value == ALL:
            self._view.set_roi(region)
        else:
            self._view.set_roi(region, self._whose.value)

    def _drawn(self, name: str, old: object, new: Any) -> None:
        """Let processors look at what was drawn; what the session has itself needs no word."""
        if self._shape is None or new == _boxes(self._roi):
            return
        boxes = list(zip(*(new[key] for key in ("x", "y", "width", "height")), strict=False))
        region = _region_of(boxes[-1], self._shape) if boxes else None
        if boxes and region is None:  # of no pixel: a click
            self._region.data = _boxes(self._roi)
        elif region != self._roi:
            self._set_region(region)

    def update(self, source: SourceState) -> None:
        """Show what is new."""
        self._paused = source.paused
        put(self._pause, "label", "go on" if source.paused else "pause all")
        self._update_region(source)
        if self._making is not None and self._making.done():
            self._show(self._making.result())
            self._making = None
        newest = self._view.newest() if self._making is None else None
        if newest is not None and (self._wanted or newest[0] != self._number):
            self._number, self._wanted = newest[0], False
            self._making = self._reader.submit(picture, *newest, self._look)

    def _update_region(self, source: SourceState) -> None:
        """Show the region of whom it is drawn for."""
        rois = {one.name: one.roi for one in self._view.panels()}
        roi = source.roi if self._whose.value == ALL else rois[self._whose.value]
        if roi != self._roi:
            self._roi = roi
            self._region.data = _boxes(roi)

    def _show(self, shown: Picture) -> None:
        self._fit(shown.shape)
        self._black_and_white = low, high = shown.scale
        self._scale.update(low=low, high=high)
        y0, y1, x0, x1 = shown.box
        where = {"x": [x0], "y": [y0], "dw": [x1 - x0], "dh": [y1 - y0]}
        self._image.data = {"image": [shown.greys], **where}

    def _fit(self, shape: tuple[int, int]) -> None:
        if shape != self._shape:
            self._shape = shape
            self._figure.aspect_ratio = _aspect(shape)
            self._outline.data = _boxes(Roi(0, shape[0], 0, shape[1]))


def _aspect(shape: tuple[int, int]) -> float:
    """Return the aspect of a plot that an image fills, with what is around it."""
    return WIDTH / ((WIDTH - BESIDE) * shape[0] / shape[1] + ABOVE)


def _select(title: str, options: list[Any], chosen: Any) -> Select:
    made = Select(title=title, options=options, value=options[0], width=95, name=f"source.{title}")
    made.on_change("value", chosen)
    return made


def _boxes(roi: Roi | None) -> dict[str, list[float]]:
    """Return a region as a rectangle of a plot."""
    if roi is None:
        return {"x": [], "y": [], "width": [], "height": []}
    width, height = roi.x1 - roi.x0, roi.y1 - roi.y0
    return {
        "x": [roi.x0 + width / 2], "y": [roi.y0 + height / 2], "width": [width], "height": [height]
    }  # fmt: skip


def _region_of(box: tuple[float, float, float, float], shape: tuple[int, int]) -> Roi | None:
    """Return the whole pixels of a rectangle that are in the frame; None if there are none."""
    x, y, width, height = box
    xs = sorted(min(max(0, round(x + side * width / 2)), shape[1]) for side in (-1, 1))
    ys = sorted(min(max(0, round(y + side * height / 2)), shape[0]) for side in (-1, 1))
    try:
        return Roi(ys[0], ys[1], xs[0], xs[1])
    except ParameterError:
        return None
