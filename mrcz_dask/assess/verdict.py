"""The verdict of an assessment: what the pattern is and costs, what harms, and what to do."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import mean, median
from typing import Any

from mrcz_dask.assess.results import CommonPattern, StackPattern
from mrcz_dask.correction.judged_stacks import RAW_SPREAD, JudgedStack, spread_beyond_counting
from mrcz_dask.correction.plan import Plan
from mrcz_dask.correction.verdict import cost, limit
from mrcz_dask.numerics.noise.radius import RadiusChoice
from mrcz_dask.numerics.reference.evidence import (
    NEGLIGIBLE,
    SURE,
    Mean,
    SessionEvidence,
    StackEvidence,
    session_evidence,
)
from mrcz_dask.values.params import KomaParams
from mrcz_dask.values.texts import some

USUAL = KomaParams()
MANY_OUTLIERS = 1e-5  # of the pixels
SMALL = 0.5  # % of the mean; if a pattern may be larger, nothing is decided


@dataclass(frozen=True, slots=True)
class Verdict:
    """Verdict of an assessment on a session: pattern, outliers, groups, advice, and a command.

    Attributes
    ----------
    evidence
        The pattern by scale, before and after KOMA; None if no stack has a reference.
    outliers
        Mean number of hot and dead pixels in a stack, and their share of all pixels.
    raw_spread
        How much pixels differ, relative to the mean, if a gain seems to be missing.
    groups
        Groups of stacks that show the same specimen, and the number of their stacks.
    smooth
        Number of stacks whose references have smooth structure that is not the detector's.
    warnings
        Doubts about gain, dark and defects.
    advice
        What to do and why, in a sentence.
    command
        The command that does it.
    """

    evidence: SessionEvidence | None
    outliers: tuple[float, float]
    raw_spread: float | None
    groups: dict[str, int]
    smooth: int
    warnings: tuple[str, ...]
    advice: str
    command: str

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as plain values for JSON."""
        return {
            "evidence": self.evidence and self.evidence.to_dict(),
            "outliers": {"pixels": self.outliers[0], "share": self.outliers[1]},
            "raw_spread": self.raw_spread,
            "groups": self.groups,
            "smooth_left_out": self.smooth,
            "warnings": list(self.warnings),
            "advice": self.advice,
            "command": self.command,
        }

    def sentences(self) -> Iterator[str]:
        """Yield what was found, in plain words."""
        found = self.evidence
        if found is None:
            yield "Pattern: cannot be judged; no stack has a usable reference."
        elif found.has_pattern:
            yield f"Pattern: {cost(found)} by KOMA (fixed-pattern derating, held out)."
        else:
            yield f"Pattern: none found; it has at most {limit(found):.2g} % of the mean."
        number, share = self.outliers
        problem = "; fill them before motion correction" if share > MANY_OUTLIERS else ""
        yield f"Hot and dead pixels: {number:.0f} in a stack ({100 * share:.2g} %){problem}."
        if self.raw_spread is not None:
            yield f"Gain: it seems to be missing; pixels differ by {self.raw_spread:.0%} of the mean."
        if self.groups:
            names = some(list(self.groups))
            many = f"{len(self.groups)} group{'s' * (len(self.groups) > 1)}"
            yield f"Same specimen: stacks of a group do not correct each other; {many}: {names}."
        if self.smooth:
            yield (
                f"Smooth structure: {self.smooth} stacks share some that no detector has, like the edge of "
                "a hole; it is not taken off."
            )


FILTER = ["-o", "filtered"]


def verdict(
    plan: Plan,
    ready: Sequence[JudgedStack],
    stacks: Sequence[StackPattern],
    common: Sequence[CommonPattern],
    choice: RadiusChoice | None,
) -> Verdict:
    """Draw the verdict on a session from its stacks.

    Parameters
    ----------
    plan
        Session and settings.
    ready, stacks
        All stacks that were summed; the pattern of those that may correct others.
    common
        The pattern that they share; none if it could not be measured.
    choice
        The radius that suits the session; None = it is not known.
    """
    shared = [Mean(one.value, one.error) for one in common if one.value is not None and one.error is not None]
    evidence = session_evidence(
        [StackEvidence.from_dict(one.evidence) for one in stacks if one.evidence], next(iter(shared), None)
    )
    outliers = [one.record.outliers["n_hot"] + one.record.outliers["n_dead"] for one in ready]
    pixels = plan.discovery.shape[1] * plan.discovery.shape[2]
    counted = [one.record for one in ready if one.record.exponent == 0]
    spreads = [s for record in counted if (s := spread_beyond_counting(record)) is not None]
    spread = median(spreads) if spreads else 0.0
    if evidence is not None:  # a pattern is no specimen
        spread = max(0.0, evidence.fine.value) ** 0.5
    spread = 0.0 if plan.gain is not None else spread
    sizes = Counter(group.name for one in ready for group in one.groups)
    radius = plan.settings.koma.radius if choice is None else choice.radius
    advice, name, options = _advice(plan, evidence, spread, radius, choice)
    if plan.gain is not None or replace(plan.settings.koma, radius=USUAL.radius) != USUAL:
        advice += " Give it the options that were given here."
    command = ["mrcz-dask", name, str(plan.discovery.folder), *options]
    return Verdict(
        evidence=evidence,
        outliers=(mean(outliers), mean(outliers) / pixels) if outliers else (0.0, 0.0),
        raw_spread=spread if spread > RAW_SPREAD else None,
        groups={name: size for name, size in sizes.items() if size > 1},
        smooth=sum(one.smooth_left_out for one in stacks),
        warnings=() if plan.gain is None else plan.gain.caveats,
        advice=advice,
        command=shlex.join(command),
    )


def _advice(
    plan: Plan,
    evidence: SessionEvidence | None,
    spread: float,
    radius: int,
    choice: RadiusChoice | None,
) -> tuple[str, str, list[str]]:
    """Return the advice as a sentence, and the name and the options of the command."""
    koma = ["--radius", str(radius)]
    for doubt in () if plan.gain is None else plan.gain.caveats:
        if "cannot be judged" not in doubt:
            return f"Look at the gain first: {doubt}", "koma", koma
    if spread > RAW_SPREAD:
        return "Give the gain reference first: these look like raw frames.", "koma", [*koma, "--gain", "GAIN"]
    if evidence is None:
        return "Fill outliers only: no stack has a usable reference.", "outliers", FILTER
    if not evidence.has_pattern and limit(evidence) < SMALL:
        return "Fill outliers only: there is no pattern to take off.", "outliers", FILTER
    if not evidence.has_pattern:
        why = f"Undecided: with these counts a pattern of {limit(evidence):.2g} % is not seen."
        return f"{why} KOMA takes off only what it sees.", "koma", koma
    if evidence.harms:
        return (
            "Fill outliers only: some of what KOMA would take off moves with the specimen.",
            "outliers",
            FILTER,
        )
    if evidence.gain.z < -SURE and evidence.gain.value < -(NEGLIGIBLE**2):
        return "Fill outliers only: KOMA would add more noise than it takes off.", "outliers", FILTER
    if not evidence.helps:
        return f"KOMA, radius {radius}: neither gain nor harm is seen beyond chance.", "koma", koma
    why = "" if choice is None or choice.helps else "; R alone does not show it beyond chance"
    return f"Take the pattern off with KOMA, radius {radius}{why}.", "koma", koma
