"""Corrected frames in an analysis of one's own: lazily, frame by frame, on all cores.

First write the counts with their recipe, which costs little more space than the counts alone:

    mrcz-dask koma SESSION --radius 12 --write recompressed

then `open_stack(path, corrected=True)` filters outliers and takes the pattern off while frames are read.

python own_analysis.py SESSION/koma
"""

from __future__ import annotations

import sys
from pathlib import Path

import dask
import dask.array as da
import numpy as np
from numpy.typing import NDArray

import mrcz_dask


def dose_curve(stack: da.Array) -> da.Array:
    """Return the mean of every frame, counts per pixel (lazy)."""
    return stack.mean(axis=(1, 2))


def power(stack: da.Array) -> da.Array:
    """Return the mean power spectrum over frames (lazy): a spectrum of each frame, then their mean."""

    def one(block: NDArray[np.float32]) -> NDArray[np.float32]:
        centered = block - block.mean()
        return (np.abs(np.fft.rfft2(centered)) ** 2 / block[0].size).astype(np.float32)

    half = (stack.chunks[0], stack.chunks[1], (stack.shape[2] // 2 + 1,))
    return stack.map_blocks(one, dtype=np.float32, chunks=half).mean(axis=0)


def main(folder: Path) -> None:
    """Print the dose and the whiteness of every stack."""
    paths = sorted(folder.glob("*.mrcz"))
    stacks = [mrcz_dask.open_stack(path, corrected=True) for path in paths]
    # one computation for all stacks: dask reads, corrects and reduces frame by frame
    results = dask.compute(*[(dose_curve(s), power(s)) for s in stacks])
    for path, (dose, spectrum) in zip(paths, results, strict=True):
        # columns of a fixed pattern stand on the line fy = 0
        columns = spectrum[0, 4:].mean() / np.median(spectrum)
        print(f"{path.name}: {dose.mean():.3f} counts/pixel/frame, columns {columns:.2f} x the median power")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
