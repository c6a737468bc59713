"""Recipe of python-mrcz.tar.xz: what a version of python-mrcz writes of small stacks.

For each version, in a throw-away environment (Python 3.11):

    python -m venv env && env/bin/pip install "mrcz==$VERSION" "numpy<2" blosc
    env/bin/python python_mrcz.py files/$VERSION

and then ``tar -C files -cJf python-mrcz.tar.xz .``. Versions: 0.3.1, 0.3.8, 0.4.1, 0.5.0, 0.5.7, 0.5.10 and
0.6.0. Files of a version that equal those of the version before are left out.
"""

import sys
from pathlib import Path

import numpy as np

SHAPE = (2, 6, 8)
META = {"voltage": 300.0, "text": "golden", "list": [1, 2, 3]}
PIXEL_SIZE_NM = (0.14, 0.13, 0.12)  # z, y, x


def stack(dtype: str) -> np.ndarray:
    """Return the pixels of a file."""
    values = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    match np.dtype(dtype).kind:
        case "c":
            return (values % 50 - 1j * (values % 7)).astype(dtype)
        case "f":
            return (values * 0.5 - 3).astype(dtype)
        case "i":
            return (values % 100 - 30).astype(dtype)
    return (values % 100).astype(dtype)


def main(folder: Path) -> None:
    """Write a file of each type, plain and compressed, with metadata or without."""
    import mrcz

    folder.mkdir(parents=True, exist_ok=True)
    for dtype in ("i1", "i2", "u2", "f4", "c8"):
        for codec, meta in ((None, META), ("zstd", META), ("lz4", None), ("zlib", None)):
            mrcz.writeMRC(
                stack(dtype),
                str(folder / f"{dtype}-{codec or 'plain'}.mrc{'z' if codec else ''}"),
                meta=meta,
                compressor=codec,
                pixelsize=list(PIXEL_SIZE_NM),
                pixelunits="nm",
                voltage=300.0,
                C3=2.7,
                gain=1.5,
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
