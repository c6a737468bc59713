from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.counting import CountOutcome
from mrcz_dask.counting.counter import DetectorScript
from mrcz_dask.values.errors import ParameterError
from tests.electrons import count

SHIPPED = Path(__file__).parents[2] / "workflows" / "counting"
Run = Callable[[str], CountOutcome]


@pytest.fixture
def run(raw_stacks: list[Path], calibration: Path, tmp_path: Path) -> Run:
    """run(body): counts a stack with a function `find` of this body."""

    def carry_out(body: str) -> CountOutcome:
        file = tmp_path / "mine.py"
        file.write_text(f"import numpy as np\n\n\ndef find(frame, camera):\n    {body}\n")
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        return count(raw_stacks[0], output=out, calibration=calibration, detector=f"{file}:find")

    return carry_out


@pytest.mark.parametrize("name", ["fitted", "centroid", "maximum", "threshold"])
def test_the_shipped_files_find_electrons(
    name: str, raw_stacks: list[Path], calibration: Path, tmp_path: Path
) -> None:
    script = f"{SHIPPED / name}.py:{name}"
    outcome = count(raw_stacks[0], output=tmp_path, calibration=calibration, detector=script)
    assert outcome.complete
    assert 0.7 < outcome.results[0].events / (0.01 * 40 * 96 * 112) < 1.1
    assert outcome.results[0].corrected_dose is None


def test_a_file_that_calls_the_package_finds_what_the_package_finds(
    run: Run, raw_stacks: list[Path], calibration: Path, tmp_path: Path
) -> None:
    own = run("return camera.find(frame)")
    usual = count(raw_stacks[0], output=tmp_path / "usual", calibration=calibration)
    a, b = (mrcz_dask.read(one.plan.folder / "raw_000.mrcz") for one in (own, usual))
    assert np.array_equal(a, b)
    step = mrcz_dask.read_footer(own.plan.folder / "raw_000.mrcz")["provenance"][0]
    assert step["parameters"]["detector"]["file"] == "mine.py"
    assert any("own" in text for text in step["caveats"])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return 1 / 0", "ZeroDivisionError"),
        ("raise SystemExit", "SystemExit"),
        ("return [1.0], [2.0]", "three arrays"),
        ("return [1.0], [2.0], [3.0, 4.0]", "three arrays"),
        ("return None", "three arrays"),
        ("return [np.nan], [2.0], [3.0]", "finite numbers"),
        ("return [5000.0], [2.0], [3.0]", "within the frame"),
    ],
)
def test_its_error_fails_the_stack_and_is_shown(run: Run, body: str, said: str) -> None:
    outcome = run(body)
    assert (
        not outcome.results and said in outcome.failures[0].reason and "mine.py" in outcome.failures[0].reason
    )


def test_a_frame_without_electrons(run: Run) -> None:
    outcome = run("return [], [], []")
    assert outcome.complete and outcome.results[0].events == 0


@pytest.mark.parametrize(("text", "said"), [("x = 1", "no function find"), ("def find(:", "SyntaxError")])
def test_a_file_that_does_not_run(
    text: str, said: str, raw_stacks: list[Path], calibration: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(text)
    script = f"{tmp_path / 'mine.py'}:find"
    outcome = count(raw_stacks[0], output=tmp_path / "out", calibration=calibration, detector=script)
    assert said in outcome.failures[0].reason


@pytest.mark.parametrize("said", ["mine.py", "nothing.py:find", "mine.py:1"])
def test_what_is_no_detector(said: str) -> None:
    with pytest.raises(ParameterError, match=r"FILE\.py:NAME"):
        DetectorScript.parse(said)
