"""Checks of parameter values, collected so that one error names all problems; and durations as text."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, wraps
from inspect import Parameter, signature
from itertools import groupby
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

from mrcz_dask.values.errors import ParameterError, ParameterTypeError

P = ParamSpec("P")
T = TypeVar("T")

_UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_NUMBERS = {int: Integral, float: Real}
_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    NoneType: "None",
    os.PathLike: "a path",
    dict: "a map",
    Mapping: "a map",
}
_DURATION = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*(s|m|min|h|d|)\s*")


def one_of(name: str, value: object, allowed: Collection[object]) -> Iterator[str]:
    """Yield a message about the parameter `name` unless its value is one of those allowed."""
    if not isinstance(value, Hashable) or value not in allowed:
        yield f"{name} is {value!r}; expected one of {', '.join(map(repr, allowed))}"


def within(
    name: str, value: Any, low: float, high: float, *, open_low: bool = False, unit: str = ""
) -> Iterator[str]:
    """Yield a message about the parameter `name` unless its value is a number from `low` to `high`.

    With `open_low`, `low` itself is not allowed.
    """
    inside = isinstance(value, Real) and (low < value if open_low else low <= value) and value <= high  # type: ignore[operator]
    if not inside:
        bracket = "(" if open_low else "["
        yield f"{name} is {value!r}{unit}; expected {bracket}{low:g}, {high:g}]{unit}"


def whole(name: str, value: Any, low: int, high: int, *, unit: str = "") -> Iterator[str]:
    """Yield a message about the parameter `name` unless its value is a whole number from `low` to `high`."""
    is_bool: bool = isinstance(value, bool)
    if is_bool or not isinstance(value, Integral) or not low <= value <= high:  # type: ignore[operator]
        yield f"{name} is {value!r}{unit}; expected a whole number in [{low:g}, {high:g}]{unit}"


def expect(name: str, value: object, kind: type | tuple[type, ...], expected: str) -> None:
    """Raise a ParameterTypeError unless an argument is of a type, or one of several."""
    if not isinstance(value, kind):
        raise ParameterTypeError(_wrong_type(name, value, expected))


def _wrong_type(name: str, value: object, expected: str) -> str:
    return f"{name} is {value!r:.100}, a {type(value).__name__}; expected {expected}"


def checked(function: Callable[P, T]) -> Callable[P, T]:
    """Return a function that first compares its arguments with its annotations.

    It raises a ParameterTypeError that names all arguments of a wrong type. Annotations allow everything
    that name a package which is imported later, or a type without a check.
    """
    shown = signature(function)

    @cache
    def hints() -> dict[str, Any]:
        """Return the type of each parameter; Any where it is known to type checkers alone."""
        names = getattr(function, "__globals__", {})
        known: dict[str, Any] = dict.fromkeys(shown.parameters, Any)
        for name, hint in function.__annotations__.items():
            with suppress(NameError):  # imported for type checkers alone
                known[name] = eval(hint, names)  # noqa: S307 - our own source
        return known

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        """Check the arguments, then call the function."""
        problems = []
        for name, value in shown.bind(*args, **kwargs).arguments.items():
            kind, hint = shown.parameters[name].kind, hints()[name]
            values = value if kind is Parameter.VAR_POSITIONAL else (value,)
            problems += [_wrong_type(name, value, _words(hint)) for value in values if not _fits(value, hint)]
        if problems:
            raise ParameterTypeError(f"{function.__name__}: {'; '.join(problems)}")
        return function(*args, **kwargs)

    return call


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a value is of the type that an annotation names."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is Literal:  # which of them is checked where it is used
        return isinstance(value, tuple({type(part) for part in parts}))
    if origin in (Sequence, list, tuple):
        is_series = isinstance(value, Sequence) or hasattr(value, "__array__")
        return is_series and not isinstance(value, (str, bytes)) and all(_fits(v, parts[0]) for v in value)
    if hint in (int, float):
        return isinstance(value, _NUMBERS[hint]) and not isinstance(value, bool)
    if hint is bool:
        return isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")  # NumPy's, too
    kind = NoneType if hint is None else origin or hint
    # Python iterates over arrays of Zarr, too, which have no __iter__
    if kind is Iterable and hasattr(value, "__getitem__"):
        return not isinstance(value, (str, bytes, Mapping))
    is_checked = isinstance(kind, type) and kind.__module__ != "typing" and kind is not Any
    return not is_checked or isinstance(value, kind)


def _words(hint: Any) -> str:
    """Return words for what an annotation allows."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_words(part) for part in parts))
    if origin is Literal:
        return f"one of {', '.join(map(repr, parts))}"
    if origin in (Sequence, list, tuple):
        return f"a list ({_words(parts[0])})"
    if origin is Callable:
        return "a function"
    kind = NoneType if hint is None else origin or hint
    return _WORDS.get(kind, getattr(kind, "__name__", str(kind)))


def raise_all(owner: str, problems: Iterator[str]) -> None:
    """Raise one ParameterError that lists all messages of the checks, or return if there are none."""
    if text := "; ".join(problems):
        raise ParameterError(f"{owner}: {text}")


def in_runs(numbers: Sequence[int]) -> str:
    """Return ascending whole numbers as short text, such as ``3, 5-7``, for messages."""
    runs = [[k for _, k in run] for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def parse_seconds(text: str, name: str) -> float:
    """Convert a duration such as ``90``, ``90s``, ``1.5m``, ``30min``, ``2h`` or ``1d`` to seconds.

    Parameters
    ----------
    text
        The duration.
    name
        Name of the option, for the message.

    Raises
    ------
    ParameterError
        The text is no duration.
    """
    duration = _DURATION.fullmatch(text)
    if duration is None:
        raise ParameterError(f"{name} is {text!r}; expected a time such as 90s, 30m or 2h")
    return float(duration[1]) * _UNITS[duration[2]]
