"""Says in plain words what a run gained: only what two scores agree on is called better."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mrcz_dask.numerics.reference.evidence import (
    RARE,
    SessionEvidence,
    StackEvidence,
    mean_of,
    session_evidence,
)
from mrcz_dask.values.records import UNTOUCHED, StackResult

LOST = "Some of the specimen was taken off with the pattern: "


def verdict_on(results: Iterable[StackResult]) -> str | None:
    """Return in one sentence whether a run made its stacks better; None where nothing was measured.

    Better is only what lowers R in frames that the fit has not seen, lowers the pattern of columns, rows and
    pixels in them, and takes nothing off that moves with the specimen or that neighbors of the same specimen
    share. Where stacks drift too little, or are too small, to tell movement, no run is called better.

    Parameters
    ----------
    results
        Results of the stacks; only those that may be references count.
    """
    usable = [one for one in results if one.usable and not one.too_quiet]
    found = session_evidence([StackEvidence.from_dict(one.evidence) for one in usable if one.evidence])
    if found is None:
        kept = bool(usable) and all(any(UNTOUCHED in text for text in one.caveats) for one in usable)
        return "Nothing was taken off but outliers; the caveats say why." if kept else None
    if found.harms:
        return loss(found)
    pairs = [(one.noise["filtered"], one.noise["corrected"]) for one in usable]
    falls = mean_of([before - after for before, after in pairs if before is not None and after is not None])
    if not found.has_pattern:
        return (
            f"No pattern was found: columns, rows and pixels have at most {limit(found):.2g} % of the mean."
        )
    less = len(usable) - found.stacks
    where = f" (in {found.stacks} stacks; from {less} nothing was taken)" if less else ""
    if not (found.helps and falls.z > 0):
        return f"Not better beyond chance: {cost(found)}{where}."
    if not found.movement_can_be_told:
        return f"Less noise: {cost(found)}{where}; whether some of the specimen went as well cannot be told."
    return f"Better: {cost(found)}{where}; nothing that was taken off is seen to move with the specimen."


def loss_or_cost(found: SessionEvidence) -> str:
    """Return a sentence on the loss of specimen, or words on the cost of the pattern if there was none."""
    return loss(found) if found.harms else cost(found)


def loss(found: SessionEvidence) -> str:
    """Return in one sentence what was taken off the specimen."""
    if found.movement_is_seen:
        error = found.movement.share / found.movement.z
        return (
            f"{LOST}{found.movement.share:.0%} ± {error:.0%} of what went moves with the drift. Run again "
            "without --trust-reference, or with --groups."
        )
    if found.unlike > RARE * found.stacks:
        return (
            f"{LOST}in {found.unlike} stacks smooth structure went that is no detector's. Run again without "
            "--trust-reference."
        )
    return (
        f"{LOST}the references of {found.same_specimen} stacks show their specimen. Run again without "
        "--trust-reference."
    )


def cost(found: SessionEvidence) -> str:
    """Return in words what the pattern costs before and after the correction."""
    before, after = found.derating(found.fine), found.derating(found.after)
    if before is None or after is None:
        share = found.gain.value / found.fine.value if found.fine.value > 0 else 0.0
        return f"the pattern has {percent(found.fine.value):.2g} % of the mean; {share:.0%} of its power went"
    return (
        f"the pattern lowers the DQE by {100 * before.value:.2g} ± {100 * before.error:.1g} % before, and by "
        f"{100 * after.value:.2g} ± {100 * after.error:.1g} % after the correction"
    )


def limit(found: SessionEvidence) -> float:
    """Return the upper limit of the pattern of columns, rows and pixels in % of the mean, at two errors."""
    known = (found.fine, found.lasting, *([] if found.common is None else [found.common]))
    return min(percent(one.value + 2 * one.error) for one in known)


def percent(variance: float) -> float:
    """Return the standard deviation of a variance relative to the squared mean, in %."""
    return float(100 * np.sqrt(max(0.0, variance)))
