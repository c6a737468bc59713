"""The panel of one processor on the live page: its state, its controls, its plots."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bokeh.models import Column, InlineStyleSheet, Row
from bokeh.models.widgets import Button, Checkbox, NumericInput, Select, Slider, Spinner, TextInput

from mrcz_dask.live.page.plots import PLOTS, Plot
from mrcz_dask.live.processors.declare import Parameter, Scalar, Spec, Value
from mrcz_dask.live.session import LiveSession
from mrcz_dask.live.view import PanelState, SourceState
from mrcz_dask.pages.server import put, text
from mrcz_dask.values.errors import ParameterError

LAST = 20  # values whose scatter tells how many digits are shown
STEPS = 100  # of a slider whose range names no step
WIDTH = 170
STYLE = (Path(__file__).parent / "live.css").read_text("utf-8")
ROW_STYLE = ":host { flex-wrap: wrap; gap: 4px 2px; align-items: flex-end; }"
PLOTS_STYLE = """
  :host { display: grid !important; gap: 4px 12px; }
  :host { grid-template-columns: repeat(auto-fill, minmax(min(240px, 100%), 1fr)); }
  :host(.even) { grid-template-columns: repeat(auto-fit, minmax(min(300px, 100%), 1fr)); }
"""


class ProcessorPanel:
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

    def __init__(self, view: LiveSession, name: str) -> None:
        self._view, self._name = view, name
        self._since, self._refusal = 0, ""
        self._spec: Spec | None = None
        self._scalars: dict[str, deque[float]] = {}
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
        url, kinds = f"live/export/{quote(name, safe='')}", KINDS.items()
        items = " ".join(f"<a href='{url}.{kind}' download>{label}</a>" for kind, label in kinds)
        html = f"<div class='links'>export {items}</div>"
        links = text(html, style=STYLE, width=170, sizing_mode="fixed")
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
        self._since, self._scalars = 0, {}
        for plot in self._plots:
            plot.clear()

    def update(self, state: PanelState) -> None:
        """Show the processor's present state and parameters, and plot its new results."""
        spec = state.spec
        if spec is not None and spec != self._spec:  # loaded, or changed by an edit
            self._spec, self._refusal, values = spec, "", state.values
            self._controls = {p.name: Control(p, values[p.name], self._set_value) for p in spec.parameters}
            self._plots = [PLOTS[type(each)](f"{self._name}.{each.name}", each) for each in spec.outputs]
            self._parameters.children = [control.widget for control in self._controls.values()]
            self.plots.children = [plot.figure for plot in self._plots]
            count = len(self._plots)
            self.plots.css_classes = ["wide"] * (count > 1) + ["even"] * (count in (1, 2, 4))
            self._clear()
        for name, control in self._controls.items():
            if state.values[name] != control.value:  # set elsewhere, such as in another browser
                control.show(state.values[name])
        place, results = self._view.results(self._name, self._since)
        if place < self._since:  # a reset
            self._clear()
            place, results = self._view.results(self._name, 0)
        self._since = place
        if results:
            for name, value in ((name, v) for one in results[-LAST:] for name, v in one.values.items()):
                if isinstance(value, int | float):
                    self._scalars.setdefault(name, deque(maxlen=LAST)).append(float(value))
            for plot in self._plots:
                plot.show(results)
        self._update_texts(state)

    def _update_texts(self, state: PanelState) -> None:
        self._is_paused = state.status == "paused"
        put(self._pause, "label", "go on" if self._is_paused else "pause")
        put(self._head, "text", head(state))
        put(self._numbers, "text", numbers(state, self._scalars))
        html = trouble(state, self._refusal)
        put(self._trouble, "text", html)
        put(self._trouble, "visible", bool(html))

    def _set_value(self, parameter: str, value: Any) -> None:
        """Set a parameter, or tell why it cannot have this value; show the values that are in force."""
        try:
            self._view.set_value(self._name, parameter, value)
            self._refusal = ""
        except ParameterError as error:
            self._refusal = str(error)
        state = next(state for state in self._view.panels() if state.name == self._name)
        for name in self._controls.keys() & state.values.keys():  # an edit may have come between
            self._controls[name].show(state.values[name])
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

    Attributes
    ----------
    value
        The value in force.
    """

    def __init__(self, parameter: Parameter, value: Value, change: Callable[[str, Any], None]) -> None:
        self._parameter, self._change, self.value = parameter, change, value
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

    def _changed(self, attribute: str, old: object, new: Any) -> None:
        if new != (str(self.value) if self._parameter.kind == "choice" else self.value):
            self._change(self._parameter.name, new)

    def show(self, value: Value) -> None:
        """Show a value and discard what a person has typed, for example when that was refused."""
        self.value = value
        setattr(self.widget, self._property, str(value) if self._parameter.kind == "choice" else value)


def row(*children: Any, **options: Any) -> Row:
    """Return a row of Bokeh widgets that breaks into a second line where the page is too narrow."""
    sheets: list[Any] = [InlineStyleSheet(css=ROW_STYLE)]
    return Row(children=list(children), stylesheets=sheets, **({"sizing_mode": "stretch_width"} | options))


KINDS = {"csv": "CSV", "png": "PNG", "zarr.zip": "Zarr"}


def headline(source: SourceState) -> str:
    """Return HTML with the name, status and frame counts of a live session's source."""
    if source.error:
        status, style = "error", "failed"
    elif source.ended or source.paused:
        status = style = "ended" if source.ended else "paused"
    else:
        status, style = ("running", "running") if source.number >= 0 else ("waiting for frames", "waiting")
    shape = source.shape
    recorded = "no" if source.recorded is None else f"{source.recorded} of {source.received}"
    facts = [
        ("frame", "frame", str(source.number) if source.number >= 0 else "-"),
        ("rate", "frames/s", f"{source.rate:.1f}"),
        *([("missing", "missing", f"{source.missing} frames")] if source.missing else []),
        ("recorded", "recorded", recorded),
        ("image", "image", "-" if shape is None else f"{shape[1]} x {shape[0]} {source.dtype}"),
        ("pixel", "pixel", f"{source.pixel_size:g} Å" if source.pixel_size else "-"),
        ("roi", "region y, x", str(source.roi).replace(",", ", ") if source.roi else "whole frame"),
    ]
    items = []
    for key, label, fact in facts:
        bad = " class='bad'" if key == "missing" else ""
        items.append(f"<div><dt>{label}</dt><dd{bad} data-fact='{key}'>{escape(fact)}</dd></div>")
    error = f"<pre class='bad' data-fact='error'>{escape(source.error)}</pre>" if source.error else ""
    return (
        f"<h1><span data-fact='source'>{escape(source.name)}</span> {_pill(status, style, 'standing')}</h1>"
        f"<dl class='facts'>{''.join(items)}</dl>{error}"
    )


