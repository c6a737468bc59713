"""Where the page is, who reaches it, and that it is gone with the run."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from mrcz_dask.engine.client import SerialClient
from mrcz_dask.monitor import page, serving
from mrcz_dask.monitor.listener import SessionListener
from mrcz_dask.monitor.page import monitor_site
from mrcz_dask.monitor.serving import PageParams, watched
from mrcz_dask.pages import server
from mrcz_dask.pages.address import PageAddress
from mrcz_dask.pages.server import Server
from mrcz_dask.values import messages
from mrcz_dask.values.errors import ParameterError, SessionError

from .conftest import Made


def get(address: str, path: str, **headers: str) -> tuple[int, str, dict[str, str]]:
    connection = HTTPConnection(urlsplit(address).netloc, timeout=20)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace"), dict(answer.getheaders())
    finally:
        connection.close()


def knock(address: str, origin: str) -> int:
    """Return what a websocket from a page of another origin gets: 101 it may speak, 403 it may not."""
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "bokeh, x.y"}
    connection = HTTPConnection(urlsplit(address).netloc, timeout=20)
    try:
        connection.request("GET", "/session/ws", headers={**upgrade, **key, "Origin": origin})
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.fixture
def alone() -> Iterator[Server]:
    live = SessionListener()
    live(Made().started())
    served = Server(monitor_site(live), "127.0.0.1", 0)
    yield served
    served.close()


def test_report_and_log_are_linked(tmp_path: Path) -> None:
    live = SessionListener()
    live(replace(Made().started(), output=str(tmp_path)))
    (tmp_path / "events.jsonl").write_text("{}\n")
    served = Server(monitor_site(live), "127.0.0.1", 0)
    try:
        status, text, headers = get(served.address, "/events.jsonl")
        assert (status, text) == (200, "{}\n") and headers["Content-Type"].startswith("text/plain")
        assert get(served.address, "/report.html")[:2] == (
            404, "report.html is not there yet; a run writes its report at its end"
        )  # fmt: skip
        (tmp_path / "report.html").write_text("<p>done</p>")
        status, text, headers = get(served.address, "/report.html")
        assert (status, text) == (200, "<p>done</p>") and headers["Content-Type"].startswith("text/html")
        assert get(served.address, "/session.zarr")[0] == get(served.address, "/../secret")[0] == 404
    finally:
        served.close()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("8788", PageAddress("127.0.0.1", 8788)),
        ("0", PageAddress("127.0.0.1", 0)),
        ("0.0.0.0:9000", PageAddress("0.0.0.0", 9000)),
        ("login-1.cluster:80", PageAddress("login-1.cluster", 80)),
        ("[::1]:80", PageAddress("::1", 80)),
        ("none", None),
    ],
)
def test_places(text: str, place: PageAddress | None) -> None:
    assert PageParams.of(text) == PageParams(True, place)
    assert PageParams.of(None) == PageParams(False, None)


@pytest.mark.parametrize("text", ["", "70000", "host", "host:", "1 2", "$(x):80", "a:b:80", "-1"])
def test_no_places(text: str) -> None:
    with pytest.raises(ParameterError, match="--page"):
        PageParams.of(text)


def test_without_prometheus_client_there_is_the_page_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "HAS_METRICS", False)
    served = Server(monitor_site(SessionListener()), "127.0.0.1", 0)
    assert (get(served.address, "/session")[0], get(served.address, "/metrics")[0]) == (200, 404)
    served.close()


def test_the_page_and_the_metrics_are_served(alone: Server) -> None:
    status, text, _ = get(alone.address, "/session")
    assert status == 200 and "<title>mrcz-dask</title>" in text and "http" not in _loaded(text)
    status, text, headers = get(alone.address, "/metrics")
    assert status == 200 and 'mrcz_dask_run_state{state="running"} 1.0' in text
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert get(alone.address, "/")[2]["Location"].endswith("/session")


def _loaded(text: str) -> str:
    """Return what a page loads: all of it must come from where the page does, there may be no network."""
    return " ".join(part.split('"')[0] for part in text.split('src="')[1:])


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "/static/../../../../etc/passwd", "/events.jsonl", "/session.zarr"]
)
def test_no_file_is_served(alone: Server, path: str) -> None:
    assert get(alone.address, path)[0] in (403, 404)


def test_pages_of_other_sites_may_not_read_it_and_tunnels_may(alone: Server) -> None:
    port = urlsplit(alone.address).port
    for origin in (f"http://127.0.0.1:{port}", "http://localhost:9999", "http://127.0.0.1:1234"):
        assert knock(alone.address, origin) != 403, origin
    for origin in ("http://example.org", f"http://example.org:{port}", "https://127.0.0.1.example.org:80"):
        assert knock(alone.address, origin) == 403, origin


def test_a_name_that_was_not_asked_for_gets_nothing(alone: Server) -> None:
    for path in (
        "/session",
        "/session/ws",
        "/session/autoload.js",
        "/metrics",
        "/",
        "/static/js/bokeh.min.js",
    ):
        status, text, _ = get(alone.address, path, Host="example.org")
        assert status == 403 and "Use the address that the command printed" in text, path
    assert get(alone.address, "/metrics", Host="localhost:9999")[0] == 200


def test_pages_beyond_a_number_are_refused(alone: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_PAGES", 1)
    assert "are open already" not in get(alone.address, "/session")[1]
    assert "1 pages are open already" in get(alone.address, "/session")[1]


def test_a_serial_run_has_no_page_unless_it_is_asked_for() -> None:
    told: list[messages.Message] = []
    with watched(SerialClient(), PageParams(), told.append) as listen:
        assert listen == told.append
    with watched(SerialClient(), PageParams.of("none"), told.append) as listen:
        assert listen == told.append
    assert not told


def test_it_is_there_while_the_run_goes_on(made: Made) -> None:
    told: list[messages.Message] = []
    threads = set(threading.enumerate())
    with watched(SerialClient(), PageParams.of("0"), told.append) as listen:
        (ready,) = told
        assert isinstance(ready, messages.PageReady)
        listen(made.started())
        listen(made.found(0))
        assert 'mrcz_dask_stacks{state="found"} 1.0' in get(ready.address, "/metrics")[1]
    assert len(told) == 3
    with pytest.raises(OSError):
        get(ready.address, "/metrics")
    assert set(threading.enumerate()) <= threads


def test_a_port_that_is_taken_is_an_error_that_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(SessionError, match=f"--page 127.0.0.1:{port}: cannot be listened at"),
            watched(SerialClient(), PageParams.of(str(port)), messages.silent),
        ):
            pass


def test_beyond_loopback_there_is_a_warning() -> None:
    told: list[messages.Message] = []
    with watched(SerialClient(), PageParams.of("0.0.0.0:0"), told.append):
        warning, ready = told
    assert isinstance(warning, messages.Warned) and "beyond this machine" in warning.message
    assert isinstance(ready, messages.PageReady) and socket.gethostname() in ready.address


class SomebodyElses:
    """What the page needs to know of an executor whose scheduler is not here."""

    client: Any = None


def test_beside_another_scheduler_the_command_serves_the_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(serving, "DaskClient", SomebodyElses)
    told: list[messages.Message] = []
    with watched(SomebodyElses(), PageParams(), told.append):  # type: ignore[arg-type]
        (ready,) = told
        assert isinstance(ready, messages.PageReady) and ready.address.startswith("http://127.0.0.1:")
        assert get(ready.address, "/session")[0] == 200


@pytest.mark.cluster
def test_the_dashboard_of_a_cluster_has_the_page_among_its_own(made: Made) -> None:
    from mrcz_dask.engine.clusters import ClientOptions, open_client
    from mrcz_dask.engine.memory import MemoryEstimate

    told: list[messages.Message] = []
    with open_client(ClientOptions(workers=1), MemoryEstimate(10**8, 10**6), told.append) as executor:
        with watched(executor, PageParams(), told.append) as listen:
            ready = told[-1]
            assert isinstance(ready, messages.PageReady)
            listen(made.started())
            assert get(ready.address, "/session")[0] == 200
            assert 'href="session"' in get(ready.address, "/status")[1]
            metrics = get(ready.address, "/metrics")[1]
            assert 'mrcz_dask_run_state{state="running"} 1.0' in metrics
            assert "dask_scheduler_workers" in metrics
            assert knock(ready.address, "http://localhost:9999") != 403
            assert knock(ready.address, "http://example.org") == 403
            for path in ("/session", "/status", "/metrics", "/json/identity.json"):
                assert get(ready.address, path, Host="example.org")[0] == 403, path
        assert get(ready.address, "/session")[0] == 404
        assert 'href="session"' not in get(ready.address, "/status")[1]
        assert "mrcz_dask" not in get(ready.address, "/metrics")[1]
