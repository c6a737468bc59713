"""A lattice's ring against the diffuse background on both sides of it: what is crystalline, over time.

Run: mrcz-dask live --replay STACK --processor workflows/live/phase_change.py
"""

from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
from scipy.fft import rfft2
from scipy.ndimage import center_of_mass, maximum_filter
from scipy.signal.windows import cosine

from mrcz_dask.live import FrameInfo, Profile, Range, Scalar, processor


@processor(Scalar("ratio"), Scalar("ring"), Scalar("background"), Profile("around", axis="angle"))
def phase_change(
    frame: np.ndarray,
    info: FrameInfo,
    *,
    frames: Literal["images", "diffraction"] = "images",
    place: Annotated[float, Range(0.5, 2000, 0.01)] = 4.0,
    width: Annotated[float, Range(0.01, 0.2, 0.01)] = 0.05,
    center: Literal["middle", "mass"] = "middle",
) -> dict[str, object] | None:
    """Crystalline over amorphous: a ring's intensity above its background, over that background.

    `place` of the ring: in images the lattice spacing in Angstrom (pixels if their size is not known), in
    diffraction frames the radius in pixels, about `center`. `width`: half of the ring's, of its radius.
    """
    pixels = prepared(frame, least=32)
    if pixels is None:
        return None
    power, radius, middle = pixels, place, tuple((n - 1) / 2 for n in frame.shape)
    if frames == "images":
        power = spectrum(pixels, min(512, min(frame.shape) // 4 * 4))
        middle, radius = (len(power) / 2, 0.0), len(power) * (info.pixel_size or 1.0) / place
    elif center == "mass":
        middle = tuple(np.round(center_of_mass(pixels.clip(pixels.mean()) - pixels.mean()), 1).tolist())
    ring, angle, inside, outside = zones(power.shape, middle, radius, max(width * radius, 1.5))
    values = power.ravel()
    background = (values[inside].mean() + values[outside].mean()) / 2
    mean, scale = values[ring].mean(), 1 / background if background > 0 else np.nan
    around = np.bincount(angle, values[ring], 36) / np.bincount(angle, minlength=36).clip(1) * scale
    profile = np.arange(36) * 5 + 2.5, around
    return {"ratio": mean * scale - 1, "ring": mean, "background": background, "around": profile}


@lru_cache(maxsize=4)
def zones(shape: tuple, middle: tuple, radius: float, half: float) -> tuple[np.ndarray, ...]:
    """Return the places of a ring, the 5 degrees each is in, and the places inside and outside of it."""
    y, x = np.arange(shape[0])[:, None] - middle[0], np.arange(shape[1]) - middle[1]
    away = (np.hypot(y, x) - radius).ravel() / half
    if not 3 * half + 1 < radius < np.hypot(*shape) or away.max() < 3:
        raise ValueError(f"ring at {radius:.1f} +- {half:.1f} in {shape}; it and its sides must be inside")
    ring, inside, outside = (np.flatnonzero((away >= k) & (away <= k + 2)) for k in (-1, -3, 1))
    angle = np.degrees(np.arctan2(y, x)).ravel()[ring] % 180 // 5
    return ring, np.minimum(angle, 35).astype(int), inside, outside


def spectrum(pixels: np.ndarray, side: int) -> np.ndarray:
    """Return the mean power of tiles that overlap by half, right half, frequency 0 at (side / 2, 0)."""
    window = np.outer(cosine(side), cosine(side)).astype(np.float32)
    ys, xs = (np.linspace(0, n - side // 2, -(-n // side) * 2).round().astype(int) for n in pixels.shape)
    seen = (np.convolve(np.bincount(one), cosine(side) ** 2).clip(1) ** 0.5 for one in (ys, xs))
    pixels = np.pad(pixels - pixels.mean(), side // 4, mode="reflect") / np.float32(np.outer(*seen))
    parts = (pixels[y : y + side, x : x + side] for y in ys for x in xs)
    return np.fft.fftshift(sum(np.abs(rfft2((part - part.mean()) * window)) ** 2 for part in parts), axes=0)


def prepared(frame: np.ndarray, *, least: int) -> np.ndarray | None:
    """Return a frame as float32, single hot pixels cut, the mean for what is no number; None if blank."""
    if frame.ndim != 2 or min(frame.shape) < least or frame.dtype.kind not in "buif":
        raise ValueError(f"frame is {frame.shape}, {frame.dtype}; expected (y, x), real, sides >= {least}")
    good = np.isfinite(frame)
    pixels = np.where(good, frame, frame[good].mean(dtype=float) if good.any() else 0).astype(np.float32)
    span = np.ptp(np.percentile(pixels[::4, ::4], (0.1, 99.9))) or np.inf  # hot ones are farther from others
    around = maximum_filter(pixels, footprint=np.arange(9).reshape(3, 3) != 4)
    return np.minimum(pixels, around + np.float32(span)) if pixels.min() < pixels.max() else None
