"""A session that was processed once, its events, and a browser."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mrcz_dask.correction.plan import make_plan
from mrcz_dask.correction.run import carry_out
from mrcz_dask.engine.client import SerialClient
from mrcz_dask.numerics.simulate import named
from mrcz_dask.session.log import Moment, read_messages
from mrcz_dask.session.simulation import write_session
from mrcz_dask.values import messages
from mrcz_dask.values.params import KomaParams, Settings
from mrcz_dask.values.records import StackResult, Summed

NIGHT = named("standard", shape=(64, 80), frames=6, stacks=7, seed=3, hot=(0.005, 0.01), dead=0.001, dose=2)
BEGAN = datetime(2026, 3, 1, 20, tzinfo=UTC)


@pytest.fixture(scope="session")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session of seven small stacks, one of them cut off."""
    folder = tmp_path_factory.mktemp("monitor") / "night"
    paths = write_session(folder, NIGHT)
    paths[2].write_bytes(paths[2].read_bytes()[:5000])
    return folder


@pytest.fixture(scope="session")
def out(night: Path) -> Path:
    """Its outputs."""
    folder = night.parent / "out"
    carry_out(make_plan(night, folder, Settings(koma=KomaParams(radius=2))), SerialClient())
    return folder


@pytest.fixture(scope="session")
def moments(out: Path) -> list[Moment]:
    """What happened meanwhile."""
    return list(read_messages(out))


class Made:
    """Events of a session that nobody recorded, with times."""

    def __init__(self) -> None:
        self.now = BEGAN

    def at(self, seconds: float) -> "Made":
        """Go on at a time after the beginning."""
        self.now = BEGAN + timedelta(seconds=seconds)
        return self

    def started(self) -> messages.RunStarted:
        return messages.RunStarted("1.2.3", "/night", "/night/koma", {}, {"workers": 4}, "any")

    def found(self, k: int, *, minutes: float | None = None, size: int = 100) -> messages.StackFound:
        acquired = datetime(2026, 3, 1, 8) + timedelta(minutes=k if minutes is None else minutes)
        return messages.StackFound(f"{k}.mrc", f"{k}.mrcz", acquired.isoformat(sep=" "), "mdoc", size)

    def summed(self, k: int, *, size: int = 100, kept: bool = False) -> messages.StackDone:
        found = Summed(1.5, 10 + k, k, 3, -4.0, 3.5, 60.0, 8.0, 0.01, "ok", kept)
        return messages.StackDone(messages.SUMS, f"{k}.mrc", size, None, found)

    def done(self, k: int, *, size: int = 100, **more: Any) -> messages.StackDone:
        noise = {"raw": 1e-2, "filtered": 3e-3, "corrected": -1e-4}
        values = {"usable": True, "score": 0.01, "noise": noise, **more}
        result = StackResult(
            name=f"{k}.mrc",
            output=f"{k}.mrcz",
            bytes_in=size,
            bytes_out=2 * size,
            hot=10 + k,
            dead=k,
            caveats=(),
            digest="d",
            mtime_ns=0,
            key="k",
            **values,
        )
        return messages.StackDone(messages.CORRECTION, f"{k}.mrc", size, None, result)

    def failed(self, k: int, reason: str = "cannot be read") -> messages.StackFailed:
        return messages.StackFailed(messages.SUMS, f"{k}.mrc", reason, 100)


@pytest.fixture
def made() -> Made:
    """Events that a test makes up."""
    return Made()


def _harness() -> Any:
    spec = importlib.util.spec_from_file_location("browser", Path(__file__).parent / "browser.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["browser"] = module
    spec.loader.exec_module(module)
    return module


Opened = Callable[[Path], AbstractContextManager[Any]]


@pytest.fixture(scope="session")
def opened() -> Opened:
    """opened(folder): a tab of a real browser; skips where it can neither be found nor installed."""
    harness = _harness()
    program = harness.browser()
    if program is None:
        pytest.skip("chromium is not installed, and cannot be: no apt-get, or not root")
    return lambda folder: harness.opened(program, folder)


@pytest.fixture
def tab(opened: Opened, tmp_path: Path) -> Iterator[Any]:
    """A tab of a browser."""
    with opened(tmp_path / "browser") as one:
        yield one
