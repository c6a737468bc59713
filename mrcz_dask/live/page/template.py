"""HTML template and style sheet of the live page."""

from __future__ import annotations

from pathlib import Path

from mrcz_dask.pages.template import BOKEH, html_page

TITLE = "mrcz-dask live"
STYLE = (Path(__file__).parent / "live.css").read_text("utf-8")
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
"""
PAGE = html_page(TITLE, CONTENT, STYLE, BOKEH)

# Styles of rows of widgets, and of a panel's plots.
ROW_STYLE = ":host { flex-wrap: wrap; gap: 4px 2px; align-items: flex-end; }"
PLOTS_STYLE = """
  :host { display: grid !important; gap: 4px 12px; }
  :host { grid-template-columns: repeat(auto-fill, minmax(min(240px, 100%), 1fr)); }
  :host(.even) { grid-template-columns: repeat(auto-fit, minmax(min(300px, 100%), 1fr)); }
"""
