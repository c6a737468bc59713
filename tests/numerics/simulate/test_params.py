from typing import Any

import pytest

from mrcz_dask.numerics.simulate import SESSIONS, SimulationParams, named
from mrcz_dask.values.errors import ParameterError


def test_the_standard_session_is_the_default() -> None:
    assert named("standard") == SimulationParams()


def test_named_sessions_differ_as_the_page_says() -> None:
    assert named("evolving").evolve == 0.02
    assert (named("white").etch, named("white").pixel, named("white").gamma) == (0, 0.03, 1)
    assert (named("no pattern").cmos, named("no pattern").pixel) == (0, 0)
    assert (named("mature").dose, named("mature").etch) == (0.5, 0.05)
    assert (named("tilt series").tilts, named("hole edge").edge) == (31, 0.15)
    assert len(SESSIONS) == 7


def test_overrides_win_over_the_name() -> None:
    assert named("mature", dose=2.0, shape=(64, 96)).dose == 2.0


def test_parameters_survive_a_dictionary() -> None:
    params = named("white", carbon=(1, 2), shape=(64, 96), dose_jumps=(4,), dose_factors=(1.5,))
    assert SimulationParams.from_dict(params.to_dict()) == params


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"shape": (8, 64)}, "shape"),
        ({"shape": (64,)}, "number of sizes"),
        ({"shape": (65, 64), "super_resolution": True}, "even"),
        ({"frames": 0}, "frames"),
        ({"stacks": 0}, "stacks"),
        ({"dose": 0.0}, "dose"),
        ({"seed": -1}, "seed"),
        ({"dtype": "float32"}, "dtype"),
        ({"hot": (0.5, 0.1)}, "hot"),
        ({"hot": (0.1,)}, "number of shares"),
        ({"gamma": -1.0}, "gamma"),
        ({"carbon": (60,)}, "carbon names the stacks [60]"),
        ({"dead_response": 2.0}, "dead_response"),
        ({"new_gain": (60,)}, "new_gain names the stacks [60]"),
        ({"dose_jumps": (-1,), "dose_factors": (1.5,)}, "dose_jumps names the stacks [-1]"),
        ({"dose_jumps": (3,)}, "1 and 0 entries"),
        ({"dose_jumps": (3,), "dose_factors": (0.0,)}, "dose_factors"),
        ({"coincidence": -1.0}, "coincidence"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_a_wrong_parameter_is_named(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterError) as error:
        named("standard", **wrong)
    assert said in str(error.value)


def test_all_problems_at_once() -> None:
    with pytest.raises(ParameterError) as error:
        SimulationParams(frames=0, dose=-1, etch=2)
    assert all(name in str(error.value) for name in ("frames", "dose", "etch"))


def test_an_unknown_session_lists_the_known() -> None:
    with pytest.raises(ParameterError, match="'no pattern'"):
        named("perfect")
