"""The stacks of a session as rows and columns of numbers, from which the page's plots are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any

import numpy as np

from mrcz_dask.monitor.state import STATES, StackState

# The axis of correlated noise is logarithmic; held-out noise may be negative and is drawn here, then.
NOISE_FLOOR = 1e-5
LANES = (*STATES, "high contrast")
KINDS = ("raw", "filtered", "corrected")
TEXTS = ("name", "acquired", "state", "reason", "noise", "usable")
NUMBERS = ("lane", "contrast", "hot", "dead", "t_dark", "t_hot", "mu", "dose", *KINDS)

Row = Mapping[str, Any]


def row(stack: StackState) -> dict[str, Any]:
    """Return a stack's state as a dict of texts and numbers for the plots, NaN where not known yet."""
    noise = stack.result.noise if stack.result is not None else {}
    values = {kind: noise.get(kind) for kind in KINDS}
    shown = [f"{kind} {'-' if value is None else f'{value:.2e}'}" for kind, value in values.items()]
    outliers = stack.summed or stack.result
    return {
        "name": stack.name,
        "acquired": f"{stack.acquired:%Y-%m-%d %H:%M:%S}",
        "state": stack.state,
        "reason": stack.reason,
        "noise": ", ".join(shown) if noise else "-",
        "usable": "high" if stack.high_contrast else "ordinary",
        "lane": float(LANES.index(stack.state)),
        "contrast": float(LANES.index("high contrast")) if stack.high_contrast else nan,
        **{name: _number(getattr(outliers, name, None)) for name in ("hot", "dead")},
        **{name: _number(getattr(stack.summed, name, None)) for name in ("t_dark", "t_hot", "mu", "dose")},
        **{kind: nan if value is None else max(value, NOISE_FLOOR) for kind, value in values.items()},
    }


def columns(rows: Sequence[Row], first: int = 0) -> dict[str, Any]:
    """Return rows of stacks as columns for the plots; stacks are numbered from `first` + 1."""
    texts = {name: [str(row[name]) for row in rows] for name in TEXTS}
    numbers = {name: np.array([row[name] for row in rows], np.float64) for name in NUMBERS}
    return {**texts, "number": np.arange(first + 1.0, first + 1 + len(rows)), **numbers}


def _number(value: float | None) -> float:
    return nan if value is None else float(value)
