"""Rerun of the table of outlier masks: precision, recall and F1 on simulated stacks with known truth.

    python docs/study/outlier_table.py
    python docs/study/outlier_table.py --hot-median 2
    python docs/study/outlier_table.py --seeds 2 --size 256
    python docs/study/outlier_table.py --cameras --seeds 3 --size 640

Every row is the mean over stacks of 768 x 768 pixels that differ in their seed, 0, 1, 2, ...; the second line
of a row is the standard deviation from stack to stack. `--cameras` compares masks of cameras that write other
values, and counts what is masked in stacks without outliers.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.truth import hot_sigmas
from mrcz_dask import OutlierParams, outlier_mask
from mrcz_dask.numerics.simulate import named, simulate_session

PAGE = {
    (10, 0.005): (0.45, 0.54, 0.49, 0.88, 0.43, 0.58, 0.58),
    (30, 0.005): (0.37, 0.76, 0.50, 0.90, 0.66, 0.76, 0.76),
    (100, 0.0005): (0.39, 0.85, 0.54, 0.90, 0.79, 0.84, 0.86),
    (400, 0.005): (0.41, 0.97, 0.58, 0.93, 0.94, 0.93, 0.96),
}
DOSES = {10: 0.98, 30: 0.98, 100: 1.04, 400: 0.98}  # counts per pixel and frame; see outliers.md
TOLERANCE = 0.03
CAMERAS = ("counts", "counts x 32", "blobs", "integrating", "CDS", "super-resolution")
CAMERA_DOSES, CAMERA_FRAMES = (2, 6, 30), 10
BLOB = np.array([[4, 8, 4], [8, 52, 8], [4, 8, 4]])  # counts of an electron
ELECTRON, READ_NOISE = 30.0, 15.0  # counts, of integrating cameras
SIMPLE_CUT, ZORRO_CUTS = 6.0, (-4.0, 3.25)  # sigma
HEAD = "   D    eps         paper rule           fdr 0.1        best F1 | > 6 sigma: recall"


def scores(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Precision, recall and F1 of a mask, True = outlier."""
    hits, masked, wanted = (int(m.sum()) for m in (mask & truth, mask, truth))
    return hits / max(masked, 1), hits / wanted, 2 * hits / (masked + wanted)


def best_f1(total: NDArray[np.integer], truth: NDArray[np.bool_]) -> float:
    """Largest F1 of {S < low or S >= high} over every pair of thresholds on the sum S."""
    values, order = np.unique(total, return_inverse=True)
    pixels = np.bincount(order.ravel(), minlength=len(values))
    outliers = np.bincount(order.ravel()[truth.ravel()], minlength=len(values))
    below, hits_below = (np.append(0, np.cumsum(counts)) for counts in (pixels, outliers))
    above, hits_above = below[-1] - below, hits_below[-1] - hits_below
    lows = range(int(np.searchsorted(values, np.median(total))) + 1)
    return max(
        float(np.max(2 * (hits_above + hits_below[k])[k:] / (above + below[k] + truth.sum())[k:]))
        for k in lows
    )


def stack_scores(
    frames: int, eps: float, hot_median: float, dose: float, size: int, seed: int
) -> list[float]:
    """The columns of one stack."""
    params = named(
        "standard",
        shape=(size, size),
        frames=frames,
        stacks=1,
        dose=dose,
        dose_jitter=0.0,
        seed=seed,
        hot=(eps, eps),
        hot_median=hot_median,
    )
    stack = simulate_session(params).stack(0)
    total, truth = stack.frames.sum(axis=0, dtype=np.int64), stack.truth.mask
    paper, fdr = (outlier_mask(total, OutlierParams(rule=rule)).mask for rule in ("paper", "fdr"))
    hotter = hot_sigmas(stack.truth) > 6
    found = float(np.mean(fdr[hotter])) if hotter.any() else np.nan
    return [*scores(paper, truth), *scores(fdr, truth), best_f1(total, truth), found]


