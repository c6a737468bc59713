"""HTML templates of the session's page: on its own, and as part of Dask's dashboard."""

from __future__ import annotations

from pathlib import Path

from mrcz_dask.pages.template import BOKEH, VARIABLES, html_page

NAME, TITLE = "session", "mrcz-dask"
STYLE = (Path(__file__).parent / "monitor.css").read_text("utf-8")
CONTENT = """
{% from macros import embed %}
<div class="session">
  <div>{{ embed(roots.headline) }}</div>
  <div class="plots">
    <div class="whole">{{ embed(roots.timeline) }}</div>
    {% for name in ("outliers", "noise", "thresholds", "dose", "thumbnails", "not_done") %}
    <div>{{ embed(roots[name]) }}</div>
    {% endfor %}
  </div>
</div>
{{ plot_script }}
"""
ALONE = html_page(TITLE, CONTENT, STYLE, BOKEH)

# In the words of Dask's own pages, whose frame and navigation it takes.
IN_DASHBOARD = (
    '{% extends "base.html" %}\n'
    f"{{% block extra_resources %}}<style>{VARIABLES}{STYLE}</style>{{% endblock %}}\n"
    f"{{% block content %}}{CONTENT}{{% endblock %}}"
)
