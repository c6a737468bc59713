"""The HTML frame of all web pages, their common style, and colors that the color-blind tell apart too."""

from __future__ import annotations

from html import escape
from pathlib import Path

# Okabe and Ito 2008; marks of figures differ in shape as well.
BLUE, VERMILION, GREEN, DARK = "#0072B2", "#D55E00", "#009E73", "#333333"
SKY, ORANGE, PURPLE, GRAY = "#56B4E9", "#E69F00", "#CC79A7", "#8A8A8A"
MARKS = (BLUE, VERMILION, GREEN, DARK)
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
# Texts and their grounds; texts need a contrast of 4.5, marks and lines one of 3.
TEXTS = (*((text, ground) for text in (INK, QUIET, LINK, BAD) for ground in (WHITE, PANEL)), *LEVELS.values())
TEXT_CONTRAST, MARK_CONTRAST = 4.5, 3.0


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colors, #RRGGBB, as WCAG 2 defines it: 1 to 21."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(color: str) -> float:
    values = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    red, green, blue = (v / 12.92 if v <= 0.04045 else float(((v + 0.055) / 1.055) ** 2.4) for v in values)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


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
