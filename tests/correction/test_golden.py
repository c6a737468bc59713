"""Pixels of a golden session are the same in every version of Python and of the libraries.

Its frames are made of random whole numbers alone, which are the same everywhere. Run this file with each
Python of a machine. Where a change of pixels is meant, `python -m tests.correction.test_golden` prints the
new table.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.formats.digest import digest_array
from tests.nights import run_koma

GOLDEN: dict[str, tuple[dict[str, Any], str]] = {
    "fit": ({}, "f927ae4c2e42dfa26b55499fc3fd94dd"),
    "divide": ({"form": "divide"}, "d014db5041e3bb121c69597b06d311db"),
    "plain": ({"method": "plain", "rule": "paper"}, "b82443813bc316d84b1a91c21221025f"),
    "float32": ({"dtype": "float32"}, "76d740e95eed29e2bb3d8037429e1edd"),
}


def write_session(folder: Path) -> Path:
    """Write six stacks of counts with a pattern, hot pixels and a dead one."""
    folder.mkdir()
    bits = np.random.PCG64(7)
    raw = (bits.random_raw(6 * 5 * 48 * 56) >> np.uint64(8)).reshape(6, 5, 48, 56)
    pattern = (bits.random_raw(48 * 56) >> np.uint64(60)).reshape(48, 56)
    for k, stack in enumerate(raw):
        counts = sum((stack >> np.uint64(shift)) & np.uint64(1) for shift in range(24)) + pattern
        counts[:, 7, 9], counts[:, 20, 30], counts[:, 40, 3] = 400, 90 + 10 * k, 0
        mrcz_dask.write(folder / f"s{k}.mrc", counts.astype(np.int16))
    return folder


def digest_of(session: Path, out: Path, options: dict[str, Any]) -> str:
    """Correct the session; return a digest of the pixels of all outputs."""
    assert run_koma(session, out, **options).complete
    return digest_array(
        np.stack([mrcz_dask.read(path) for path in sorted(out.glob("*.mrcz"))]).reshape(-1, 56)
    )


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_session(tmp_path_factory.mktemp("golden") / "session")


@pytest.mark.parametrize("name", GOLDEN)
def test_pixels_are_those_of_the_table(name: str, session: Path, tmp_path: Path) -> None:
    options, expected = GOLDEN[name]
    assert digest_of(session, tmp_path / "out", options) == expected


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        made = write_session(Path(place) / "session")
        for key, (choice, known) in GOLDEN.items():
            print(key, known, digest_of(made, Path(place) / key, choice))
