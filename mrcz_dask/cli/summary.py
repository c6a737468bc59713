"""The table at the end of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mrcz_dask.cli.console import print_json, results, say, table
from mrcz_dask.formats.places import measure
from mrcz_dask.values.records import StackResult
from mrcz_dask.values.sizes import readable, some

if TYPE_CHECKING:
    from mrcz_dask.correction.plan import Plan
    from mrcz_dask.correction.run import Outcome
    from mrcz_dask.counting.plan import CountPlan
    from mrcz_dask.engine.clusters import ClientOptions


LEGEND = (
    "R x 1000: how much the frames of a stack have in common (lower is better): raw, as recorded (after your "
    "gain) | filter, hot pixels filled | koma, pattern removed. Ignore sample unless you compare with the "
    "paper."
)
LARGER = {
    "normalized": "corrected pixels have fractions of a count, which compress less than whole counts; "
    "--write recompressed keeps the counts",
    "recompressed": "this codec packs less than that of the inputs; choose another --codec",
    "references": "patterns and masks are larger than these short stacks",
}


def show_outcome(outcome: Outcome, report: Path | None = None) -> None:
    """Print what a run did: the stacks, what was left out and why, the noise, and where everything is."""
    say(LEGEND)
    results().print(_stacks(outcome.results))
    for text in _remarks(outcome):
        say(text)
    say("\n".join(_totals(outcome, report)))


def show_plan(plan: Plan | CountPlan, where: ClientOptions, *, as_json: bool) -> None:
    """Print what a run would do, and on which workers.

    Raises
    ------
    SessionError
        When there is too little memory.
    """
    from mrcz_dask.engine.clusters import plan_local_workers

    crew = plan_local_workers(where, plan.memory_estimate())
    if as_json:
        queue = where.queue and where.queue.to_dict()
        print_json(plan.to_dict() | {"crew": crew and crew.to_dict(), "queue": queue})
        return
    for part in (plan, where.queue, crew):
        if part:
            say(str(part))


def _stacks(done: Sequence[StackResult]) -> object:
    numbers = ("hot", "dead", "R raw", "filter", "koma", "sample", "in", "out")
    made = table("stack", *numbers, "", right=numbers)
    for one in done:
        noise = [one.noise[k] for k in ("raw", "filtered", "corrected", "corrected_in_sample")]
        made.add_row(
            one.output,
            str(one.hot),
            str(one.dead),
            *("-" if value is None else f"{1000 * value:.2f}" for value in noise),
            readable(one.bytes_in),
            readable(one.bytes_out),
            one.remark,
        )
    return made


def _remarks(outcome: Outcome) -> Iterable[str]:
    found = outcome.plan.discovery
    contrast = [r.output for r in outcome.results if not r.usable and r.score is not None]
    if contrast:
        yield f"high contrast, left out of windows: {', '.join(contrast)}"
    caveats: dict[str, list[str]] = {}
    for one in outcome.results:
        for text in one.caveats:
            caveats.setdefault(text, []).append(one.output)
    yield from (f"{some(of)}: {text}" for text, of in caveats.items() if not text.startswith("high contrast"))
    yield from (f"skipped: {found.name_of(s.path)}: {s.reason}" for s in found.skipped)
    yield from (f"not done: {r.reason}" for r in found.rejected)
    yield from (f"not done: {f.name}: {f.reason}" for f in outcome.failures)


def _totals(outcome: Outcome, report: Path | None) -> Iterator[str]:
    done, plan = outcome.results, outcome.plan
    kept = sum(r.kept for r in done)
    ordinary = [r for r in done if r.usable and not r.too_quiet]
    yield (
        f"{len(done)} stacks done"
        + (f" ({kept} kept from before)" if kept else "")
        + f", {outcome.not_done} not done; "
        f"{sum(r.hot for r in done)} hot and {sum(r.dead for r in done)} dead pixels"
    )
    if report is not None:
        yield f"report: {report}"
    needed = {"recompressed": "is needed to correct the outputs", "references": "holds the outlier tables"}
    use = needed.get(plan.settings.write.write, "makes the next run over this session quick")
    yield f"session store: {plan.store}, {readable(measure(plan.store).size)}; it {use}"
    noise = ", ".join(
        f"{word} {_noise(_mean(r.noise[kind] for r in ordinary))}"
        for word, kind in (("raw", "raw"), ("filtered", "filtered"), ("corrected", "corrected"))
    )
    yield f"correlated noise, held out, mean over stacks without high contrast: {noise}"
    before, after = sum(r.bytes_in for r in done), sum(r.bytes_out for r in done)
    larger = f"; larger than the inputs: {LARGER[plan.settings.write.write]}" if after > before else ""
    yield f"{readable(before)} in, {readable(after)} out, in {plan.folder}{larger}"


def _mean(values: Iterable[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return math.fsum(known) / len(known) if known else None


def _noise(value: float | None) -> str:
    return "-" if value is None else f"{value:.2e}"
