"""Groups of the session store, and the log of a run."""

from pathlib import Path
from typing import Any

import numpy as np

from mrcz_dask.numerics.gain.gain import Gain
from mrcz_dask.numerics.reference.correction import Correction
from mrcz_dask.session.store import SessionStore
from mrcz_dask.session.store_check import store_problems
from mrcz_dask.values.records import StackRecord
from tests.damage.generator import Kind

IMAGE = np.arange(48).reshape(6, 8)
RECORD = StackRecord(
    **dict.fromkeys(("name", "stem", "digest", "chunks", "status", "sketch", "made_with"), "a"),  # type: ignore[arg-type]
    **dict.fromkeys(("size", "mtime_ns", "exponent"), 3),  # type: ignore[arg-type]
    **dict.fromkeys(("low", "high", "average", "rms", "mean", "gamma"), 2.5),  # type: ignore[arg-type]
    shape=(4, 6, 8),
    dtype="uint8",
    mean_even=None,
    outliers={"n_hot": 3},
    outliers_even=None,
    grid_means=((1.5, 2.25),),
    grid_pixels=((24, 24),),
    caveats=(),
)


def _store(path: Path) -> SessionStore:
    return SessionStore(path.parents[1])


def write_stack(folder: Path) -> Path:
    """Write the record and the sum of a stack."""
    store = SessionStore(folder / "session.zarr")
    store.create()
    store.put_stack(RECORD, {"sum": IMAGE.astype(np.int32)})
    return store.path / "stacks" / "a"


def read_stack(path: Path) -> tuple[Any, Any]:
    """Return the record and the sum."""
    return _store(path).record("a"), _store(path).load("a", "sum")


def write_correction(folder: Path) -> Path:
    """Write a correction."""
    store = SessionStore(folder / "session.zarr")
    store.create()
    weight = np.full((6, 8), 255, np.uint8)
    store.put_correction(
        "a", Correction("subtract", IMAGE.astype(np.int16), 0.25, weight, np.zeros(0, np.float32))
    )
    return store.path / "corrections" / "a"


def read_correction(path: Path) -> list[Any]:
    """Return what makes a correction."""
    found = _store(path).correction("a")
    return [
        found.form,
        found.step,
        found.pattern,
        found.weight,
        found.fill,
        _store(path).correction_digest("a"),
    ]


def write_gain(folder: Path) -> Path:
    """Write a gain."""
    store = SessionStore(folder / "session.zarr")
    store.create()
    store.put_gain("a", Gain(IMAGE.astype(np.float32), IMAGE > 46), {"gain": {"name": "g.mrc"}})
    return store.path / "gains" / "a"


def read_gain(path: Path) -> list[Any]:
    """Return a gain and what is known of it."""
    found = _store(path).gain("a")
    return [found.image, found.bad, _store(path).gain_about("a")]


def is_sound(path: Path) -> bool:
    """Return whether the store is called sound."""
    return not store_problems(path.parents[1])


MODULES = ("session/store.py", "session/store_arrays.py")
KINDS = [
    Kind("sum and record", MODULES, write_stack, read_stack, is_sound),
    Kind("correction", MODULES, write_correction, read_correction, is_sound),
    Kind("gain", MODULES, write_gain, read_gain, is_sound),
]