def _pill(text: str, style: str, fact: str) -> str:
    return f"<span class='pill {style}' data-fact='{escape(fact, quote=True)}'>{escape(text)}</span>"


def head(panel: PanelState) -> str:
    """Return HTML with the name, status and title of a processor, for the head of its panel."""
    title = f"{panel.spec.title.rstrip('.')}; in " if panel.spec else "in "
    status: str = panel.status
    if status in ("running", "waiting"):  # that of single frames would flicker
        status = "failed" if panel.trace else "running" if panel.rate else status
    version = f", version {panel.version}" if panel.version > 1 else ""
    return (
        f"<h2>{escape(panel.name)} {_pill(status, status, f'{panel.name}.status')}</h2>"
        f"<div class='quiet'>{escape(title)}{escape(panel.file)}"
        f"<span data-fact='{_key(panel)}.version'>{version}</span></div>"
    )


def numbers(panel: PanelState, scalars: Mapping[str, Sequence[float]]) -> str:
    """Return HTML with a processor's last scalars, frames per second, delay, and numbers of frames.

    Parameters
    ----------
    panel
        The processor's state.
    scalars
        Its last values by output, the newest at the end: digits below their scatter are noise.
    """
    shown = []
    for output in panel.spec.outputs if panel.spec else ():
        if isinstance(output, Scalar) and (values := scalars.get(output.name)):
            fact = f"<b data-fact='{_key(panel)}.{output.name}'>{rounded(values)}</b>"
            shown.append(f"<span>{output.name} {fact} {escape(output.unit)}</span>")
    lag = f"{panel.lag:.1f} s" if panel.lag >= 1 else f"{1000 * panel.lag:.0f} ms"
    counts = [f"{panel.rate:.1f} frames/s", f"lag {lag}", f"{panel.processed} done"]
    if panel.roi:
        counts.append(f"region {panel.roi}".replace(",", ", "))
    counts += [f"{n} {word}" for n, word in ((panel.behind, "behind"), (panel.skipped, "skipped")) if n]
    troubles = ((panel.failed, "failed"), (panel.restarts, "restarts"))
    counts += [f"<b class='bad'>{count} {word}</b>" for count, word in troubles if count]
    line = "".join(f"<span>{count}</span>" for count in counts)
    return f"<div class='values'>{''.join(shown)}</div><div class='stats'>{line}</div>"


def rounded(values: Sequence[float]) -> str:
    """Return the last of some values as text, with one digit of what they scatter by from one to the next."""
    last, known = values[-1], [value for value in values if math.isfinite(value)]
    if not math.isfinite(last):
        return "-"
    steps = sorted(abs(b - a) for a, b in pairwise(known) if a != b)
    if not steps:
        return f"{last:.5g}"
    decimals = max(0, -math.floor(math.log10(steps[len(steps) // 2])))
    return f"{last:.{decimals}f}" if decimals <= 6 and abs(last) < 1e7 else f"{last:.3g}"


def trouble(panel: PanelState, refusal: str) -> str:
    """Return HTML with a processor's errors and a refused parameter value; '' if there are none."""
    html, key = "", _key(panel)
    if refusal:
        html += f"<p class='bad' data-fact='{key}.refused'>{escape(refusal)}</p>"
    if panel.load_error:
        goes_on = f"version {panel.version} goes on" if panel.version else "there is no other version"
        html += f"<p class='bad'>The edited file was not taken; {goes_on}.</p>"
        html += f"<pre data-fact='{key}.load_error'>{escape(panel.load_error)}</pre>"
    if panel.trace:
        html += f"<pre data-fact='{key}.trace'>{escape(panel.trace)}</pre>"
    return html


def _key(panel: PanelState) -> str:
    return escape(panel.name, quote=True)
