"""Drift from frame to frame by cross or phase correlation, and how far the specimen has gone in all.

Run: mrcz-dask live --replay STACK --processor workflows/live/drift.py
"""

from typing import Annotated, Literal

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.signal.windows import hann
from skimage.measure import block_reduce
from skimage.registration import phase_cross_correlation

from mrcz_dask.live import FrameInfo, Range, Scalar, processor

NAMES = ("dy", "dx", "total_dy", "total_dx")


@processor(*(Scalar(name, unit="pixel") for name in (*NAMES, "error")))
def drift(
    frame: np.ndarray,
    state: dict,
    info: FrameInfo,
    *,
    side: Annotated[int, Range(64, 2048, 64)] = 512,
    smooth: Annotated[float, Range(0, 20, 0.1)] = 1.0,
    fraction: Annotated[int, Range(1, 100)] = 20,
    weights: Literal["amplitude", "phase"] = "amplitude",
    begin: Literal["each stack", "once"] = "each stack",
    largest_error: Annotated[float, Range(0, 100, 0.1)] = 2.0,
) -> dict[str, float] | None:
    """Drift since the last frame that was looked at; positive = down, to the right.

    Blocks of pixels are summed until no side is longer than `side`. `phase` weighs all frequencies alike.
    The error is half of what left and right half differ by; above `largest_error` nothing else is shown.
    """
    block = -(-max(frame.shape) // side)
    now = prepared(frame, block, smooth)
    if now is None:
        return None
    place = (str(info.roi), frame.shape, block, smooth, info.stack if begin == "each stack" else "")
    if state.get("place") != place:
        state.clear()
        state.update(place=place, frame=now, total=np.zeros(2), squares=0.0, pairs=0)
    middle, before = now.shape[1] // 2, state["frame"]
    parts = (slice(None), slice(middle), slice(middle, None))
    shifts = [block * shift(now[:, part], before[:, part], fraction, weights) for part in parts]
    if now is not before:
        state["squares"] += np.mean((shifts[1] - shifts[2]) ** 2) / 4
        state["pairs"] += 1
    state.update(frame=now, total=state["total"] + shifts[0])
    error = float(np.sqrt(state["squares"] / max(state["pairs"], 1)))
    shown = np.full(4, np.nan) if error > largest_error else np.append(shifts[0], state["total"])
    return {**dict(zip(NAMES, shown.tolist(), strict=True)), "error": error}


def shift(now: np.ndarray, before: np.ndarray, fraction: int, weights: str) -> np.ndarray:
    """Return the shift (y, x) between two images under a Hann window, in their pixels."""
    window = np.outer(*(hann(n, sym=False) for n in now.shape)).astype(np.float32)
    images = [(image - image.mean()) * window for image in (now, before)]
    normalization = "phase" if weights == "phase" else None
    return phase_cross_correlation(*images, upsample_factor=fraction, normalization=normalization)[0]


def prepared(frame: np.ndarray, block: int, smooth: float) -> np.ndarray | None:
    """Return smooth sums of blocks, hot pixels cut; None if all pixels are the same."""
    if frame.ndim != 2 or min(frame.shape) < 16 * block or frame.dtype.kind not in "buif":
        raise ValueError(f"frame is {frame.shape}, {frame.dtype}; expected (y, x), real, >= {16 * block}")
    pixels = frame.astype(np.float32)
    good = np.isfinite(pixels)
    if not good.all():
        pixels[~good] = pixels[good].mean(dtype=np.float64) if good.any() else 0
    low, high = np.percentile(pixels[:: len(pixels) // 256 + 1, :: pixels.shape[1] // 256 + 1], (0.1, 99.9))
    if low < high:
        np.clip(pixels, 4 * low - 3 * high, 4 * high - 3 * low, out=pixels)
    elif pixels.min() == pixels.max():
        return None
    ny, nx = (n // block * block for n in frame.shape)
    return gaussian_filter(block_reduce(pixels[:ny, :nx], block, np.sum), smooth)
