"""The live page's document: what is new is shown and sent, what a person asks for is asked of the session."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bokeh.document import Document

from mrcz_dask.live.page.plots import LINES, POINTS
from mrcz_dask.live.processors.declare import Image, Parameter, Profile, Range, Scalar

from .double import IMAGE, PARAMETERS, PROFILE, SCALAR, Double, Seen, ramp, spec

SCRIPT = "<script>alert(1)</script>"


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
    view.tell("later0", spec=made, values=made.values({}), status="running", version=1)
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
    view.tell("all", spec=made, values=made.values({}), version=2)
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
