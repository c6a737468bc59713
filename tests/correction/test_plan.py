import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.correction.plan import make_plan
from mrcz_dask.correction.run import carry_out
from mrcz_dask.engine.client import SerialClient
from mrcz_dask.engine.memory import estimate_memory
from mrcz_dask.numerics.simulate import named
from mrcz_dask.session.simulation import write_session
from mrcz_dask.values.params import KomaParams, Settings, WriteParams

MEASURE = """
import sys
from pathlib import Path
from mrcz_dask.engine.client import SerialClient
from mrcz_dask.correction.run import carry_out
from mrcz_dask.correction.plan import make_plan
from mrcz_dask.values.params import KomaParams, Settings

plan = make_plan(Path(sys.argv[1]), None, Settings(koma=KomaParams(radius=2, long_window=5)))
assert carry_out(plan, SerialClient()).complete
peak = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
print(plan.memory_estimate().of(1), int(peak) * 1024)
"""


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("larger") / "night"
    write_session(folder, named("standard", shape=(256, 320), frames=12, stacks=3, seed=5))
    return folder


@pytest.mark.parametrize("dtype", ["int16", "float16", "float32"])
@pytest.mark.parametrize("write", ["normalized", "recompressed", "references"])
def test_the_size_is_near_what_is_written(larger: Path, tmp_path: Path, write: Any, dtype: Any) -> None:
    if write != "normalized" and dtype != "int16":
        return
    plan = make_plan(larger, tmp_path / "out", Settings(write=WriteParams(write=write, dtype=dtype)))
    assert carry_out(plan, SerialClient()).complete
    written = sum(p.stat().st_size for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert 0.8 < plan.bytes_out() / written < 1.4


def test_a_plan_prints_itself_and_writes_nothing(larger: Path) -> None:
    before = sorted(larger.rglob("*"))
    plan = make_plan(larger, None, Settings(koma=KomaParams(radius=1)))
    text = str(plan)
    assert sorted(larger.rglob("*")) == before
    assert [text.index(stack.name) for stack in plan.stacks] == sorted(
        text.index(s.name) for s in plan.stacks
    )
    assert "radius 1" in text and "0: 1-2" in text and "1: 0, 2" in text


def test_a_lonely_stack_has_no_window(tmp_path: Path) -> None:
    mrcz_dask.write(tmp_path / "a.mrcz", np.ones((2, 8, 8), np.uint8))
    assert "0: none" in str(make_plan(tmp_path, None, Settings()))


def test_the_memory_does_not_depend_on_the_number_of_stacks(larger: Path) -> None:
    plan = make_plan(larger, None, Settings())
    assert plan.memory_estimate() == estimate_memory((256, 320), [np.dtype(np.uint8)], "int16")
    one = make_plan(larger, None, Settings(), include=[plan.stacks[0].name])
    assert one.memory_estimate() == plan.memory_estimate()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_memory_is_close_to_the_peak_and_above(tmp_path: Path, dtype: str) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "s").mkdir()
    for k in range(7):
        frames = rng.poisson(1, (4, 1536, 1536)).astype(dtype)
        frames[:, rng.integers(0, 1536, 12_000), rng.integers(0, 1536, 12_000)] += np.asarray(9, dtype)
        mrcz_dask.write(tmp_path / "s" / f"{k}.mrcz", frames, durable=False)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "s")], capture_output=True, text=True, timeout=300
    )
    expected, peak = map(int, done.stdout.split())
    assert peak <= expected <= 1.6 * peak
