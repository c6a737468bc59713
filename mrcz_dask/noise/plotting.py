"""What all figures share: colours, the legend below, files without a date."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito: told apart by the colour-blind; markers differ too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINE = "#444444"


def rendered(figures: Iterable[tuple[str, Figure]]) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of figures as PNG and SVG, the same bytes each time.

    Parameters
    ----------
    figures
        Names without suffix, and figures, made while this is gone through.
    """
    with mpl.rc_context({"svg.hashsalt": "mrcz-dask", "font.size": 9, "axes.axisbelow": True}):
        for name, figure in figures:
            yield f"{name}.png", _file(figure, "png")
            yield f"{name}.svg", _file(figure, "svg")


def _file(figure: Figure, kind: str) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
    return file.getvalue()


def legend_below(figure: Figure, *several: Axes, columns: int = 6) -> None:
    """Put one legend for some axes below a figure, each label once."""
    found: dict[str, Any] = {}
    for axes in several:
        handles, labels = axes.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    count = max(1, min(columns, len(found)))
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=count)
