"""The report, and the page about a camera, in a real browser: nothing too wide, legible, chooser works."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mrcz_dask.numerics.reference.evidence import Mean
from mrcz_dask.report.camera import CameraData
from mrcz_dask.report.camera_alarms import judge
from mrcz_dask.report.camera_page import write_camera_page
from mrcz_dask.report.data import LeftOut, SessionData
from mrcz_dask.report.files import write_page
from tests.pages.test_palette import TEXT_CONTRAST
from tests.pages.wcag import breaches, look
from tests.report.camera_nights import steady

pytestmark = pytest.mark.slow

TOO_WIDE = "document.documentElement.scrollWidth - window.innerWidth"
READY = """document.readyState === "complete"
  && [...document.images].every((i) => i.complete && i.naturalWidth > 0)"""
# What is wider than the window although nothing around it can be moved sideways.
CUT_OFF = """[...document.querySelectorAll("main *")].filter((one) => {
  if (one.closest(".scroll, [hidden], details:not([open]) > :not(summary)")) return false
  return one.getBoundingClientRect().right > window.innerWidth + 1
}).map((one) => one.tagName + "." + one.className)"""
# The least contrast of any text with what it is written on.
LEAST_CONTRAST = """(() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number)
  const part = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b)
  const ground = (one) => {
    for (; one; one = one.parentElement) {
      const c = parse(getComputedStyle(one).backgroundColor)
      if (c.length === 3 || c[3] > 0.5) return c
    }
    return [255, 255, 255]
  }
  let least = 21
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  while (walk.nextNode()) {
    const one = walk.currentNode.parentElement
    if (!walk.currentNode.textContent.trim() || one.closest("script, style, svg, [hidden]")) continue
    const pair = [light(parse(getComputedStyle(one).color)), light(ground(one))].sort((a, b) => a - b)
    least = Math.min(least, (pair[1] + 0.05) / (pair[0] + 0.05))
  }
  return least
})()"""
DRAWN = """(() => {
  const box = document.getElementById("chooser")
  const count = (what) => box.querySelectorAll(what).length
  return [box.hidden, count(".drawing path"), count(".patches img"),
    box.querySelector(".said").textContent, box.querySelector(".drawing svg").getAttribute("aria-label")]
})()"""
CHOOSE = """(() => {
  const select = document.getElementById("stack")
  select.value = "%d"
  select.dispatchEvent(new Event("change"))
  return select.selectedOptions[0].textContent
})()"""


@pytest.fixture
def address(copy: Path) -> str:
    return write_page(copy).as_uri()


@pytest.fixture
def addresses(address: str, tmp_path: Path) -> list[str]:
    """The report of a session, and the page about a camera."""
    sessions = steady(3)
    changed = tuple(replace(s, hot=2 * s.hot, pattern=Mean(3e-4, 3e-6)) for s in sessions[56:])
    left_out = LeftOut("/data/x", "no run is known", True)
    data = CameraData(sessions[:56] + changed, (4096, 4096), (left_out,))
    page = tmp_path / "camera.html"
    write_camera_page(data, judge(data), page)
    return [address, page.as_uri()]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1300, 400])
def test_they_keep_wcag_aa(width: int, scheme: str, addresses: list[str], tab: Any, axe: str) -> None:
    look(tab, width, scheme)
    for address in addresses:
        tab.open(address)
        tab.until_it_is(READY, True)
        tab.ask("document.querySelectorAll('details').forEach((one) => { one.open = true })")
        assert breaches(tab, axe) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "phone"), [(1280, False), (390, True)])
def test_they_fit_the_window_and_are_legible(
    width: int, phone: bool, scheme: str, addresses: list[str], tab: Any
) -> None:
    tab.size(width, 800, phone=phone)
    tab.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    for address in addresses:
        tab.open(address)
        tab.until_it_is(READY, True)
        assert tab.ask(TOO_WIDE) <= 0
        assert tab.ask(CUT_OFF) == []
        assert tab.ask(LEAST_CONTRAST) >= TEXT_CONTRAST
        assert not tab.complaints


def test_any_stack_can_be_chosen(address: str, tab: Any, data: SessionData) -> None:
    tab.size(1280, 800)
    tab.open(address)
    tab.until_it_is(READY, True)
    for k, one in ((0, data.stacks[0]), (5, data.stacks[5])):
        assert tab.ask(CHOOSE % k) == f"{one.number}: {one.name}"
        hidden, paths, images, said, label = tab.ask(DRAWN)
        assert (hidden, paths, images) == (False, 4, 3)
        assert one.mask is not None and said.startswith(f"{one.mask.n_hot} hot") and one.name in label
    assert not tab.complaints


def test_without_scripts_the_first_and_the_worst_are_there(address: str, tab: Any) -> None:
    tab.send("Emulation.setScriptExecutionDisabled", value=True)
    tab.open(address)
    tab.until_it_is("document.readyState", "complete")
    assert tab.ask("document.getElementById('chooser').hidden")
    assert tab.ask(
        "['histogram.first', 'patch.worst'].every((key) => document.getElementById('figure-' + key))"
    )


def test_it_is_printed_without_what_only_a_screen_has(address: str, tab: Any) -> None:
    tab.open(address)
    tab.until_it_is(READY, True)
    tab.send("Emulation.setEmulatedMedia", media="print")
    assert tab.ask("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert tab.ask("getComputedStyle(document.getElementById('chooser')).display") == "none"
    assert len(tab.send("Page.printToPDF", preferCSSPageSize=True)["data"]) > 10_000
    assert not tab.complaints
