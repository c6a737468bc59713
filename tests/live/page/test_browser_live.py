"""A real session in a real browser: what processors return, a region that is drawn, an edit, a failure."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from mrcz_dask.engine.clusters import ClientOptions
from mrcz_dask.live.frames import Frame, Publish
from mrcz_dask.live.page.page import served_live
from mrcz_dask.live.processors.host import Script
from mrcz_dask.live.processors.pool import Pool, open_pool
from mrcz_dask.live.processors.results import ResultStore
from mrcz_dask.live.session import LiveParams, LiveSession
from mrcz_dask.values.messages import silent
from tests.live.page.browsers import open_browser
from tests.pages.wcag import breaches, look

pytestmark = pytest.mark.slow

Write = Callable[[str, str], Script]
SHAPE = (120, 160)
# Sliders get names some time after they are there.
NAMED = """(() => {
  const named = (root) => root.querySelector(".noUi-handle[aria-label]") !== null
    || [...root.querySelectorAll("*")].some((one) => one.shadowRoot && named(one.shadowRoot))
  return named(document)
})()"""
TOO_WIDE = "document.documentElement.scrollWidth - window.innerWidth"
MEAN = """
@processor(Scalar("mean"), Profile("across"))
def mean(frame, *, offset: Annotated[float, Range(0, 10)] = 0.0, root: bool = False):
    '''Mean of the region'''
    return {"mean": frame.mean() + offset, "across": frame.mean(axis=0)}
"""
BROKEN = """
@processor(Image("rest"))
def broken(frame):
    '''Fails & <b>says</b> so'''
    return frame / nothing
"""
AGAIN = """
@processor(Scalar("largest"), Image("half"))
def broken(frame):
    '''Edited'''
    return {"largest": frame.max(), "half": frame[::2, ::2]}
"""


class Steps:
    """A camera: what is in the left half is 1, in the right half 3; the newest frame is repeated."""

    name = "steps <i>"

    def run(self, publish: Publish, stop: Event) -> None:
        image = np.ones(SHAPE, np.uint16)
        image[:, SHAPE[1] // 2 :] = 3
        number = 0
        while not stop.wait(0.1):
            publish([Frame(number, 1e9 + number / 10, image, "stack", number)])
            number += 1


@pytest.fixture(scope="module")
def workers() -> Iterator[Pool]:
    with open_pool(ClientOptions(), 2, 400_000_000, silent) as made:
        yield made


@pytest.fixture(scope="module")
def opened() -> Callable[[Path], AbstractContextManager[Any]]:
    return open_browser()


@pytest.fixture
def tab(opened: Callable[[Path], AbstractContextManager[Any]], tmp_path: Path) -> Iterator[Any]:
    with opened(tmp_path / "browser") as one:
        yield one


@contextmanager
def watched(workers: Pool, scripts: list[Script], folder: Path) -> Iterator[tuple[LiveSession, str]]:
    """Give a session that runs, and the address of its page."""
    store = ResultStore(folder / "live.zarr")
    session = LiveSession(Steps(), scripts, workers, silent, LiveParams(), store=store)
    session.start()
    try:
        with served_live(session, store=store.path) as address:
            yield session, address
    finally:
        session.close()


def edit(script: Script, text: str) -> None:
    """Replace a processor's file, as editors do."""
    path = Path(script.path)
    new = path.with_suffix(".new")
    new.write_text(path.read_text().split("@processor")[0] + text)
    new.replace(path)


def value(name: str, column: str = "value") -> str:
    """Return an expression for the last value that a plot shows."""
    return f"(Bokeh.documents[0].get_model_by_name({name!r})?.data[{column!r}] ?? []).at(-1)"


def test_a_session_in_a_browser(workers: Pool, write: Write, tmp_path: Path, tab: Any) -> None:
    scripts = [write("mean", MEAN), write("broken", BROKEN)]
    with watched(workers, scripts, tmp_path) as (session, address):
        tab.size(1280, 900)
        tab.open(address)
        _values_and_failures_are_shown(tab)
        _a_drawn_region_changes_values(tab, session)
        _a_control_changes_values(tab)
        _an_edit_changes_its_panel(tab, scripts[1])
        _it_fits(tab)
        assert not tab.complaints


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1300, 400])
def test_it_keeps_wcag_aa(
    width: int, scheme: str, workers: Pool, write: Write, tmp_path: Path, tab: Any, axe: str
) -> None:
    look(tab, width, scheme)
    with watched(workers, [write("mean", MEAN)], tmp_path) as (_, address):
        tab.open(address)
        tab.until(lambda said: "mean.mean" in said)
        tab.until_it_is(NAMED, True)
        assert breaches(tab, axe) == []


def _values_and_failures_are_shown(tab: Any) -> None:
    said = tab.until(lambda said: "mean.mean" in said and "broken.trace" in said)
    assert said["source"] == "steps <i>" and said["mean.mean"] == "2"
    assert said["broken.status"] == "failed" and "NameError" in said["broken.trace"]
    assert "broken.py" in said["broken.trace"]
    tab.until_it_is(value("mean.mean"), 2)
    tab.until_it_is(f"Array.from({value('mean.across', 'ys')} ?? []).length", SHAPE[1])
    tab.until_it_is("Bokeh.documents[0].get_model_by_name('source.image').data.image.length", 1)


def _a_drawn_region_changes_values(tab: Any, session: LiveSession) -> None:
    tab.until_it_is(f"Math.round(Bokeh.index.find_one({PLOT}).frame.x_range.end) >= {SHAPE[1]}", True)
    tab.drag(tab.place("source.plot", 100, 20), tab.place("source.plot", 140, 90), shift=True)
    said = tab.until(lambda said: said["mean.mean"] == "3")
    assert said["roi"] != "whole frame"
    roi = session.source().roi
    assert roi is not None
    found, drawn = np.array([roi.y0, roi.y1, roi.x0, roi.x1]), np.array([20, 90, 100, 140])
    assert np.abs(found - drawn).max() <= 2
    tab.until_it_is(f"Array.from({value('mean.across', 'ys')}).length", roi.x1 - roi.x0)
    tab.press("source.clear")
    tab.until(lambda said: said["mean.mean"] == "2" and said["roi"] == "whole frame")


def _a_control_changes_values(tab: Any) -> None:
    slider = "Bokeh.documents[0].get_model_by_name('mean.controls').children[0]"
    tab.ask(f"{slider}.value = 4; {slider}.value_throttled = 4")
    tab.until(lambda said: said["mean.mean"] == "6")


def _an_edit_changes_its_panel(tab: Any, script: Script) -> None:
    edit(script, AGAIN)
    said = tab.until(lambda said: said.get("broken.largest") == "3")
    assert "broken.trace" not in said and said["broken.version"] == ", version 2"
    tab.until_it_is(f"{value('broken.half', 'image')}?.shape?.join()", "60,80")
    edit(script, "@processor(\n")
    said = tab.until(lambda said: "broken.load_error" in said)
    assert "SyntaxError" in said["broken.load_error"] and said["broken.largest"] == "3"


PLOT = "Bokeh.documents[0].get_model_by_name('source.plot')"


def _it_fits(tab: Any) -> None:
    for width, phone in ((1280, False), (390, True)):
        tab.size(width, 844, phone=phone)
        tab.until_it_is("window.innerWidth", width)
        tab.until_it_is(f"{TOO_WIDE} <= 0", True)
