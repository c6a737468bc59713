"""Make images/before-after.png: one simulated movie, averaged over its frames, as recorded and corrected.

``python docs/picture.py`` takes a minute. Both halves have one gray scale.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import mrcz_dask
from mrcz_dask.numerics.simulate import SimulationParams
from mrcz_dask.session.simulation import write_session

PICTURE = Path(__file__).parent / "images" / "before-after.png"
SESSION = SimulationParams(
    stacks=26, frames=40, shape=(320, 320), dose=5.0, seed=11, cmos=0.03, specimen=0.06, hot=(0.004, 0.006)
)
GAP = 12

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        write_session(Path(folder), SESSION)
        session = mrcz_dask.open_session(folder)
        plan = session.koma(radius=12)
        before = session.stacks[13].frames.mean(axis=0).compute()
        after = plan.corrected[13].mean(axis=0).compute()
    low, high = np.percentile(after, (0.5, 99.5))
    both = np.hstack([before, np.full((len(before), GAP), high), after])
    gray = np.clip((both - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    Image.fromarray(gray).quantize(16).save(PICTURE, optimize=True)
