"""What a run keeps beside its outputs."""

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from mrcz_dask.counting import Calibration
from mrcz_dask.counting.calibration import calibration_problems
from mrcz_dask.formats.spool import Spool, SpoolReader
from mrcz_dask.live.frames import Roi
from mrcz_dask.live.page.exports import StoredResults
from mrcz_dask.live.processors.checking import results_problems
from mrcz_dask.live.processors.results import ProcessorSettings, ResultStore
from mrcz_dask.live.record.stacks import StreamStacks
from mrcz_dask.live.view import Result
from mrcz_dask.numerics.counting.coincidence import LossCurve
from mrcz_dask.numerics.counting.params import CountingParams
from mrcz_dask.session import manifest
from mrcz_dask.session.log import Log, read_messages
from mrcz_dask.values import messages
from mrcz_dask.values.records import StackResult, Written
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


def is_sound_calibration(path: Path) -> bool:
    """Return whether a calibration is called sound."""
    return not calibration_problems(path)


def write_results(folder: Path) -> Path:
    """Write results of a live processor."""
    store = ResultStore(folder / "a.live.zarr")
    series = store.series("p", "p.py")
    for k in range(3):
        line, image = (np.arange(2.0), np.full(2, float(k))), np.full((2, 3), k, np.float32)
        series.append(Result(k, 10.0 + k, {"a": float(k), "b": line, "c": image}))
    series.add_setting(ProcessorSettings(0, Roi(0, 4, 0, 4), {"sigma": 2.0}))
    series.close()
    return store.path


def read_results(path: Path) -> dict[str, Any]:
    """Return what exports and `--catch-up` read of it: numbers and profiles, and settings."""
    found = StoredResults.open(path / "p")
    values = {name: list(found.blocks(name)) for name in ("frame", "time", "a", "b_axis", "b")}
    return {**values, "settings": ResultStore(path, append=True).settings("p")}


def is_sound_store(path: Path) -> bool:
    """Return whether results are called sound."""
    return results_problems(path) == ([], [])


FILES = tuple((name, hashlib.sha256(name.encode()).hexdigest()) for name in ("a.mrcz", "b.mrcz", "b.mdoc"))


def write_manifest(folder: Path) -> Path:
    """Write the `MANIFEST` of a run."""
    manifest.add(folder, FILES, messages.silent)
    return folder / manifest.NAME


def read_nothing(path: Path) -> None:
    """Return nothing: outputs are compared with the log, where there is one."""


def is_true(path: Path) -> bool:
    """Return whether `MANIFEST` lists what the log says."""
    return not manifest.damage(path.parent, [Written("a", "a.mrcz", 6, "", FILES)])


def is_whole_without_a_log(path: Path) -> bool:
    """Return whether `MANIFEST` of a command that writes no log is as it was written."""
    return path.exists() and not manifest.damage(path.parent, [])


def write_numbers(folder: Path) -> Path:
    """Write up to which frames streams are recorded."""
    _streams(folder).written("a", 7)
    _streams(folder).written("", 41)
    return folder / ".recording.json"


def read_numbers(path: Path) -> dict[str, int]:
    """Return which frames come next."""
    return _streams(path.parent).next


def _streams(folder: Path) -> StreamStacks[Any]:
    return StreamStacks(folder / ".recording.json", 10, lambda about, first: None, lambda stack: None)


def write_spool(folder: Path) -> Path:
    """Write a spool of three records."""
    spool = Spool.create(folder / ".a.spool", {"stack": "a"})
    for k in range(3):
        spool.append([({"number": k}, bytes([k]) * 9)])
    spool.close()
    return spool.path


def read_spool(path: Path) -> list[Any]:
    """Return the records that are whole."""
    with SpoolReader.open(path) as spool:
        return [(record.header, spool.body(record)) for record in spool.records]


RESULTS, NUMBERS = "live/processors/results.py", "live/record/stacks.py"
KINDS = [
    Kind("log", ("session/log.py",), write_log, read_log, agree=none_is_new),
    Kind("results", (RESULTS,), write_results, read_results, is_sound_store, same=same_json),
    Kind("MANIFEST", ("session/manifest.py",), write_manifest, read_nothing, is_true),
    Kind("MANIFEST alone", ("session/manifest.py",), write_manifest, read_nothing, is_whole_without_a_log),
    Kind("recorded numbers", (NUMBERS,), write_numbers, read_numbers, optional=lambda file: True),
    Kind("spool", ("formats/spool.py",), write_spool, read_spool, agree=none_is_new),
    Kind(
        "calibration",
        ("counting/calibration.py",),
        write_calibration,
        read_calibration,
        is_sound_calibration,
        same=same_json,
    ),
]
