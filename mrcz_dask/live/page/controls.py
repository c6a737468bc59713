"""Controls for a processor's parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bokeh.models.widgets import Checkbox, NumericInput, Select, Slider, Spinner, TextInput

from mrcz_dask.live.processors.declare import Parameter, Value

# Steps of a slider where nobody said how many.
STEPS = 100
WIDTH = 170

Set = Callable[[str, Any], None]


class Control:
    """A widget that sets one parameter.

    Parameters
    ----------
    parameter
        What is set.
    value
        As it is.
    change
        Is given the name and the value that a person chose.
    """

    def __init__(self, parameter: Parameter, value: Value, change: Set) -> None:
        self._parameter, self._change = parameter, change
        self.widget, self._of = _widget(parameter, value)
        # A slider that is drawn along would set every value on its way.
        told = "value_throttled" if isinstance(self.widget, Slider) else self._of
        self.widget.on_change(told, self._changed)
        self._shown = value

    def _changed(self, attribute: str, old: object, new: Any) -> None:
        if new != self._as_shown(self._shown):
            self._change(self._parameter.name, new)

    def _as_shown(self, value: Value) -> Value:
        return str(value) if self._parameter.kind == "choice" else value

    def show(self, value: Value) -> None:
        """Show a value that was set here or elsewhere."""
        if value != self._shown:
            self.put(value)

    def put(self, value: Value) -> None:
        """Show a value, whatever a person has typed."""
        self._shown = value
        setattr(self.widget, self._of, self._as_shown(value))


def _widget(one: Parameter, value: Value) -> tuple[Any, str]:
    """Return the widget of a parameter, and which of its properties has the value."""
    if one.kind == "bool":
        return Checkbox(label=one.name, active=bool(value)), "active"
    if one.kind == "choice":
        options: list[Any] = [str(each) for each in one.choices]
        return Select(title=one.name, value=str(value), options=options, width=WIDTH), "value"
    if one.kind == "str":
        return TextInput(title=one.name, value=str(value), width=WIDTH), "value"
    return _number(one, value), "value"


def _number(one: Parameter, value: Any) -> Any:
    if one.range is None:
        mode: Any = one.kind
        return NumericInput(title=one.name, value=value, mode=mode, width=WIDTH)
    low, high = one.range.low, one.range.high
    step = one.range.step or (1 if one.kind == "int" else (high - low) / STEPS)
    if not low < high:
        return Spinner(title=one.name, value=value, low=low, high=high, width=WIDTH)
    digits = "0" if one.kind == "int" else "0[.]0[0000]"
    return Slider(title=one.name, start=low, end=high, step=step, value=value, format=digits, width=WIDTH)
