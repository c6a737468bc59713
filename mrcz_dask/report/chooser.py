"""Histogram and patch of any stack of a sample: the data that the page's script draws from."""

from __future__ import annotations

from typing import Any

import numpy as np

from mrcz_dask.numerics.outliers.weights import is_masked
from mrcz_dask.pages.markup import Markup, element, embedded, png
from mrcz_dask.report.data import SessionData, StackData, StackSample
from mrcz_dask.report.pictures import histogram
from mrcz_dask.report.tables import FigureData
from mrcz_dask.session.thumbnails import in_grays

# Of a histogram in the page; the files of `--figures` and `--json` have all bins.
MOST_BINS = 256
DIGITS = 5


def chooser(data: SessionData) -> Markup:
    """Return the part of the page that shows one stack; it stays hidden where scripts do not run."""
    stacks = [s for s in data.stacks if s.number in data.looks and data.looks[s.number].fit is not None]
    if not stacks:
        return Markup()
    total = len(data.masks)
    which = (
        "all of them" if len(stacks) == total else f"{len(stacks)} of {total}, evenly spread, and the worst"
    )
    return element(
        "div",
        element("label", f"Any stack ({which})", for_="stack"),
        element("select", id="stack"),
        element("p", class_="said quiet", aria_live="polite"),
        element("div", class_="drawing scroll", tabindex=0, role="region", aria_label="histogram"),
        element("div", class_="patches"),
        id="chooser",
        class_="chooser",
        hidden=True,
    ) + embedded("looks", [_values(s, data.looks[s.number]) for s in stacks])


def _values(stack: StackData, look: StackSample) -> dict[str, Any]:
    figure, mask = histogram(stack, look, "any"), stack.mask
    assert mask is not None
    every = -(-len(figure.columns["edge"]) // MOST_BINS)
    thinned = {
        name: [None if v is None else float(f"{v:.{DIGITS}g}") for v in figure.columns[name][::every]]
        for name in ("edge", "pixels", "model", "residual", "weight")
    }
    patch = None
    if look.patch is not None and look.weight is not None:
        images, _ = in_grays(look.patch[0], look.patch[1])
        patch = {
            "before": png(images[0]),
            "after": png(images[1]),
            "marks": np.argwhere(is_masked(look.weight)).tolist(),
            "size": list(look.weight.shape),
        }
    return {
        "name": stack.name,
        "label": f"{stack.number}: {stack.name}",
        "said": f"{mask.n_hot} hot, {mask.n_dead} dead pixels; dose {mask.dose:.4g}; mask {mask.status}.",
        "histogram": thinned,
        "dark_at": threshold_at(figure, "t_dark"),
        "hot_at": threshold_at(figure, "t_hot"),
        "patch": patch,
    }


def threshold_at(figure: FigureData, name: str) -> float | None:
    """Return a threshold in counts, the axis of the histogram; None where it is off, or outside."""
    pairs = zip(figure.columns["z"], figure.columns["edge"], strict=True)
    known = [(z, edge) for z, edge in pairs if z is not None]
    limit = figure.notes[name]
    if limit is None or not known or not known[0][0] < limit < known[-1][0]:
        return None
    z, edge = np.array(known, np.float64).T
    return float(np.interp(limit, z, edge))
