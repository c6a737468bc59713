"""Methods beside each other as a figure, PNG and SVG."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from mrcz_dask.noise.compare import FIGURE, Comparison
from mrcz_dask.noise.files import write_files
from mrcz_dask.noise.plotting import COLOURS, LINE, rendered

MILLI = 1e3


def write_figure(found: Comparison, folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Draw the figure as PNG and SVG; see `noise_files.write_files`."""
    return write_files(rendered([(FIGURE, compare_figure(found))]), folder, overwrite)


def compare_figure(found: Comparison) -> Figure:
    """Draw R by method, on the left of every stack with the mean, on the right above the filter alone."""
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, at, names in (
        (left, 0, found.params.methods),
        (right, 2, [name for name in found.params.methods if name not in ("raw", "outliers")]),
    ):
        for x, name in enumerate(names):
            scores = [one.scores[name] for one in found.stacks]
            values = [MILLI * v for one in scores if (v := one[at]) is not None]
            axes.plot([x] * len(values), values, "o", color=COLOURS[0], markersize=3, alpha=0.4)
            mean, error = found.means[name][at : at + 2]
            if mean is not None:
                axes.errorbar(x, MILLI * mean, MILLI * (error or 0), fmt="_", color=COLOURS[1], capsize=5)
        axes.set_xticks(range(len(names)), names)
        axes.margins(x=0.2)
    if all(score[0] is None or score[0] > 0 for one in found.stacks for score in one.scores.values()):
        left.set_yscale("log")
    right.axhline(0, color=LINE, linewidth=0.8)
    left.set(ylabel="R x 1000, held out")
    right.set(ylabel="R x 1000 above that of the outlier filter alone")
    figure.suptitle(f"{len(found.stacks)} stacks (dots), means and their errors (bars)")
    return figure
