"""HTML of all web pages: elements, in which plain text is escaped; the frame, the style and the colors."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito 2008; marks of figures differ in shape as well.
BLUE, VERMILION, GREEN, DARK = "#0072B2", "#D55E00", "#009E73", "#333333"
SKY, ORANGE, PURPLE, GRAY = "#56B4E9", "#E69F00", "#CC79A7", "#8A8A8A"
SEQUENTIAL = "cividis"

WHITE, INK, QUIET, LINK, PANEL, RULE = "#FFFFFF", "#1B1F24", "#4A5159", "#005A8C", "#F4F6F8", "#767E87"
LINE, BAD = "#D5DADF", "#A32B00"
# Text and ground of a verdict.
LEVELS = {
    "good": ("#FFFFFF", "#1A6B3C"),
    "look": ("#1B1F24", "#F2B84B"),
    "act": ("#FFFFFF", "#A8201A"),
    "unknown": ("#FFFFFF", "#545C66"),
}

_COLORS = {name: value for name, value in list(globals().items()) if str(value).startswith("#")}
# The same on a dark ground.
NIGHT = {
    "WHITE": "#14181D", "INK": "#E6EAEE", "QUIET": "#AAB3BC", "LINK": "#7CC4FF", "PANEL": "#1E242B",
    "RULE": "#7D8893", "LINE": "#39424C", "BAD": "#FF9B7A",
}  # fmt: skip


def variables(colors: Mapping[str, str]) -> str:
    """Return the declarations of colors as CSS variables."""
    return " ".join(f"--{name.lower()}: {value};" for name, value in colors.items())


VARIABLES = f":root {{ {variables(_COLORS)} }}\n"
# Also for the parts of a page that Bokeh keeps in shadow trees, which inherit the variables.
STYLE = (Path(__file__).parent / "style.css").read_text("utf-8")
# The head of a page whose plots are Bokeh's, in its template.
BOKEH = '<link rel="icon" href="data:,">\n{{ bokeh_css }}\n{{ bokeh_js }}'
VOID = {"img", "meta", "br"}


def html_page(title: str, body: str, style: str, head: str = "") -> str:
    """Return a whole HTML page, or a template that Bokeh fills, with the common style.

    Parameters
    ----------
    title
        Text.
    body
        HTML.
    style
        CSS of this page, after what all pages share.
    head
        HTML in front of title and style.
    """
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{head}
<title>{escape(title)}</title>
<style>
{VARIABLES}{STYLE}{style}</style>
</head>
<body>
{body}
</body>
</html>
"""


class Markup(str):
    """Text that is HTML already and is not escaped again; plain text added to it is."""

    __slots__ = ()

    def __add__(self, other: str) -> Markup:
        return joined((self, other))


def element(tag: str, *children: object, **attributes: object) -> Markup:
    """Build an HTML element from tag, children and attributes; plain text is escaped.

    Parameters
    ----------
    tag
        Its name.
    children
        Texts, which are escaped, and pieces of HTML, which are not.
    attributes
        Escaped; an underscore at the end of a name is left out, others become hyphens; None leaves it out,
        True gives it no value.
    """
    text = ""
    for name, value in attributes.items():
        name = name.rstrip("_").replace("_", "-")
        if value is True:
            text += f" {name}"
        elif value is not None and value is not False:
            text += f' {name}="{html.escape(str(value))}"'
    end = "" if tag in VOID else f"{joined(children)}</{tag}>"
    return Markup(f"<{tag}{text}>{end}")


def joined(children: Iterable[object]) -> Markup:
    """Join pieces of HTML; plain text among them is escaped."""
    return Markup("".join(c if isinstance(c, Markup) else html.escape(str(c)) for c in children))


def table(header: Sequence[str], rows: Iterable[Sequence[object]], name: str) -> Markup:
    """Build an HTML table that scrolls sideways if it is wide; screen readers say its `name`."""
    head = element("tr", *(element("th", text, scope="col") for text in header))
    body = joined(element("tr", *(element("td", cell) for cell in row)) for row in rows)
    content = element("table", element("thead", head), element("tbody", body))
    return element("div", content, class_="scroll", tabindex=0, role="region", aria_label=name)


def data_uri(kind: str, data: bytes) -> str:
    """Return a file's bytes as a ``data:`` URL, so that the page needs no network to show it."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def png(gray: NDArray[np.uint8]) -> str:
    """Return a gray image (y, x) as a ``data:`` URL of a PNG."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(gray)).save(file, format="PNG", optimize=False)
    return data_uri("image/png", file.getvalue())


def embedded(name: str, values: Any) -> Markup:
    """Return values as JSON inside a script element of a page, with ``<``, ``>`` and ``&`` escaped."""
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    safe = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(f'<script type="application/json" id="{html.escape(name)}">{safe}</script>')


def figure_bytes(figure: Figure, kind: str, dpi: int = 150) -> bytes:
    """Return a matplotlib figure as the bytes of a PNG or SVG file, without the date."""
    file = io.BytesIO()
    figure.savefig(file, format=kind, dpi=dpi, metadata={"Date": None} if kind == "svg" else None)
    return file.getvalue()
