"""Map of lattice orientation: the angle of the lattice in windows all over the frame, and how sure it is.

Run: mrcz-dask live --replay STACK --processor workflows/live/crystallite_map.py
"""

from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import rfft2
from scipy.signal.windows import hann

from mrcz_dask.live import Image, Range, processor


@processor(
    Image("angle", unit="degree", axes_unit="half windows"),
    Image("strength", unit="0 to 1", axes_unit="half windows"),
)
def crystallite_map(
    frame: np.ndarray,
    *,
    window: Literal[32, 64, 128] = 64,
    symmetry: Literal[2, 4, 6] = 6,
    shortest: Annotated[float, Range(2, 64, 0.1)] = 3.0,
    longest: Annotated[float, Range(2, 64, 0.1)] = 16.0,
    least: Annotated[float, Range(0, 1, 0.01)] = 0.5,
) -> dict[str, np.ndarray] | None:
    """Lattice angle, from the x axis towards y, 0 to 360 / symmetry.

    It is that of the lattice spots with periods of `shortest` to `longest` pixels; strength is 1 if all of
    them agree. The angle is not a number where the strength is below `least`.
    """
    if longest <= shortest:
        raise ValueError(f"periods from {shortest} to {longest} pixels; expected longest above shortest")
    pixels = prepared(frame, least=window)
    if pixels is None:
        return None
    band, turns = waves(window, symmetry, shortest, longest)
    taper = np.outer(hann(window, sym=False), hann(window, sym=False)).astype(np.float32)
    rows = sliding_window_view(pixels, (window, window))[:: window // 2, :: window // 2]
    moments = np.stack([moment(row, taper, band, turns) for row in rows])
    strength = np.abs(moments)
    angle = np.degrees(np.angle(moments)) % 360 / symmetry
    return {"angle": np.where(strength >= least, angle, np.nan), "strength": strength}


def moment(windows: np.ndarray, taper: np.ndarray, band: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Return the mean of exp(i symmetry angle) over the band, weighted by the square of the power."""
    waves = rfft2((windows - windows.mean(axis=(1, 2), keepdims=True)) * taper)[:, band]
    weight = (waves.real**2 + waves.imag**2).astype(np.float64) ** 2
    return weight @ turns / np.maximum(weight @ np.abs(turns), 1e-30)


@lru_cache(maxsize=4)
def waves(window: int, symmetry: int, shortest: float, longest: float) -> tuple[np.ndarray, np.ndarray]:
    """Return which places of the half plane are in the band, and exp(i symmetry angle) of these."""
    y, x = np.fft.fftfreq(window)[:, None], np.fft.rfftfreq(window)
    radius = np.hypot(y, x)
    band = (radius >= 1 / longest) & (radius <= 1 / shortest)
    weight = np.where(x == 0, 0.5, 1.0)  # on this axis both of a pair of spots are in the half plane
    return band, (weight * np.exp(1j * symmetry * np.arctan2(y, x)))[band]


def prepared(frame: np.ndarray, *, least: int) -> np.ndarray | None:
    """Return a frame as float32, hot pixels cut, the mean for what is no number; None if all are the same."""
    if frame.ndim != 2 or min(frame.shape) < least or frame.dtype.kind not in "buif":
        raise ValueError(f"frame is {frame.shape}, {frame.dtype}; expected (y, x), real, sides >= {least}")
    pixels = frame.astype(np.float32)
    good = np.isfinite(pixels)
    if not good.all():
        pixels[~good] = pixels[good].mean(dtype=np.float64) if good.any() else 0
    low, high = np.percentile(pixels[:: len(pixels) // 256 + 1, :: pixels.shape[1] // 256 + 1], (0.1, 99.9))
    if low < high:
        return np.clip(pixels, 4 * low - 3 * high, 4 * high - 3 * low, out=pixels)
    return pixels if pixels.min() < pixels.max() else None
