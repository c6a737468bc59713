"""What can be taken away from a live page is what processors returned, from the store as from memory."""

import csv
import io
import threading
import zipfile
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import zarr
from matplotlib.image import imread

from mrcz_dask.live.page.page import served_live
from mrcz_dask.live.processors.declare import Scalar
from mrcz_dask.live.processors.results import ResultStore
from mrcz_dask.pages.address import PageAddress
from mrcz_dask.values import messages
from mrcz_dask.values.errors import SessionError

from .double import IMAGE, PROFILE, SCALAR, Double, ramp, spec


def get(address: str, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    connection = HTTPConnection(urlsplit(address).netloc, timeout=60)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())
    finally:
        connection.close()


def filled() -> Double:
    """A session whose profile grows by a place with every frame."""
    view = Double(spec("all", SCALAR, PROFILE, IMAGE))
    for number in (0, 1, 4):
        places = np.arange(number + 2) / 2
        view.say("all", number, dose=number + 0.25, line=(places, places * 10), map=ramp(4, 6) + number)
    return view


def stored(view: Double, folder: Path) -> Path:
    """Write what a session has said to a store, and let it forget that."""
    store = ResultStore(folder / "live.zarr")
    for name, panel in view.panel.items():
        series = store.series(name, panel.file)
        assert panel.spec is not None
        series.declare(panel.spec)
        for one in view.kept[name]:
            series.append(one)
        series.close()
        view.kept[name] = []
    return store.path


@pytest.fixture(params=["memory", "store"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    view = filled()
    store = stored(view, tmp_path) if request.param == "store" else None
    with served_live(view, store=store) as address:
        yield address


def table(text: bytes) -> tuple[list[str], list[list[str]]]:
    head, *rows = csv.reader(io.StringIO(text.decode()))
    return head, rows


def test_csv(address: str) -> None:
    status, text, headers = get(address, "/live/export/all.csv")
    assert status == 200 and headers["Content-Type"] == "text/csv; charset=utf-8"
    assert headers["Content-Disposition"] == "attachment; filename*=UTF-8''all.csv"
    head, rows = table(text)
    axes, values = [f"line_axis[{k}]" for k in range(6)], [f"line[{k}]" for k in range(6)]
    assert head == ["frame", "time", "dose", *axes, *values]
    assert [row[:3] for row in rows] == [[str(k), repr(1.7e9 + k / 10), str(k + 0.25)] for k in (0, 1, 4)]
    assert rows[1][3:] == ["0.0", "0.5", "1.0", "", "", "", "0.0", "5.0", "10.0", "", "", ""]


def test_places_that_all_rows_have_are_heads_of_columns() -> None:
    view = Double(spec("line", PROFILE))
    for number in range(3):
        view.say("line", number, line=(np.array([0.5, 1.5]), np.array([1.0, number])))
    with served_live(view) as address:
        head, rows = table(get(address, "/live/export/line.csv")[1])
    assert head == ["frame", "time", "line[0.5]", "line[1.5]"]
    assert [row[2:] for row in rows] == [["1.0", "0.0"], ["1.0", "1.0"], ["1.0", "2.0"]]


def test_zarr(address: str, tmp_path: Path) -> None:
    status, content, _ = get(address, "/live/export/all.zarr.zip")
    path = tmp_path / "all.zarr.zip"
    path.write_bytes(content)
    assert status == 200
    with zarr.storage.ZipStore(path, mode="r") as opened:
        group: Any = zarr.open_group(opened, mode="r")
        assert group["frame"][:].tolist() == [0, 1, 4]
        assert group["dose"][:].tolist() == [0.25, 1.25, 4.25]
        assert np.array_equal(group["map"][2], ramp(4, 6) + 4)
        assert group["line"].metadata.dimension_names == ("frame", "line_place")


def test_png(address: str, tmp_path: Path) -> None:
    status, content, headers = get(address, "/live/export/all.png")
    (tmp_path / "all.png").write_bytes(content)
    picture = imread(tmp_path / "all.png")
    assert status == 200 and headers["Content-Type"] == "image/png"
    assert picture.shape[0] > 800 and picture.std() > 0.05


@pytest.mark.parametrize("kind", ["csv", "png"])
def test_damaged_results_are_named_and_give_no_file(tmp_path: Path, kind: str) -> None:
    view = filled()
    store = stored(view, tmp_path)
    chunk = store / "all" / "dose" / "c" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-3])
    with served_live(view, store=store) as address:
        status, text, headers = get(address, f"/live/export/all.{kind}")
    assert status == 500 and headers["Content-Type"].startswith("text/plain")
    assert "results of a processor" in text.decode() and "Traceback" not in text.decode()


