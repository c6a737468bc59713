from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mrcz_dask.live.frames import FrameInfo, Roi
from mrcz_dask.live.processors.declare import Image, Profile, Scalar, Spec
from mrcz_dask.live.processors.host import Host, ProcessorAnswer, Script, as_declared
from mrcz_dask.values.errors import ProcessorError

Write = Callable[[str, str], Script]
INFO = FrameInfo(0, 0.0, "", 0, None, {}, Roi(0, 2, 0, 3), (2, 3))
FRAME = np.arange(6.0).reshape(2, 3)
COUNTING = """
class Counter:
    n = 0

@processor(Scalar("n"), state=Counter, on_failure="{}")
def count(frame, state, *, fail: bool = False):
    state.n += 1
    if fail:
        raise ValueError("no")
    return state.n
"""


def _run(host: Host, **values: Any) -> ProcessorAnswer:
    return host.run(FRAME, INFO, values)


def test_a_state_of_the_files_own_class_goes_to_another_process(write: Write) -> None:
    script = write("counting", COUNTING.format("keep"))
    host = Host()
    assert host.load(script)[0] is not None
    kept = [_run(host) for _ in range(3)][-1].state
    other = Host()
    other.load(script, kept)
    assert _run(other).values == {"n": 4.0}


@pytest.mark.parametrize(("on_failure", "then"), [("keep", 3.0), ("reset", 1.0)])
def test_a_failure_undoes_its_change_of_the_state(write: Write, on_failure: str, then: float) -> None:
    host = Host()
    host.load(write("counting", COUNTING.format(on_failure)))
    assert [_run(host).values["n"] for _ in range(2)] == [1, 2]
    failed = _run(host, fail=True)
    assert failed.values == {} and failed.error.endswith("ValueError: no")
    assert _run(host).values == {"n": then}


def test_reset_begins_anew(write: Write) -> None:
    host = Host()
    host.load(write("counting", COUNTING.format("keep")))
    _run(host)
    host.reset()
    assert _run(host).values == {"n": 1.0}


def test_a_state_that_another_version_cannot_take_is_a_new_one(write: Write) -> None:
    host = Host()
    host.load(write("counting", COUNTING.format("keep")))
    kept = _run(host).state
    host.load(write("counting", COUNTING.format("keep").replace("Counter", "Other")), kept)
    assert _run(host).values == {"n": 1.0}


def test_what_does_not_load_leaves_what_is_there(write: Write) -> None:
    host = Host()
    host.load(write("counting", COUNTING.format("keep")))
    _run(host)
    assert "ZeroDivisionError" in host.load(write("counting", "1 / 0"))[1]
    assert _run(host).values == {"n": 2.0}


def test_what_makes_the_state_may_fail(write: Write) -> None:
    body = COUNTING.format("keep").replace("state=Counter", "state=lambda: 1 / 0")
    assert "ZeroDivisionError" in Host().load(write("counting", body))[1]


SPEC = Spec("f", "f", (Scalar("a"), Profile("b"), Image("c")))
GOOD = {"a": 1, "b": [1, 2], "c": [[1, 2], [3, 4]]}


def test_values_as_they_were_declared() -> None:
    found = as_declared(SPEC, GOOD)
    assert found["a"] == 1.0
    assert [one.tolist() for one in found["b"]] == [[0, 1], [1, 2]]
    assert found["c"].dtype == np.float32
    assert as_declared(SPEC, None) == {}
    assert as_declared(Spec("f", "f", (Profile("b"),)), ([5, 6], [1, 2]))["b"][0].tolist() == [5, 6]


@pytest.mark.parametrize(
    "bad",
    [
        1,
        {"a": 1},
        GOOD | {"a": [1, 2]},
        GOOD | {"a": "x"},
        GOOD | {"b": 1},
        GOOD | {"b": ([1], [1, 2])},
        GOOD | {"c": [1, 2]},
        GOOD | {"c": np.zeros((0, 3))},
        GOOD | {"c": np.ones((2, 2), complex)},
        GOOD | {"d": 1},
    ],
)
def test_values_that_are_something_else(bad: Any) -> None:
    with pytest.raises(ProcessorError, match="expected"):
        as_declared(SPEC, bad)
