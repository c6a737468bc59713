"""The live page's document: what is new is shown and sent, what a person asks for is asked of the session."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from bokeh.document import Document
from bokeh.events import ButtonClick, RangesUpdate
from bokeh.models import Model

from mrcz_dask.live.declare import Image, Parameter, Profile, Range, Scalar
from mrcz_dask.live.frames import Roi
from mrcz_dask.live.page import LivePage
from mrcz_dask.live.plots import LINES, POINTS

from .double import IMAGE, PARAMETERS, PROFILE, SCALAR, Double, ramp, spec

SCRIPT = "<script>alert(1)</script>"


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
        return " ".join(one.text for one in self.document.select({"type": _div()}))

    def widget(self, panel: str, name: str) -> Any:
        return next(
            one
            for one in self.get(f"{panel}.controls").children
            if name in (getattr(one, "title", None), getattr(one, "label", None))
        )

    def press(self, name: str) -> None:
        self.get(name)._trigger_event(ButtonClick(self.get(name)))


def _div() -> type[Model]:
    from bokeh.models.widgets import Div

    return Div


@pytest.fixture
def view() -> Double:
    return Double(spec("all", SCALAR, PROFILE, IMAGE, parameters=PARAMETERS))


def say(view: Double, number: int, panel: str = "all") -> None:
    places = np.arange(5.0)
    view.say(panel, number, dose=float(number), line=(places, places + number), map=ramp(4, 6) + number)


def test_a_session_that_has_not_begun_has_a_page() -> None:
    seen = Seen(Double(None))
    assert "waiting for frames" in seen.text() and "starting" not in seen.text()


def test_results_become_points_lines_and_an_image(view: Double) -> None:
    seen = Seen(view)
    for number in range(3):
        say(view, number)
    seen.update()
    assert seen.data("all.dose")["value"].tolist() == [0, 1, 2]
    assert seen.data("all.dose")["frame"].tolist() == [0, 1, 2]
    assert [y.tolist() for y in seen.data("all.line")["ys"]] == [
        [k, k + 1, k + 2, k + 3, k + 4] for k in range(3)
    ]
    assert np.array_equal(seen.data("all.map")["image"][0], ramp(4, 6) + 2)
    assert (seen.data("all.map")["dw"], seen.data("all.map")["dh"]) == ([6], [4])
    assert "data-fact='all.dose'>2<" in seen.text()


def test_a_page_that_looked_all_the_time_shows_what_a_new_one_shows(view: Double) -> None:
    seen = Seen(view)
    for number in range(2 * LINES):
        say(view, number)
        if number % 7 == 0:
            seen.update()
    seen.update()
    anew = Seen(view)
    for name in ("dose", "line", "map"):
        one, other = seen.data(f"all.{name}"), anew.data(f"all.{name}")
        for column in set(one) - {"order"}:
            assert [np.asarray(v).tolist() for v in one[column]] == [
                np.asarray(v).tolist() for v in other[column]
            ]


def test_no_more_is_kept_than_is_shown(view: Double) -> None:
    seen = Seen(view)
    for number in range(POINTS + 10):
        view.say("all", number, dose=float(number), line=(np.arange(2.0), np.arange(2.0)))
    seen.update()
    view.say("all", POINTS + 10, dose=0.0, line=(np.arange(2.0), np.arange(2.0)))
    seen.update()
    assert len(seen.data("all.dose")["value"]) == POINTS
    assert len(seen.data("all.line")["ys"]) == LINES


def test_only_what_is_new_is_sent(view: Double) -> None:
    seen = Seen(view)
    for number in range(50):
        view.say("all", number, dose=float(number), line=(np.arange(3.0), np.arange(3.0)))
    seen.update()
    seen.update()
    assert {one.attr for one in seen.sent} == {"tags"}  # the number of the update
    view.say("all", 50, dose=50.0, line=(np.arange(3.0), np.arange(3.0)))
    seen.update()
    streams = [one for one in seen.sent if hasattr(one, "rollover")]
    assert [len(next(iter(one.data.values()))) for one in streams] == [1, 1]


def test_results_may_be_nan_and_of_any_size(view: Double) -> None:
    seen = Seen(view)
    sizes = (3, 5000, 0, 7)
    for number, size in enumerate(sizes):
        image = np.full((size + 1, 2 * size + 1), np.nan, np.float32)
        view.say(
            "all", number, dose=float("nan"), line=(np.arange(size) * 1.0, np.full(size, np.nan)), map=image
        )
        seen.update()
    assert [len(one) for one in seen.data("all.line")["ys"]] == [3, 1000, 0, 7]
    assert seen.data("all.map")["image"][0].shape == (8, 15)


def test_large_images_are_means_over_blocks(view: Double) -> None:
    seen = Seen(view)
    view.say("all", 0, dose=0.0, line=(np.arange(2.0), np.arange(2.0)), map=ramp(1030, 600))
    seen.update()
    image = seen.data("all.map")["image"][0]
    assert image.shape == (343, 200) and image.dtype == np.float32
    assert np.allclose(image, ramp(1029, 600).reshape(343, 3, 200, 3).mean(axis=(1, 3)))


def test_a_reset_begins_the_plots_anew(view: Double) -> None:
    seen = Seen(view)
    for number in range(5):
        say(view, number)
    seen.update()
    seen.press("all.reset")
    assert view.asked == [("reset", "all")]
    assert not len(seen.data("all.dose")["value"]) and not seen.data("all.map")["image"]
    say(view, 7)
    seen.update()
    assert seen.data("all.dose")["value"].tolist() == [7]


def test_a_reset_elsewhere_begins_the_plots_anew(view: Double) -> None:
    seen = Seen(view)
    for number in range(5):
        say(view, number)
    seen.update()
    view.reset("all")
    say(view, 9)
    seen.update()
    assert seen.data("all.dose")["value"].tolist() == [9]


def test_a_panel_is_filled_when_its_processor_is_loaded() -> None:
    view = Double(None)
    seen = Seen(view)
    assert not seen.get("later0.plots").children
    made = spec("dose", SCALAR, parameters=PARAMETERS[:1])
    view.tell("later0", spec=made, values=made.defaults(), status="running", version=1)
    view.say("later0", 3, dose=1.5)
    seen.update()
    assert len(seen.get("later0.plots").children) == 1
    assert seen.data("later0.dose")["value"].tolist() == [1.5]


def test_an_edited_processor_has_other_plots_and_controls(view: Double) -> None:
    seen = Seen(view)
    say(view, 0)
    seen.update()
    made = spec(
        "all", Profile("dose"), Scalar("new"), parameters=(Parameter("gamma", "float", 1.0),), title="Edited"
    )
    view.tell("all", spec=made, values=made.defaults(), version=2)
    view.say("all", 1, dose=(np.arange(3.0), np.arange(3.0)), new=4.0)
    seen.update()
    assert len(seen.get("all.plots").children) == 2
    assert len(seen.data("all.dose")["ys"]) == 1 and seen.data("all.new")["value"].tolist() == [4]
    assert seen.widget("all", "gamma").value == 1.0
    assert "Edited" in seen.text() and "version 2" in seen.text()


@pytest.mark.parametrize(
    ("name", "attribute", "value", "becomes"),
    [
        ("smooth", "value_throttled", 7, 7),
        ("sigma", "value", 2.5, 2.5),
        ("mode", "value", "median", "median"),
        ("log", "active", True, True),
        ("label", "value", "y", "y"),
    ],
)
def test_controls_set_parameters(view: Double, name: str, attribute: str, value: Any, becomes: Any) -> None:
    seen = Seen(view)
    _as_a_browser_does(seen.widget("all", name), attribute, value)
    assert view.asked == [("value", "all", name, becomes)]
    seen.update()
    assert view.asked == [("value", "all", name, becomes)]


def _as_a_browser_does(widget: Any, attribute: str, value: Any) -> None:
    """Set a property; `value_throttled` is one that Python may not set."""
    if attribute == "value_throttled":
        widget.set_from_json(attribute, value)
    else:
        setattr(widget, attribute, value)


def test_a_refused_value_shows_why_and_the_one_in_force(view: Double) -> None:
    seen = Seen(view)
    widget = seen.widget("all", "sigma")
    widget.value = None
    assert "parameter sigma is None; expected a value of type float" in seen.text()
    assert widget.value == 1.5
    widget.value = 2.0
    assert "expected" not in seen.text()


def test_a_value_that_was_set_elsewhere_is_shown(view: Double) -> None:
    seen = Seen(view)
    view.set_value("all", "smooth", 9)
    view.asked.clear()
    seen.update()
    assert seen.widget("all", "smooth").value == 9 and not view.asked


def test_a_range_of_one_value_has_a_control() -> None:
    seen = Seen(Double(spec("dose", SCALAR, parameters=(Parameter("k", "int", 2, range=Range(2, 2)),))))
    assert seen.widget("dose", "k").value == 2


def test_a_failure_shows_its_traceback_until_it_is_over(view: Double) -> None:
    seen = Seen(view)
    view.tell("all", status="failed", failed=1, trace=f"KeyError: {SCRIPT}")
    seen.update()
    assert "pill failed" in seen.text() and "KeyError" in seen.text() and "1 failed" in seen.text()
    view.tell("all", status="running", trace="")
    seen.update()
    assert "KeyError" not in seen.text()


def test_a_file_that_does_not_load_is_told_beside_the_version_that_goes_on(view: Double) -> None:
    seen = Seen(view)
    view.tell("all", status="running", load_error="SyntaxError: '(' was never closed", version=2)
    seen.update()
    assert "never closed" in seen.text() and "version 2 goes on" in seen.text()


def test_what_files_and_sources_say_stays_text() -> None:
    bad = spec("bad", Scalar("dose", unit=SCRIPT), title=SCRIPT)
    view = Double(bad)
    view.state = type(view.state)(SCRIPT, 3, error=SCRIPT)
    view.tell("bad", file=SCRIPT, trace=SCRIPT, load_error=SCRIPT, status="failed")
    view.say("bad", 0, dose=1.0)
    seen = Seen(view)
    assert "<script" not in seen.text() and seen.text().count("&lt;script&gt;") >= 7


def test_pause_and_go_on(view: Double) -> None:
    seen = Seen(view)
    seen.press("all.pause")
    seen.update()
    assert seen.get("all.pause").label == "go on"
    seen.press("all.pause")
    seen.press("source.pause")
    seen.update()
    assert seen.get("source.pause").label == "go on" and "paused" in seen.text()
    seen.press("source.pause")
    assert view.asked == [
        ("pause", on, who) for on, who in ((True, "all"), (False, "all"), (True, None), (False, None))
    ]


def test_the_newest_frame_is_shown_in_greys(view: Double) -> None:
    view.show(0, ramp(1200, 1000))
    seen = Seen(view)
    seen.settle()
    data = seen.data("source.image")
    image = data["image"][0]
    assert image.shape == (400, 333) and image.dtype == np.uint8
    assert (data["x"], data["y"], data["dw"], data["dh"]) == ([0], [0], [999], [1200])
    assert image[0, 0] == 0 and image[-1, -1] == 255 and image[-1, 0] > image[0, -1]
    assert seen.get("source.plot").aspect_ratio < 1000 / 1000


def test_a_frame_is_sent_once(view: Double) -> None:
    view.show(0, ramp(20, 30))
    seen = Seen(view)
    seen.settle()
    seen.update()
    assert {one.attr for one in seen.sent} == {"tags"}


def test_contrast(view: Double) -> None:
    image = np.zeros((100, 100), np.float32)
    image[0, 0], image[:50] = 1000, 10
    view.show(0, image)
    seen = Seen(view)
    scale = seen.get("source.scale")
    seen.settle()
    assert (scale.low, scale.high) == (0, 10)
    image[0, 0] = 1000
    seen.get("source.contrast").value = "min-max"
    seen.settle()
    assert (scale.low, scale.high) == (0, 1000)
    seen.get("source.contrast").value = "fixed"
    assert seen.get("source.fixed").visible and seen.get("source.fixed").value == (0, 1000)
    seen.get("source.fixed").value = (2, 6)
    seen.settle()
    assert (scale.low, scale.high) == (2, 6)
    assert sorted(set(seen.data("source.image")["image"][0].ravel().tolist())) == [0, 255]


def test_frames_without_a_finite_pixel_are_shown(view: Double) -> None:
    view.show(0, np.full((8, 8), np.nan, np.float32))
    seen = Seen(view)
    seen.settle()
    assert not seen.data("source.image")["image"][0].any()


def test_the_part_that_is_seen_is_sent_in_full(view: Double) -> None:
    view.show(0, ramp(2000, 2000))
    seen = Seen(view)
    seen.settle()
    plot = seen.get("source.plot")
    plot._trigger_event(RangesUpdate(plot, x0=100, x1=300, y0=900, y1=700))
    seen.settle()
    data = seen.data("source.image")
    assert (data["x"], data["y"], data["dw"], data["dh"]) == ([50], [650], [301], [301])
    assert data["image"][0].shape == (301, 301)


def box(x0: float, x1: float, y0: float, y1: float) -> dict[str, list[float]]:
    return {"x": [(x0 + x1) / 2], "y": [(y0 + y1) / 2], "width": [x1 - x0], "height": [y1 - y0]}


def test_a_region_that_is_drawn_is_set(view: Double) -> None:
    view.show(0, ramp(100, 200))
    seen = Seen(view)
    seen.settle()
    seen.get("source.region").data = box(150.2, 250, -20, 40.4)
    assert view.asked == [("roi", Roi(0, 40, 150, 200))]
    seen.update()
    assert seen.data("source.region") == box(150, 200, 0, 40) and len(view.asked) == 1
    assert "0:40, 150:200" in seen.text()


def test_a_click_is_no_region_and_a_deleted_one_is_none(view: Double) -> None:
    view.show(0, ramp(100, 200))
    view.set_roi(Roi(10, 20, 30, 40))
    seen = Seen(view)
    seen.settle()
    view.asked.clear()
    region = seen.get("source.region")
    region.data = box(5, 5, 5, 5)
    assert not view.asked and seen.data("source.region") == box(30, 40, 10, 20)
    region.data = {name: [] for name in region.data}
    assert view.asked == [("roi", None)]


def test_a_region_that_was_set_elsewhere_is_shown_and_can_be_cleared(view: Double) -> None:
    view.show(0, ramp(100, 200))
    seen = Seen(view)
    seen.settle()
    view.set_roi(Roi(10, 20, 30, 40))
    view.asked.clear()
    seen.update()
    assert seen.data("source.region") == box(30, 40, 10, 20) and not view.asked
    seen.press("source.clear")
    seen.update()
    assert view.asked[0] == ("roi", None) and not seen.data("source.region")["x"]


def test_a_region_is_drawn_for_the_processor_that_is_chosen() -> None:
    first, other = "one", "other"
    view = Double(spec(first, SCALAR), spec(other, SCALAR))
    view.show(0, ramp(100, 200))
    seen = Seen(view)
    seen.settle()
    seen.get("source.region of").value = other
    seen.get("source.region").data = box(10, 30, 20, 50)
    assert view.asked == [("roi", Roi(20, 50, 10, 30), other)]
    seen.update()
    assert "region 20:50, 10:30" in seen.text()
    seen.get("source.region of").value = first
    assert not seen.data("source.region")["x"]
    seen.get("source.region of").value = other
    assert seen.data("source.region") == box(10, 30, 20, 50) and len(view.asked) == 1
    seen.press("source.clear")
    assert view.asked[1] == ("roi", None, other)


def test_colours(view: Double) -> None:
    seen = Seen(view)
    seen.get("source.colours").value = "inferno"
    assert seen.get("source.scale").palette[-1] == "#FCFEA4"


def test_what_is_wrong_with_a_source_is_said(view: Double) -> None:
    view.show(12, ramp(4, 4))
    view.state = type(view.state)("camera", 12, 10, 9, 3, ended=True, error="cable pulled out")
    text = Seen(view).text()
    assert "3 frames" in text and "9 of 10" in text and "cable pulled out" in text


class Session:
    def __init__(self) -> None:
        self.connection_count = 0


class Context:
    def __init__(self) -> None:
        self.session = Session()


def test_nothing_is_done_when_nobody_looks(view: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, context = Seen(view), Context()
    monkeypatch.setattr(Document, "session_context", property(lambda document: context))
    say(view, 0)
    seen.update()
    assert not seen.sent
    context.session.connection_count = 1
    seen.update()
    assert seen.data("all.dose")["value"].tolist() == [0]


def test_a_browser_that_is_behind_is_waited_for(view: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, context = Seen(view), Context()
    context.session.connection_count = 1
    monkeypatch.setattr(Document, "session_context", property(lambda document: context))
    heard: Callable[[], None] = lambda: setattr(seen.get("source"), "tags", seen.get("headline").tags)  # noqa: E731
    heard()
    for number in range(20):
        say(view, number)
        seen.update()
    assert len(seen.data("all.dose")["value"]) < 5
    heard()
    seen.update()
    assert len(seen.data("all.dose")["value"]) == 20


def test_an_image_of_another_shape_is_fitted() -> None:
    view = Double(spec("one", Image("map")))
    seen = Seen(view)
    for number, shape in enumerate(((4, 6), (100, 10))):
        view.say("one", number, map=ramp(*shape))
        seen.update()
        figure = seen.get("one.plots").children[0]
        assert figure.match_aspect is (number == 0)
