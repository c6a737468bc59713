"""The panel of one processor on the live page: its state, its controls, its plots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bokeh.models import Column, InlineStyleSheet, Row
from bokeh.models.widgets import Button, Checkbox, NumericInput, Select, Slider, Spinner, TextInput

from mrcz_dask.live.page import texts
from mrcz_dask.live.page.plots import PLOTS, Plot
from mrcz_dask.live.page.template import PLOTS_STYLE, ROW_STYLE, STYLE
from mrcz_dask.live.processors.declare import Parameter, Spec, Value
from mrcz_dask.live.session import Session
from mrcz_dask.live.view import PanelState, Result
from mrcz_dask.pages.widgets import put, text
from mrcz_dask.values.errors import ParameterError

STEPS = 100  # of a slider whose range names no step
WIDTH = 170


class Panel:
    """Shows one processor on the page of one browser: its state, controls for its parameters,
    plots of its outputs.

    Parameters
    ----------
    view
        The session.
    name
        Name of the processor in it.

    Attributes
    ----------
    words, plots
        Two roots for Bokeh: it lays out again all that stands beside a text that changes.
    """

    def __init__(self, view: Session, name: str) -> None:
        self._view, self._name = view, name
        self._since, self._refusal = 0, ""
        self._spec: Spec | None = None
        self._last: Result | None = None
        self._controls: dict[str, Control] = {}
        self._plots: list[Plot] = []
        self._is_paused = False
        self._head, self._numbers = text(style=STYLE, min_width=200), text(style=STYLE)
        self._trouble = text(style=STYLE)
        self._trouble.visible = False
        self._pause = Button(label="pause", width=60, name=f"{name}.pause")
        self._pause.on_click(lambda: view.pause(not self._is_paused, name))
        reset = Button(label="reset", width=60, name=f"{name}.reset")
        reset.on_click(self._press_reset)
        links = text(texts.links(name), style=STYLE, width=170, sizing_mode="fixed")
        top = row(self._head, row(self._pause, reset, links, width=325, sizing_mode="fixed"))
        self._parameters = row(name=f"{name}.controls")
        sheets: list[Any] = [InlineStyleSheet(css=PLOTS_STYLE)]
        self.plots = Column(sizing_mode="stretch_width", stylesheets=sheets, name=f"{name}.plots")
        parts: list[Any] = [top, self._numbers, self._trouble, self._parameters]
        self.words = Column(children=parts, sizing_mode="stretch_width", name=f"{name}.words")

    def _press_reset(self) -> None:
        self._view.reset(self._name)
        self._clear()

    def _clear(self) -> None:
        """Show none of the results, and take those that are kept from the first one on."""
        self._since, self._last = 0, None
        for plot in self._plots:
            plot.clear()

    def update(self, state: PanelState) -> None:
        """Show the processor's present state and parameters, and plot its new results."""
        if state.spec is not None and state.spec != self._spec:
            self._rebuild(state, state.spec)
        for name, control in self._controls.items():
            control.show(state.values[name])
        place, results = self._view.results(self._name, self._since)
        if place < self._since:  # a reset
            self._clear()
            place, results = self._view.results(self._name, 0)
        self._since = place
        if results:
            self._last = results[-1]
            for plot in self._plots:
                plot.show(results)
        self._update_texts(state)

    def _rebuild(self, state: PanelState, spec: Spec) -> None:
        """Make controls and plots of a processor that was loaded, or has changed by an edit."""
        self._spec, self._refusal = spec, ""
        self._controls = {p.name: Control(p, state.values[p.name], self._set_value) for p in spec.parameters}
        self._plots = [PLOTS[type(output)](f"{self._name}.{output.name}", output) for output in spec.outputs]
        self._parameters.children = [control.widget for control in self._controls.values()]
        self.plots.children = [plot.figure for plot in self._plots]
        count = len(self._plots)
        self.plots.css_classes = ["wide"] * (count > 1) + ["even"] * (count in (1, 2, 4))
        self._clear()

    def _update_texts(self, state: PanelState) -> None:
        self._is_paused = state.status == "paused"
        put(self._pause, "label", "go on" if self._is_paused else "pause")
        put(self._head, "text", texts.head(state))
        put(self._numbers, "text", texts.numbers(state, self._last))
        trouble = texts.trouble(state, self._refusal)
        put(self._trouble, "text", trouble)
        put(self._trouble, "visible", bool(trouble))

    def _set_value(self, parameter: str, value: Any) -> None:
        """Set a parameter, or tell why it cannot have this value; show the values that are in force."""
        try:
            self._view.set_value(self._name, parameter, value)
            self._refusal = ""
        except ParameterError as error:
            self._refusal = str(error)
        state = next(state for state in self._view.panels() if state.name == self._name)
        for name in self._controls.keys() & state.values.keys():  # an edit may have come between
            self._controls[name].put(state.values[name])
        self._update_texts(state)


class Control:
    """A slider, checkbox, menu or text field on the page that sets one parameter of a processor.

    Parameters
    ----------
    parameter
        The parameter.
    value
        Its present value.
    change
        Called with name and value that a person chose.
    """

    def __init__(self, parameter: Parameter, value: Value, change: Callable[[str, Any], None]) -> None:
        self._parameter, self._change = parameter, change
        self._value = value
        self.widget = self._make_widget(value)
        self._property = "active" if parameter.kind == "bool" else "value"
        # a slider that is drawn along would set every value on its way
        event = "value_throttled" if isinstance(self.widget, Slider) else self._property
        self.widget.on_change(event, self._changed)

    def _make_widget(self, value: Any) -> Any:
        name, kind, limits = self._parameter.name, self._parameter.kind, self._parameter.range
        if kind == "bool":
            return Checkbox(label=name, active=bool(value))
        if kind == "choice":
            options: list[Any] = [str(choice) for choice in self._parameter.choices]
            return Select(title=name, value=str(value), options=options, width=WIDTH)
        if kind == "str":
            return TextInput(title=name, value=str(value), width=WIDTH)
        if limits is None:
            mode: Any = kind
            return NumericInput(title=name, value=value, mode=mode, width=WIDTH)
        low, high = limits.low, limits.high
        if not low < high:
            return Spinner(title=name, value=value, low=low, high=high, width=WIDTH)
        step = limits.step or (1 if kind == "int" else (high - low) / STEPS)
        digits = "0" if kind == "int" else "0[.]0[0000]"
        return Slider(title=name, start=low, end=high, step=step, value=value, format=digits, width=WIDTH)

    def _shown(self, value: Value) -> Value:
        return str(value) if self._parameter.kind == "choice" else value

    def _changed(self, attribute: str, old: object, new: Any) -> None:
        if new != self._shown(self._value):
            self._change(self._parameter.name, new)

    def show(self, value: Value) -> None:
        """Show a parameter's new value after it was set elsewhere, such as in another browser."""
        if value != self._value:
            self.put(value)

    def put(self, value: Value) -> None:
        """Show a value and discard what a person has typed, for example when that was refused."""
        self._value = value
        setattr(self.widget, self._property, self._shown(value))


def row(*children: Any, **options: Any) -> Row:
    """Return a row of Bokeh widgets that breaks into a second line where the page is too narrow."""
    sheets: list[Any] = [InlineStyleSheet(css=ROW_STYLE)]
    return Row(children=list(children), stylesheets=sheets, **({"sizing_mode": "stretch_width"} | options))
