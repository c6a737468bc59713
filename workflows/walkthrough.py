"""The Python interface, one thing after the other, on a session folder.

python walkthrough.py SESSION OUT
"""

from __future__ import annotations

import sys
from pathlib import Path

import dask
import numpy as np
from distributed import Client, LocalCluster

import mrcz_dask


def main(folder: Path, out: Path) -> None:
    """Open, mask, correct one movie lazily and all on a cluster, write, and read the record back."""
    paths = sorted(folder.glob("*.mrcz"))

    # A stack as a dask array: one chunk a frame, nothing is read before it is computed.
    stack = mrcz_dask.open_stack(paths[0])
    print(f"{paths[0].name}: {stack.shape} {stack.dtype}, {stack.numblocks[0]} chunks")
    print(f"  one frame, alone: {stack[3].mean().compute():.3f} counts/pixel")

    # Its outlier pixels, from the sum over frames.
    total = stack.sum(axis=0, dtype=np.int64).compute()
    found = mrcz_dask.outlier_mask(total, mrcz_dask.OutlierParams(rule="fdr"))
    print(f"  {found.hot.sum()} hot (above {found.t_hot:.2f} sigma), {found.dead.sum()} dead pixels")

    # Correlated noise, with and without them: pixels that the mask says are good.
    frames = mrcz_dask.read(paths[0]).astype(np.float32)
    filled = np.where(found.mask, frames[:, ~found.mask].mean(), frames)
    before, after = (mrcz_dask.correlated_noise(f) for f in (frames, filled))
    print(f"  correlated noise {before:.2e}, without outliers {after:.2e} (in sample)")

    # Which neighbors in time would make its reference; stack 4 is carbon and nobody's reference.
    usable = [k != 4 for k in range(len(paths))]
    print(f"  window of stack 2, radius 3: {mrcz_dask.koma_window(2, len(paths), 3, usable)}")

    # KOMA of the session; nothing is computed, and nothing read but headers.
    session = mrcz_dask.open_session(folder)
    plan = session.koma(radius=2, dtype="float32")
    print(plan)

    # One movie lazily: the sums and masks of the others are computed, and not their corrections.
    frames, corrected = dask.compute(session.stacks[1].frames, plan.corrected[1])
    mask, reference = dask.compute(plan.masks[1], plan.references[1])
    print(f"{session.stacks[1].name}: {mask.sum()} outliers, pattern of {reference.std():.3f} counts/pixel")
    before, after = (mrcz_dask.correlated_noise(f.astype(np.float32)) for f in (frames, corrected))
    print(f"  correlated noise {before:.2e}, after koma {after:.2e} (in sample)")

    # The whole session, as `mrcz-dask koma` does it; the pixels are those that were computed lazily.
    with LocalCluster(n_workers=2, dashboard_address=None) as cluster, Client(cluster) as client:
        result = plan.run(out / "koma", client)
    print(f"{len(result.outputs)} movies corrected, {len(result.failed)} not")
    assert np.array_equal(mrcz_dask.read(result.outputs[1]), corrected)

    # Write what you like; the file has statistics, checksums and your metadata.
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{paths[0].stem}_filled.mrcz"
    size = (mrcz_dask.read_header(paths[0])["pixel_size"] or [1.0])[0]
    mrcz_dask.write(target, filled, codec="zstd:1", pixel_size=size, meta={"filled": int(found.mask.sum())})

    footer = mrcz_dask.read_footer(target)
    assert footer is not None
    print(f"{target.name}: {footer['pixels']['dtype']}, {footer['meta']}")
    assert np.array_equal(mrcz_dask.read(target), filled)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
