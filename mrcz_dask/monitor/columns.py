"""The stacks of a session as columns: what the plots of the page are drawn from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import nan
from typing import Any

import numpy as np

from mrcz_dask.monitor.state import STATES, StackState

# The axis of correlated noise is logarithmic; held-out noise may be negative and is drawn here, then.
NOISE_FLOOR = 1e-5
LANES = (*STATES, "high contrast")
TEXTS = ("name", "acquired", "state", "reason", "noise", "usable")
NUMBERS = (
    "number",
    "lane",
    "contrast",
    "hot",
    "dead",
    "t_dark",
    "t_hot",
    "mu",
    "dose",
    "raw",
    "filtered",
    "corrected",
)
KINDS = ("raw", "filtered", "corrected")

Row = Mapping[str, Any]


def row(place: int, stack: StackState) -> dict[str, Any]:
    """Return what is drawn of one stack; not a number where it is not known (yet).

    Parameters
    ----------
    place
        Of the stack in time, from 0.
    stack
        Its state.
    """
    noise = stack.result.noise if stack.result is not None else {}
    return {
        "name": stack.name,
        "acquired": f"{stack.acquired:%Y-%m-%d %H:%M:%S}",
        "state": stack.state,
        "reason": stack.reason,
        "noise": ", ".join(f"{kind} {_text(noise.get(kind))}" for kind in KINDS) if noise else "-",
        "usable": "high" if stack.high_contrast else "ordinary",
        "number": place + 1,
        "lane": float(LANES.index(stack.state)),
        "contrast": float(LANES.index("high contrast")) if stack.high_contrast else nan,
        **_of_the_mask(stack),
        **{kind: _drawn(noise.get(kind)) for kind in KINDS},
    }


def columns(rows: Iterable[Row]) -> dict[str, Any]:
    """Return rows as columns."""
    listed = list(rows)
    texts = {name: [str(one[name]) for one in listed] for name in TEXTS}
    numbers = {name: np.array([one[name] for one in listed], np.float64) for name in NUMBERS}
    return {**texts, **numbers}


def _of_the_mask(stack: StackState) -> dict[str, float]:
    summed = stack.summed
    known = {} if summed is None else {name: getattr(summed, name) for name in ("hot", "dead")}
    names = ("t_dark", "t_hot", "mu", "dose")
    more = {name: None if summed is None else getattr(summed, name) for name in names}
    if stack.result is not None and not known:
        known = {"hot": stack.result.hot, "dead": stack.result.dead}
    return {name: _number(value) for name, value in ({"hot": None, "dead": None} | known | more).items()}


def _number(value: float | None) -> float:
    return nan if value is None else float(value)


def _drawn(value: float | None) -> float:
    return nan if value is None else max(value, NOISE_FLOOR)


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.2e}"
