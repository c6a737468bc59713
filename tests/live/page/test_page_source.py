"""The newest frame on the live page: its grays, its part that is seen, and the regions drawn on it."""

import numpy as np
import pytest
from bokeh.events import RangesUpdate

from mrcz_dask.live.frames import Roi
from mrcz_dask.live.page.panels import rounded
from mrcz_dask.live.page.source_view import scale_bar

from .double import SCALAR, Double, Seen, ramp, spec


@pytest.fixture
def view() -> Double:
    return Double(spec("all", SCALAR))


def test_the_newest_frame_is_shown_in_grays(view: Double) -> None:
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


def test_colors(view: Double) -> None:
    seen = Seen(view)
    seen.get("source.colors").value = "inferno"
    assert seen.get("source.scale").palette[-1] == "#FCFEA4"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([59.90312, 59.88, 59.9152], "59.92"),
        ([20.4, 21.1, 20.533], "20.5"),
        ([100.0, 3060.4, 6120.7], "6121"),
        ([2.0, 2.0, 2.0], "2"),
        ([1.0, 1.1, float("nan")], "-"),
        ([1e-12, 3e-12], "3e-12"),
    ],
)
def test_digits_below_the_scatter_of_a_value_are_not_shown(values: list[float], text: str) -> None:
    assert rounded(values) == text


@pytest.mark.parametrize(
    ("pixel_size", "label", "pixels"), [(1.05, "10 nm", 95.2), (0.5, "5 nm", 100), (200.0, "2000 nm", 100)]
)
def test_a_bar_tells_the_scale(pixel_size: float, label: str, pixels: float) -> None:
    bar = scale_bar((300, 400), pixel_size)
    assert bar["label"] == [label] and bar["x1"][0] - bar["x0"][0] == pytest.approx(pixels, abs=0.1)
    assert scale_bar((300, 400), None)["label"] == []
