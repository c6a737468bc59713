"""Round corrected pixels up or down at random, which adds no fixed pattern and keeps pixels' means right.

Rounding count + pattern to the nearest step rounds the pattern too, in every frame alike; stochastic rounding
leaves the mean of every pixel where it was.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.philox import Purpose, uniform16
from mrcz_dask.values.errors import DtypeError

INT16_LIMIT = 32766
HALF_LIMIT = 65504
TOLERATED = 4  # times that the noise of a pixel is the step, at least
FINENESS = 16


def step_that_fits(step: float, largest: float) -> float:
    """Double a rounding step, counts, until pixels up to `largest` (counts, absolute) fit into int16."""
    needed = largest / INT16_LIMIT
    return step if needed <= step else step * 2.0 ** math.ceil(math.log2(needed / step))


def fine_step(step: float, noise: float) -> float:
    """Return the rounding step, or a finer power of two if it exceeds a quarter of a pixel's noise,
    counts.
    """
    return step if step <= noise / TOLERATED else 2.0 ** math.floor(math.log2(noise / FINENESS))


def int16_steps(step: float, low: float, high: float, coarsest: float) -> tuple[float, float] | None:
    """Choose the step and offset, counts, with which int16 holds pixels from `low` to `high`.

    The step is `step` or coarser; an offset is taken off only where it must be.

    Parameters
    ----------
    step
        Counts, a power of two.
    low, high
        Lowest and highest pixel, counts.
    coarsest
        The largest step that keeps what the pixels tell, counts.

    Returns
    -------
    tuple of float or None
        None where a coarser step would be needed.
    """
    chosen, offset = step_that_fits(step, max(abs(low), abs(high))), 0.0
    if chosen > coarsest:
        chosen = step_that_fits(step, (high - low) / 2)
        offset = chosen * round((low + high) / 2 / chosen)
    return (chosen, offset) if chosen <= coarsest else None


def round_to_half(image: NDArray[np.float32], key: int, frame: int) -> NDArray[np.float16]:
    """Round an image to float16, up or down at random so that means stay right.

    Parameters
    ----------
    image
        (ny, nx) float32, counts; finite. Below 2**-14 counts it is rounded to the nearest multiple of 2**-24.
    key, frame
        Key of the stack's random numbers, and the frame's index.

    Raises
    ------
    DtypeError
        For pixels beyond what float16 holds.
    """
    largest = float(np.abs(image).max(initial=0))
    if largest > HALF_LIMIT:
        raise DtypeError(
            f"frame {frame} reaches {largest:g} counts; float16 holds up to {HALF_LIMIT}: "
            "write int16 or float32"
        )
    random = uniform16(image.size, key, Purpose.ROUNDING, frame).reshape(image.shape)
    dropped = np.uint32(0x1FFF)
    bits = (image.view(np.uint32) + (random & dropped.astype(np.uint16))) & ~dropped
    return bits.view(np.float32).astype(np.float16)
