"""The HTML frame of all web pages, and their common style."""

from __future__ import annotations

from html import escape
from pathlib import Path

from mrcz_dask.pages import palette

_COLORS = {name: value for name, value in vars(palette).items() if str(value).startswith("#")}
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
