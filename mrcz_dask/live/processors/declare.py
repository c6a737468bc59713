"""How an ordinary Python function says that it is a processor of live frames, and what it returns.

A processor is a function of one frame, and optionally of a state, of what is known of the frame, and of
parameters, which are its keyword-only arguments::

    @processor(Scalar("dose", unit="counts/pixel"), state=list)
    def dose(frame, state, info, *, smooth: Annotated[int, Range(1, 50)] = 5):
        state.append(frame.mean())
        return numpy.mean(state[-smooth:])

It stays an ordinary function that can be called and tested.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from mrcz_dask.values.errors import ParameterError

Function = TypeVar("Function", bound=Callable[..., Any])
OnFailure = Literal["keep", "reset"]
Value = bool | int | float | str
Number = int | float

MARK = "__mrcz_processor__"
_SPECIAL = ("state", "info")
_SIMPLE: dict[Any, str] = {bool: "bool", int: "int", float: "float", str: "str"}


@dataclass(frozen=True, slots=True)
class Scalar:
    """One number a frame.

    Attributes
    ----------
    name
        Of the output; an identifier.
    unit
        Of the values.
    """

    name: str
    unit: str = ""
    ndim = 0


@dataclass(frozen=True, slots=True)
class Profile:
    """A line a frame: a 1-D array, or two of one length: places on the axis, and values.

    Attributes
    ----------
    name, unit
        Of the values.
    axis, axis_unit
        Of the places; without places they are 0, 1, 2, ...
    """

    name: str
    unit: str = ""
    axis: str = "pixel"
    axis_unit: str = ""
    ndim = 1


@dataclass(frozen=True, slots=True)
class Image:
    """An image a frame: a 2-D array (y, x).

    Attributes
    ----------
    name, unit
        Of the values.
    axes, axes_unit
        Names and unit of the axes (y, x).
    """

    name: str
    unit: str = ""
    axes: tuple[str, str] = ("y", "x")
    axes_unit: str = "pixel"
    ndim = 2


Output = Scalar | Profile | Image


@dataclass(frozen=True, slots=True)
class Range:
    """Between what a number may be set on the page; for ``Annotated[float, Range(0, 10, 0.5)]``.

    Attributes
    ----------
    low, high
        Both included.
    step
        Of the control; None = 1 for whole numbers, a hundredth of the range for others.
    """

    low: Number
    high: Number
    step: Number | None = None


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a processor, which becomes a control on the page.

    Attributes
    ----------
    name, default
        Of the keyword-only argument.
    kind
        ``bool``, ``int``, ``float``, ``str`` or ``choice``.
    choices
        Of a ``Literal``.
    range
        Of a number; None = any.
    """

    name: str
    kind: str
    default: Value
    choices: tuple[Value, ...] = ()
    range: Range | None = None

    def checked(self, value: object) -> Value:
        """Return a value as the function gets it.

        Raises
        ------
        ParameterError
            It is none of those that the parameter may have.
        """
        made = self._cast(value)
        if self.choices and made not in self.choices:
            raise self._refused(value, f"one of {', '.join(map(str, self.choices))}")
        if self.range is not None and not self.range.low <= made <= self.range.high:  # type: ignore[operator]
            raise self._refused(value, f"{self.range.low} to {self.range.high}")
        return made

    def _cast(self, value: object) -> Value:
        if self.kind == "choice":
            return next((one for one in self.choices if str(one) == str(value)), value)  # type: ignore[return-value]
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        fits = {
            "bool": isinstance(value, bool),
            "int": is_number and value == int(value),  # type: ignore[call-overload]
            "float": is_number,
            "str": isinstance(value, str),
        }
        if not fits[self.kind]:
            raise self._refused(value, f"a value of type {self.kind}")
        made: Value = {"bool": bool, "int": int, "float": float, "str": str}[self.kind](value)
        return made

    def _refused(self, value: object, expected: str) -> ParameterError:
        return ParameterError(f"parameter {self.name} is {value!r}; expected {expected}")


@dataclass(frozen=True, slots=True)
class Spec:
    """What a processor says of itself: plain values, which go from a worker to the page.

    Attributes
    ----------
    name
        Of the function; results and panels are called by it.
    title
        First line of its docstring.
    outputs, parameters
        What it returns, and what can be set.
    takes
        Which of ``state`` and ``info`` it wants.
    on_failure
        After an error or a lost worker the state of the last good frame is taken up (``keep``), or a new one
        (``reset``).
    seconds
        So long may one frame take before the worker is thought to hang; None = as the session says.
    """

    name: str
    title: str
    outputs: tuple[Output, ...]
    parameters: tuple[Parameter, ...] = ()
    takes: tuple[str, ...] = ()
    on_failure: OnFailure = "keep"
    seconds: float | None = None

    def defaults(self) -> dict[str, Value]:
        """Return the parameters as they are when nobody has set them."""
        return {one.name: one.default for one in self.parameters}

    def checked(self, values: dict[str, Any]) -> dict[str, Value]:
        """Return the defaults with other values for some; those that are not known any more are left out."""
        known = {one.name: one for one in self.parameters}
        return self.defaults() | {k: known[k].checked(v) for k, v in values.items() if k in known}


