"""The plots of a processor as a picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mrcz_dask.live.page.pixels import binned, limits
from mrcz_dask.live.page.plots import LINES
from mrcz_dask.live.page.stored import AXIS, Group

WIDTH, HEIGHT, DPI = 7.0, 2.8, 120
# Of a long series so many points are drawn; of a store so many last images are looked through for one.
POINTS, IMAGES = 20_000, 16
LINE = "#0072b2"


def write_png(folder: Path, path: Path) -> None:
    """Write scalars over all frames, the last lines of profiles, and the last image, below one another.

    Parameters
    ----------
    folder
        The processor's group.
    path
        Of the file.
    """
    group = Group.of(folder)
    draws: tuple[Callable[[Axes, Group, str], None], ...] = (_scalar, _profile, _image)
    wanted = [(draw, name) for ndim, draw in enumerate(draws) for name in group.names(ndim)]
    figure = Figure(figsize=(WIDTH, HEIGHT * max(1, len(wanted)) + 0.4), layout="constrained")
    figure.suptitle(_plain(group.title), fontsize=11)
    axes = figure.subplots(max(1, len(wanted)), squeeze=False)[:, 0]
    for one, (draw, name) in zip(axes, wanted, strict=False):
        draw(one, group, name)
    figure.savefig(path, format="png", dpi=DPI)


def _scalar(axes: Axes, group: Group, name: str) -> None:
    step = max(1, -(-group.rows // POINTS))
    frames = group.arrays["frame"][: group.rows : step]
    values = group.arrays[name][: group.rows : step]
    axes.plot(frames, values, ".-", color=LINE, markersize=2, linewidth=0.7)
    axes.set(xlabel="frame", ylabel=_label(group, name))


def _profile(axes: Axes, group: Group, name: str) -> None:
    places, values = group.last(name + AXIS, LINES), group.last(name, LINES)
    colours = colormaps["Blues"](np.linspace(0.25, 1, len(values)))
    for x, y, colour in zip(places, values, colours, strict=True):
        axes.plot(x, y, color=colour, linewidth=0.9)
    said = group.outputs.get(name, {})
    axis = _with_unit(str(said.get("axis", "place")), str(said.get("axis_unit", "")))
    axes.set(xlabel=axis, ylabel=_label(group, name))


def _image(axes: Axes, group: Group, name: str) -> None:
    image = _newest(group.last(name, IMAGES))
    if image is None:
        return
    small, block = binned(image)
    low, high = limits(small, True)
    extent = (0, block * small.shape[1], block * small.shape[0], 0)
    shown = axes.imshow(small, vmin=low, vmax=high, extent=extent, interpolation="nearest")
    y, x = group.outputs.get(name, {}).get("axes", ("y", "x"))
    axes.set(xlabel=_plain(str(x)), ylabel=_plain(str(y)))
    figure: Any = axes.figure
    figure.colorbar(shown, ax=axes, label=_label(group, name))


def _newest(images: NDArray[Any]) -> NDArray[Any] | None:
    """Return the last image in which there is anything, without the rows and columns that fill it up."""
    for image in images[::-1]:
        there = np.isfinite(image)
        if there.any():
            rows, columns = np.flatnonzero(there.any(axis=1)), np.flatnonzero(there.any(axis=0))
            found: NDArray[Any] = image[: rows[-1] + 1, : columns[-1] + 1]
            return found
    return None


def _label(group: Group, name: str) -> str:
    return _with_unit(name, str(group.outputs.get(name, {}).get("unit", "")))


def _with_unit(name: str, unit: str) -> str:
    return _plain(f"{name} ({unit})" if unit else name)


def _plain(text: str) -> str:
    """Return a text in which Matplotlib sees no formula."""
    return text.replace("$", r"\$")