def test_a_name_that_was_not_asked_for_gets_nothing() -> None:
    with served_live(filled()) as address:
        for path in ("/live", "/live/ws", "/live/export/all.csv", "/live/export/all.zarr.zip"):
            assert get(address, path, Host="example.org")[0] == 403, path


def test_nothing_yet_can_be_taken_away(tmp_path: Path) -> None:
    with served_live(Double(spec("dose", SCALAR), None)) as address:
        for name in ("dose", "later1"):
            assert get(address, f"/live/export/{name}.csv")[1] == b"frame,time\n"
            assert get(address, f"/live/export/{name}.png")[1].startswith(b"\x89PNG")
            content = io.BytesIO(get(address, f"/live/export/{name}.zarr.zip")[1])
            assert zipfile.ZipFile(content).namelist() == ["zarr.json"]


def test_results_from_before_an_edit_are_as_far_as_they_fit() -> None:
    view = Double(spec("all", Scalar("line"), Scalar("dose")))
    view.say("all", 0, line=(np.arange(2.0), np.arange(2.0)), dose=1.0)
    view.say("all", 1, line=2.0, dose=2.0)
    with served_live(view) as address:
        head, rows = table(get(address, "/live/export/all.csv")[1])
    assert head == ["frame", "time", "line", "dose"] and [row[2:] for row in rows] == [
        ["", "1.0"],
        ["2.0", "2.0"],
    ]


def test_names_may_be_anything(tmp_path: Path) -> None:
    view = Double(spec("a b.ü", SCALAR))
    view.say("a b.ü", 0, dose=1.0)
    with served_live(view) as address:
        status, text, headers = get(address, "/live/export/a%20b.%C3%BC.csv")
        assert status == 200 and table(text)[1][0][2] == "1.0"
        assert headers["Content-Disposition"].endswith("a%20b.%C3%BC.csv")


@pytest.mark.parametrize(
    "path", ["other.csv", "../all.csv", "%2e%2e%2fall.csv", "all.exe", "all", "", "%00.csv"]
)
def test_nothing_else_is_served(path: str, tmp_path: Path) -> None:
    view = filled()
    with served_live(view, store=stored(view, tmp_path)) as address:
        assert get(address, f"/live/export/{path}")[0] == 404


def test_the_page_is_there_until_the_block_ends() -> None:
    told: list[messages.Message] = []
    threads = {one for one in threading.enumerate() if one.name == "page"}
    with served_live(Double(None), listen=told.append) as address:
        status, text, _ = get(address, "/live")
        assert status == 200 and b"<title>mrcz-dask live</title>" in text
        assert [type(one) for one in told] == [messages.PageReady]
    with pytest.raises(OSError):
        get(address, "/live")
    assert {one for one in threading.enumerate() if one.name == "page"} <= threads


def test_a_port_that_is_taken_is_an_error_that_says_so() -> None:
    with served_live(Double(None)) as address:
        port = urlsplit(address).port
        with (
            pytest.raises(SessionError, match="cannot be listened at"),
            served_live(Double(None), PageAddress(port=port or 0)),
        ):
            pass


def test_beyond_loopback_there_is_a_warning() -> None:
    told: list[messages.Message] = []
    with served_live(Double(None), PageAddress("0.0.0.0"), listen=told.append):
        assert isinstance(told[0], messages.Warned) and "beyond this machine" in told[0].message
