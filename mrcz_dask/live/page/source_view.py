"""The newest frame on the live page, with controls for contrast, colors and region of interest."""

from __future__ import annotations

import math
from concurrent.futures import Executor, Future
from dataclasses import replace
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
from mrcz_dask.live.page.panels import STYLE, row
from mrcz_dask.live.page.plots import (
    NO_IMAGE,
    WHITE,
    Contrast,
    FrameDisplay,
    Picture,
    bare_figure,
    fit_to,
    picture,
)
from mrcz_dask.live.session import LiveSession
from mrcz_dask.live.view import SourceState
from mrcz_dask.pages.server import put, text

PALETTES = {"gray": Greys256, "viridis": Viridis256, "inferno": Inferno256}
REGION = "#ff7f0e"
ALL = "all processors"
# Approximate width of the plot, and of axes, colors and tools beside and above its image.
WIDTH, BESIDE, ABOVE = 400, 110, 58
HELP = (
    "<div class='quiet'>Shift and drag draws the region that all processors, or the chosen one, look at (on "
    "a touch screen: press long at two corners); drag moves it. The tools above the image zoom and pan.</div>"
)
# The screen has grays, a person wants counts.
COUNTS = f"return (scale.low + value / {WHITE} * (scale.high - scale.low)).toPrecision(5)"


class SourceView:
    """Shows the newest frame on the page of one browser, with controls for contrast, colors and region.

    Parameters
    ----------
    view
        The session.
    reader
        Threads in which frames are made small: large ones must not stop the server.

    Attributes
    ----------
    root
        The root for Bokeh.
    """

    def __init__(self, view: LiveSession, reader: Executor) -> None:
        self._view, self._reader = view, reader
        self._look, self._look_changed = FrameDisplay(), True
        self._black_and_white = 0.0, 1.0
        self._making: Future[Picture] | None = None
        self._number = -1
        self._shape: tuple[int, int] | None = None
        self._roi: Roi | None = None
        self._is_paused = False
        self._measured: tuple[tuple[int, int], float | None] | None = None
        self._image = ColumnDataSource(NO_IMAGE, name="source.image")
        self._outline = ColumnDataSource(_rectangle(None))
        self._region = ColumnDataSource(_rectangle(None), name="source.region")
        self._region.on_change("data", self._draw_region)
        self._grays = LinearColorMapper(palette=Greys256, low=0, high=WHITE)
        self._scale = LinearColorMapper(palette=Greys256, low=0, high=1, name="source.scale")
        self._bar = ColumnDataSource(scale_bar((1, 1), None), name="source.bar")
        self._figure = self._make_figure()
        controls = self._make_controls()
        parts = [self._figure, controls, self._fixed, text(HELP, style=STYLE)]
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
        image = plot.image("image", source=self._image, color_mapper=self._grays, **columns)
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
        for color, width in (("black", 6), ("white", 3)):
            plot.segment("x0", "y", "x1", "y", source=self._bar, color=color, line_width=width)
        on_black = {"text_color": "white", "background_fill_color": "black", "text_font_size": "12px"}
        plot.text("x0", "y", text="label", source=self._bar, y_offset=-6, padding=2, **on_black)
        plot.add_layout(ColorBar(color_mapper=self._scale, width=10, padding=4), "right")
        plot.on_event(RangesUpdate, self._zoom)
        plot.on_event(Reset, lambda event: self._set_look(seen=None))
        return plot

    def _make_controls(self) -> Any:
        names = [panel.name for panel in self._view.panels()]
        menus = {
            "contrast": (list(get_args(Contrast)), self._choose_contrast),
            "colors": (list(PALETTES), self._choose_colors),
            "region of": ([ALL, *names], lambda name, old, new: self._update_region(self._view.source())),
        }
        selects = []
        for title, (options, change) in menus.items():
            select = Select(title=title, options=options, value=options[0], width=95, name=f"source.{title}")
            select.on_change("value", change)
            selects.append(select)
        self._whose = selects[-1]
        self._whose.visible = len(names) > 1
        clear = Button(label="clear region", width=90, name="source.clear")
        clear.on_click(self._clear_region)
        self._pause = Button(label="pause all", width=80, name="source.pause")
        self._pause.on_click(lambda: self._view.pause(not self._is_paused))
        self._fixed = RangeSlider(
            title="black and white", start=0, end=1, value=(0, 1), step=0.01, visible=False,
            sizing_mode="stretch_width", name="source.fixed", format="0[.]0[000]",
        )  # fmt: skip
        self._fixed.on_change("value", lambda name, old, new: self._set_look(fixed=tuple(map(float, new))))
        return row(*selects, clear, self._pause)

    def _choose_contrast(self, name: str, old: str, new: Any) -> None:
        if new == "fixed":  # offer black and white around the present ones
            low, high = self._black_and_white
            width = high - low
            self._look = replace(self._look, fixed=(low, high))
            self._fixed.update(start=low - width, end=high + width, step=width / 100, value=(low, high))
        self._fixed.visible = new == "fixed"
        self._set_look(contrast=new)

    def _choose_colors(self, name: str, old: str, new: str) -> None:
        self._grays.palette = self._scale.palette = PALETTES[new]

    def _zoom(self, event: RangesUpdate) -> None:
        corners = (event.x0, event.x1, event.y0, event.y1)
        self._set_look(seen=None if None in corners else corners)

    def _set_look(self, **changes: Any) -> None:
        self._look, self._look_changed = replace(self._look, **changes), True

    def _clear_region(self) -> None:
        self._set_region(None)
        self._region.data = _rectangle(None)

    def _set_region(self, region: Roi | None) -> None:
        self._view.set_roi(region, *([] if self._whose.value == ALL else [self._whose.value]))

    def _draw_region(self, name: str, old: object, new: Any) -> None:
        """Set the region of interest to the drawn rectangle `new`; a mere click changes nothing."""
        if self._shape is None or new == _rectangle(self._roi):
            return
        region: Roi | None = None
        for x, y, width, height in zip(*(new[key] for key in ("x", "y", "width", "height")), strict=False):
            ny, nx = self._shape
            x0, x1 = sorted(min(max(0, round(x + side * width / 2)), nx) for side in (-1, 1))
            y0, y1 = sorted(min(max(0, round(y + side * height / 2)), ny) for side in (-1, 1))
            if y0 == y1 or x0 == x1:  # a click
                self._region.data = _rectangle(self._roi)
                return
            region = Roi(y0, y1, x0, x1)
        if region != self._roi:
            self._set_region(region)

    def update(self, source: SourceState) -> None:
        """Show the newest frame, the region of interest and the state of the pause button."""
        self._is_paused = source.paused
        put(self._pause, "label", "go on" if source.paused else "pause all")
        self._update_region(source)
        if self._shape is not None and self._measured != (self._shape, source.pixel_size):
            self._measured = self._shape, source.pixel_size
            self._bar.data = scale_bar(*self._measured)
        if self._making is not None and self._making.done():
            self._show(self._making.result())
            self._making = None
        newest = self._view.newest() if self._making is None else None
        if newest is not None and (self._look_changed or newest[0] != self._number):
            self._number, self._look_changed = newest[0], False
            self._making = self._reader.submit(picture, newest[1], self._look)

    def _update_region(self, source: SourceState) -> None:
        """Draw the region of interest of the chosen processor, or of all, if it has changed."""
        rois = {panel.name: panel.roi for panel in self._view.panels()}
        roi = source.roi if self._whose.value == ALL else rois[self._whose.value]
        if roi != self._roi:
            self._roi = roi
            self._region.data = _rectangle(roi)

    def _show(self, shown: Picture) -> None:
        if shown.shape != self._shape:
            self._shape = shown.shape
            ny, nx = shown.shape
            self._figure.aspect_ratio = WIDTH / ((WIDTH - BESIDE) * ny / nx + ABOVE)  # the image fills it
            self._outline.data = _rectangle(Roi.whole(shown.shape))
        self._black_and_white = low, high = shown.scale
        self._scale.update(low=low, high=high)
        y0, y1, x0, x1 = shown.box
        self._image.data = {"image": [shown.grays], "x": [x0], "y": [y0], "dw": [x1 - x0], "dh": [y1 - y0]}


