"""Checks of parameter values, collected so that one error names all problems; and durations as text."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from numbers import Integral, Real
from typing import Any

from mrcz_dask.values.errors import ParameterError

_UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*(s|m|min|h|d|)\s*")


def one_of(name: str, value: object, allowed: Collection[object]) -> Iterator[str]:
    """Yield a message about the parameter `name` unless its value is one of those allowed."""
    if value not in allowed:
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
    """Raise a ParameterError unless an argument is of a type, or one of several."""
    if not isinstance(value, kind):
        raise ParameterError(f"{name} is {value!r:.100}, a {type(value).__name__}; expected {expected}")


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
