"""What is stored of one processor, as exports read it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

ROWS = 1024
AXIS = "_axis"


@dataclass(frozen=True, slots=True)
class Group:
    """A processor's results in a store.

    Attributes
    ----------
    arrays
        By name; longer ones may be at work, so many `rows` all of them have.
    outputs
        What was declared, by name.
    title
        Of the processor.
    """

    arrays: dict[str, Any]
    outputs: dict[str, dict[str, Any]]
    title: str
    rows: int

    @classmethod
    def of(cls, folder: Path) -> Group:
        """Return the group in a folder."""
        group: Any = zarr.open_group(folder, mode="r")
        arrays = dict(group.arrays())
        outputs = {one["name"]: one for one in group.attrs.get("outputs", [])}
        rows = min((array.shape[0] for array in arrays.values()), default=0)
        return cls(arrays, outputs, str(group.attrs.get("title", folder.name)), rows)

    def names(self, ndim: int) -> list[str]:
        """Return the outputs with so many axes beside the frame's, as they were declared."""
        found = [name for name, array in self.arrays.items() if array.ndim == ndim + 1]
        return sorted(
            (name for name in found if name not in ("frame", "time") and not self._is_axis(name)),
            key=lambda name: (list(self.outputs).index(name) if name in self.outputs else math.inf, name),
        )

    def _is_axis(self, name: str) -> bool:
        return name.endswith(AXIS) and name.removesuffix(AXIS) in self.arrays

    def blocks(self, name: str) -> Iterator[NDArray[Any]]:
        """Yield an array, some rows at a time."""
        for first in range(0, self.rows, ROWS):
            yield self.arrays[name][first : min(first + ROWS, self.rows)]

    def last(self, name: str, count: int) -> NDArray[Any]:
        """Return the last rows of an array."""
        return np.asarray(self.arrays[name][max(0, self.rows - count) : self.rows])
