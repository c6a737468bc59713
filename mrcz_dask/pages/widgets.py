"""Parts of pages in Bokeh: texts in the style of all pages, and what they say when the server is gone."""

from __future__ import annotations

from typing import Any

from bokeh.document import Document
from bokeh.events import ConnectionLost
from bokeh.models import CustomJS, InlineStyleSheet
from bokeh.models.widgets import Div

from mrcz_dask.pages.template import STYLE

SAY_LOST = "if (!headline.text.startsWith(text)) headline.text = text + headline.text"


def text(html: str = "", *, style: str = "", **more: Any) -> Div:
    """Return a text that fills the width; `style` is CSS after that of all pages."""
    sheets: list[Any] = [InlineStyleSheet(css=STYLE + style)]
    return Div(text=html, stylesheets=sheets, **({"sizing_mode": "stretch_width"} | more))


def put(model: Any, name: str, value: object) -> None:
    """Set a property if it has another value: what is set is sent."""
    if getattr(model, name) != value:
        setattr(model, name, value)


def say_when_lost(document: Document, headline: Div, hint: str = "") -> None:
    """Let the browser say in front of the headline that the server does not answer any more."""
    words = (
        "<p class='bad' data-fact='lost'>No connection: the command has ended, or the tunnel is closed. "
        f"What follows was so then{hint}.</p>"
    )
    document.js_on_event(ConnectionLost, CustomJS(args={"headline": headline, "text": words}, code=SAY_LOST))
