"""Style and script of the report."""

from __future__ import annotations

from pathlib import Path

from mrcz_dask.pages.palette import LEVELS

_HERE = Path(__file__).parent
STYLE = (_HERE / "report.css").read_text("utf-8") + "".join(
    f".level-{name} {{ color: {text}; background: {ground}; }}\n" for name, (text, ground) in LEVELS.items()
)
SCRIPT = (_HERE / "chooser.js").read_text("utf-8")
