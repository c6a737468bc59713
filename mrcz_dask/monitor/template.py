"""The page around the plots: on its own, and as one of the pages of Dask's dashboard."""

from __future__ import annotations

TITLE = "mrcz-dask"

STYLE = """
<style>
  .session { font-family: Helvetica, Arial, sans-serif; max-width: 1600px; }
  .session { margin: 0 auto; padding: 8px 12px; }
  .session .plots { display: grid; gap: 12px 20px; }
  .session .plots > div { min-width: 0; }
  .session .whole { grid-column: 1 / -1; }
  @media (min-width: 900px) { .session .plots { grid-template-columns: 1fr 1fr; } }
</style>
"""

CONTENT = """
{% from macros import embed %}
<div class="session">
  <div>{{ embed(roots.headline) }}</div>
  <div class="plots">
    <div class="whole">{{ embed(roots.timeline) }}</div>
    <div>{{ embed(roots.outliers) }}</div>
    <div>{{ embed(roots.noise) }}</div>
    <div>{{ embed(roots.thresholds) }}</div>
    <div>{{ embed(roots.dose) }}</div>
    <div>{{ embed(roots.thumbnails) }}</div>
    <div>{{ embed(roots.troubles) }}</div>
  </div>
</div>
{{ plot_script }}
"""

ALONE = f"""<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>{TITLE}</title>
  <link rel="icon" href="data:,">
  {{{{ bokeh_css }}}}
  {{{{ bokeh_js }}}}
  {STYLE}
</head>
<body style="margin: 0">
{CONTENT}
</body>
</html>
"""

# In the words of Dask's own pages, whose frame and navigation it takes.
IN_DASHBOARD = (
    '{% extends "base.html" %}\n'
    "{% block extra_resources %}" + STYLE + "{% endblock %}\n"
    "{% block content %}" + CONTENT + "{% endblock %}"
)

# Of the parts that are written as text; Bokeh keeps each in a shadow tree that the page's own style misses.
TEXT_STYLE = """
  :host { font-family: Helvetica, Arial, sans-serif; color: #222; width: 100%; }
  h1 { font-size: 22px; margin: 6px 0 4px; overflow-wrap: anywhere; }
  h2 { font-size: 14px; margin: 10px 0 4px; }
  .where { color: #666; font-size: 13px; overflow-wrap: anywhere; }
  .bk-clearfix { display: block !important; }
  .bar { background: #e8e8e8; border-radius: 4px; height: 12px; margin: 10px 0; }
  .bar { display: flex; overflow: hidden; }
  .bar span { height: 100%; }
  .facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(160px, 1fr)); gap: 8px 16px; }
  .facts div { min-width: 0; }
  .facts dt { color: #666; font-size: 12px; }
  .facts dd { margin: 0; font-size: 15px; overflow-wrap: anywhere; }
  .bad { color: #a33c00; font-weight: bold; }
  table { border-collapse: collapse; font-size: 13px; width: 100%; }
  th { text-align: left; color: #666; font-weight: normal; }
  td, th { padding: 3px 12px 3px 0; vertical-align: top; border-bottom: 1px solid #eee; }
  td { overflow-wrap: anywhere; min-width: 110px; }
"""
