"""The web page of a live session in Bokeh, one document for each browser that shows it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bokeh.document import Document
from bokeh.models import CustomJS

from mrcz_dask.live.page.exports import ExportHandler
from mrcz_dask.live.page.panels import STYLE, ProcessorPanel, headline
from mrcz_dask.live.page.source_view import SourceView
from mrcz_dask.live.session import LiveSession
from mrcz_dask.pages.address import PageAddress
from mrcz_dask.pages.server import Site, put, say_when_lost, text
from mrcz_dask.pages.template import BOKEH, html_page
from mrcz_dask.values.messages import Listener, PageReady, silent

PERIOD_MS = 250
# On a slow line updates would pile up in the server: the browser answers each, and so many may be unanswered.
# After so many seconds the next one is sent all the same.
UNANSWERED, SECONDS = 2, 5.0
ANSWER = "answer.tags = cb_obj.tags"
TITLE = "mrcz-dask live"
CONTENT = """
{% from macros import embed %}
<div class="live">
  <div>{{ embed(roots.headline) }}</div>
  <div class="all">
    <div class="card source">{{ embed(roots.source) }}</div>
    <div class="panels">
      {% for name in panels %}
      <div class="card">
        {{ embed(roots[name ~ ".words"]) }}
        {{ embed(roots[name ~ ".plots"]) }}
      </div>
      {% endfor %}
    </div>
  </div>
</div>
{{ plot_script }}
<script>
// Bokeh gives its sliders and checkboxes no name that a screen reader can say.
const nameControls = (root) => {
  for (const one of root.querySelectorAll("*")) if (one.shadowRoot) nameControls(one.shadowRoot)
  const title = root.querySelector(".bk-slider-title")?.textContent
  for (const handle of root.querySelectorAll(".noUi-handle"))
    handle.setAttribute("aria-label", title || "value")
  for (const box of root.querySelectorAll("input[type=checkbox]"))
    box.setAttribute("aria-label", root.textContent.trim() || "on")
}
setInterval(() => nameControls(document), 1000)
</script>
"""


class LivePage:
    """The page of a live session in one browser: source, newest frame, and a panel for each processor.

    Parameters
    ----------
    view
        The session.
    reader
        Threads in which frames are made small.
    """

    def __init__(self, view: LiveSession, reader: Executor) -> None:
        self._view = view
        self._document: Document | None = None
        self._headline = text(name="headline", style=STYLE)
        self._source = SourceView(view, reader)
        self._panels = {panel.name: ProcessorPanel(view, panel.name) for panel in view.panels()}
        self._sent, self._answered, self._last = 0, 0, 0.0
        # the tags of these two take the number of an update there and back
        answer = self._source.root
        self._headline.js_on_change("tags", CustomJS(args={"answer": answer}, code=ANSWER))
        answer.on_change("tags", self._take_answer)

    def _take_answer(self, name: str, old: object, new: list[Any]) -> None:
        self._answered = max(self._answered, *map(int, new)) if new else self._answered

    def attach(self, document: Document) -> None:
        """Add the page to the Bokeh document of a browser, and update it several times a second."""
        panels = (root for panel in self._panels.values() for root in (panel.words, panel.plots))
        for root in (self._headline, self._source.root, *panels):
            document.add_root(root)
        document.title = TITLE
        document.template_variables["panels"] = list(self._panels)
        say_when_lost(document, self._headline)
        self.update()
        self._document = document
        document.add_periodic_callback(self.update, PERIOD_MS)

    def update(self) -> None:
        """Send new results to the browser, unless it is gone or has not caught up;
        it always gets the last state.
        """
        source = self._view.source()
        session = getattr(getattr(self._document, "session_context", None), "session", None)
        if session is not None:
            is_behind = self._sent - self._answered >= UNANSWERED and time.monotonic() - self._last < SECONDS
            if session.connection_count == 0 or (is_behind and not source.ended):
                return
        self._sent, self._last = self._sent + 1, time.monotonic()
        self._headline.tags = [self._sent]
        put(self._headline, "text", headline(source))
        self._source.update(source)
        for state in self._view.panels():
            self._panels[state.name].update(state)


@contextmanager
def served_live(
    view: LiveSession,
    address: PageAddress | None = None,
    store: Path | None = None,
    listen: Listener = silent,
) -> Iterator[str]:
    """Serve the web page of a live session for the length of a ``with`` block, and give its URL.

    Parameters
    ----------
    view
        The session.
    address
        Address to listen at; None = any port of this machine.
    store
        Folder of the results' Zarr store; None = only results in the session's memory can be exported.
    listen
        Gets the URL of the page, and a warning if other machines can reach it.

    Raises
    ------
    SessionError
        The address is taken.
    """
    threads = ThreadPoolExecutor(1, "exports")
    arguments = {"view": view, "store": store, "threads": threads}
    routes = ((r"/live/export/(.+)\.(csv|png|zarr\.zip)", ExportHandler, arguments),)
    template = html_page(TITLE, CONTENT, STYLE, BOKEH)
    site = Site("live", template, lambda reader: LivePage(view, reader), routes)
    server = (address or PageAddress()).serve(site, listen)
    listen(PageReady(server.address))
    try:
        yield server.address
    finally:
        server.close()
        threads.shutdown(wait=False, cancel_futures=True)
