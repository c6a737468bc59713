"""A session whose truth is known, the run over it, and what a report gathers of it; and a browser."""

import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mrcz_dask.correction.plan import make_plan
from mrcz_dask.correction.run import carry_out
from mrcz_dask.engine.client import SerialClient
from mrcz_dask.numerics.outliers.population import Lifetime, Survival, Turnover
from mrcz_dask.numerics.simulate import named
from mrcz_dask.report.data import Band, Health, MaskFacts, SessionData, StackData
from mrcz_dask.report.gather import gather
from mrcz_dask.report.progress import PhaseSpeed, RunTimes
from mrcz_dask.session.simulation import write_session
from mrcz_dask.values.params import KomaParams, Settings

# Hot pixels far above the rest, so that the filter finds all of them.
NIGHT = named(
    "standard",
    shape=(128, 144),
    frames=8,
    stacks=10,
    seed=3,
    hot=(0.005, 0.01),
    hot_median=30.0,
    hot_log_sigma=0.2,
    dead=0.0005,
    dose=5,
    carbon=(6,),
)
BROKEN = 4
BEGAN = datetime(2026, 3, 1, 8)


@pytest.fixture(scope="session")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session of ten small stacks, one of them cut off, one with carbon."""
    folder = tmp_path_factory.mktemp("report") / "night"
    paths = write_session(folder, NIGHT)
    paths[BROKEN].write_bytes(paths[BROKEN].read_bytes()[:5000])
    return folder


@pytest.fixture(scope="session")
def out(night: Path) -> Path:
    """Its outputs."""
    folder = night.parent / "out"
    carry_out(make_plan(night, folder, Settings(koma=KomaParams(radius=2))), SerialClient())
    return folder


@pytest.fixture(scope="session")
def data(out: Path) -> SessionData:
    """What a report shows of it."""
    return gather(out)


@pytest.fixture
def copy(out: Path, tmp_path: Path) -> Path:
    """A private copy of the outputs."""
    return Path(shutil.copytree(out, tmp_path / "out"))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the figures of pages empty, which takes seconds off each page."""
    monkeypatch.setattr("mrcz_dask.report.page.drawn", lambda figure, *kinds: dict.fromkeys(kinds, b"<svg/>"))


def mask_facts(**more: Any) -> MaskFacts:
    values: dict[str, Any] = {
        "shape": (20, 1000, 1000),
        "dtype": "uint8",
        "dose": 1.5,
        "n_masked": 5010,
        "n_hot": 5000,
        "n_dead": 10,
        "n_neighbourly": 100,
        "t_dark": -4.5,
        "t_hot": 3.5,
        "mu": 30.0,
        "sigma": 5.6,
        "misfit": 0.002,
        "status": "ok",
        "illumination": False,
        "spread": 0.05,
        "gamma": 1.0,
    }
    return MaskFacts(**values | more)


def stack_data(number: int, **more: Any) -> StackData:
    after = timedelta(minutes=number - 1)
    values: dict[str, Any] = {
        "number": number,
        "name": f"{number}.mrc",
        "stem": f"{number}",
        "output": f"{number}.mrcz",
        "acquired": BEGAN + after,
        "acquired_from": "mdoc",
        "hours": after.total_seconds() / 3600,
        "state": "done",
        "reason": "",
        "mask": mask_facts(),
        "turnover": Turnover(100, 100, 1, 1) if number > 1 else Turnover(),
        "usable": True,
        "score": 0.01 + 0.0001 * (number % 7),
        "noise": {
            "raw": 5e-2 + 1e-4 * (number % 5),
            "filtered": 4e-3 + 1e-5 * (number % 3),
            "corrected": 3e-3,
            "raw_in_sample": 5e-2,
            "corrected_in_sample": 2e-3,
        },
        "caveats": (),
        "evidence": {},
        "bands": (
            Band("columns", 700, (0.5, 0.4), 0.5, True),
            Band("scale 1", 9000, (0.0, 0.0), 1e-4, False),
        ),
        "breaks": (),
        "agrees": True,
        "bytes_in": 1000,
        "bytes_out": 2000,
    }
    return StackData(**values | more)


def session_data(
    stacks: int = 40, change: Callable[[int], dict[str, Any]] = lambda k: {}, **more: Any
) -> SessionData:
    """A quiet session that nobody recorded; `change` gives what differs in stack k, from 1."""
    marks = tuple(
        (name, 2.0 * k, k) for name in ("sums and masks", "correction") for k in range(1, stacks + 1)
    )
    passes = (PhaseSpeed("sums and masks", stacks, 1000 * stacks, 60.0),)
    run = RunTimes(
        "2026-03-01T20:00:00+00:00", "2026-03-01T20:10:00+00:00", "finished", "1.2.3", "one process",
        stacks, 0, 0, list(passes), list(marks),
    )  # fmt: skip
    values: dict[str, Any] = {
        "folder": "/night/koma",
        "session": "/night",
        "version": "1.2.3",
        "platform": "any",
        "settings": Settings().to_dict(),
        "gain": None,
        "running": "finished",
        "error": None,
        "stacks": tuple(stack_data(k, **change(k)) for k in range(1, stacks + 1)),
        "left_out": (),
        "warnings": (),
        "runs": (run,),
        "health": Health(None, None, (Survival(1, 0.9, 100), Survival(2, 0.8, 90)), Lifetime(9.0, 0.95)),
        "samples": {},
        "high_contrast": {},
        "shared": None,
        "verdict": None,
        "problems": (),
    }
    return SessionData(**values | more)


@pytest.fixture
def quiet() -> SessionData:
    """A session with nothing wrong."""
    return session_data()


def with_masks(session: SessionData, change: Callable[[int], dict[str, Any]]) -> SessionData:
    stacks = [
        replace(s, mask=replace(s.mask, **change(s.number))) for s in session.stacks if s.mask is not None
    ]
    return replace(session, stacks=tuple(stacks))


def _harness() -> Any:
    path = Path(__file__).parents[1] / "monitor" / "browser.py"
    spec = importlib.util.spec_from_file_location("browser", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["browser"] = module
    spec.loader.exec_module(module)
    return module


Opened = Callable[[Path], AbstractContextManager[Any]]


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Any]:
    """A tab of a real browser; skips where it can neither be found nor installed."""
    harness = _harness()
    program = harness.browser()
    if program is None:
        pytest.skip("chromium is not installed, and cannot be: no apt-get, or not root")
    with harness.opened(program, tmp_path / "browser") as one:
        yield one
