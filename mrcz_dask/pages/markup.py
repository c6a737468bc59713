"""Builds HTML from elements; plain text is escaped, so that names of files cannot inject anything."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VOID = {"img", "meta", "br"}


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
    made = element("table", element("thead", head), element("tbody", body))
    return element("div", made, class_="scroll", tabindex=0, role="region", aria_label=name)


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
