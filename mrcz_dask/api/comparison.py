"""Compares an output with the one made again from its inputs: bytes, pixels, and numbers of the footer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrcz_dask.correction.footer import last_steps
from mrcz_dask.formats.digest import whole_digest
from mrcz_dask.formats.sources import open_source, read_footer
from mrcz_dask.version import __version__

SHOWN = 20


@dataclass(frozen=True, slots=True)
class Reproduction:
    """Record of how an output compares with the one made again from its inputs, frame by frame.

    Attributes
    ----------
    path
        The file that was made again.
    same
        Whether every byte of it is the same.
    frames
        Frames whose pixels differ; none where only what is said of them does.
    version
        The version that the file was made with.
    largest
        Largest difference of a pixel, counts; infinite for frames of another shape or type.
    changes
        Numbers and texts of the footer that differ: where, both values, and by how much.
    """

    path: str
    same: bool
    frames: tuple[int, ...]
    version: str
    largest: float = 0.0
    changes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return lines of text that say which frames and numbers differ, and by how much."""
        shown = f"{list(self.frames[:SHOWN])}{' ...' if len(self.frames) > SHOWN else ''}"
        pixels = f"frames that differ: {shown}, by at most {self.largest:.3g} counts"
        by_version = f"made by version {self.version}, now {__version__}"
        lines = [pixels] if self.frames else ["all pixels are the same"]
        lines += [by_version] if self.version != __version__ else []
        more = len(self.changes) - SHOWN
        return [*lines, *self.changes[:SHOWN], *([f"{more} more numbers differ"] if more > 0 else [])]


def compare(path: Path, again: Path, version: str) -> Reproduction:
    """Compare an output, made by `version`, with the one made again; return what differs."""
    if whole_digest(again) == whole_digest(path):
        return Reproduction(str(path), True, (), version)
    changes = _changes(_numbers(path), _numbers(again))
    with open_source(path) as a, open_source(again) as b:
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            return Reproduction(str(path), False, tuple(range(len(a))), version, math.inf, tuple(changes))
        frames, largest = [], 0.0
        for k in range(len(a)):
            if a.frame(k).tobytes() != b.frame(k).tobytes():
                frames.append(k)
                by = np.abs(np.subtract(a.physical(k), b.physical(k), dtype=np.float64))
                largest = max(largest, float(np.nanmax(by, initial=0.0)))
    return Reproduction(str(path), False, tuple(frames), version, largest, tuple(changes))


def _numbers(path: Path) -> dict[str, Any]:
    """Read the pixel values and provenance steps of a footer, without digests and versions."""
    footer = read_footer(path) or {}
    steps = {
        name: {key: value for key, value in step.items() if key not in ("digest", "version")}
        for name, step in last_steps(footer).items()
    }
    return {"pixels": footer.get("pixels"), **steps}


def _changes(before: Any, now: Any, place: str = "") -> Iterator[str]:
    """Yield where two plain values differ, both values, and by how much numbers do."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted({*before, *now}):
            yield from _changes(before.get(key), now.get(key), f"{place}.{key}" if place else key)
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for k, (old, new) in enumerate(zip(before, now, strict=True)):
            yield from _changes(old, new, f"{place}[{k}]")
    elif before != now:
        numbers = all(isinstance(value, (int, float)) for value in (before, now))
        by = f" ({(now - before) / abs(before):+.1e} of it)" if numbers and before else ""
        yield f"{place}: {before!s:.60} -> {now!s:.60}{by}"