def scale_bar(shape: tuple[int, int], pixel_size: float | None) -> dict[str, list[Any]]:
    """Return a bar of 1, 2 or 5 times a power of ten nm, at most a third of the width, as columns of Bokeh.

    `shape` is (ny, nx), `pixel_size` in Angstrom; the columns are empty if that is not known.
    """
    if not pixel_size:
        return {"x0": [], "x1": [], "y": [], "label": []}
    longest = shape[1] * pixel_size / 30  # nm
    power = 10.0 ** math.floor(math.log10(longest))
    length = power * max(n for n in (1, 2, 5) if n * power <= longest)
    begin = 0.04 * shape[1]
    columns = {"x0": begin, "x1": begin + 10 * length / pixel_size, "y": 0.96 * shape[0]}
    return {name: [value] for name, value in columns.items()} | {"label": [f"{length:g} nm"]}


def _rectangle(roi: Roi | None) -> dict[str, list[float]]:
    """Return a region of interest as columns of Bokeh: center, width and height; empty for None."""
    if roi is None:
        return {"x": [], "y": [], "width": [], "height": []}
    width, height = roi.x1 - roi.x0, roi.y1 - roi.y0
    return {
        "x": [roi.x0 + width / 2], "y": [roi.y0 + height / 2], "width": [width], "height": [height]
    }  # fmt: skip
