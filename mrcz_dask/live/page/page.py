"""The page of a live session in Bokeh: one for each browser that looks, kept up to date by its document."""

from __future__ import annotations

from concurrent.futures import Executor

from bokeh.document import Document

from mrcz_dask.live.page import texts
from mrcz_dask.live.page.pace import Pace
from mrcz_dask.live.page.panels import Panel
from mrcz_dask.live.page.source_view import SourceView
from mrcz_dask.live.page.template import STYLE, TITLE
from mrcz_dask.live.session import Session
from mrcz_dask.pages.widgets import put, say_when_lost, text

PERIOD_MS = 250


class LivePage:
    """The page in one document.

    Parameters
    ----------
    view
        The session.
    reader
        Where frames are made small.
    """

    def __init__(self, view: Session, reader: Executor) -> None:
        self._view = view
        self._document: Document | None = None
        self._headline = text(name="headline", style=STYLE)
        self._source = SourceView(view, reader)
        self._panels = {one.name: Panel(view, one.name) for one in view.panels()}
        self._pace = Pace(self._headline, self._source.root)

    def attach(self, document: Document) -> None:
        """Put the page into a document, and keep it up to date."""
        panels = (root for one in self._panels.values() for root in (one.words, one.plots))
        for root in (self._headline, self._source.root, *panels):
            document.add_root(root)
        document.title = TITLE
        document.template_variables["panels"] = list(self._panels)
        say_when_lost(document, self._headline)
        self.update()
        self._document = document
        document.add_periodic_callback(self.update, PERIOD_MS)

    def update(self) -> None:
        """Show what is new, if somebody looks and is ready for it."""
        source = self._view.source()
        if self._document is not None and not self._pace.is_due(self._document, source.ended):
            return
        self._pace.count()
        put(self._headline, "text", texts.headline(source))
        self._source.update(source)
        for state in self._view.panels():
            self._panels[state.name].update(state)