def recorded(
    camera: str, dose: float, seed: int, size: int, outliers: bool
) -> tuple[NDArray, NDArray[np.bool_]]:
    """Frames as a camera writes them, and the truth: hot or dead."""
    usual = {"shape": (size, size), "frames": CAMERA_FRAMES, "stacks": 1, "dose": dose / CAMERA_FRAMES}
    usual |= {
        "seed": seed,
        "dtype": "uint16",
        "dose_jitter": 0.0,
        "super_resolution": camera == "super-resolution",
    }
    none = {"hot": (0.0, 0.0), "dead": 0.0}
    stack = simulate_session(
        named("standard", **usual, **({"hot": (0.005, 0.005)} if outliers else none))
    ).stack(0)
    truth, frames = stack.truth, stack.frames.astype(np.int64)
    if camera in ("counts", "super-resolution"):
        return frames, truth.mask
    if camera == "counts x 32":
        return 32 * frames, truth.mask
    draws = np.random.default_rng(seed)
    hot = draws.poisson(np.maximum(truth.hot_excess, 0), frames.shape)
    good = simulate_session(named("standard", **usual, **none)).stack(0).frames.astype(np.int64)
    if camera == "blobs":
        values = np.array([ndimage.correlate(one, BLOB, mode="nearest") for one in good]) + BLOB.sum() * hot
        values[:, truth.dead] = 0
        return values, truth.mask
    values = np.where(good > 0, draws.gamma(np.maximum(2.0 * good, 1e-9), ELECTRON / 2), 0) + ELECTRON * hot
    values[:, truth.dead] = 0
    noise = draws.normal(0, READ_NOISE, (CAMERA_FRAMES + 1, size, size))
    values += noise[1:] - noise[:-1] if camera == "CDS" else noise[1:]
    return np.rint(values).astype(np.int64), truth.mask


def other_masks(frames: NDArray) -> dict[str, NDArray[np.bool_]]:
    """Masks of this program's rules, of Zorro's fixed thresholds, and of a cut at 6 sigma."""
    total = frames.sum(axis=0)
    ours, fixed = outlier_mask(frames), OutlierParams(rule="paper", rho=1.0)
    z = (total - ours.mu) / ours.sigma
    return {
        "fdr": ours.mask,
        "paper": outlier_mask(frames, replace(fixed, rho=0.95)).mask,
        "-4, +3.25 sigma": (z < ZORRO_CUTS[0]) | (z > ZORRO_CUTS[1]),
        "6 sigma": abs(total - total.mean()) > SIMPLE_CUT * total.std(),
    }


def print_cameras(seeds: int, size: int) -> None:
    """Print precision, recall, and the share masked in clean stacks for each camera and rule."""
    print("| camera | electrons | kind found | rule | precision | recall | masked of a clean stack |")
    for camera in CAMERAS:
        for dose in CAMERA_DOSES:
            rows: dict[str, list[list[float]]] = {}
            for seed in range(seeds):
                frames, truth = recorded(camera, dose, seed, size, True)
                clean, _ = recorded(camera, dose, seed + seeds, size, False)
                kind, of_clean = outlier_mask(frames).kind, other_masks(clean)
                for rule, mask in other_masks(frames).items():
                    rows.setdefault(rule, []).append([*scores(mask, truth)[:2], float(of_clean[rule].mean())])
            for rule, of_seeds in rows.items():
                precision, recall, false = np.mean(of_seeds, axis=0)
                print(
                    f"| {camera} | {dose} | {kind} | {rule} | {precision:.2f} | {recall:.2f} | {false:.1e} |",
                    flush=True,
                )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hot-median", type=float, default=1.0, help="median excess in units of the dose")
    parser.add_argument("--dose", type=float, default=None, help="counts per pixel and frame, in every row")
    parser.add_argument("--seeds", type=int, default=12, help="stacks a row")
    parser.add_argument("--size", type=int, default=768, help="pixels along a side")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cameras", action="store_true", help="the table of cameras instead")
    options = parser.parse_args()
    if options.cameras:
        print_cameras(options.seeds, options.size)
        return
    print(HEAD)
    for (frames, eps), page in PAGE.items():
        dose = DOSES[frames] if options.dose is None else options.dose
        one = partial(stack_scores, frames, eps, options.hot_median, dose, options.size)
        with ThreadPoolExecutor(options.threads) as pool:
            rows = np.array(list(pool.map(one, range(options.seeds))))
        alike = int((np.abs(rows[:, :7] - page) <= TOLERANCE + 1e-9).all(axis=1).sum())
        print(f"{frames:4d} {eps:6.2%} {line(rows.mean(axis=0))}")
        print(f"     +-      {line(rows.std(axis=0))}")
        print(f"     page    {line(np.array(page))}   ({alike} of {options.seeds} stacks within {TOLERANCE})")


def line(values: NDArray[np.float64]) -> str:
    """The columns as text."""
    texts = [f"{v:.3f}" for v in values]
    groups = (texts[:3], texts[3:6], texts[6:7], texts[7:])
    return "   ".join(" ".join(group) for group in groups)


if __name__ == "__main__":
    main()
