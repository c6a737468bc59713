"""Says in plain words what a run gained, and what it lost of the specimen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from mrcz_dask.numerics.reference.evidence import (
    FINE,
    RARE,
    Mean,
    SessionEvidence,
    StackEvidence,
    mean_of,
    session_evidence,
)
from mrcz_dask.values.records import SMOOTH_KEPT, UNTOUCHED, StackResult

LOST = "Some of the specimen was taken off with the pattern: "
UNTOLD = "Whether some of the specimen went as well cannot be told"
WHY_UNTOLD = "the stacks hardly drift, have few counts or are small; --groups names those of one specimen"


def verdict_on(results: Iterable[StackResult]) -> str | None:
    """Return in one line what a run gained or lost; None where no stack that may be a reference was measured.

    It says that KOMA lowered noise and kept the specimen only if that lowers R in frames that the fit has not
    seen, lowers the pattern of columns, rows and pixels in them, and takes nothing off that moves with the
    specimen or that neighbors of the same specimen share. Where stacks drift too little, or are too small, to
    tell movement, it says so.

    Parameters
    ----------
    results
        Results of the stacks; only those that may be references count.
    """
    usable = [one for one in results if one.usable and not one.too_quiet]
    found = session_evidence([StackEvidence.from_dict(one.evidence) for one in usable if one.evidence])
    if found is not None and found.harms:
        return loss(found)
    by_filter, by_koma = (
        fall([(one.noise[before], one.noise[after]) for one in usable])
        for before, after in (("raw", "filtered"), ("filtered", "corrected"))
    )
    if by_filter is None or by_koma is None:
        return None
    filtered = f"the outlier filter lowered correlated noise by {with_error(by_filter)}"
    if found is None and all(any(UNTOUCHED in text for text in one.caveats) for one in usable):
        return f"KOMA took nothing off, and the caveats say why; {filtered}."
    if found is not None and not found.has_pattern:
        return f"KOMA found nothing to take off (at most {limit(found):.2g} % of the mean); {filtered}."
    koma = f"KOMA lowered correlated noise by {with_error(by_koma)} (held out)"
    if not ((found is None or found.helps) and by_koma.z > 0):
        return f"No gain beyond chance: {koma}; {filtered}."
    if found is None:
        return f"{koma}. {UNTOLD} by this method."
    kept = any(text.startswith(SMOOTH_KEPT) for one in usable for text in one.caveats)
    scales = FINE if kept else slice(None)
    power, removed = (sum(one.value for one in many[scales]) for many in (found.pattern, found.removed))
    share = 1 - removed / power if power > 0 else 1.0
    left = f"about {100 * share:.0f} %" if share >= 0.01 else "less than 1 %"
    less = len(usable) - found.stacks
    where = f" (from {less} of {len(usable)} stacks nothing was taken)" if less else ""
    told = (
        "None of the specimen is seen in what was taken off"
        if found.movement_can_be_told
        else f"{UNTOLD}: {WHY_UNTOLD}"
    )
    return f"{koma}; {left} of the pattern is left{where}. {told}."


def fall(pairs: Sequence[tuple[float | None, float | None]]) -> Mean | None:
    """Return by what share of it a step lowers the mean held-out R, with the error from the stacks' scatter.

    `pairs` has R of each stack before and after the step. None where R was not measured in two stacks, or is
    not positive.
    """
    known = np.array([(b, a) for b, a in pairs if b is not None and a is not None]).reshape(-1, 2)
    was, now = known.mean(axis=0) if len(known) > 1 else (0.0, 0.0)
    if not was > 0:
        return None
    return Mean(float(1 - now / was), mean_of((known[:, 1] - known[:, 0] * now / was) / was).error)


def with_error(share: Mean) -> str:
    """Return a share in per cent with its error, both with the digits that the error allows."""
    error = 100 * share.error
    digits = min(2, max(0, -math.floor(math.log10(error)))) if error > 0 else 0
    return f"{100 * share.value:.{digits}f} ± {error:.{digits}f} %"


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
    return min(percent(max(0.0, one.value) + 2 * one.error) for one in known)


def percent(variance: float) -> float:
    """Return the standard deviation of a variance relative to the squared mean, in %."""
    return float(100 * np.sqrt(max(0.0, variance)))
