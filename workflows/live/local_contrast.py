"""Image of the local contrast, standard deviation over mean in a window, and its median over the frame.

Run: mrcz-dask live --replay STACK --processor workflows/live/local_contrast.py
"""

from typing import Annotated, Literal

import numpy as np
from scipy.ndimage import uniform_filter

from mrcz_dask.live import Image, Range, Scalar, processor


@processor(
    Scalar("median", unit="std/mean"), Image("contrast", unit="std/mean", axes_unit="windows' centers")
)
def local_contrast(
    frame: np.ndarray,
    *,
    window: Annotated[int, Range(3, 127, 2)] = 15,
    shot_noise: Literal["keep", "take off"] = "keep",
    side: Annotated[int, Range(32, 1024, 32)] = 256,
) -> dict[str, object] | None:
    """Local contrast.

    `take off` subtracts the variance that counting has, the mean; `side` is the most pixels that a side of
    the image has, of which every nth is shown. Where the mean is not positive the contrast is not a number.
    """
    pixels = filled(frame, least=window)
    if pixels is None:
        return None
    middle = float(pixels.mean(dtype=np.float64))
    pixels -= middle  # else float32 squares of large values have no digits left for the variance
    step = -(-max(frame.shape) // side)
    inner = slice(step // 2, None, step)
    mean = uniform_filter(pixels, window)[inner, inner]
    variance = uniform_filter(np.square(pixels, out=pixels), window)[inner, inner] - mean**2
    mean = mean + middle
    if shot_noise == "take off":
        variance -= mean
    contrast = np.full_like(mean, np.nan)
    np.divide(np.sqrt(np.maximum(variance, 0)), mean, out=contrast, where=mean > 0)
    known = contrast[np.isfinite(contrast)]
    return {"median": float(np.median(known)), "contrast": contrast} if known.size else None


def filled(frame: np.ndarray, *, least: int) -> np.ndarray | None:
    """Return a frame as float32, pixels that are no numbers at the mean; None if there is no other pixel."""
    if frame.ndim != 2 or min(frame.shape) < least or frame.dtype.kind not in "buif":
        raise ValueError(f"frame is {frame.shape}, {frame.dtype}; expected (y, x), real, sides >= {least}")
    pixels = frame.astype(np.float32)
    good = np.isfinite(pixels)
    if not good.any():
        return None
    pixels[~good] = pixels[good].mean(dtype=np.float64) if not good.all() else 0
    return pixels
