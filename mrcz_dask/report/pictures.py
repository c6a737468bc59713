"""The figures of single stacks as data: histogram and fit, patches before and after."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import special

from mrcz_dask.report.data import SessionData, StackData, StackSample, worst
from mrcz_dask.report.tables import FigureData, over_stacks


def figures(data: SessionData) -> Iterator[FigureData]:
    """Yield the figures of a session, then those of the first stack, and of the one that fits worst."""
    yield from over_stacks(data)
    for name, stack in chosen(data):
        look = data.looks.get(stack.number, StackSample())
        if look.fit is not None:
            yield histogram(stack, look, name)
        if look.patch is not None:
            yield patch(stack, look, name)


def chosen(data: SessionData) -> list[tuple[str, StackData]]:
    """Return the stacks that are shown without being asked for: the first one, and the worst."""
    first = next((s for s in data.stacks if s.number in data.looks), None)
    last = worst([s for s in data.stacks if s.number in data.looks])
    found = [("first", first), ("worst", last)]
    return [(name, s) for name, s in found if s is not None and (name == "first" or s is not first)]


def histogram(one: StackData, look: StackSample, name: str) -> FigureData:
    """Return histogram, fit, residual and weight of a stack."""
    fit, mask = look.fit, one.mask
    assert fit is not None and mask is not None
    total = int(fit.counts.sum()) + fit.below + fit.above
    z = fit.z.astype(np.float64)
    before = 2 * z[:1] - z[1:2] if z.size > 1 else z - 1
    model = total * np.diff(special.ndtr(np.concatenate([before, z])))
    dark, hot = mask.t_dark, mask.t_hot
    return FigureData(
        f"histogram.{name}",
        f"Histogram, fit, residual and weight: stack {one.number}, {one.name}",
        "Above: pixels of the sum and the normal curve that fits the good ones (on the axis on which "
        "counting is symmetric). Middle: how far the histogram leaves the curve; beyond a tail's line are "
        "outliers. Below: the weight, 1 = kept, 0 = replaced. "
        f"{mask.n_hot} hot and {mask.n_dead} dead pixels; thresholds {_sigma(dark)} and {_sigma(hot)}.",
        "Fig. 5",
        {
            "edge": fit.edges.tolist(),
            "pixels": fit.counts.tolist(),
            "model": _known(model),
            "z": _known(z),
            "residual": _known(fit.residual),
            "weight": fit.weight.tolist(),
        },
        {
            "t_dark": dark,
            "t_hot": hot,
            "dark_line": fit.dark_line,
            "hot_line": fit.hot_line,
            "below": fit.below,
            "above": fit.above,
        },
    )


def _known(values: Any) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]


def _sigma(threshold: float | None) -> str:
    return "off" if threshold is None else f"{threshold:.2f} sigma"


def patch(one: StackData, look: StackSample, name: str) -> FigureData:
    """Return the place of a stack with most outliers, before and after."""
    assert look.patch is not None and look.weight is not None
    ny, nx = look.weight.shape
    y, x = np.indices((ny, nx))
    return FigureData(
        f"patch.{name}",
        f"Before and after: stack {one.number}, {one.name}",
        f"Mean over frames of {nx} x {ny} pixels where most outliers are (rows from {look.corner[0]}, "
        f"columns from {look.corner[1]}), on one gray scale. Marked are the outliers; afterwards none of "
        "them should be seen, and no lines.",
        "Fig. 6",
        {
            "row": (y.ravel() + look.corner[0]).tolist(),
            "column": (x.ravel() + look.corner[1]).tolist(),
            "before": look.patch[0].ravel().tolist(),
            "after": look.patch[1].ravel().tolist(),
            "weight": look.weight.ravel().tolist(),
        },
        {},
    )
