"""Random numbers of a simulation: one stream for each effect, stack and frame, so that any can be drawn
alone.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Generic, TypeVar

import numpy as np

State = TypeVar("State")


class Effect(IntEnum):
    """Effects for which random numbers are drawn; the integers never change, so a seed keeps its meaning."""

    DOSE = 1
    ETCH = 2
    CMOS = 3
    PIXEL = 4
    EVOLVE = 5
    ADDITIVE = 6
    SPECIMEN = 7
    DRIFT = 8
    HOT = 9
    DEAD = 10
    CARBON = 11
    ICE = 12
    COUNTS = 13
    NAMES = 14
    AIM = 15
    GRADIENT = 16


def stream(seed: int, purpose: IntEnum, index: int = 0, part: int = 0) -> np.random.Generator:
    """Return the random generator of one effect in one stack, and one frame or part of it (Philox 4x64).

    Parameters
    ----------
    seed
        0 <= seed < 2^64.
    purpose
        The effect.
    index, part
        The upper words of the counter: the stack, and the frame or part of it.
    """
    key = np.array([seed, purpose], np.uint64)
    counter = np.array([0, 0, part, index], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


class EvolvingState(Generic[State]):
    """A state that evolves from stack to stack, such as hot pixels, and that can be computed for any stack.

    Parameters
    ----------
    step
        From the state before stack i, and i, to the state at stack i; must not change its argument.
    start
        The state before stack 0.
    """

    def __init__(self, step: Callable[[State, int], State], start: State) -> None:
        self._step, self._start = step, start
        self._last = (-1, start)

    def at(self, index: int) -> State:
        """Return the state at stack `index`, computed from the last one asked for or from the start."""
        before, state = self._last
        if before > index:
            before, state = -1, self._start
        for i in range(before + 1, index + 1):
            state = self._step(state, i)
        self._last = (index, state)
        return state
