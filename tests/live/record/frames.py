"""Frames for the tests of recording, and a check of what was recorded."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mrcz_dask.formats.verify import verify_file
from mrcz_dask.live.frames import Frame
from mrcz_dask.live.record.stacks import recorded
from tests.live.transport.streaming import pixels


def frame(number: int, dtype: str = "u2", **changed: Any) -> Frame:
    made = Frame(number, 1.7e9 + number / 7, pixels(number, dtype=dtype), index=number % 5)
    return replace(made, **changed)


def some(*numbers: Iterable[int], **changed: Any) -> list[Frame]:
    return [frame(number, **changed) for group in numbers for number in group]


def stacks(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("[!.]*.mrcz"))


def check(folder: Path, numbers: list[int], stream: str | None = None) -> None:
    """All of these numbers are there, once, in order, each with its pixels; all stacks are sound."""
    found = list(recorded(folder, stream))
    assert [one.number for one in found] == numbers
    assert all(np.array_equal(one.data, pixels(one.number, dtype=one.data.dtype.str)) for one in found)
    for path in folder.glob("[!.]*.mrcz"):
        assert verify_file(path).status == "sound"
