from typing import Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.live import Image, Profile, Range, Scalar, processor
from mrcz_dask.live.processors.declare import MARK, Parameter, Spec
from mrcz_dask.values.errors import ParameterError


@processor(Scalar("mean", unit="counts"), Profile("line"), on_failure="reset", seconds=2)
def several(
    frame: Any,
    state: Any,
    info: Any,
    *,
    sigma: Annotated[float, Range(0, 10)] = 2.0,
    bins: int = 5,
    kind: Literal["a", "b"] = "a",
    fast: bool = True,
    label: str = "x",
) -> Any:
    """First line.

    More.
    """
    return frame.mean()


def _spec(function: Any) -> Spec:
    found: Spec = getattr(function, MARK).spec
    return found


def test_a_declared_function_is_still_one() -> None:
    assert several(np.ones((2, 2)), {}, None) == 1


def test_what_it_says_of_itself() -> None:
    spec = _spec(several)
    assert (spec.name, spec.title, spec.takes) == ("several", "First line.", ("state", "info"))
    assert (spec.on_failure, spec.seconds) == ("reset", 2)
    assert [one.name for one in spec.outputs] == ["mean", "line"]
    assert spec.parameters == (
        Parameter("sigma", "float", 2.0, range=Range(0, 10)),
        Parameter("bins", "int", 5),
        Parameter("kind", "choice", "a", choices=("a", "b")),
        Parameter("fast", "bool", True),
        Parameter("label", "str", "x"),
    )
    assert spec.values({}) == {"sigma": 2.0, "bins": 5, "kind": "a", "fast": True, "label": "x"}


def test_values_that_do_not_fit_any_more_are_left_out() -> None:
    values = _spec(several).values({"sigma": 3, "gone": 1, "bins": "many"})
    assert values == {"sigma": 3.0, "bins": 5, "kind": "a", "fast": True, "label": "x"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("sigma", 11), ("sigma", "2"), ("bins", 2.5), ("bins", True), ("kind", "c"), ("fast", 1), ("label", 3)],
)
def test_values_that_a_parameter_cannot_have(name: str, value: Any) -> None:
    (parameter,) = (each for each in _spec(several).parameters if each.name == name)
    with pytest.raises(ParameterError, match=name):
        parameter.checked(value)


@given(st.integers(-100, 100))
def test_numbers_are_taken_exactly_within_their_range(value: int) -> None:
    one = Parameter("n", "int", 0, range=Range(-50, 50))
    if -50 <= value <= 50:
        assert one.checked(value) == value and one.checked(float(value)) == value
    else:
        with pytest.raises(ParameterError, match="-50 to 50"):
            one.checked(value)


def _no_default(frame: Any, *, a: int) -> Any: ...
def _unknown(frame: Any, other: Any) -> Any: ...
def _nothing() -> Any: ...
def _many(frame: Any, *rest: Any) -> Any: ...
def _odd(frame: Any, *, a: list[int] = []) -> Any: ...  # noqa: B006
def _outside(frame: Any, *, a: Annotated[int, Range(0, 1)] = 5) -> Any: ...


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (_no_default, "no default"),
        (_unknown, "expected"),
        (_nothing, "expected"),
        (_many, "expected"),
        (_odd, "expected bool"),
        (_outside, "0 to 1"),
    ],
)
def test_functions_that_cannot_be_processors(function: Any, text: str) -> None:
    with pytest.raises(ParameterError, match=text):
        processor(Scalar("a"))(function)


@pytest.mark.parametrize(
    "outputs", [(), ("mean",), (Scalar("a"), Image("a")), (Scalar("a b"),), (Scalar("time"),)]
)
def test_outputs_that_are_none(outputs: Any) -> None:
    with pytest.raises(ParameterError, match="expected"):
        processor(*outputs)(lambda frame: 1)


def test_every_public_name_is_what_it_says() -> None:
    import mrcz_dask.live as live

    for name in live.__all__:
        assert callable(getattr(live, name)), name
