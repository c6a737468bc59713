"""Plain sessions and the bytes of outputs, for all tests of the main job."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcz_dask

WRITES = ["normalized", "recompressed", "references"]
SHAPE = (4, 64, 80)


def contents(folder: Path) -> dict[str, bytes]:
    """Every byte of the outputs, the journal (times, platform) and the store's own layout apart."""
    return {
        p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file() and p.name != "events.jsonl"
    }


def poisson(
    folder: Path, name: str, mean: float = 3, seed: int = 0, dtype: Any = np.uint8, n: int = 4
) -> Path:
    frames = np.random.default_rng([seed, *name.encode()]).poisson(mean, (n, *SHAPE[1:])).astype(dtype)
    folder.mkdir(parents=True, exist_ok=True)
    mrcz_dask.write(folder / name, frames, durable=False)
    return folder / name


@pytest.fixture
def plain_session(tmp_path: Path) -> Path:
    for k in range(5):
        poisson(tmp_path / "plain", f"stack_2026-01-02_03.04.{k:02d}.mrcz", seed=k)
    return tmp_path / "plain"
