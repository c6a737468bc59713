"""A camera whose truth is known: session stores and logs as `koma` leaves them, without movies."""

from __future__ import annotations

import shutil
from base64 import b64encode
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from mrcz_dask.numerics.outliers.kept_fit import KeptFit
from mrcz_dask.numerics.reference.evidence import Mean
from mrcz_dask.numerics.session.sketch import sketch
from mrcz_dask.report.camera import CameraSession
from mrcz_dask.session.log import Log
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values import messages
from mrcz_dask.values.params import Settings
from mrcz_dask.values.records import StackResult, Summed
from tests.damage.stores import RECORD

SHAPE = (64, 80)
FRAMES, STACKS = 40, 2
BEGAN = datetime(2026, 1, 5, 18)
NOTHING = np.zeros(0, np.float32)
FIT = KeptFit(NOTHING, np.zeros(0, np.int64), NOTHING, NOTHING, NOTHING, 0, 0, None, None)
MASK = {"n_masked": 0, "n_hot": 0, "n_dead": 0, "n_neighbourly": 0, "t_dark": -4.0, "t_hot": 3.5, "mu": 1.0}
MASK |= {"sigma": 1.0, "misfit": 0.001}


@dataclass
class Camera:
    """A camera: its outliers, its pattern in columns, rows and pixels, and the dose that it is used at."""

    rng: np.random.Generator
    shape: tuple[int, int] = SHAPE
    dose: float = 50.0
    size: float = 0.02
    lines: list[list[float]] = field(default_factory=list)
    gain: str = ""
    faint: bool = False  # outliers are seen only in the stacks around

    def __post_init__(self) -> None:
        self.hot, self.dead = np.zeros((2, *self.shape), bool)
        self.heat(60)
        self.dead.flat[self.rng.choice(self.dead.size, 8, replace=False)] = True
        self.new_gain()

    def heat(self, pixels: int) -> None:
        """Make so many more pixels hot."""
        self.hot.flat[self.rng.choice(np.flatnonzero(~self.hot), pixels, replace=False)] = True

    def new_gain(self) -> None:
        """Give it another pattern, of standard deviation 1."""
        self.pattern = self.rng.standard_normal(self.shape)


def write_night(folder: Path, camera: Camera, day: int) -> Path:
    """Write the store and the log of a session that was taken with a camera, so many days after the first."""
    empty = folder.parent / ".empty"
    if not empty.exists():
        SessionStore(empty).create()
    shutil.copytree(empty, folder / "session.zarr")  # a tenth of the time
    store, log = SessionStore(folder / "session.zarr"), Log(folder, lambda message: None)
    settings = Settings().to_dict()
    settings["gain"]["gain"] = camera.gain
    log(
        messages.RunStarted("1.2.3", f"/data/{folder.name}", str(folder), settings, {"kind": "serial"}, "any")
    )
    rng, faint = camera.rng, np.bool_(camera.faint)
    counts = camera.dose * FRAMES * rng.normal(1, 0.02)
    for k in range(STACKS):
        name, at = f"{k}.mrc", BEGAN + timedelta(days=day, minutes=k)
        total = rng.poisson(counts * (1 + camera.size * camera.pattern))
        mask = MASK | ({"lines": camera.lines} if camera.lines else {})
        record = replace(
            RECORD, name=name, stem=f"{k}", shape=(FRAMES, *camera.shape), mean=counts, status="ok",
            outliers=mask, digest=f"{rng.integers(2**62):x}", exponent=0,
            sketch=b64encode(sketch(total, camera.hot | camera.dead, int(rng.integers(2**62)))).decode(),
        )  # fmt: skip
        flicker = rng.random(camera.shape) < 0.001
        store.put_stack(record, {})
        store.put_histogram(f"{k}", FIT, flicker | (camera.hot & ~faint), camera.dead & ~faint)
        if camera.faint:
            places = {"hot": np.flatnonzero(camera.hot), "dead": np.flatnonzero(camera.dead)}
            store.put(f"lasting/{k}", places, {})
        log(messages.StackFound(name, f"{k}.mrcz", str(at), "mdoc", 1000))
        log(messages.StackDone(messages.SUMS, name, 1000, found=Summed.of(record, kept=False)))
        log(messages.StackDone(messages.CORRECTION, name, 1000, found=_result(camera, counts, name)))
    log(messages.RunFinished(STACKS, 0, None))
    return folder


def _result(camera: Camera, counts: float, name: str) -> StackResult:
    size = camera.size**2 + camera.rng.normal(0, 2e-6)
    evidence = {
        "pattern": [0.0, 0.0, size, 0.0], "error": [1e-6] * 4, "lasting": [0.0, 0.0, size, 0.0],
        "removed": [0.0, 0.0, size, 0.0], "noise": 1 / counts,
        "movement": {"explained": 0.0, "power": 0.0, "variance": 0.0},
    }  # fmt: skip
    output = f"{name.removesuffix('.mrc')}.mrcz"
    noise = dict.fromkeys(("raw", "filtered", "corrected"), 0.01)
    return StackResult(name, output, 1, 1, 60, 8, True, 0.01, noise, (), "d", 0, "k", evidence=evidence)


def steady(seed: int, number: int = 60) -> tuple[CameraSession, ...]:
    """Sessions of a camera that does not change, as `gather_camera` finds them."""
    rng = np.random.default_rng(seed)
    return tuple(
        CameraSession(
            folder=f"/data/{k}/koma",
            session=f"/data/{k}",
            began=BEGAN + timedelta(days=k),
            timed=True,
            stacks=100,
            sampled=64,
            dose=1.2 * float(np.exp(rng.normal(0, 0.05))),
            hot=int(rng.poisson(5000)),
            dead=int(rng.poisson(40)),
            lines=(),
            pattern=Mean(1e-4 + rng.normal(0, 3e-6), 3e-6),
            noise=0.02,
            gain="",
            hot_births=int(rng.poisson(200)) if k else None,
            hot_deaths=int(rng.poisson(200)) if k else None,
        )
        for k in range(number)
    )
