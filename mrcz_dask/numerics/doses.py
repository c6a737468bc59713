"""Find blank frames of a stack, and frames whose dose differs from that of the rest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.kernels import LANES, compiled, flat, total
from mrcz_dask.values.checks import in_runs

# A frame's dose is another than the stack's beyond so many standard errors, and this share of it.
ERRORS = 5.0
SHARE = 0.02
# A frame whose mean is below this share of the usual one is blank: the shutter was closed.
CLOSED = 0.01
EVERY = 17  # row that is looked at first; read-out goes by even numbers of rows
HOT = 0.01  # share of a frame's pixels that are lit in the dark, too
SAMPLE = 256  # pixels a side that tell a frame's level
PART = 1 / 16  # of the rows
CERTAIN = 30.0  # counts: so many are missed by chance once in 10**13


def is_blank(frame: NDArray[Any]) -> bool:
    """Return whether all pixels of a frame (ny, nx) have one value: nothing was recorded, or written."""
    first = frame[0, 0]
    return bool((frame[0] == first).all() and (frame == first).all())


def constant_ends(lines: NDArray[Any]) -> tuple[int, int]:
    """Find the rows that have different values: return the first such row, and the one after the last, of an
    image (rows, pixels).
    """
    start, stop = 0, len(lines)
    while start < stop and (lines[start] == lines[start, 0]).all():
        start += 1
    while start < stop and (lines[stop - 1] == lines[stop - 1, 0]).all():
        stop -= 1
    return start, stop


def level_without_hot(frame: NDArray[Any]) -> tuple[float, float]:
    """Return a frame's mean without its brightest 1 % of pixels (hot ones), and its standard error, counts.

    Every so many pixels are looked at where there are more than 256 a side.
    """
    ny, nx = frame.shape
    sample = frame[:: -(-ny // SAMPLE), :: -(-nx // SAMPLE)].astype(np.float64).reshape(-1)
    kept = np.partition(sample, sample.size - 1 - int(HOT * sample.size))
    kept = kept[: sample.size - int(HOT * sample.size)]
    with np.errstate(invalid="ignore", over="ignore"):
        return float(kept.mean()), float(kept.std() / math.sqrt(kept.size))


def blank_frames(constant: Iterable[int], means: Sequence[float], errors: Sequence[float]) -> tuple[int, ...]:
    """Find a stack's blank frames: all of one value, or with a mean below 1 % of the median frame's.

    Parameters
    ----------
    constant
        Numbers of the frames whose pixels have one value.
    means
        Mean of every frame, counts per pixel, without the detector's dark.
    errors
        Standard error of each.
    """
    blank = set(constant)
    usual = float(np.median([m for k, m in enumerate(means) if k not in blank] or [0.0]))
    dark = {
        k
        for k, (mean, error) in enumerate(zip(means, errors, strict=True))
        if mean < CLOSED * usual and usual - mean > ERRORS * error
    }
    return tuple(sorted(blank | dark))


def relative_dose(frame: NDArray[Any], weight: NDArray[np.uint8], dose: float) -> float | None:
    """Return a frame's dose divided by its stack's dose, so that pattern and filling can be scaled for frames
    that got more or less.

    Parameters
    ----------
    frame
        (ny, nx) counts, after the gain.
    weight
        (ny, nx) uint8, in 255ths; below 128 a pixel is an outlier.
    dose
        Counts per pixel and frame of the stack; 0 = not known.

    Returns
    -------
    float or None
        Exactly 1 where it differs by less than 5 standard errors or 2 %, or `dose` is not known; None for a
        blank frame.
    """
    if is_blank(frame):
        return None
    if not dose > 0:
        return 1.0
    apart, error = _apart(frame[::EVERY], weight[::EVERY], dose)
    if abs(apart) + ERRORS * error < SHARE * dose:  # so it is with all rows
        return 1.0
    apart, error = _apart(frame, weight, dose)
    differs = abs(apart) > ERRORS * error and abs(apart) > SHARE * dose
    return 1.0 + apart / dose if differs else 1.0


def _apart(frame: NDArray[Any], weight: NDArray[np.uint8], dose: float) -> tuple[float, float]:
    """Return the difference of the mean of good pixels from a dose, and its standard error."""
    good, total, squares = _deviations(flat(frame), flat(weight), dose)
    if not good:
        return 0.0, math.inf
    apart = total / good
    return apart, math.sqrt(max(0.0, squares / good - apart**2) / good)


@compiled
def _deviations(values: NDArray[Any], weight: NDArray[np.uint8], dose: float) -> tuple[int, float, float]:
    """Return number, sum and sum of squares of v - dose over good pixels, in float64 and a fixed order."""
    good, sums, squares = 0, np.zeros(LANES), np.zeros(LANES)
    for start in range(0, values.size, LANES):
        part, kept = values[start : start + LANES], weight[start : start + LANES]
        for j in range(part.size):
            d = np.float64(part[j]) - dose if kept[j] >= 128 else 0.0
            good += kept[j] >= 128
            sums[j] += d
            squares[j] += d * d
    return good, total(sums), total(squares)


def partly_blank_note(
    ends: Sequence[tuple[int, int]], blank: Sequence[int], means: Sequence[float], shape: tuple[int, int]
) -> tuple[str, ...]:
    """Return a warning if frames hold one value in their first or last rows, unlike the other frames.

    Parameters
    ----------
    ends
        For every frame the first row that is not constant and the one after the last.
    blank
        Numbers of the frames that are blank as a whole.
    means
        Mean of every frame, counts per pixel.
    shape
        (ny, nx) of a frame.
    """
    ny, nx = shape
    lit = [k for k in range(len(ends)) if k not in blank]
    if not lit:
        return ()
    usual = np.median([(ends[k][0], ny - ends[k][1]) for k in lit], axis=0).sum()
    missing = {k: ny - (ends[k][1] - ends[k][0]) - usual for k in lit}
    partial = [k for k, rows in missing.items() if rows >= PART * ny and means[k] * rows * nx > CERTAIN]
    if not partial:
        return ()
    first = partial[0]
    start, stop = ends[first]
    return (
        f"{len(partial)} of {len(ends)} frames ({in_runs(partial)}) hold one value in their first or last "
        f"rows, unlike the others (frame {first}: in {ny - (stop - start)} of {ny} rows): were they written "
        "whole? Look at the file; these rows are corrected like all others",
    )


def blank_note(blank: Sequence[int], n: int) -> tuple[str, ...]:
    """Return a sentence that says which of a stack's n frames are blank; empty if none is."""
    which = f"{len(blank)} of {n} frames are blank ({in_runs(blank)})"
    return (
        (f"{which}: kept as they are, and left out of the dose; leave them out in the next program",)
        if blank
        else ()
    )


def middle_doses(means: Sequence[float]) -> list[float]:
    """Return the dose that the detector had received, since the session began, when each stack was half
    recorded, counts per pixel.

    Parameters
    ----------
    means
        Means of the sums of the stacks, counts per pixel, in order of time.
    """
    return [after - own / 2 for after, own in zip(accumulate(means), means, strict=True)]
