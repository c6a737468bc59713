"""The page around the plots, and the style of its parts."""

from __future__ import annotations

TITLE = "mrcz-dask live"

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>mrcz-dask live</title>
  <link rel="icon" href="data:,">
  {{ bokeh_css }}
  {{ bokeh_js }}
  <style>
    body { margin: 0; background: #f4f5f7; }
    .live { font-family: Helvetica, Arial, sans-serif; max-width: 1900px; margin: 0 auto; padding: 8px 12px; }
    .live .all { display: grid; gap: 14px; align-items: start; }
    .live .all > div { min-width: 0; }
    .live .card { background: #fff; border: 1px solid #dcdfe4; border-radius: 6px; padding: 8px 10px; }
    .live .card { box-sizing: border-box; min-width: 0; }
    .live .panels { display: flex; flex-flow: row wrap; gap: 14px; align-items: stretch; }
    .live .panels .card { flex: 1 1 360px; }
    .live .panels .card:has(.wide) { flex-basis: 720px; }
    @media (min-width: 900px) {
      .live .all { grid-template-columns: minmax(340px, 430px) 1fr; }
      .live .source { position: sticky; top: 8px; }
    }
  </style>
</head>
<body>
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
</body>
</html>
"""

# Bokeh keeps each part in a shadow tree that the page's own style misses.
TEXT_STYLE = """
  :host { font-family: Helvetica, Arial, sans-serif; color: #222; width: 100%; }
  .bk-clearfix { display: block !important; }
  h1 { font-size: 22px; margin: 6px 0 8px; overflow-wrap: anywhere; }
  h2 { font-size: 15px; margin: 2px 0 2px; overflow-wrap: anywhere; }
  p { margin: 6px 0 4px; font-size: 13px; overflow-wrap: anywhere; }
  .where { color: #555; font-size: 12px; overflow-wrap: anywhere; }
  .facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(145px, 1fr)); gap: 6px 12px; }
  .facts { margin: 4px 0 12px; }
  .facts div { min-width: 0; }
  .facts dt { color: #555; font-size: 12px; }
  .facts dd { margin: 0; font-size: 16px; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
  .values { display: flex; flex-wrap: wrap; gap: 2px 16px; font-size: 13px; }
  .values b { font-size: 16px; font-variant-numeric: tabular-nums; }
  .stats { display: flex; flex-wrap: wrap; gap: 2px 12px; font-size: 12px; color: #555; }
  .stats { font-variant-numeric: tabular-nums; }
  .bad { color: #a32b00; font-weight: bold; }
  .links { font-size: 13px; padding: 7px 0; color: #555; white-space: nowrap; }
  .links a { color: #005a94; margin-left: 4px; }
  .pill { font-size: 12px; font-weight: bold; border-radius: 9px; padding: 2px 9px; white-space: nowrap; }
  .pill { background: #e4e6ea; color: #333; vertical-align: 2px; }
  .pill.running { background: #d7f0e2; color: #00573a; }
  .pill.waiting, .pill.starting, .pill.restarting { background: #fdeeca; color: #6b4700; }
  .pill.paused { background: #dbe8f6; color: #14456e; }
  .pill.failed { background: #a32b00; color: #fff; }
  pre { background: #fdf3ef; border-left: 3px solid #a32b00; color: #5c1a02; font-size: 12px; }
  pre { max-height: 170px; overflow: auto; padding: 6px 8px; margin: 4px 0; }
"""

ROW_STYLE = ":host { flex-wrap: wrap; gap: 4px 2px; align-items: flex-end; }"

PLOTS_STYLE = """
  :host { display: grid !important; gap: 4px 12px; }
  :host { grid-template-columns: repeat(auto-fill, minmax(min(240px, 100%), 1fr)); }
  :host(.even) { grid-template-columns: repeat(auto-fit, minmax(min(300px, 100%), 1fr)); }
"""
