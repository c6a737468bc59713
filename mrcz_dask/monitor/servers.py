"""What serves a page and what is beside it: the scheduler of a cluster in this process, or our own server."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor as Threads
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol, TypeVar

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.server.tornado import BokehTornado
from jinja2 import Template
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.web import RequestHandler

from mrcz_dask.engine.client import Client, DaskClient
from mrcz_dask.engine.clusters import is_loopback
from mrcz_dask.monitor.live import Live
from mrcz_dask.monitor.page import Page
from mrcz_dask.monitor.template import ALONE, IN_DASHBOARD

NAME = "session"
# Without it (the extra `metrics`) Dask has no metrics either.
HAS_METRICS = find_spec("prometheus_client") is not None
# A tunnel may begin at any port of the machine that looks; other sites in its browser must not read the page.
TUNNELLED = ("localhost:*", "127.0.0.1:*", "[::1]:*")
# They warn of every browser that goes away; Dask keeps them quiet, too.
QUIET = ("bokeh", "tornado")
SECONDS = 10.0
# What the last updates are given to reach browsers: one for the numbers, one for the thumbnails.
LAST_UPDATES, LAST_SECONDS = 2, 0.3

T = TypeVar("T")


class Served(Protocol):
    """Something that serves the page.

    Attributes
    ----------
    address
        Of the page.
    """

    address: str

    def close(self) -> None:
        """Show the last state to those who look, and end."""
        ...


class Shown(Protocol):
    """A page in one document."""

    def attach(self, document: Document) -> None:
        """Put the page into a document, and keep it up to date."""
        ...

    def update(self) -> None:
        """Show what is new."""
        ...


@dataclass(frozen=True, slots=True)
class Site:
    """What a server shows.

    Attributes
    ----------
    name
        Of the page, and its path.
    template
        Of the page around the plots, when it is on its own.
    page
        Makes the page of one document; is given a thread for what may take long or not answer.
    routes
        Beside the page: pattern, handler, and what the handler is initialized with.
    """

    name: str
    template: str
    page: Callable[[Threads], Shown]
    routes: tuple[tuple[str, type[RequestHandler], dict[str, Any]], ...] = ()


def monitor_site(live: Live) -> Site:
    """Return the page of a session, and ``/metrics`` where prometheus-client is installed."""
    routes = ((r"/metrics", MetricsHandler, {"live": live}),) if HAS_METRICS else ()
    return Site(NAME, ALONE, lambda reader: Page(live, reader), routes)


class Pages:
    """A page as a Bokeh application: a document for each browser that looks.

    Parameters
    ----------
    site
        The page.
    template, variables
        Of the page around the plots.
    """

    def __init__(self, site: Site, template: Template, variables: dict[str, Any]) -> None:
        self._site, self._template, self._variables = site, template, variables
        self._open: dict[Document, Shown] = {}
        self._reader = ThreadPoolExecutor(1, "reader")  # not shut down: pages ask it to the last moment

    def application(self, host: str) -> BokehTornado:
        """Return the application for a server that listens at an address."""
        return BokehTornado(
            {f"/{self._site.name}": Application(FunctionHandler(self._make))},
            extra_websocket_origins=TUNNELLED if is_loopback(host) else ("*",),
            absolute_url="",
        )

    def _make(self, document: Document) -> None:
        document.template = self._template
        document.template_variables.update(self._variables)
        self._open[document] = page = self._site.page(self._reader)
        page.attach(document)
        document.on_session_destroyed(lambda context: self._forget(document))

    def _forget(self, document: Document) -> None:
        self._open.pop(document, None)

    async def finish(self) -> None:
        """Let those who look see the last state."""
        for _ in range(LAST_UPDATES if self._open else 0):
            for document, page in list(self._open.items()):
                document.add_next_tick_callback(page.update)
            await asyncio.sleep(LAST_SECONDS)


class InDashboard:
    """The page as one of those of a scheduler's dashboard, with a link from the others; metrics with Dask's.

    Parameters
    ----------
    live
        What knows how the session stands.
    scheduler
        In this process.
    """

    def __init__(self, live: Live, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._loop = scheduler.loop.asyncio_loop
        server = scheduler.http_server
        _call(self._loop, self._open(live, server.address))
        self._unregister: Callable[[], None] = lambda: None
        if HAS_METRICS:
            from mrcz_dask.monitor.metrics import register

            self._unregister = register(live)
        self.address = f"http://{_reached(server.address)}:{server.port}/{NAME}"

    async def _open(self, live: Live, host: str) -> None:
        from distributed.dashboard.components.scheduler import env
        from distributed.dashboard.scheduler import template_variables

        variables = template_variables(self._scheduler)
        # the list is that of all pages of this dashboard
        self._links: list[str] = variables["pages"]
        self._links.insert(0, NAME)
        self._pages = Pages(monitor_site(live), env.from_string(IN_DASHBOARD), variables)
        self._application = self._pages.application(host)
        self._scheduler.http_application.add_application(self._application)
        self._application.initialize(IOLoop.current())
        self._application.start()

    def close(self) -> None:
        """Show the last state to those who look, and take the page out."""
        self._unregister()
        with suppress(TimeoutError, RuntimeError):  # a scheduler that is gone shows nothing any more
            _call(self._loop, self._close())

    async def _close(self) -> None:
        await self._pages.finish()
        self._scheduler.http_application.applications.remove(self._application)
        self._links.remove(NAME)
        self._application.stop()


class Server:
    """A server of our own, in a thread: a page, and what is beside it.

    Parameters
    ----------
    site
        What it shows.
    host, port
        Where to listen; port 0 = any that is free.

    Raises
    ------
    OSError
        When it cannot listen there.
    """

    def __init__(self, site: Site, host: str, port: int) -> None:
        listening = _listening(host, port)
        for name in QUIET:
            logging.getLogger(name).setLevel(logging.ERROR)
        self._pages = Pages(site, Template(site.template), {})
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)
        self._thread.start()
        _call(self._loop, self._open(site, host, listening))
        self.address = f"http://{_reached(host)}:{listening.getsockname()[1]}/{site.name}"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _open(self, site: Site, host: str, listening: socket.socket) -> None:
        self._application = self._pages.application(host)
        self._application.add_handlers(r".*", list(site.routes))
        self._application.initialize(IOLoop.current())
        self._application.start()
        self._server = HTTPServer(self._application)
        self._server.add_socket(listening)

    def close(self) -> None:
        """Show the last state to those who look, and end the server."""
        with suppress(TimeoutError):
            _call(self._loop, self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        if not self._thread.is_alive():
            self._loop.close()

    async def _close(self) -> None:
        await self._pages.finish()
        self._server.stop()
        self._application.stop()
        await self._server.close_all_connections()


class Alone(Server):
    """The page of a session and ``/metrics`` at an address of their own.

    Parameters
    ----------
    live
        What knows how the session stands.
    host, port
        Where to listen; port 0 = any that is free.

    Raises
    ------
    OSError
        When it cannot listen there.
    """

    def __init__(self, live: Live, host: str, port: int) -> None:
        super().__init__(monitor_site(live), host, port)


class MetricsHandler(RequestHandler):
    """Answers Prometheus."""

    def initialize(self, live: Live) -> None:
        """Take what knows how the session stands."""
        self._live = live

    def get(self) -> None:
        """Write the metrics of this moment."""
        from mrcz_dask.monitor.metrics import CONTENT_TYPE, exposition

        self.set_header("Content-Type", CONTENT_TYPE)
        self.write(exposition(self._live))


def scheduler_here(client: Client) -> Any | None:
    """Return the scheduler of a client if it lives in this process and has a dashboard."""
    if not isinstance(client, DaskClient):
        return None
    scheduler = getattr(getattr(client.client, "cluster", None), "scheduler", None)
    return scheduler if hasattr(scheduler, "http_server") and hasattr(scheduler, "http_application") else None


def _call(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(work, loop).result(SECONDS)


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.create_server((host, port), family=family)
    made.setblocking(False)
    return made


def _reached(host: str) -> str:
    """Return under what name a machine is reached that listens at an address."""
    if host in ("", "0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host
