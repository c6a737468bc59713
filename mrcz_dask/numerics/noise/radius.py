"""Choose the window radius of a session by the held-out R of some of its stacks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mrcz_dask.numerics.arrays import Floats
from mrcz_dask.values.errors import ParameterError

SURE = 2.0
LOSS = 0.01  # of what the best radius takes off R


@dataclass(frozen=True, slots=True)
class RadiusRow:
    """Results for one window radius: mean R over the stacks tried, with errors, compared with the best radius
    and with no KOMA.

    Attributes
    ----------
    radius
        a.
    mean, error
        R, and its standard error over the stacks.
    behind, behind_error
        R less that of the best radius, and the error of this difference within stacks.
    gain, gain_error
        R of the filter alone less R, and its error within stacks.
    """

    radius: int
    mean: float
    error: float
    behind: float
    behind_error: float
    gain: float
    gain_error: float


@dataclass(frozen=True, slots=True)
class RadiusChoice:
    """The radius recommended for a session, with the reason and a table of R for each radius tried.

    Attributes
    ----------
    radius
        a.
    reason
        In words.
    helps
        Whether its R is below that of the filter alone by two standard errors.
    table
        A row for each radius.
    """

    radius: int
    reason: str
    helps: bool
    table: tuple[RadiusRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the choice as plain values, for JSON."""
        return asdict(self)


def choose_radius(
    radii: Sequence[int], scores: Sequence[Sequence[float]], without: Sequence[float]
) -> RadiusChoice:
    """Compare the held-out R of several radii and recommend the smallest one that is as good as the best:
    within one standard error, and within one percent of what the best takes off.

    Parameters
    ----------
    radii
        In ascending order.
    scores
        (stacks, radii) R, held out, of some stacks of the session.
    without
        (stacks,) R of the same stacks without KOMA, the filter alone.

    Raises
    ------
    ParameterError
        For no radii, no stacks, or sizes that do not go together.

    Notes
    -----
    Differences are taken stack by stack and then averaged: what the radii share drops out. Among radii that
    cannot be told apart the smallest follows the detector closest, and waits for the fewest neighbors.
    """
    values, base = np.asarray(scores, np.float64), np.asarray(without, np.float64)
    if not (values.ndim == 2 and values.shape == (base.size, len(radii)) and values.size):
        raise ParameterError(
            f"scores are {values.shape} for {len(radii)} radii and {base.size} stacks; expected "
            "(stacks, radii)"
        )
    best = int(np.argmin(values.mean(axis=0)))
    rows = tuple(
        RadiusRow(a, *_mean(here), *_mean(here - values[:, best]), *_mean(base - here))
        for a, here in zip(radii, values.T, strict=True)
    )
    lost = LOSS * rows[best].gain
    chosen = next(row for k, row in enumerate(rows) if k == best or row.behind <= min(row.behind_error, lost))
    helps = chosen.gain > (0 if math.isnan(chosen.gain_error) else SURE * chosen.gain_error)
    return RadiusChoice(chosen.radius, _reason(chosen, rows, best, len(values), helps), helps, rows)


def _mean(values: Floats) -> tuple[float, float]:
    """Return the mean and its standard error; not a number for one value."""
    if values.size < 2:
        return float(values.mean()), math.nan
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(values.size))


def _reason(chosen: RadiusRow, rows: Sequence[RadiusRow], best: int, stacks: int, helps: bool) -> str:
    first, last = rows[best], rows[-1]
    text = f"held-out R of {stacks} stacks is lowest at {first.radius} ({_milli(first.mean)})"
    if chosen is not first:
        text += (
            f"; {chosen.radius} is behind by no more than the error "
            f"({_pair(chosen.behind, chosen.behind_error)}), follows the detector more closely and waits for "
            "fewer neighbors"
        )
    elif first is last and len(rows) > 1:
        text += ", the largest that was tried: more neighbors may give less"
    if stacks < 2:
        text += "; one stack has no error: another may say otherwise"
    if not helps:
        by = _pair(chosen.gain, chosen.gain_error)
        text += f"; yet KOMA does not lower R beyond chance (by {by})"
    return text


def _pair(value: float, error: float) -> str:
    return f"{_milli(value)} ± {_milli(error)}"


def _milli(value: float) -> str:
    return f"{value * 1e3:.3f}e-3"
