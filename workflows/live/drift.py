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


@processor(
    Scalar("dy", unit="pixel"),
    Scalar("dx", unit="pixel"),
    Scalar("total_dy", unit="pixel"),
    Scalar("total_dx", unit="pixel"),
)
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
) -> dict[str, float] | None:
    """Drift since the last frame that was looked at; positive = down, to the right.

    Blocks of pixels are summed until no side is longer than `side` and smoothed, and their shift found to one
    `fraction`-th. `phase` weighs all frequencies alike, noise too, whatever is smoothed.
    """
    block = -(-max(frame.shape) // side)
    now = prepared(frame, block, smooth)
    if now is None:
        return None
    place = (str(info.roi), frame.shape, block, smooth, info.stack if begin == "each stack" else "")
    if state.get("place") != place:
        state.clear()
        state.update(place=place, frame=now, total=np.zeros(2))
    normalization = "phase" if weights == "phase" else None
    step, _, _ = phase_cross_correlation(
        now, state["frame"], upsample_factor=fraction, normalization=normalization
    )
    shift = block * step.astype(float)
    state.update(frame=now, total=state["total"] + shift)
    (dy, dx), (total_dy, total_dx) = shift.tolist(), state["total"].tolist()
    return {"dy": dy, "dx": dx, "total_dy": total_dy, "total_dx": total_dx}


def prepared(frame: np.ndarray, block: int, smooth: float) -> np.ndarray | None:
    """Return smooth sums of blocks under a Hann window, hot pixels cut; None if all pixels are the same."""
    if frame.ndim != 2 or min(frame.shape) < 16 * block or frame.dtype.kind not in "buif":
        raise ValueError(
            f"frame is {frame.shape}, {frame.dtype}; expected (y, x), real, sides >= {16 * block}"
        )
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
    sums = block_reduce(pixels[:ny, :nx], block, np.sum)
    window = np.outer(hann(len(sums), sym=False), hann(sums.shape[1], sym=False)).astype(np.float32)
    return gaussian_filter((sums - sums.mean()) * window, smooth)
