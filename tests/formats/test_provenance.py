import json
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mrcz_dask
from mrcz_dask import __version__
from mrcz_dask.formats.provenance import append, canonical, plain, step, steps_in, verify_chain
from mrcz_dask.values.errors import FooterError, ParameterError
from mrcz_dask.values.params import KomaParams


def chain(count: int) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = []
    for i in range(count):
        steps = append(steps, step(f"step {i}", parameters={"i": i}, results={"t": np.float32(0.1) * i}))
    return steps


def test_a_step_says_what_ran_and_nothing_volatile() -> None:
    found = step(
        "koma",
        parameters=KomaParams(radius=3),
        inputs=[{"name": Path("/data/night/a.mrcz"), "digest": b"\x01\xff"}],
        results={
            "t_hot": np.float64("inf"),
            "window": np.array([1, 2]),
            "n": np.int64(3),
            "ok": np.bool_(True),
        },
        caveats=("few",),
    )
    assert found["package"] == "mrcz-dask" and found["version"] == __version__
    assert found["parameters"]["radius"] == 3
    assert found["inputs"] == [{"name": "a.mrcz", "digest": "01ff"}]
    assert found["results"] == {"t_hot": "inf", "window": [1, 2], "n": 3, "ok": True}
    assert found["caveats"] == ["few"] and found["skipped"] == []


def test_steps_survive_msgpack_and_json() -> None:
    steps = chain(3)
    assert verify_chain(msgpack.unpackb(msgpack.packb(steps))) == []
    assert verify_chain(json.loads(json.dumps(steps))) == []


def test_what_was_there_is_never_overwritten() -> None:
    steps = chain(2)
    before = json.dumps(steps)
    longer = append(steps, step("more"))
    assert json.dumps(steps) == before and longer[:2] == steps
    assert append(None, step("more"))[0]["digest"] != longer[2]["digest"]


@given(st.integers(0, 3), st.sampled_from(["name", "results", "digest", "parameters"]))
def test_a_changed_step_is_named(at: int, key: str) -> None:
    steps = chain(4)
    steps[at] = {**steps[at], key: "other"}
    assert f"step {at} " in verify_chain(steps)[0]


def test_a_step_taken_out_is_found() -> None:
    steps = chain(4)
    assert verify_chain(steps) == [] and verify_chain([]) == []
    assert len(verify_chain(steps[1:])) == 1
    assert len(verify_chain([*steps[:2], steps[3]])) == 1
    assert verify_chain("text") == verify_chain([1]) == ["provenance: expected a list of steps"]


def test_plain_values() -> None:
    assert plain({1: (Path("a/b"), None, -np.inf, np.float16(0.5))}) == {"1": ["a/b", None, "-inf", 0.5]}
    assert plain("\udcff") == "\\udcff"
    with pytest.raises(ParameterError, match="no plain value"):
        plain(object())


def test_canonical_json() -> None:
    assert canonical({"b": 1, "a": [1.0, "é"]}) == '{"a":[1.0,"é"],"b":1}'.encode()


@pytest.mark.parametrize("steps", [3, "x", {"a": 1}, [3], [None], [[]], [{"name": 5}]])
def test_a_provenance_that_is_no_list_of_steps_is_not_written_nor_read(tmp_path: Path, steps: Any) -> None:
    frames = np.ones((2, 3, 4), np.uint8)
    with pytest.raises(ParameterError, match="list of steps"):
        mrcz_dask.write(tmp_path / "a.mrcz", frames, provenance=steps)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FooterError, match=r"a.mrcz: its provenance is no list of steps"):
        steps_in(steps, "a.mrcz")


@pytest.mark.parametrize(
    "steps", [[{"name": "a"}], [{}], chain(2)[1:], chain(2)[::-1], [{**chain(1)[0], "results": 5}]]
)
def test_a_provenance_that_verify_would_call_changed_is_not_written(tmp_path: Path, steps: Any) -> None:
    with pytest.raises(ParameterError, match=r"step 0 .* was changed after it was written; give steps as"):
        mrcz_dask.write(tmp_path / "a.mrcz", np.ones((2, 3, 4), np.uint8), provenance=steps)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [1e30, 10**400, "x", [1, "x"], [], (1, 2, 3, 4), float("nan"), -1, {}])
def test_a_pixel_size_that_is_none(tmp_path: Path, size: Any) -> None:
    expected = r"pixel_size is .*; expected (Angstrom above 0|a number or a list)"
    with pytest.raises(ParameterError, match=expected):
        mrcz_dask.write(tmp_path / "a.mrcz", np.ones((2, 3, 4), np.uint8), pixel_size=size)
    assert list(tmp_path.iterdir()) == []
