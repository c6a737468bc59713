"""An assessment that is there: kept where nobody can write, and made again from damaged sums."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.assess.assessment import Assessment
from mrcz_dask.assess.files import write_json
from mrcz_dask.assess.params import AssessParams
from mrcz_dask.assess.plan import assess_plan
from mrcz_dask.assess.run import assess
from mrcz_dask.engine import loop as attempt
from mrcz_dask.engine.client import SerialClient
from mrcz_dask.session.output_folder import locked
from mrcz_dask.values.errors import SpaceError
from mrcz_dask.values.messages import Listener, Warned, silent
from mrcz_dask.values.params import KomaParams, Settings
from tests.rights import as_somebody_else, nobody_may_write

PARTS = AssessParams(parts=("stacks", "dose", "radius", "methods"), methods=("raw", "outliers", "fit"))


@pytest.fixture
def session(tmp_path: Path) -> Path:
    rng = np.random.default_rng(5)
    (tmp_path / "night").mkdir()
    for k in range(5):
        frames = rng.poisson(3, (4, 64, 80)).astype(np.uint8)
        mrcz_dask.write(tmp_path / "night" / f"s_2026-01-02_03.04.{k:02d}.mrcz", frames, durable=False)
    return tmp_path / "night"


def assessed(session: Path, listen: Listener = silent) -> tuple[Assessment, dict[str, bytes]]:
    plan = assess_plan([session], None, Settings(koma=KomaParams(radius=1)))
    with locked(plan.folder):
        assessment = assess(plan, PARTS, SerialClient(), listen)
        write_json(assessment)
    results = plan.folder / "assess"
    return assessment, {str(p.relative_to(results)): p.read_bytes() for p in results.rglob("*.json")}


def _flip_sum(group: Path) -> None:
    chunk = next(file for file in sorted((group / "sum" / "c").rglob("*")) if file.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"\xf0")


def _forget_sum(group: Path) -> None:
    rmtree(group / "sum_even")


@pytest.mark.parametrize("damage", [_flip_sum, _forget_sum])
def test_a_damaged_sum_is_made_again(
    session: Path, damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "PAUSE", 0.0)
    before = assessed(session)[1]
    rmtree(session / "koma" / "assess")
    damage(session / "koma" / "session.zarr" / "stacks" / "s_2026-01-02_03.04.02")
    warnings: list[str] = []
    again, results = assessed(session, lambda one: isinstance(one, Warned) and warnings.append(one.message))
    assert not again.failures and results == before
    assert sum("is summed again" in text for text in warnings) == 1


def test_a_sum_that_cannot_be_made_again_is_a_failure_of_its_stacks(
    session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "PAUSE", 0.0)
    assessed(session)
    rmtree(session / "koma" / "assess")
    group = session / "koma" / "session.zarr" / "stacks" / "s_2026-01-02_03.04.02"
    _flip_sum(group)

    def stop(message: object) -> None:
        if isinstance(message, Warned) and "is summed again" in message.message:
            next(session.glob("*.02.mrcz")).unlink()

    again, _ = assessed(session, stop)
    assert again.failures and all("04.02" in failure.reason for failure in again.failures)


def test_a_finished_one_is_kept_where_nobody_can_write() -> None:
    rng = np.random.default_rng(5)
    with tempfile.TemporaryDirectory() as place:  # all may enter it
        for k in range(5):
            path = Path(place) / f"s_2026-01-02_03.04.{k:02d}.mrcz"
            mrcz_dask.write(path, rng.poisson(3, (4, 64, 80)).astype(np.uint8), durable=False)
        before = assessed(Path(place))[1]
        with nobody_may_write(Path(place)), as_somebody_else():
            again, results = assessed(Path(place))
            assert not again.failures and results == before
        rmtree(Path(place) / "koma" / "assess")
        with nobody_may_write(Path(place)), as_somebody_else(), pytest.raises(SpaceError, match="cannot be"):
            assessed(Path(place))
