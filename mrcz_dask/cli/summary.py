"""The table at the end of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mrcz_dask.cli.console import results, say, table
from mrcz_dask.runs.space import readable
from mrcz_dask.values.records import StackResult

if TYPE_CHECKING:
    from mrcz_dask.runs.koma import Outcome


def show_outcome(outcome: Outcome) -> None:
    """Print what a run did: the stacks, what was left out and why, and the noise before and after."""
    results().print(_stacks(outcome.results))
    for text in _remarks(outcome):
        say(text)
    say(_totals(outcome))


def _stacks(done: Sequence[StackResult]) -> object:
    numbers = ("hot", "dead", "R raw", "filter", "koma", "sample", "in", "out")
    made = table("stack", *numbers, "", right=numbers)
    made.caption = (
        "R: correlated noise x 1000, raw, after the outlier filter, and after koma, held out; "
        "sample: after koma, on the frames that made the mask"
    )
    made.caption_justify = "left"
    for one in done:
        noise = [one.noise[k] for k in ("raw", "filtered", "corrected", "corrected_in_sample")]
        made.add_row(
            one.output,
            str(one.hot),
            str(one.dead),
            *("-" if value is None else f"{1000 * value:.2f}" for value in noise),
            readable(one.bytes_in),
            readable(one.bytes_out),
            "too quiet"
            if one.too_quiet
            else "kept"
            if one.kept
            else ""
            if one.usable
            else "no reference"
            if one.score is None
            else "high contrast",
        )
    return made


def _remarks(outcome: Outcome) -> Iterable[str]:
    found = outcome.plan.discovery
    contrast = [r.output for r in outcome.results if not r.usable and r.score is not None]
    if contrast:
        yield f"high contrast, left out of windows: {', '.join(contrast)}"
    for one in outcome.results:
        yield from (f"{one.output}: {text}" for text in one.caveats if not text.startswith("high contrast"))
    yield from (f"skipped: {s.path.name}: {s.reason}" for s in found.skipped)
    yield from (f"not done: {r.reason}" for r in found.rejected)
    yield from (f"not done: {f.name}: {f.reason}" for f in outcome.failures)


def _totals(outcome: Outcome) -> str:
    done = outcome.results
    failed = len(outcome.failures) + len(outcome.plan.discovery.rejected)
    kept = sum(r.kept for r in done)
    ordinary = [r for r in done if r.usable and not r.too_quiet]
    noise = ", ".join(
        f"{word} {_noise(_mean(r.noise[kind] for r in ordinary))}"
        for word, kind in (("raw", "raw"), ("filtered", "filtered"), ("corrected", "corrected"))
    )
    return (
        f"{len(done)} stacks done"
        + (f" ({kept} kept from before)" if kept else "")
        + f", {failed} not done; "
        f"{sum(r.hot for r in done)} hot and {sum(r.dead for r in done)} dead pixels\n"
        f"correlated noise, held out, mean over stacks without high contrast: {noise}\n"
        f"{readable(sum(r.bytes_in for r in done))} in, {readable(sum(r.bytes_out for r in done))} out, "
        f"in {outcome.plan.folder}"
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return math.fsum(known) / len(known) if known else None


def _noise(value: float | None) -> str:
    return "-" if value is None else f"{value:.2e}"
