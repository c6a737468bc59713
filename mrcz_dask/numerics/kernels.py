"""Compiled loops over whole images: one pass where NumPy takes many. Tests hold them to NumPy twins.

All of them release the GIL and run in one thread in a fixed order, without fast-math, so that their bits do
not depend on who calls them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile a function when it is first called; keep the machine code for the next process if it can be."""
    try:
        return cast(F, numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # neither this folder nor the user's can be written
        return cast(F, numba.njit(nogil=True)(function))


def lanewise(function: F) -> F:
    """Compile a part of the body of a loop, to go into it, whose turns do not depend on each other."""
    return _vectors(function, True)


def lanes_loop(function: F) -> F:
    """Compile a function that runs such a loop."""
    return _vectors(function, False)


def _vectors(function: F, inside: bool) -> F:
    # a division by zero gives inf or nan: a test of it would keep the compiler from making vectors
    try:
        made = numba.njit(cache=True, nogil=True, error_model="numpy", forceinline=inside)(function)
    except RuntimeError:
        made = numba.njit(nogil=True, error_model="numpy", forceinline=inside)(function)
    return cast(F, made)


def native(frame: NDArray[Any]) -> NDArray[Any]:
    """Return a frame in a type that compiled code knows: float16 as float32, bytes in native order."""
    if frame.dtype == np.float16:
        return frame.astype(np.float32)
    return frame if frame.dtype.isnative else frame.astype(frame.dtype.newbyteorder("="))


LANES = 128


@compiled
def _lane_sum(values: NDArray[Any], mean: float, square: bool) -> float:
    """Return sum (v - mean) or sum (v - mean)**2 in float64; many sums side by side, then together."""
    lanes = np.zeros(LANES)
    whole = values.size - values.size % LANES
    lines = values[:whole].reshape(-1, LANES)
    for i in range(lines.shape[0]):
        for j in range(LANES):
            d = np.float64(lines[i, j]) - mean
            lanes[j] += d * d if square else d
    rest = values[whole:]
    for j in range(rest.size):
        d = np.float64(rest[j]) - mean
        lanes[j] += d * d if square else d
    total = 0.0
    for j in range(LANES):
        total += lanes[j]
    return total


@compiled
def grid_sums(
    values: NDArray[Any],
    mask: NDArray[np.bool_],
    row_of: NDArray[np.intp],
    column_of: NDArray[np.intp],
    sums: NDArray[np.float64],
    pixels: NDArray[np.int64],
) -> None:
    """Add unmasked integers to sums, their number to pixels: (rows, columns) of a grid, zero at the start."""
    nx = values.shape[1]
    for y in range(values.shape[0]):
        into, count = sums[row_of[y]], pixels[row_of[y]]
        start = 0
        while start < nx:
            stop = np.searchsorted(column_of, column_of[start], "right")
            part, masked = values[y, start:stop], mask[y, start:stop]
            total, good = np.int64(0), np.int64(0)
            for x in range(part.size):
                total += np.int64(0) if masked[x] else np.int64(part[x])
                good += not masked[x]
            into[column_of[start]] += np.float64(total)
            count[column_of[start]] += good
            start = stop


@compiled
def add_member(total: NDArray[Any], values: NDArray[Any], masked: NDArray[np.int64], sign: int) -> None:
    """Add flat values to a total, or with sign -1 take them off; at the masked indices nothing changes."""
    if sign > 0:
        for i in range(total.size):
            total[i] += total.dtype.type(values[i])
    else:
        for i in range(total.size):
            total[i] -= total.dtype.type(values[i])
    for k in range(masked.size):
        total[masked[k]] -= total.dtype.type(sign * values[masked[k]])


@compiled
def ratio(
    numerator: NDArray[Any],
    masked: NDArray[np.int64],
    missing: NDArray[np.int64],
    own: NDArray[Any],
    own_mask: NDArray[np.bool_],
    own_weight: int,
    weight: int,
    factor: float,
    out: NDArray[np.float32],
) -> int:
    """Put (numerator - own) * factor over the weight of a pixel into out, all flat; an empty own is 0.

    The weight of a pixel is `weight` less what it is `missing`, given for the pixels of `masked`, in order.
    Returns how many pixels have no weight; they are not a number.
    """
    empty = next_masked = 0
    for i in range(out.size):
        value, left = np.int64(numerator[i]), weight
        if next_masked < masked.size and masked[next_masked] == i:
            left -= missing[next_masked]
            next_masked += 1
        if own.size:
            if own_mask[i]:
                left += own_weight
            else:
                value -= np.int64(own[i])
        if left > 0:
            out[i] = np.float32(np.float64(value) * factor / np.float64(left))
        else:
            out[i] = np.nan
            empty += 1
    return empty


@compiled
def relative(value: Any, factor: float, limit: int) -> Any:
    """Return value * factor, rounded, at most `limit`."""
    steps = np.int64(np.rint(np.float64(value) * factor))
    return min(max(steps, np.int64(-limit)), np.int64(limit))


@compiled
def add_relative(
    sums: NDArray[np.int64],
    squares: NDArray[np.int64],
    values: NDArray[Any],
    masked: NDArray[np.int64],
    factor: float,
    limit: int,
    sign: int,
) -> None:
    """Add flat values * factor, rounded, and their squares, or take them off; at masked indices nothing."""
    for i in range(sums.size):
        steps = relative(values[i], factor, limit)
        sums[i] += sign * steps
        squares[i] += sign * steps * steps
    for k in range(masked.size):
        i = masked[k]
        steps = relative(values[i], factor, limit)
        sums[i] -= sign * steps
        squares[i] -= sign * steps * steps


@compiled
def means_and_variances(
    sums: NDArray[np.int64],
    squares: NDArray[np.int64],
    missing: NDArray[np.int32],
    members: int,
    own: NDArray[Any],
    own_mask: NDArray[np.bool_],
    factor: float,
    limit: int,
    unit: float,
    means: NDArray[np.float32],
    variances: NDArray[np.float32],
) -> None:
    """Put into means and variances, flat, those over the members in units; not a number for too few.

    An own (may be empty) is one of the members, and left out. factor and limit are as it was added with.
    """
    for i in range(means.size):
        total, square, n = sums[i], squares[i], np.int64(members) - missing[i]
        if own.size and not own_mask[i]:
            steps = relative(own[i], factor, limit)
            total, square, n = total - steps, square - steps * steps, n - 1
        mean = np.float64(total) / n if n > 0 else np.nan
        means[i] = np.float32(mean * unit)
        left = np.float64(square) - np.float64(total) * mean
        variances[i] = np.float32(max(left, 0.0) / (n - 1) * unit * unit) if n > 1 else np.float32(np.nan)


@compiled
def spread_of(values: NDArray[np.float32]) -> tuple[float, float]:
    """Return the largest absolute value and the standard deviation of flat values."""
    largest = np.float32(0)
    for i in range(values.size):
        largest = max(largest, abs(values[i]))
    mean = _lane_sum(values, 0.0, False) / values.size
    return float(largest), np.sqrt(_lane_sum(values, mean, True) / values.size)


@compiled
def in_steps(pattern: NDArray[np.float32], step: np.float32, stored: NDArray[Any]) -> None:
    """Round a flat pattern to steps."""
    inverse = np.float32(1) / step
    for i in range(stored.size):
        stored[i] = stored.dtype.type(np.rint(pattern[i] * inverse))


@compiled
def _corrected(
    values: NDArray[Any],
    factor: np.float32,
    pattern: NDArray[Any],
    step: np.float32,
    divide: bool,
    scale: NDArray[np.uint16],
    i: int,
) -> np.float32:
    """Return flat pixel i of values * factor, scaled, less the pattern; an empty one of either is none."""
    own = np.float32(values[i]) * factor
    if scale.size:
        own = own * (np.float32(scale[i]) * np.float32(2.0**-15))
    if pattern.size == 0:
        return own
    off = np.float32(pattern[i]) * step
    return own / max(np.float32(0.1), np.float32(1) + off) if divide else own - off


@compiled
def take_corrected(
    values: NDArray[Any],
    factor: np.float32,
    pattern: NDArray[Any],
    step: np.float32,
    divide: bool,
    scale: NDArray[np.uint16],
    at: NDArray[np.intp],
    out: NDArray[np.float32],
) -> None:
    """Put some corrected pixels into out."""
    for k in range(at.size):
        out[k] = _corrected(values, factor, pattern, step, divide, scale, at[k])


@compiled
def means_near(
    values: NDArray[Any],
    factor: np.float32,
    pattern: NDArray[Any],
    step: np.float32,
    divide: bool,
    scale: NDArray[np.uint16],
    mask: NDArray[np.bool_],
    at: NDArray[np.intp],
    kernel: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Put into out the weighted means of the unmasked neighbours of some pixels; not a number without any."""
    ny, nx = mask.shape
    radius = kernel.shape[0] // 2
    for k in range(at.size):
        row, column = at[k] // nx, at[k] % nx
        total, weight = 0.0, 0.0
        for dy in range(kernel.shape[0]):
            for dx in range(kernel.shape[1]):
                y, x = row + dy - radius, column + dx - radius
                inside = 0 <= y < ny and 0 <= x < nx and not (dy == radius and dx == radius)
                if inside and not mask[y, x]:
                    near = _corrected(values, factor, pattern, step, divide, scale, y * nx + x)
                    total += kernel[dy, dx] * np.float64(near)
                    weight += kernel[dy, dx]
        out[k] = total / weight if weight > 0 else np.nan


@compiled
def light_evenly(
    values: NDArray[Any],
    across: NDArray[np.float64],
    place: NDArray[np.float64],
    middle: float,
    steps: float,
    out: NDArray[Any],
) -> None:
    """Put middle + (value - B) sqrt(middle / B) into out, in steps; B lies between the rows of `across`.

    across is (rows of blocks, nx), place (ny,) where in them a row of the image lies.
    """
    ny, nx = values.shape
    flat = np.empty(nx)
    for y in range(ny):
        first = min(int(place[y]), across.shape[0] - 2)
        share = place[y] - first
        above, below, row, into = across[first], across[first + 1], values[y], out[y]
        for x in range(nx):
            background = above[x] * (1 - share) + below[x] * share
            flat[x] = ((row[x] - background) * np.sqrt(middle / background) + middle) * steps
        for x in range(nx):
            into[x] = out.dtype.type(np.rint(flat[x]))
