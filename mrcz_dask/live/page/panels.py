"""A processor on the page: how it stands, its controls, its plots."""

from __future__ import annotations

from typing import Any

from bokeh.models import Column, InlineStyleSheet, Row
from bokeh.models.widgets import Button

from mrcz_dask.live.page import texts
from mrcz_dask.live.page.controls import Control
from mrcz_dask.live.page.plots import Plot, plot_of
from mrcz_dask.live.page.template import PLOTS_STYLE, ROW_STYLE, STYLE
from mrcz_dask.live.processors.declare import Spec
from mrcz_dask.live.view import LiveView, PanelState, Result
from mrcz_dask.pages.widgets import put, text
from mrcz_dask.values.errors import ParameterError


class Panel:
    """The panel of one processor in one document.

    Parameters
    ----------
    view
        The session.
    name
        Of the processor in it.

    Attributes
    ----------
    words, plots
        What Bokeh lays out, apart: of what stands beside a text that changes it lays out all anew.
    """

    def __init__(self, view: LiveView, name: str) -> None:
        self._view, self._name = view, name
        self._since, self._refused = 0, ""
        self._spec: Spec | None = None
        self._last: Result | None = None
        self._controls: dict[str, Control] = {}
        self._plots: list[Plot] = []
        self._head, self._numbers = text(style=STYLE, min_width=200), text(style=STYLE)
        self._trouble = text(style=STYLE)
        self._trouble.visible = False
        self._pause = Button(label="pause", width=60, name=f"{name}.pause")
        self._pause.on_click(self._press_pause)
        self._paused = False
        self._set = row(name=f"{name}.controls")
        sheets: list[Any] = [InlineStyleSheet(css=PLOTS_STYLE)]
        self.plots = Column(sizing_mode="stretch_width", stylesheets=sheets, name=f"{name}.plots")
        parts: list[Any] = [self._top(), self._numbers, self._trouble, self._set]
        self.words = Column(children=parts, sizing_mode="stretch_width", name=f"{name}.words")

    def _top(self) -> Row:
        reset = Button(label="reset", width=60, name=f"{self._name}.reset")
        reset.on_click(self._press_reset)
        links = text(texts.links(self._name), style=STYLE, width=170, sizing_mode="fixed")
        together = row(self._pause, reset, links, width=325, sizing_mode="fixed")
        return row(self._head, together)

    def _press_pause(self) -> None:
        self._view.pause(not self._paused, self._name)

    def _press_reset(self) -> None:
        self._view.reset(self._name)
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Show none of the results, and take those that are kept from the first one on."""
        self._since, self._last = 0, None
        for plot in self._plots:
            plot.clear()

    def update(self, state: PanelState) -> None:
        """Show what is new."""
        if state.spec != self._spec:
            self._rebuild(state)
        for name, value in (state.values or {}).items():
            if name in self._controls:
                self._controls[name].show(value)
        self._take_results()
        self._update_texts(state)

    def _rebuild(self, state: PanelState) -> None:
        """Make controls and plots of a processor that was loaded, or is another one after an edit."""
        self._spec, self._refused = state.spec, ""
        outputs, parameters = (state.spec.outputs, state.spec.parameters) if state.spec else ((), ())
        values = state.values or {}
        self._controls = {
            one.name: Control(one, values.get(one.name, one.default), self._change) for one in parameters
        }
        self._plots = [plot_of(self._name, one) for one in outputs]
        self._set.children = [one.widget for one in self._controls.values()]
        self.plots.children = [one.figure for one in self._plots]
        many = len(self._plots)
        self.plots.css_classes = ["wide"] * (many > 1) + ["even"] * (many in (1, 2, 4))
        self._begin_anew()

    def _take_results(self) -> None:
        place, results = self._view.results(self._name, self._since)
        if place < self._since:
            self._begin_anew()
            place, results = self._view.results(self._name, 0)
        self._since = place
        if results:
            self._last = results[-1]
            for plot in self._plots:
                plot.show(results)

    def _update_texts(self, state: PanelState) -> None:
        self._paused = state.status == "paused"
        put(self._pause, "label", "go on" if self._paused else "pause")
        put(self._head, "text", texts.head(state))
        put(self._numbers, "text", texts.numbers(state, self._last))
        said = texts.trouble(state, self._refused)
        put(self._trouble, "text", said)
        put(self._trouble, "visible", bool(said))

    def _change(self, parameter: str, value: Any) -> None:
        """Set a parameter as a person chose; say why if it cannot be."""
        try:
            self._view.set_value(self._name, parameter, value)
            self._refused = ""
        except ParameterError as error:
            self._refused = str(error)
        self._show_values()

    def _show_values(self) -> None:
        """Show the values that are in force, and what was refused."""
        state = next(one for one in self._view.panels() if one.name == self._name)
        for name, value in (state.values or {}).items():
            if name in self._controls:
                self._controls[name].put(value)
        self._update_texts(state)


def row(*children: Any, **more: Any) -> Row:
    """Return a row that goes on in the next line where it is too long."""
    sheets: list[Any] = [InlineStyleSheet(css=ROW_STYLE)]
    return Row(children=list(children), stylesheets=sheets, **({"sizing_mode": "stretch_width"} | more))
