"""The HTML frame of all web pages, their common style, and colors that the color-blind tell apart too."""

from __future__ import annotations

from html import escape
from pathlib import Path

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
VARIABLES = f":root {{ {' '.join(f'--{name.lower()}: {value};' for name, value in _COLORS.items())} }}\n"
# Also for the parts of a page that Bokeh keeps in shadow trees, which inherit the variables.
STYLE = (Path(__file__).parent / "style.css").read_text("utf-8")
# The head of a page whose plots are Bokeh's, in its template.
BOKEH = '<link rel="icon" href="data:,">\n{{ bokeh_css }}\n{{ bokeh_js }}'


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
