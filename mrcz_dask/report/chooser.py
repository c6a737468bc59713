"""Histogram and patch of any stack of a sample: the data that the page's script draws from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.outliers.weights import is_masked
from mrcz_dask.pages.markup import Markup, element, embedded, png
from mrcz_dask.report.data import SessionData, StackData, StackSample
from mrcz_dask.report.pictures import histogram
from mrcz_dask.report.tables import FigureData
from mrcz_dask.session.thumbnails import in_greys

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


def _values(one: StackData, look: StackSample) -> dict[str, Any]:
    made = histogram(one, look, "any")
    mask = one.mask
    assert mask is not None
    return {
        "name": one.name,
        "label": f"{one.number}: {one.name}",
        "said": f"{mask.n_hot} hot, {mask.n_dead} dead pixels; dose {mask.dose:.4g}; mask {mask.status}.",
        "histogram": _thinned(made),
        "dark_at": threshold_at(made, "t_dark"),
        "hot_at": threshold_at(made, "t_hot"),
        "patch": None if look.patch is None or look.weight is None else _patch(look.patch, look.weight),
    }


def _thinned(made: FigureData) -> Mapping[str, Sequence[float | None]]:
    every = -(-len(made.columns["edge"]) // MOST_BINS)
    names = ("edge", "pixels", "model", "residual", "weight")
    return {name: [_rounded(v) for v in made.columns[name][::every]] for name in names}


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{DIGITS}g}")


def threshold_at(made: FigureData, name: str) -> float | None:
    """Return where on a histogram's axis a threshold is, counts; None where it is off, or outside."""
    pairs = zip(made.columns["z"], made.columns["edge"], strict=True)
    known = [(z, edge) for z, edge in pairs if z is not None]
    limit = made.notes[name]
    if limit is None or not known or not known[0][0] < limit < known[-1][0]:
        return None
    z, edge = np.array(known, np.float64).T
    return float(np.interp(limit, z, edge))


def _patch(patch: NDArray[np.float32], weight: NDArray[np.uint8]) -> dict[str, Any]:
    images, _ = in_greys(patch[0], patch[1])
    marks = np.argwhere(is_masked(weight)).tolist()
    return {
        "before": png(images[0]),
        "after": png(images[1]),
        "marks": marks,
        "size": list(weight.shape),
    }
