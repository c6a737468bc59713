"""Every figure is drawn, as SVG and PNG, the same bytes each time, and small however long the session."""

import io
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest
from matplotlib.image import imread

from mrcz_dask.report.camera import CameraData
from mrcz_dask.report.camera_alarms import judge
from mrcz_dask.report.camera_page import camera_figures
from mrcz_dask.report.data import FigureData, SessionData
from mrcz_dask.report.drawing import DRAW, drawn
from mrcz_dask.report.figures import figures, over_stacks
from mrcz_dask.values.records import Break
from tests.report.camera_nights import steady

from .conftest import session_data


@pytest.fixture(scope="module")
def drawings(data: SessionData) -> dict[str, dict[str, bytes]]:
    """Of each figure, by its key, the SVG and the PNG."""
    return {one.key: drawn(one, "svg", "png", dpi=40) for one in every_figure(data)}


def every_figure(data: SessionData) -> list[FigureData]:
    """Those of a session, and one of a camera, which are all drawn alike."""
    camera = CameraData(steady(1), (64, 64), ())
    return [*figures(data), next(camera_figures(camera, judge(camera)))]


def test_every_figure_is_drawn(data: SessionData, drawings: dict[str, dict[str, bytes]]) -> None:
    for made in drawings.values():
        assert ElementTree.fromstring(made["svg"]).tag.endswith("svg")
        assert imread(io.BytesIO(made["png"])).shape[1] > 200
    assert {one.kind for one in every_figure(data)} == set(DRAW)


def test_the_same_data_give_the_same_bytes(data: SessionData, drawings: dict[str, dict[str, bytes]]) -> None:
    for one in every_figure(data):
        assert drawn(one, "svg", "png", dpi=40) == drawings[one.key], one.key


def test_nothing_in_a_figure_needs_the_network(drawings: dict[str, dict[str, bytes]]) -> None:
    for key, made in drawings.items():
        text = made["svg"].decode()
        assert 'href="http' not in text and "url(http" not in text, key


def test_long_sessions_make_no_larger_figures() -> None:
    for one in over_stacks(session_data(5000)):
        assert len(drawn(one, "svg")["svg"]) < 400_000, one.key


@pytest.mark.parametrize("stacks", [1, 2])
def test_short_sessions_are_drawn_too(stacks: int) -> None:
    cut = (Break("2.mrc", "a pause"),)
    for one in over_stacks(session_data(stacks, lambda k: {"breaks": cut})):
        assert drawn(one, "svg")


def test_unknown_numbers_are_left_out() -> None:
    gaps = session_data(
        9, lambda k: {"noise": {} if k % 2 else {"raw": 1e-2, "filtered": None, "corrected": -1e-4}}
    )
    for one in over_stacks(gaps):
        assert drawn(one, "svg")


def test_no_display_is_looked_for() -> None:
    code = "import sys, mrcz_dask.report.drawing; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
