"""Raw bytes to the servers of the pages: they answer or close the connection, and go on."""

import atexit
import logging
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from functools import cache, partial
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from tests.fuzz.target import Target

SECONDS = 10  # for an answer


class Faults(logging.Handler):
    """Keeps what the server's libraries report as errors."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


FAULTS = Faults()


@contextmanager
def live_page():
    from mrcz_dask.live.page.page import served_live
    from tests.live.page.test_exports import filled

    with served_live(filled()) as address:
        yield address


@contextmanager
def monitor_page():
    from mrcz_dask.monitor.listener import SessionListener
    from mrcz_dask.monitor.page import monitor_site
    from mrcz_dask.pages.server import Server

    with closing(Server(monitor_site(SessionListener()), "127.0.0.1", 0)) as server:
        yield server.address


@cache
def served(page: Callable[[], AbstractContextManager[str]]) -> str:
    """Return the address of a page that is served until this process ends."""
    stack = ExitStack()
    atexit.register(stack.close)
    logging.disable(logging.NOTSET)
    for name in ("tornado", "bokeh", "asyncio"):
        logging.getLogger(name).addHandler(FAULTS)
    return urlsplit(stack.enter_context(page())).netloc


def requests(page: Callable[[], AbstractContextManager[str]], folder: Path) -> list[bytes]:
    """Return requests of browsers, of metrics, and of others."""
    host = served(page)
    names = (
        "",
        "live",
        "koma",
        "metrics",
        "live/export/all.csv",
        "live/export/all.png",
        "static/js/bokeh.min.js",
    )
    websocket = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
    websocket += ["Sec-WebSocket-Key: YWJj", "Sec-WebSocket-Protocol: bokeh, a.b.c"]
    put = ["Transfer-Encoding: chunked", "", "4", "abcd", "0"]
    lines = [
        *([f"GET /{name} HTTP/1.1", f"Host: {host}"] for name in names),
        ["POST /live HTTP/1.1", f"Host: {host}", "Content-Length: 4", "", "abcd"],
        ["PUT /live/export/all.csv HTTP/1.1", f"Host: {host}", *put],
        *(
            [f"GET /{name}/ws?bokeh-session-id=a HTTP/1.1", f"Host: {host}", *websocket]
            for name in ("live", "session")
        ),
    ]
    seeds = ["\r\n".join([*words, "", ""]) for words in lines]
    return [seed.encode() for seed in seeds]


def ask(page: Callable[[], AbstractContextManager[str]], data: bytes, folder: Path) -> object:
    """Send bytes; the server must answer or hang up, report no fault, and answer the next request."""
    host = served(page)
    FAULTS.texts.clear()
    with socket.create_connection(host.rsplit(":", 1), SECONDS) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        try:
            while connection.recv(1 << 16):
                pass
        except ConnectionResetError:
            pass
    again = HTTPConnection(host, timeout=SECONDS)
    again.request("GET", "/nothing")
    assert again.getresponse().status == 404
    again.close()
    assert not FAULTS.texts, FAULTS.texts[0]
    return None


TARGETS = [
    Target(name, partial(requests, page), partial(ask, page))
    for name, page in (("live-page", live_page), ("monitor-page", monitor_page))
]
