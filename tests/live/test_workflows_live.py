"""What all processors in workflows/live have in common: short, public names, any real frame, no surprise."""

import ast
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import mrcz_dask.live
from tests.live.recipes import FILES, FOLDER, Run, declared, info_of

LONGEST = 80
NAMES = [path.stem for path in FILES]
HOW_TO = FOLDER.parents[1] / "docs" / "how-to" / "live-processors.md"
TYPES = (np.uint8, np.int16, np.uint16, np.float32)
each = pytest.mark.parametrize("name", NAMES)


def scene(shape: tuple[int, int] = (160, 144), seed: int = 0) -> NDArray[np.int64]:
    """Some dark particles on counts of 60."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    dark = sum(np.exp(-((y - a) ** 2 + (x - b) ** 2) / 30) for a, b in ((40, 50), (80, 100), (110, 60)))
    return np.random.default_rng(seed).poisson(60 - 40 * dark)


def flat(result: dict | None) -> NDArray[np.float64]:
    return np.concatenate([np.ravel(value) for value in (result or {}).values()] or [np.zeros(0)])


def test_the_how_to_lists_all_of_them() -> None:
    text = HOW_TO.read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)\.py` \|", text, re.MULTILINE)
    assert set(listed) == set(NAMES) and len(NAMES) >= 7


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_they_are_short_and_say_how_to_run_them(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST
    lines = (ast.get_docstring(ast.parse(text)) or "").splitlines()
    assert lines[-1] == f"Run: mrcz-dask live --replay STACK --processor workflows/live/{path.name}"
    assert len(lines) == 3


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_they_use_public_names_only(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mrcz_dask"):
            assert node.module == "mrcz_dask.live"
            assert {one.name for one in node.names} <= set(mrcz_dask.live.__all__)
        if isinstance(node, ast.Import):
            assert not any(one.name.startswith("mrcz_dask") for one in node.names)


@each
def test_they_declare_what_a_page_shows(name: str) -> None:
    spec = declared(name).spec
    assert spec.name == name and spec.outputs and spec.title.endswith((".", "."))
    assert spec.parameters, "something to set"


@each
def test_a_new_process_imports_them_in_silence(name: str) -> None:
    code = f"import runpy; runpy.run_path({str(FOLDER / name)!r} + '.py')"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@each
@pytest.mark.parametrize("dtype", TYPES)
def test_any_real_dtype_gives_the_same(name: str, dtype: type, capsys: pytest.CaptureFixture[str]) -> None:
    plain, typed = Run(name), Run(name)
    for seed in range(3):
        frame = scene(seed=seed)
        expected, got = plain(frame.astype(np.float64)), typed(frame.astype(dtype))
        np.testing.assert_allclose(flat(got), flat(expected), rtol=1e-4, atol=1e-5)
    assert capsys.readouterr() == ("", "")


@each
@settings(max_examples=10)
@given(data=st.data())
def test_any_shape_in_any_order(name: str, data: st.DataObject) -> None:
    """The region changes from frame to frame: a state of another shape is none."""
    sides = st.integers(70, 300)
    run = Run(name)
    shapes = data.draw(st.lists(st.tuples(sides, sides), min_size=3, max_size=3, unique=True))
    for seed, shape in enumerate(shapes):
        frame = np.random.default_rng(seed).poisson(2.0, shape).astype(np.uint8)
        after = run(frame)
        assert after is not None
    fresh = Run(name)(frame, number=run.number)
    np.testing.assert_array_equal(flat(after), flat(fresh))


@each
@pytest.mark.parametrize("value", [0, 0.1, 7])
@pytest.mark.parametrize("dtype", TYPES)
def test_constant_frames(name: str, value: float, dtype: type) -> None:
    run = Run(name)
    for _ in range(3):
        found = run(np.full((100, 90), value, dtype))
        assert (found or {}).get("particles", 0) == 0
    assert run(scene((100, 90))) is not None


@each
def test_frames_that_are_no_numbers(name: str) -> None:
    run = Run(name)
    run(scene())
    nothing = run(np.full((160, 144), np.nan, np.float32))
    assert nothing is None or name == "particle_tracking"
    assert run(scene(seed=1)) is not None


@each
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_some_pixels_that_are_no_numbers_change_little(name: str, bad: float) -> None:
    clean, spoilt = Run(name), Run(name)
    for seed in range(2):
        frame = scene(seed=seed).astype(np.float32)
        holes = frame.copy()
        holes[5:7, 20], holes[150, 3:5] = bad, bad
        expected, got = clean(frame), spoilt(holes)
    assert similar(expected, got)


@each
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_hot_pixels_change_little(name: str, dtype: type) -> None:
    clean, spoilt = Run(name), Run(name)
    for seed in range(2):
        frame = scene(seed=seed).astype(dtype)
        hot = frame.copy()
        hot[[5, 60, 130, 131], [20, 30, 70, 120]] = 60000
        expected, got = clean(frame), spoilt(hot)
    assert similar(expected, got)


def similar(expected: dict | None, got: dict | None) -> bool:
    """Whether nine of ten values of each output agree to a tenth of their range, or of the value."""
    assert expected is not None and got is not None
    for name, one in expected.items():
        a, b = np.ravel(one).astype(float), np.ravel(got[name]).astype(float)
        near = np.isclose(
            a, b, rtol=0.1, atol=0.1 + 0.1 * np.nan_to_num(np.nanmax(np.abs(a), initial=0)), equal_nan=True
        )
        assert near.mean() > 0.9, (name, a[~near], b[~near])
    return True


@each
@pytest.mark.parametrize(
    "frame", [np.zeros((3, 64, 64)), np.zeros(64), np.zeros((64, 64), complex), np.zeros((64, 0))]
)
def test_what_is_no_frame_is_refused(name: str, frame: NDArray) -> None:
    with pytest.raises(ValueError, match=r"frame is \(.*expected \(y, x\), real"):
        run = Run(name)
        facts = {"state": {}, "info": info_of(0, (64, 64))}
        run.processor.function(frame, **{key: facts[key] for key in run.processor.spec.takes})


@each
def test_states_are_small(name: str) -> None:
    run = Run(name)
    for seed in range(2):
        run(np.random.default_rng(seed).poisson(20, (870, 870)).astype(np.uint16))
    assert len(pickle.dumps(run.state)) < 1e6
