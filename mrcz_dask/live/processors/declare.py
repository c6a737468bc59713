"""Decorator and types with which a Python function is declared to be a processor of live frames.

A processor is a function of one frame, and optionally of a state, of facts about the frame, and of
parameters, which are its keyword-only arguments::

    @processor(Scalar("dose", unit="counts/pixel"), state=list)
    def dose(frame, state, info, *, smooth: Annotated[int, Range(1, 50)] = 5):
        state.append(frame.mean())
        return numpy.mean(state[-smooth:])

It stays an ordinary function that can be called and tested.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from mrcz_dask.values.errors import ParameterError

Function = TypeVar("Function", bound=Callable[..., Any])
OnFailure = Literal["keep", "reset"]
Value = bool | int | float | str
Number = int | float

MARK = "__mrcz_processor__"
_SPECIAL = ("state", "info")
_TYPES: dict[str, Any] = {"bool": bool, "int": int, "float": float, "str": str}


@dataclass(frozen=True, slots=True)
class Scalar:
    """Declares that a processor returns one number a frame, such as a mean.

    Attributes
    ----------
    name
        Name of the output, a Python identifier.
    unit
        Unit of the values.
    """

    name: str
    unit: str = ""
    ndim = 0


@dataclass(frozen=True, slots=True)
class Profile:
    """Declares that a processor returns a 1-D array a frame, or positions and values of one length.

    Attributes
    ----------
    name, unit
        Name and unit of the values.
    axis, axis_unit
        Name and unit of the positions, which are 0, 1, 2, ... unless the processor returns them.
    """

    name: str
    unit: str = ""
    axis: str = "pixel"
    axis_unit: str = ""
    ndim = 1


@dataclass(frozen=True, slots=True)
class Image:
    """Declares that a processor returns one image (y, x) a frame.

    Attributes
    ----------
    name, unit
        Name and unit of the values.
    axes, axes_unit
        Names and unit of the axes (y, x).
    """

    name: str
    unit: str = ""
    axes: tuple[str, str] = ("y", "x")
    axes_unit: str = "pixel"
    ndim = 2


ProcessorOutput = Scalar | Profile | Image


@dataclass(frozen=True, slots=True)
class Range:
    """Limits of a numeric processor parameter on the page, as in ``Annotated[float, Range(0, 10, 0.5)]``.

    Attributes
    ----------
    low, high
        Smallest and largest value.
    step
        Step of the control; None = 1 for whole numbers, a hundredth of the range for others.
    """

    low: Number
    high: Number
    step: Number | None = None


@dataclass(frozen=True, slots=True)
class Parameter:
    """Record of one parameter of a processor, shown as a control on the page: name, default, type, limits.

    Attributes
    ----------
    name, default
        Name and default of the keyword-only argument.
    kind
        ``bool``, ``int``, ``float``, ``str`` or ``choice``.
    choices
        Values of a ``Literal``.
    range
        Limits of a number; None = any.
    """

    name: str
    kind: str
    default: Value
    choices: tuple[Value, ...] = ()
    range: Range | None = None

    def checked(self, value: object) -> Value:
        """Return a value converted to the parameter's type, after checking its limits or choices.

        Raises
        ------
        ParameterError
            The parameter cannot have this value.
        """
        limits = self.range
        if self.kind == "choice":
            expected = f"one of {', '.join(map(str, self.choices))}"
            for choice in self.choices:
                if str(choice) == str(value):
                    return choice
        else:
            expected, is_fit = f"a value of type {self.kind}", isinstance(value, _TYPES[self.kind])
            if self.kind in ("int", "float"):
                is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
                is_fit = is_number and (self.kind == "float" or value == int(value))  # type: ignore[call-overload]
            if is_fit:
                number: Any = _TYPES[self.kind](value)
                if limits is None or limits.low <= number <= limits.high:
                    return number  # type: ignore[no-any-return]
                expected = f"{limits.low} to {limits.high}"
        raise ParameterError(f"parameter {self.name} is {value!r}; expected {expected}")


@dataclass(frozen=True, slots=True)
class Spec:
    """Declaration of a processor (name, outputs, parameters) in plain values,
    sent from its worker to the page.

    Attributes
    ----------
    name
        Name of the function, and of its results and panel.
    title
        First line of its docstring.
    outputs, parameters
        Declared outputs, and parameters that can be set.
    takes
        Names of the special arguments ``state`` and ``info`` that it takes, in order.
    on_failure
        ``keep``: after an error or a lost worker the state of the last good frame is restored; ``reset``: a
        new state begins.
    seconds
        Longest time for a frame before the worker is taken to hang; None = that of the session.
    """

    name: str
    title: str
    outputs: tuple[ProcessorOutput, ...]
    parameters: tuple[Parameter, ...] = ()
    takes: tuple[str, ...] = ()
    on_failure: OnFailure = "keep"
    seconds: float | None = None

    def values(self, wanted: Mapping[str, Any]) -> dict[str, Value]:
        """Return a value for every parameter: that in `wanted` if it is allowed, otherwise the default."""
        values = {parameter.name: parameter.default for parameter in self.parameters}
        for parameter in self.parameters:
            with suppress(ParameterError, KeyError):
                values[parameter.name] = parameter.checked(wanted[parameter.name])
        return values


@dataclass(frozen=True, slots=True)
class Processor:
    """A user's function declared as a processor, with its declaration and the
    function that makes its first state.
    """

    function: Callable[..., Any]
    spec: Spec
    begin: Callable[[], Any] = field(default=dict)


def processor(
    *outputs: ProcessorOutput,
    state: Callable[[], Any] = dict,
    on_failure: OnFailure = "keep",
    seconds: float | None = None,
) -> Callable[[Function], Function]:
    """Decorate a Python function so that `mrcz-dask live` runs it on every frame and shows its outputs.

    Parameters
    ----------
    outputs
        Outputs of the function. With one, it returns the value or a dict; with more, a dict {name: value} of
        all of them. It returns None for a frame without a result.
    state
        Makes the state at the beginning and after a reset; the state must be picklable.
    on_failure
        ``keep``: after an error or a lost worker go on with the state of the last good frame; ``reset``: go
        on with a new state.
    seconds
        Longest time for a frame before the worker is taken to hang and is replaced.

    Returns
    -------
    callable
        A decorator that returns the function unchanged. The function takes the frame, (y, x) in the camera's
        dtype, cut to the region of interest; then ``state`` and ``info`` (a `FrameInfo`), both optional; its
        parameters are keyword-only arguments with defaults of type bool, int, float or str,
        ``Annotated[float, Range(low, high)]``, or ``Literal["a", "b"]``.

    Raises
    ------
    ParameterError
        Part of the declaration cannot be used.
    """

    def declare(function: Function) -> Function:
        """Mark a function as a processor."""
        name, names = function.__name__, [getattr(output, "name", "") for output in outputs]
        if not outputs or not all(isinstance(output, (Scalar, Profile, Image)) for output in outputs):
            raise ParameterError(
                f"processor {name} declares {outputs!r}; expected one Scalar, Profile or Image, or several"
            )
        is_reserved = any(not output.isidentifier() or output in ("frame", "time") for output in names)
        if is_reserved or len(set(names)) < len(names):
            raise ParameterError(
                f"processor {name} calls its outputs {', '.join(names)}; expected different Python names, "
                "and neither frame nor time"
            )
        takes, parameters = _arguments(function)
        title = (inspect.getdoc(function) or name).splitlines()[0]
        spec = Spec(name, title, outputs, parameters, takes, on_failure, seconds)
        setattr(function, MARK, Processor(function, spec, state))
        return function

    return declare


def _arguments(function: Callable[..., Any]) -> tuple[tuple[str, ...], tuple[Parameter, ...]]:
    """Return the special arguments of a function, and its parameters."""
    hints = get_type_hints(function, include_extras=True)
    arguments = list(inspect.signature(function).parameters.values())
    positional = [a for a in arguments if a.kind in (a.POSITIONAL_ONLY, a.POSITIONAL_OR_KEYWORD)]
    keywords = [a for a in arguments if a.kind is a.KEYWORD_ONLY]
    takes = tuple(argument.name for argument in positional[1:])
    if not positional or len(positional) + len(keywords) < len(arguments) or not set(takes) <= set(_SPECIAL):
        raise ParameterError(
            f"processor {function.__name__} takes {inspect.signature(function)}; expected (frame), or "
            "(frame, state, info), and parameters behind a *"
        )
    return takes, tuple(_parameter(function.__name__, a.name, a.default, hints.get(a.name)) for a in keywords)


def _parameter(function: str, name: str, default: Any, hint: Any) -> Parameter:
    """Return a keyword-only argument as a parameter."""
    if default is inspect.Parameter.empty:
        raise ParameterError(f"processor {function}: parameter {name} has no default; give it one")
    limits = next((extra for extra in get_args(hint)[1:] if isinstance(extra, Range)), None)
    plain = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    value_type = type(default) if plain is None else plain
    if get_origin(plain) is Literal:
        parameter = Parameter(name, "choice", default, choices=get_args(plain))
    elif value_type in _TYPES.values():
        parameter = Parameter(name, value_type.__name__, default, range=limits)
    else:
        raise ParameterError(
            f"processor {function}: parameter {name} is of type {plain}; expected bool, int, float, str or a "
            "Literal"
        )
    try:
        parameter.checked(default)
    except ParameterError as error:
        raise ParameterError(f"processor {function}: the default of {error}") from None
    return parameter
