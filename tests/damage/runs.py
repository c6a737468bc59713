"""What a run keeps beside its outputs."""

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from mrcz_dask.counting import Calibration
from mrcz_dask.numerics.counting.coincidence import LossCurve
from mrcz_dask.numerics.counting.params import CountingParams
from mrcz_dask.session.log import Log, read_messages
from mrcz_dask.values import messages
from mrcz_dask.values.records import StackResult
from tests.damage.generator import Kind, same_json


def write_log(folder: Path) -> Path:
    """Write a log of a run over one stack."""
    log = Log(folder, messages.silent)
    noise = {"raw": 0.0123, "filtered": None}
    result = StackResult("a.mrcz", "a.mrcz", 10, 20, 1, 2, True, 0.5, noise, ("one",), "ab", 5, "cd")
    log(messages.RunStarted("1.0", "/night", "/night/koma", {"koma": {"radius": 12}}, {}, "Linux"))
    log(messages.StackDone(messages.CORRECTION, "a.mrcz", 10, None, result))
    log(messages.RunFinished(1, 0))
    return folder


def read_log(folder: Path) -> list[tuple[datetime, messages.Message]]:
    """Return its messages."""
    return list(read_messages(folder))


def none_is_new(found: Any, written: Any) -> None:
    """Check that no message is read that was not written: damaged lines are left out."""
    assert all(moment in written for moment in found)


def write_calibration(folder: Path) -> Path:
    """Write the calibration of a small detector."""
    images = (np.arange(12, dtype=np.float32).reshape(3, 4) + k for k in range(3))
    loss = LossCurve(1e-5, (-0.03, -3.0, 0.0, 0.0), 0.1)
    calibration = Calibration(
        *images, np.ones((3, 4), bool), CountingParams(), None, loss, {"noise_from": "truth"}
    )
    calibration.save(folder / "calibration.zarr")
    return folder / "calibration.zarr"


def read_calibration(path: Path) -> dict[str, Any]:
    """Return all values of a calibration."""
    found = Calibration.load(path)
    return {"digest": found.digest, "detector": repr(found)}


KINDS = [
    Kind("log", ("session/log.py",), write_log, read_log, agree=none_is_new),
    Kind("calibration", ("counting/calibration.py",), write_calibration, read_calibration, same=same_json),
]
