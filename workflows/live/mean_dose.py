"""Counts in a pixel of each frame, and the dose that the region has had so far.

Run: mrcz-dask live --replay STACK --processor workflows/live/mean_dose.py
"""

from typing import Annotated, Literal

import numpy as np

from mrcz_dask.live import FrameInfo, Range, Scalar, processor


@processor(
    Scalar("mean", unit="counts/pixel"),
    Scalar("rate", unit="electrons/pixel/frame"),
    Scalar("accumulated", unit="electrons/pixel"),
    Scalar("dose", unit="electrons/Angstrom^2"),
)
def mean_dose(
    frame: np.ndarray,
    state: dict,
    info: FrameInfo,
    *,
    counts_per_electron: Annotated[float, Range(0.01, 1000, 0.01)] = 1.0,
    begin: Literal["each stack", "once"] = "each stack",
    hot_pixels: Literal["cut", "count"] = "cut",
) -> dict[str, float] | None:
    """Mean and accumulated dose.

    Frames that were not looked at count as the mean of the two around them. Without a pixel size the dose in
    electrons/Angstrom^2 is not a number.
    """
    mean = mean_of(frame, cut=hot_pixels == "cut")
    if mean is None:
        return None
    place = (str(info.roi), frame.shape, info.stack if begin == "each stack" else "")
    if state.get("place") != place or info.number <= state["number"]:
        state.clear()
        state.update(place=place, number=info.number - 1, mean=mean, counts=0.0)
    missed = info.number - state["number"] - 1
    state["counts"] += mean + missed * (mean + state["mean"]) / 2
    state.update(number=info.number, mean=mean)
    accumulated = state["counts"] / counts_per_electron
    area = info.pixel_size**2 if info.pixel_size else np.nan
    rate = mean / counts_per_electron
    return {"mean": mean, "rate": rate, "accumulated": accumulated, "dose": accumulated / area}


def mean_of(frame: np.ndarray, *, cut: bool) -> float | None:
    """Return the mean of the finite pixels, values far out of the range of nearly all cut to it."""
    if frame.ndim != 2 or not frame.size or frame.dtype.kind not in "buif":
        raise ValueError(f"frame is {frame.shape}, {frame.dtype}; expected (y, x), real, not empty")
    good = frame[np.isfinite(frame)] if frame.dtype.kind == "f" else frame
    if not good.size:
        return None
    if not cut:
        return float(good.mean(dtype=np.float64))
    sample = good.ravel()[:: max(1, good.size // 65536)]
    low, high = np.percentile(sample.astype(np.float64), (0.1, 99.9))
    if high == low:
        return float(good.mean(dtype=np.float64))
    values = np.clip(good.astype(np.float32), 4 * low - 3 * high, 4 * high - 3 * low)
    return float(values.mean(dtype=np.float64))
