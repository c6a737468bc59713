"""Serves web pages that update themselves, with a Bokeh document for each browser."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import traceback
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from bokeh.application import Application
from bokeh.application.application import SessionContext
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.events import ConnectionLost
from bokeh.models import CustomJS, InlineStyleSheet
from bokeh.models.widgets import Div
from bokeh.server.tornado import BokehTornado
from jinja2 import Template
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.web import RequestHandler

from mrcz_dask.engine.hosts import guard
from mrcz_dask.pages.template import STYLE

# They warn of every browser that goes away, and show a traceback for every WebSocket that makes no sense.
WEBSOCKETS = "bokeh.server.views.ws"
QUIET = {"bokeh": logging.ERROR, "tornado": logging.ERROR, WEBSOCKETS: logging.CRITICAL}
SECONDS = 10.0
# Each takes 1 to 2 MB.
MOST_PAGES = 50
# What the last updates are given to reach browsers: one for the numbers, one for the thumbnails.
LAST_UPDATES, LAST_SECONDS = 2, 0.3

T = TypeVar("T")
# What a server answers beside a page: pattern, handler, and what the handler is initialized with.
Routes = tuple[tuple[str, type[RequestHandler], dict[str, Any]], ...]


class Page(Protocol):
    """Protocol of a page as one browser shows it."""

    def attach(self, document: Document) -> None:
        """Put plots and texts into a browser's Bokeh document, and keep them up to date."""
        ...

    def update(self) -> None:
        """Show values that have changed since the last update."""
        ...


@dataclass(frozen=True, slots=True)
class Site:
    """A web page to be served: its name, template, the function that builds it, and further URLs.

    Attributes
    ----------
    name
        Name of the page, and its path.
    template
        Jinja template of the HTML around the plots, where the page is on its own.
    page
        Makes the page of one document; gets a thread for what may take long or not answer.
    routes
        Routes that the server answers beside the page.
    """

    name: str
    template: str
    page: Callable[[Executor], Page]
    routes: Routes = ()


class Documents:
    """Keeps the Bokeh documents of a page, one for each open browser.

    Parameters
    ----------
    site
        The page.
    template, variables
        Jinja template around the plots, and its variables.
    """

    def __init__(self, site: Site, template: Template, variables: dict[str, Any]) -> None:
        self._site, self._template, self._variables = site, template, variables
        self._open: dict[Document, Page] = {}
        self._reader = ThreadPoolExecutor(1, "reader")  # not shut down: pages ask it to the last moment

    def application(self, host: str) -> BokehTornado:
        """Return the web application for a server at a host; requests from other web sites are refused."""
        application = BokehTornado(
            {f"/{self._site.name}": Application(FunctionHandler(self._make))},
            extra_websocket_origins=("*",),  # the guard decides
            absolute_url="",
        )
        guard(application, host)
        for name, level in QUIET.items():
            logging.getLogger(name).setLevel(level)
        logging.getLogger("tornado.application").addFilter(_is_ours)
        return application

    def _make(self, document: Document) -> None:
        if len(self._open) >= MOST_PAGES:  # those that no browser has taken up are gone after half a minute
            document.template = Template(f"{MOST_PAGES} pages are open already. Close some, then load again.")
            return
        document.template = self._template
        document.template_variables.update(self._variables)
        self._open[document] = page = self._site.page(self._reader)
        page.attach(document)

        def forget(context: SessionContext) -> None:
            """Update the document no more."""
            self._open.pop(document, None)

        document.on_session_destroyed(forget)

    async def finish(self) -> None:
        """Update the page in all open browsers a last time."""
        for _ in range(LAST_UPDATES if self._open else 0):
            for document, page in list(self._open.items()):
                document.add_next_tick_callback(page.update)
            await asyncio.sleep(LAST_SECONDS)


class Server:
    """Serves a web page from a thread of this process.

    Parameters
    ----------
    site
        The page.
    host, port
        Where to listen; port 0 = any that is free.

    Attributes
    ----------
    address
        URL of the page.

    Raises
    ------
    OSError
        When it cannot listen there.
    """

    def __init__(self, site: Site, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family)
        listening.setblocking(False)
        self._documents = Documents(site, Template(site.template), {})
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)
        self._thread.start()
        call(self._loop, self._open(site, host, listening))
        self.address = url(host, listening.getsockname()[1], site.name)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _open(self, site: Site, host: str, listening: socket.socket) -> None:
        self._application = self._documents.application(host)
        self._application.add_handlers(r".*", list(site.routes))
        self._application.initialize(IOLoop.current())
        self._application.start()
        self._server = HTTPServer(self._application)
        self._server.add_socket(listening)

    def close(self) -> None:
        """Show the last state in open browsers, and stop the server."""
        with suppress(TimeoutError):
            call(self._loop, self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        if not self._thread.is_alive():
            self._loop.close()

    async def _close(self) -> None:
        await self._documents.finish()
        self._server.stop()
        self._application.stop()
        await self._server.close_all_connections()


def _is_ours(record: logging.LogRecord) -> bool:
    """Return False for the report of an exception that somebody's WebSocket request caused."""
    trace = traceback.walk_tb(record.exc_info[2] if record.exc_info else None)
    return not any(frame.f_globals.get("__name__") == WEBSOCKETS for frame, _ in trace)


def call(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in the event loop of another thread, wait for it, and return its result."""
    return asyncio.run_coroutine_threadsafe(work, loop).result(SECONDS)


def url(host: str, port: int, name: str) -> str:
    """Return the URL of a page whose server listens at a host and port."""
    if host in ("", "0.0.0.0", "::"):
        host = socket.gethostname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/{name}"


SAY_LOST = "if (!headline.text.startsWith(text)) headline.text = text + headline.text"


def text(html: str = "", *, style: str = "", **more: Any) -> Div:
    """Return a Bokeh text block as wide as the page; `style` is CSS beside the common one."""
    sheets: list[Any] = [InlineStyleSheet(css=STYLE + style)]
    return Div(text=html, stylesheets=sheets, **({"sizing_mode": "stretch_width"} | more))


def put(model: Any, name: str, value: object) -> None:
    """Set a property of a Bokeh model only if its value changes, to send nothing needless to browsers."""
    if getattr(model, name) != value:
        setattr(model, name, value)


def say_when_lost(document: Document, headline: Div, hint: str = "") -> None:
    """Make the browser show a notice when the connection to the server is lost."""
    words = (
        "<p class='bad' data-fact='lost'>No connection: the command has ended, or the tunnel is closed. "
        f"What follows was so then{hint}.</p>"
    )
    document.js_on_event(ConnectionLost, CustomJS(args={"headline": headline, "text": words}, code=SAY_LOST))
