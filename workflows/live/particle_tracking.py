"""Particles found and followed from frame to frame by trackpy: how many, how fast, and their trails.

Run: mrcz-dask live --replay STACK --processor workflows/live/particle_tracking.py
"""

import warnings
from typing import Annotated, Literal

import numpy as np
import trackpy
from scipy.ndimage import maximum_filter
from skimage.draw import line

from mrcz_dask.live import FrameInfo, Image, Range, Scalar, processor

trackpy.quiet()


@processor(Scalar("particles"), Scalar("tracks"), Scalar("speed", unit="pixel/frame"), Image("trails"))
def particle_tracking(
    frame: np.ndarray,
    state: dict,
    info: FrameInfo,
    *,
    shade: Literal["dark", "bright"] = "dark",
    diameter: Annotated[int, Range(3, 99, 2)] = 11,
    contrast: Annotated[float, Range(1, 50, 0.5)] = 5.0,
    search: Annotated[float, Range(1, 100, 0.5)] = 8.0,
    memory: Annotated[int, Range(0, 50)] = 3,
    trail: Annotated[int, Range(1, 500)] = 30,
) -> dict[str, object]:
    """Particles and their tracks.

    A particle stands `contrast` times out of the noise, goes `search` pixels at most between two frames that
    are looked at, and may be away for `memory` of these. `tracks` counts all so far. Trails: 1 = now.
    """
    at = located(frame, -1 if shade == "dark" else 1, diameter | 1, contrast)
    block = -(-max(frame.shape) // 256)
    if state.get("place") != (info.roi, frame.shape, shade):
        state.update(place=(info.roi, frame.shape, shade), known=np.empty((0, 5)), tracks=0)
        state["trails"] = np.zeros([-(-n // block) for n in frame.shape], np.float32)
    known = state["known"]  # rows: y, x, track, the last frame with it, looks without it since then
    old, new = linked(known[:, :2], at, search)
    track = np.full(len(at), -1)
    track[new], total = known[old, 2], state["tracks"] + len(at) - len(new)
    track[track < 0] = np.arange(state["tracks"], total)
    rows = np.column_stack([at, track, np.full(len(at), info.number), np.zeros(len(at))])
    lost = np.delete(known + np.eye(5)[4], old, axis=0)
    state.update(known=np.vstack([rows, lost[lost[:, 4] <= memory]]), tracks=total)
    state["trails"] = state["trails"] * np.float32(1 - 1 / trail)
    for ends in np.hstack([known[old, :2], at[new]]).astype(int) // block:
        state["trails"][line(*ends)] = 1
    ways = np.hypot(*(at[new] - known[old, :2]).T) / np.maximum(info.number - known[old, 3], 1)
    speed = ways.mean() if len(ways) else np.nan
    return {"particles": len(at), "tracks": total, "speed": speed, "trails": state["trails"]}


def located(frame: np.ndarray, sign: int, diameter: int, contrast: float) -> np.ndarray:
    """Return (y, x) of particles, found in trackpy's band pass of a frame without single hot pixels."""
    if frame.ndim != 2 or min(frame.shape) < 3 * diameter or frame.dtype.kind not in "buif":
        raise ValueError(f"frame is {frame.shape}, {frame.dtype}; expected (y, x), real, >= {3 * diameter}")
    pixels, good = sign * frame.astype(np.float32), np.isfinite(frame)
    pixels = np.where(good, pixels - pixels[good].mean(), 0) if good.any() else np.zeros_like(pixels)
    low, high = np.percentile(pixels[::4, ::4], (0.1, 99.9)).astype(np.float32)
    span = high - low or np.float32(np.inf)  # single pixels are hot that are farther away from all others
    around = maximum_filter(pixels, footprint=np.arange(9).reshape(3, 3) != 4)
    pixels = np.clip(pixels, low - span, around + span)
    band = trackpy.bandpass(pixels, diameter / 6, 2 * diameter + 1, threshold=-np.inf, truncate=3)
    noise = np.median(np.abs(band[::4, ::4])) / 0.6745 or band.std() or 1.0
    levels = np.where(band < contrast * noise, 0, band * (16 / noise)).clip(0, 65535).astype(np.uint16)
    options = {"preprocess": False, "percentile": 0, "characterize": False, "engine": "python"}
    with warnings.catch_warnings(action="ignore"):  # says so if there are none; uses what pandas deprecates
        return trackpy.locate(levels, diameter, **options)[["y", "x"]].to_numpy(float)


def linked(old: np.ndarray, new: np.ndarray, search: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of `old` and `new` that are the same particle."""
    pair = trackpy.link_iter([old, new], search, link_strategy="recursive", adaptive_stop=search / 16)
    ids = np.array(list(pair)[1][1] if len(old) and len(new) else [], int)
    return ids[ids < len(old)], np.flatnonzero(ids < len(old))
