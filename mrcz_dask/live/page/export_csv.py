"""Results as a table: a row for each frame."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.live.page.stored import AXIS, Group


def write_csv(folder: Path, path: Path) -> None:
    """Write frame, time, scalars, and profiles, a column for each place; images are left out.

    Where a profile has the same places in all rows, they are in the heads of its columns, otherwise in
    columns of their own. What is NaN or missing is empty.

    Parameters
    ----------
    folder
        The processor's group.
    path
        Of the file.
    """
    group = Group.of(folder)
    heads: dict[str, list[str]] = {"frame": ["frame"], "time": ["time"]}
    if group.rows:
        heads |= {name: [name] for name in group.names(0)}
        for name in group.names(1):
            heads |= _profile(group, name)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([one for several in heads.values() for one in several])
        for blocks in zip(*(group.blocks(name) for name in heads), strict=True) if group.rows else ():
            writer.writerows(_rows(blocks))


def _profile(group: Group, name: str) -> dict[str, list[str]]:
    """Return the heads of a profile's columns, and of its places if it needs them, by array."""
    axis = name + AXIS
    places = _common(group, axis)
    if places is not None:
        return {name: [f"{name}[{_text(place)}]" for place in places]}
    return {one: [f"{one}[{k}]" for k in range(group.arrays[one].shape[1])] for one in (axis, name)}


def _common(group: Group, axis: str) -> NDArray[Any] | None:
    """Return the places that all rows have; None if they differ."""
    found: NDArray[Any] | None = None
    for block in group.blocks(axis):
        there = block[~np.isnan(block).all(axis=1)]
        if found is None and len(there):
            found = there[0]
        if found is not None and not all(np.array_equal(found, row, equal_nan=True) for row in there):
            return None
    return None if found is None or np.isnan(found).any() else found


def _rows(blocks: tuple[NDArray[Any], ...]) -> Iterator[list[str]]:
    columns = [block.reshape(len(block), -1).tolist() for block in blocks]
    for parts in zip(*columns, strict=True):
        yield [_text(value) for part in parts for value in part]


def _text(value: float) -> str:
    return "" if value != value else repr(value) if isinstance(value, int) else repr(float(value))
