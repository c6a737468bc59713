"""The page in a real browser: it loads, says what the run says, and follows it to its end."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mrcz_dask.numerics.simulate import named
from mrcz_dask.session.simulation import write_session
from tests.pages.wcag import breaches, look

from .conftest import Made
from .test_page import SCRIPT

pytestmark = pytest.mark.slow

STACKS = 24
# What the browser has to say of a server that is gone.
AFTER_THE_END = ("ERR_CONNECTION_REFUSED", "cannot send", "Could not open websocket")
# Of the page as it is laid out: what is wider than the window would have to be scrolled to.
TOO_WIDE = "document.documentElement.scrollWidth - window.innerWidth"


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser") / "session"
    params = named("standard", shape=(512, 512), frames=8, stacks=STACKS, seed=3, carbon=(5,))
    write_session(folder, params)
    return folder


@contextmanager
def running(*arguments: object) -> Iterator[tuple[str, Callable[[], int]]]:
    """Give the address of the page of a command that runs, and what waits for its end."""
    command = [sys.executable, "-m", "mrcz_dask.cli.app", "koma", *map(str, arguments), "--log-json"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def end() -> int:
        process.communicate(timeout=300)
        return process.returncode

    try:
        assert process.stderr is not None
        told = (json.loads(line) for line in process.stderr)
        yield next(one["address"] for one in told if one["event"] == "PageReady"), end
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


@pytest.mark.parametrize(
    "where", [("--workers", 1), ("--workers", 0, "--page", 0)], ids=["dashboard", "alone"]
)
def test_the_page_follows_a_run_to_its_end(
    where: tuple[object, ...], session: Path, tmp_path: Path, tab: Any
) -> None:
    with running(session, "-o", tmp_path / "out", "--radius", 3, *where) as (address, end):
        tab.open(address)
        first = tab.until(lambda said: said.get("headline", "").startswith("running"))
        seen = [first["done"]]

        def is_over(said: dict[str, str]) -> bool:
            if said["done"] != seen[-1]:
                seen.append(said["done"])
            return said["headline"] == "finished"

        last = tab.until(is_over, 120)
        assert end() == 0
        lost = tab.until(lambda said: "lost" in said)
    assert last["done"] == f"{STACKS} of {STACKS}" and last["contrast"] == "1 stack"
    assert len(seen) > 2, f"the page said {seen}"
    assert (lost["headline"], lost["done"]) == ("finished", last["done"])
    assert not [text for text in tab.complaints if not any(one in text for one in AFTER_THE_END)]


@pytest.mark.parametrize(("width", "phone"), [(1280, False), (390, True)])
def test_it_fits_the_window(width: int, phone: bool, out: Path, tab: Any) -> None:
    with served(out) as address:
        tab.size(width, 800, phone=phone)
        tab.open(address)
        tab.until(lambda said: "done" in said)
        tab.until_it_is(FIGURES, 6)
        assert tab.ask(TOO_WIDE) <= 0
    assert not tab.complaints


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1300, 400])
def test_it_keeps_wcag_aa(width: int, scheme: str, out: Path, tab: Any, axe: str) -> None:
    look(tab, width, scheme)
    with served(out) as address:
        tab.open(address)
        tab.until_it_is(FIGURES, 6)
        assert breaches(tab, axe) == []


def test_names_stay_text(made: Made, tab: Any) -> None:
    from mrcz_dask.monitor.listener import SessionListener
    from mrcz_dask.monitor.page import monitor_site
    from mrcz_dask.pages.server import Server
    from mrcz_dask.values import messages

    live = SessionListener()
    live(made.started())
    live(messages.StackFound(SCRIPT, "x.mrcz", "2026-01-01 00:00:00", "mdoc", 1))
    live(messages.StackFailed(messages.SUMS, SCRIPT, "<img src=x onerror='window.bad = 1'>", 1))
    page = Server(monitor_site(live), "127.0.0.1", 0)
    try:
        tab.open(page.address)
        said = tab.until(lambda said: "done" in said)
        assert said["failed"] == "1 failed"
        assert tab.ask("window.bad === undefined")
    finally:
        page.close()


FIGURES = """(() => {
  let count = 0
  const look = (root) => {
    for (const one of root.querySelectorAll("*")) {
      if (one.classList.contains("bk-Figure") && one.getBoundingClientRect().height > 100) count += 1
      if (one.shadowRoot) look(one.shadowRoot)
    }
  }
  look(document)
  return count
})()"""


@contextmanager
def served(out: Path) -> Iterator[str]:
    """Serve the page of a run that is over."""
    from mrcz_dask.monitor.listener import SessionListener
    from mrcz_dask.monitor.page import monitor_site
    from mrcz_dask.pages.server import Server
    from mrcz_dask.session.log import read_messages

    live = SessionListener()
    for _, message in read_messages(out):
        live(message)
    page = Server(monitor_site(live), "127.0.0.1", 0)
    try:
        yield page.address
    finally:
        page.close()
