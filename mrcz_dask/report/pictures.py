"""Makes the data of a report's pictures of single stacks: before and after, histogram, enlarged patch."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special

from mrcz_dask.report.data import FigureData, SessionData, StackData, StackSample


def picture(data: SessionData) -> FigureData | None:
    """Return the figure of one stack as recorded, as corrected, and of the pattern that was taken off it."""
    for stack in data.stacks:
        look = data.samples.get(stack.number, StackSample())
        if look.thumbnails is not None and len(look.thumbnails) > 2:
            break
    else:
        return None
    low, high, span = look.grays
    ny, nx = (n // 2 for n in look.thumbnails.shape[1:])
    gray = look.thumbnails[:, : 2 * ny, : 2 * nx].reshape(3, ny, 2, nx, 2).mean(axis=(2, 4)) / 255
    rows, columns = np.indices(gray.shape[1:])
    counts = (low + (high - low) * gray[:2]).round(6)
    return FigureData(
        "picture",
        "Before, after, and the pattern that was taken off",
        f"The sum of stack {stack.number}, {stack.name}, in counts per frame on one gray scale, and what "
        "was subtracted, in per cent of the mean. Each is averaged over blocks. Columns, stripes and spots "
        "belong in the pattern, and your specimen does not: if you see it there, read the verdict.",
        "",
        {
            "row": rows.ravel().tolist(),
            "column": columns.ravel().tolist(),
            "before": counts[0].ravel().tolist(),
            "after": counts[1].ravel().tolist(),
            "pattern_percent": (100 * span * (2 * gray[2] - 1)).round(4).ravel().tolist(),
        },
        {"low": low, "high": high, "span_percent": 100 * span},
    )


def histogram(stack: StackData, look: StackSample, name: str) -> FigureData:
    """Return the figure of one stack's histogram, with its fit, the residual, and the outlier weights."""
    fit, mask = look.fit, stack.mask
    assert fit is not None and mask is not None
    total = int(fit.counts.sum()) + fit.below + fit.above
    z = fit.z.astype(np.float64)
    before = 2 * z[:1] - z[1:2] if z.size > 1 else z - 1
    model = total * np.diff(special.ndtr(np.concatenate([before, z])))
    dark, hot = mask.t_dark, mask.t_hot
    return FigureData(
        f"histogram.{name}",
        f"Histogram, fit, residual and weight: stack {stack.number}, {stack.name}",
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


def patch(stack: StackData, look: StackSample, name: str) -> FigureData:
    """Return the figure of the patch of a stack with most outliers, before and after correction."""
    assert look.patch is not None and look.weight is not None
    ny, nx = look.weight.shape
    y, x = np.indices((ny, nx))
    return FigureData(
        f"patch.{name}",
        f"Before and after: stack {stack.number}, {stack.name}",
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
