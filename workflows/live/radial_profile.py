"""Rotational average of the diffractogram: power of the frame against spatial frequency.

Run: mrcz-dask live --replay STACK --processor workflows/live/radial_profile.py
"""

from functools import lru_cache
from typing import Literal

import numpy as np
from scipy.fft import rfft2
from scipy.signal.windows import cosine

from mrcz_dask.live import FrameInfo, Profile, processor


@processor(Profile("power", unit="variance", axis="frequency", axis_unit="1/Angstrom, else 1/pixel"))
def radial_profile(
    frame: np.ndarray,
    info: FrameInfo,
    *,
    tile: Literal[128, 256, 512, 1024] = 512,
    scale: Literal["log10", "linear"] = "log10",
) -> tuple[np.ndarray, np.ndarray] | None:
    """Power against spatial frequency.

    It is that of square tiles which overlap by half, their mean; the frame as one piece would have finer
    steps of frequency, more noise in each, and takes longer. 1 = as much as white noise of variance 1.
    """
    pixels = prepared(frame, least=32)
    if pixels is None:
        return None
    side = min(tile, min(frame.shape) // 4 * 4)
    ring, weight, number = rings(side)
    power = mean_power(pixels, side) * weight
    values = (np.bincount(ring, power.ravel()) / np.bincount(ring, weight.ravel()))[:number]
    places = np.arange(number) / (side * (info.pixel_size or 1.0))
    return places, np.log10(np.maximum(values, 1e-12)) if scale == "log10" else values


def mean_power(pixels: np.ndarray, side: int) -> np.ndarray:
    """Return the mean power of tiles that overlap by half, half plane; all pixels count alike."""
    window = np.outer(cosine(side), cosine(side)).astype(np.float32)
    total = np.zeros((side, side // 2 + 1), np.float32)
    corners = [np.linspace(0, n - side // 2, -(-n // side) * 2).round().astype(int) for n in pixels.shape]
    seen = [np.convolve(np.bincount(one), cosine(side) ** 2) for one in corners]  # by how many tiles
    scale = np.sqrt(np.outer(*(one.clip(1) for one in seen))).astype(np.float32)
    pixels = np.pad(pixels - pixels.mean(), side // 4, mode="reflect") / scale
    for y in corners[0]:
        for x in corners[1]:
            part = pixels[y : y + side, x : x + side]
            wave = rfft2((part - part.mean()) * window)
            total += wave.real**2 + wave.imag**2
    return total / np.prod([one.clip(max=1).sum() for one in seen])


@lru_cache(maxsize=4)
def rings(side: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return in which ring each place of the half plane is, how often it counts, and the number of rings."""
    y, x = np.fft.fftfreq(side, 1 / side)[:, None], np.arange(side // 2 + 1)
    number = side // 2 + 1
    weight = np.where((x == 0) | (x == side // 2), 1.0, 2.0) * np.ones((side, 1))
    return np.minimum(np.hypot(y, x).round().astype(int), number).ravel(), weight, number


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
