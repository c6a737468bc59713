"""A live session that is made up: what it says is what a test has put there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from bokeh.document import Document
from bokeh.events import ButtonClick
from bokeh.models import Div
from numpy.typing import NDArray

from mrcz_dask.live.frames import Roi
from mrcz_dask.live.page.page import LivePage
from mrcz_dask.live.processors.declare import (
    Image,
    Parameter,
    ProcessorOutput,
    Profile,
    Range,
    Scalar,
    Spec,
    Value,
)
from mrcz_dask.live.view import PanelState, Result, SourceState

SCALAR, PROFILE, IMAGE = (
    Scalar("dose", "counts"),
    Profile("line", "counts", "place", "Å"),
    Image("map", "counts"),
)
PARAMETERS = (
    Parameter("smooth", "int", 5, range=Range(1, 50)),
    Parameter("sigma", "float", 1.5),
    Parameter("mode", "choice", "mean", choices=("mean", "median")),
    Parameter("log", "bool", False),
    Parameter("label", "str", "x"),
)


def spec(
    name: str, *outputs: ProcessorOutput, parameters: tuple[Parameter, ...] = (), title: str = ""
) -> Spec:
    return Spec(name, title or f"The {name} of each frame", outputs, parameters)


class Double:
    """Stands for a `Session`."""

    def __init__(self, *specs: Spec | None) -> None:
        self.state = SourceState("camera")
        self.frame: tuple[int, NDArray[Any]] | None = None
        self.asked: list[tuple[Any, ...]] = []
        self.kept: dict[str, list[Result]] = {}
        self.panel: dict[str, PanelState] = {}
        for k, one in enumerate(specs):
            name = one.name if one else f"later{k}"
            values = one.values({}) if one else {}
            self.panel[name] = PanelState(
                name, f"{name}.py", one, values, "waiting", version=int(one is not None)
            )
            self.kept[name] = []

    def tell(self, name: str, **changed: Any) -> None:
        self.panel[name] = replace(self.panel[name], **changed)

    def say(self, name: str, number: int, **values: Any) -> None:
        self.kept[name].append(Result(number, 1.7e9 + number / 10, values))

    def show(self, number: int, image: NDArray[Any]) -> None:
        self.frame = number, image
        shape = (image.shape[0], image.shape[1])
        self.state = replace(
            self.state, number=number, received=number + 1, shape=shape, dtype=str(image.dtype)
        )

    def source(self) -> SourceState:
        return self.state

    def newest(self) -> tuple[int, NDArray[Any]] | None:
        return self.frame

    def panels(self) -> Sequence[PanelState]:
        return list(self.panel.values())

    def results(self, panel: str, since: int) -> tuple[int, Sequence[Result]]:
        return len(self.kept[panel]), self.kept[panel][since:]

    def set_roi(self, roi: Roi | None, panel: str | None = None) -> None:
        self.asked.append(("roi", roi) if panel is None else ("roi", roi, panel))
        if panel is None:
            self.state = replace(self.state, roi=roi)
        else:
            self.tell(panel, roi=roi)

    def set_value(self, panel: str, parameter: str, value: Value) -> None:
        known = self.panel[panel]
        assert known.spec is not None
        found = next(one for one in known.spec.parameters if one.name == parameter).checked(value)
        self.asked.append(("value", panel, parameter, found))
        self.tell(panel, values=known.values | {parameter: found})

    def pause(self, paused: bool, panel: str | None = None) -> None:
        self.asked.append(("pause", paused, panel))
        if panel is None:
            self.state = replace(self.state, paused=paused)
        for name in list(self.panel) if panel is None else [panel]:
            self.tell(name, status="paused" if paused else "running")

    def reset(self, panel: str) -> None:
        self.asked.append(("reset", panel))
        self.kept[panel] = []


def ramp(ny: int, nx: int) -> NDArray[np.float32]:
    """Return an image that grows downwards and to the right."""
    return (np.arange(ny)[:, None] * 10 + np.arange(nx)).astype(np.float32)


class Seen:
    """A page of a session in a document."""

    def __init__(self, view: Double) -> None:
        self.document, self.sent = Document(), list[Any]()
        self.threads = ThreadPoolExecutor(1)
        self.page = LivePage(view, self.threads)
        self.page.attach(self.document)
        self.document.on_change(self.sent.append)

    def update(self) -> None:
        self.sent.clear()
        self.page.update()

    def settle(self) -> None:
        """Update until the frame at hand is shown."""
        self.page.update()
        self.threads.submit(time.sleep, 0).result()
        self.page.update()

    def get(self, name: str) -> Any:
        found = self.document.get_model_by_name(name)
        assert found is not None, name
        return found

    def data(self, name: str) -> dict[str, Any]:
        return dict(self.get(name).data)

    def text(self) -> str:
        return " ".join(one.text for one in self.document.select({"type": Div}))

    def widget(self, panel: str, name: str) -> Any:
        return next(
            one
            for one in self.get(f"{panel}.controls").children
            if name in (getattr(one, "title", None), getattr(one, "label", None))
        )

    def press(self, name: str) -> None:
        self.get(name)._trigger_event(ButtonClick(self.get(name)))
