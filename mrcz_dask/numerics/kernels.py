"""Decorators that compile loops over whole images with Numba, and helpers for compiled code.

All of them release the GIL and run in one thread in a fixed order, without fast-math, so that their bits do
not depend on who calls them. Inner loops run over slices from 0, as others are not vectorized.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba.core.types import unliteral
from numpy.typing import NDArray

LANES = 128  # sums that grow side by side: an addition waits for the one before

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile a function with Numba at its first call, and cache the machine code for the next process."""
    return _compile(function)


def inner(function: F) -> F:
    """Compile a function that only compiled functions call: called from Python it would end the process.

    Its wrapper for Python would take a fifth of the time of compilation.
    """
    return _compile(function, no_cpython_wrapper=True)


def lanewise(function: F) -> F:
    """Compile an inner function that is inlined into a loop's body, which becomes vector instructions."""
    # a division by zero gives inf or nan: a test of it would keep the compiler from making vectors
    return _compile(function, error_model="numpy", forceinline=True, no_cpython_wrapper=True)


def lanes_loop(function: F) -> F:
    """Compile a function whose loop calls `lanewise` functions."""
    return _compile(function, error_model="numpy")


def _compile(function: F, **options: Any) -> F:
    options |= {"nogil": True, "no_cfunc_wrapper": True}  # wrappers take a tenth of the time of compilation
    try:
        dispatcher = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither this folder nor the user's can be written
        dispatcher = numba.njit(**options)(function)
    template = dispatcher.get_call_template
    # a literal is a type of its own: the function would be compiled anew for each
    dispatcher.get_call_template = lambda args, kws: template(tuple(map(unliteral, args)), kws)
    return cast(F, dispatcher)


@compiled
def total(lanes: NDArray[np.float64]) -> float:
    """Add the items of an array one after the other; `lanes.sum()` takes ten times as long to compile."""
    whole = 0.0
    for lane in range(lanes.size):
        whole += lanes[lane]
    return whole


def native(frame: NDArray[Any]) -> NDArray[Any]:
    """Return a frame in a dtype and byte order that Numba supports: float16 becomes float32."""
    if frame.dtype == np.float16:
        return frame.astype(np.float32)
    return frame if frame.dtype.isnative else frame.astype(frame.dtype.newbyteorder("="))


def flat(frame: NDArray[Any]) -> NDArray[Any]:
    """Return a frame's pixels as a contiguous 1-D array in a dtype that Numba supports."""
    return np.ascontiguousarray(native(frame)).reshape(-1)
