"""Bokeh parts that web pages share: styled text, and a notice when the server has gone."""

from __future__ import annotations

from typing import Any

from bokeh.document import Document
from bokeh.events import ConnectionLost
from bokeh.models import CustomJS, InlineStyleSheet
from bokeh.models.widgets import Div

from mrcz_dask.pages.template import STYLE

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
