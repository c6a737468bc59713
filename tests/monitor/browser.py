"""Debian's Chromium without a window, driven over the DevTools protocol with Tornado's websockets."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tornado.websocket import websocket_connect

SECONDS = 60
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
SHIFT = 8
# Where a place of a Bokeh plot is in the window.
PLACE = """((name, x, y) => {
  const view = Bokeh.index.find_one(Bokeh.documents[0].get_model_by_name(name))
  const {left, top} = view.canvas_view.el.getBoundingClientRect()
  return [left + view.frame.x_scale.compute(x), top + view.frame.y_scale.compute(y)]
})"""
PRESS = """((name) => {
  const view = Bokeh.index.find_one(Bokeh.documents[0].get_model_by_name(name))
  view.shadow_el.querySelector("button").click()
})"""
# What is in the shadow trees of Bokeh's widgets, too.
FACTS = """(() => {
  const found = {}
  const look = (root) => {
    for (const one of root.querySelectorAll("*")) {
      if (one.dataset && one.dataset.fact) found[one.dataset.fact] = one.innerText
      if (one.shadowRoot) look(one.shadowRoot)
    }
  }
  look(document)
  return found
})()"""


def browser() -> str | None:
    """Return the program; it is installed where that can be done."""
    found = shutil.which("chromium")
    if found is None and shutil.which("apt-get") and os.geteuid() == 0:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": False}
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update"], **quiet)
        subprocess.run(
            ["apt-get", "install", "-y", "--no-install-recommends", "chromium"], **quiet, env=environment
        )
        found = shutil.which("chromium")
    return found


class Tab:
    """A page in the browser.

    Attributes
    ----------
    complaints
        Errors of its console, exceptions, and what could not be loaded.
    """

    def __init__(self, address: str) -> None:
        self.complaints: list[str] = []
        self._numbers = itertools.count(1)
        self._loop = asyncio.new_event_loop()
        self._socket = self._loop.run_until_complete(self._connect(address))
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    @staticmethod
    async def _connect(address: str) -> Any:
        return await websocket_connect(address, max_message_size=1 << 28)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.write_message(json.dumps({"id": number, "method": method, "params": parameters}))
        return self._loop.run_until_complete(asyncio.wait_for(self._answer(number), SECONDS))

    async def _answer(self, number: int) -> dict[str, Any]:
        while True:
            told = await self._socket.read_message()
            assert told is not None, "the browser has gone"
            message = json.loads(told)
            self._note(message)
            if message.get("id") == number:
                assert "error" not in message, message["error"]
                return dict(message["result"])

    def _note(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        match message.get("method"):
            case "Runtime.consoleAPICalled" if parameters["type"] in ("error", "assert"):
                values = [str(a.get("value", a.get("description"))) for a in parameters["args"]]
                self.complaints.append(" ".join(values))
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(parameters["exceptionDetails"]))
            case "Log.entryAdded" if parameters["entry"]["level"] == "error":
                self.complaints.append(json.dumps(parameters["entry"]))
            case "Network.responseReceived" if parameters["response"]["status"] >= 400:
                self.complaints.append(f"{parameters['response']['status']} {parameters['response']['url']}")
            case _:
                pass

    def size(self, width: int, height: int, *, phone: bool = False) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )

    def open(self, address: str) -> None:
        self.send("Page.navigate", url=address)

    def ask(self, expression: str) -> Any:
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def facts(self) -> dict[str, str]:
        """Return what the page says, as a person reads it."""
        return dict(self.ask(FACTS))

    def until(self, fits: Callable[[dict[str, str]], bool], seconds: float = SECONDS) -> dict[str, str]:
        """Return what the page says as soon as it fits."""
        end = time.monotonic() + seconds
        while not fits(found := self.facts()):
            assert time.monotonic() < end, f"the page says {found}; {self.complaints}"
            time.sleep(0.1)
        return found

    def until_it_is(self, expression: str, value: Any, seconds: float = SECONDS) -> None:
        """Return as soon as an expression has a value."""
        end = time.monotonic() + seconds
        while (found := self.ask(expression)) != value:
            assert time.monotonic() < end, f"{found} is not {value}; {self.complaints}"
            time.sleep(0.1)

    def place(self, plot: str, x: float, y: float) -> tuple[float, float]:
        """Return where a place of a plot is in the window."""
        left, top = self.ask(f"{PLACE}({json.dumps(plot)}, {x}, {y})")
        return left, top

    def press(self, button: str) -> None:
        """Press a Bokeh button."""
        self.ask(f"{PRESS}({json.dumps(button)})")

    def drag(self, begin: tuple[float, float], end: tuple[float, float], *, shift: bool = False) -> None:
        """Press the mouse, draw it along, and let it go."""
        middle = ((begin[0] + end[0]) / 2, (begin[1] + end[1]) / 2)
        steps = (("mouseMoved", begin, 0), ("mousePressed", begin, 1), ("mouseMoved", middle, 1),
                 ("mouseMoved", end, 1), ("mouseReleased", end, 0))  # fmt: skip
        for kind, (x, y), buttons in steps:
            self.send(
                "Input.dispatchMouseEvent",
                type=kind,
                x=x,
                y=y,
                button="none" if kind == "mouseMoved" and not buttons else "left",
                buttons=buttons,
                modifiers=SHIFT if shift else 0,
                clickCount=1,
            )

    def picture(self, path: Path, *, whole: bool = True) -> None:
        shown = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shown["data"]))

    def close(self) -> None:
        self._socket.close()
        self._loop.run_until_complete(asyncio.sleep(0.1))
        self._loop.close()


@contextmanager
def opened(program: str, folder: Path) -> Iterator[Tab]:
    """Give a tab of a browser of its own."""
    command = [program, *OPTIONS, f"--user-data-dir={folder}", "--remote-debugging-port=0", "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            tab = Tab(_target(folder / "DevToolsActivePort"))
            try:
                yield tab
            finally:
                tab.close()
        finally:
            running.terminate()
            running.wait(SECONDS)


def _target(file: Path) -> str:
    end = time.monotonic() + SECONDS
    while not (file.exists() and file.read_text().strip()):
        assert time.monotonic() < end, "the browser does not start"
        time.sleep(0.1)
    with urlopen(f"http://127.0.0.1:{file.read_text().split()[0]}/json/list") as answer:
        targets = json.load(answer)
    return str(next(one["webSocketDebuggerUrl"] for one in targets if one["type"] == "page"))
