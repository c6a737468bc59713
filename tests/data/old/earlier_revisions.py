"""Recipe of mrcz-dask.tar.xz: what earlier revisions of this package wrote of small stacks.

For each revision: ``git archive $REVISION mrcz_dask | tar x -C env``, then in that folder

    PYTHONPATH=. python earlier_revisions.py files/$REVISION

and then ``tar -C files -cJf mrcz-dask.tar.xz .``. Revisions: 59f9dfa (the first), c6c6fc4, 3990402
and 71c6cf6.
"""

import sys
from pathlib import Path

import numpy as np

SHAPE = (3, 6, 8)
PIXELS = {"unit": "counts", "scale": 0.125}
META = {"text": "golden"}
FORMATS = {"mrcs": "mrcs", "mrcs.zst": "mrcs.zst", "tiff": "tif"}


def stack(dtype: str) -> np.ndarray:
    """Return the pixels of a file."""
    return (np.arange(np.prod(SHAPE)).reshape(SHAPE) % 100).astype(dtype)


def main(folder: Path) -> None:
    """Write a file of each type and kind that the revision knows."""
    try:
        from mrcz_dask.formats.mrc.writer import write
    except ImportError:
        from mrcz_dask import write
    folder.mkdir(parents=True, exist_ok=True)
    for dtype in ("u1", "u2", "i2", "f4"):
        write(folder / f"{dtype}.mrcz", stack(dtype), meta=META, pixel_size=1.25)
    write(folder / "plain.mrc", stack("u2"), codec="none", pixel_size=1.25, meta=META)
    write(folder / "scaled.mrcz", stack("i2"), pixels=PIXELS, pixel_size=1.25, meta=META)
    try:
        from mrcz_dask.formats.writers import open_writer
    except ImportError:
        return
    for kind, suffix in FORMATS.items():
        path = folder / f"{kind.replace('.', '-')}.{suffix}"
        with open_writer(path, kind, SHAPE, np.uint8, pixels=PIXELS, pixel_size=1.25, meta=META) as writer:
            for frame in stack("u1"):
                writer.append(frame)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