@dataclass(frozen=True, slots=True)
class Processor:
    """A declared function: what it says of itself, and how its state begins."""

    function: Callable[..., Any]
    spec: Spec
    begin: Callable[[], Any] = field(default=dict)


def processor(
    *outputs: Output,
    state: Callable[[], Any] = dict,
    on_failure: OnFailure = "keep",
    seconds: float | None = None,
) -> Callable[[Function], Function]:
    """Declare a function of a frame to be a processor of live frames.

    Parameters
    ----------
    outputs
        What it returns: with one, its value or a dict of it; with more, a dict {name: value}. None of them
        may be missing; return None if there is nothing to say of a frame.
    state
        Makes the state at the beginning and after a reset; it must be picklable.
    on_failure
        ``keep``: after an error or a lost worker go on with the state of the last good frame; ``reset``: with
        a new one.
    seconds
        So long may one frame take before its worker is thought to hang and is replaced.

    Returns
    -------
    callable
        The decorator; it gives the function back as it is. The function's arguments: the frame first, (y, x)
        in the camera's dtype, the region of interest cut out; ``state`` and ``info`` (a `FrameInfo`) if it
        wants them; its parameters as keyword-only arguments with defaults of type bool, int, float or str,
        ``Annotated[float, Range(low, high)]``, or ``Literal["a", "b"]``.

    Raises
    ------
    ParameterError
        The declaration cannot be understood; says which part.
    """

    def declare(function: Function) -> Function:
        _check_outputs(function.__name__, outputs)
        takes, parameters = _arguments(function)
        title = (inspect.getdoc(function) or function.__name__).splitlines()[0]
        spec = Spec(function.__name__, title, outputs, parameters, takes, on_failure, seconds)
        setattr(function, MARK, Processor(function, spec, state))
        return function

    return declare


def _check_outputs(name: str, outputs: tuple[Output, ...]) -> None:
    if not outputs or not all(isinstance(one, (Scalar, Profile, Image)) for one in outputs):
        raise ParameterError(
            f"processor {name} declares {outputs!r}; expected one Scalar, Profile or Image, or several"
        )
    names = [one.name for one in outputs]
    bad = [one for one in names if not one.isidentifier() or one in ("frame", "time")]
    if bad or len(set(names)) < len(names):
        raise ParameterError(
            f"processor {name} calls its outputs {', '.join(names)}; expected different Python names, and "
            "neither frame nor time"
        )


def _arguments(function: Callable[..., Any]) -> tuple[tuple[str, ...], tuple[Parameter, ...]]:
    """Return which special arguments a function takes, and its parameters."""
    hints = get_type_hints(function, include_extras=True)
    given = list(inspect.signature(function).parameters.values())
    places = [one for one in given if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    others = [one for one in given if one.kind is one.KEYWORD_ONLY]
    names = tuple(one.name for one in places[1:])
    if not places or len(places) + len(others) < len(given) or not set(names) <= set(_SPECIAL):
        raise ParameterError(
            f"processor {function.__name__} takes {inspect.signature(function)}; expected (frame), or "
            "(frame, state, info), and parameters behind a *"
        )
    return names, tuple(_parameter(function.__name__, one, hints.get(one.name)) for one in others)


def _parameter(function: str, one: inspect.Parameter, hint: Any) -> Parameter:
    if one.default is one.empty:
        raise ParameterError(f"processor {function}: parameter {one.name} has no default; give it one")
    limits = next((extra for extra in get_args(hint)[1:] if isinstance(extra, Range)), None)
    plain = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if get_origin(plain) is Literal:
        return _declared(function, Parameter(one.name, "choice", one.default, choices=get_args(plain)))
    kind = _SIMPLE.get(plain if plain is not None else type(one.default))
    if kind is None:
        raise ParameterError(
            f"processor {function}: parameter {one.name} is of type {plain}; expected bool, int, float, str "
            "or a Literal"
        )
    return _declared(function, Parameter(one.name, kind, one.default, range=limits))


def _declared(function: str, made: Parameter) -> Parameter:
    try:
        made.checked(made.default)
    except ParameterError as error:
        raise ParameterError(f"processor {function}: the default of {error}") from None
    return made
