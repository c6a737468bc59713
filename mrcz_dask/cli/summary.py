"""Prints the plan of a run, the table of its results at the end, and with --profile that of its times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from mrcz_dask.cli.console import print_json, results, say, say_lines, table
from mrcz_dask.formats.places import measure
from mrcz_dask.values.errors import MrczDaskError
from mrcz_dask.values.texts import readable, some

if TYPE_CHECKING:
    from mrcz_dask.correction.plan import Plan
    from mrcz_dask.correction.run import Outcome
    from mrcz_dask.correction.timing_report import PhaseTimes, TimingReport
    from mrcz_dask.counting.plan import CountPlan
    from mrcz_dask.engine.clusters import ClientOptions

LEGEND = (
    "R x 1000: how much the frames of a stack have in common (lower is better). raw: as recorded (after your "
    "gain) | filter: hot pixels filled | koma: pattern removed. Ignore sample unless you compare with the "
    "paper."
)
STORE_USE = {"recompressed": "is needed to correct the outputs", "references": "holds the outlier tables"}
LARGER = {
    "normalized": "corrected pixels have fractions of a count, which compress less than whole counts; "
    "--write recompressed keeps the counts, --dtype counts --form divide writes whole ones",
    "counts": "rounding adds noise, which does not compress",
    "recompressed": "this codec packs less than the inputs' codec; choose another --codec",
    "references": "patterns and masks are larger than these short stacks",
}


def show_plan(plan: Plan | CountPlan, client_options: ClientOptions, *, as_json: bool) -> None:
    """Print the plan of a run, and the workers on which it would run.

    Raises
    ------
    SessionError
        When there is too little memory.
    """
    from mrcz_dask.engine.clusters import plan_local_workers

    workers = plan_local_workers(client_options, plan.memory_estimate())
    if as_json:
        queue = client_options.queue and client_options.queue.to_dict()
        print_json(plan.to_dict() | {"crew": workers and workers.to_dict(), "queue": queue})
        return
    for part in (plan, client_options.queue, workers):
        if part:
            say_lines(str(part))


def show_outcome(outcome: Outcome, report: Path | None = None) -> None:
    """Print the results of a run: a table of its stacks, caveats, failures, mean R, and sizes."""
    say(LEGEND)
    numbers = ("hot", "dead", "R raw", "filter", "koma", "sample", "in", "out")
    rows = table("stack", *numbers, "", right=numbers)
    for stack in outcome.results:
        noise = [stack.noise[key] for key in ("raw", "filtered", "corrected", "corrected_in_sample")]
        rows.add_row(
            stack.output,
            str(stack.hot),
            str(stack.dead),
            *("-" if value is None else f"{1000 * value:.2f}" for value in noise),
            readable(stack.bytes_in),
            readable(stack.bytes_out),
            stack.remark,
        )
    results().print(rows)
    for text in (*_remarks(outcome), *_totals(outcome, report)):
        say(text)


def _remarks(outcome: Outcome) -> Iterator[str]:
    discovery = outcome.plan.discovery
    contrast = [stack.output for stack in outcome.results if not stack.usable and stack.score is not None]
    if contrast:
        yield f"high contrast, left out of windows: {', '.join(contrast)}"
    caveats: dict[str, list[str]] = {}
    for stack in outcome.results:
        for text in stack.caveats:
            if not text.startswith("high contrast"):
                caveats.setdefault(text, []).append(stack.output)
    yield from (f"{some(stacks)}: {text}" for text, stacks in caveats.items())
    yield from (f"skipped: {discovery.name_of(file.path)}: {file.reason}" for file in discovery.skipped)
    yield from (f"not done: {file.reason}" for file in discovery.rejected)
    yield from (f"not done: {failure.name}: {failure.reason}" for failure in outcome.failures)


def _totals(outcome: Outcome, report: Path | None) -> Iterator[str]:
    from mrcz_dask.correction.verdict import verdict_on
    from mrcz_dask.values.records import mean_noise

    stacks, plan, write = outcome.results, outcome.plan, outcome.plan.settings.write.write
    kept = sum(stack.kept for stack in stacks)
    pixels = f"{sum(stack.hot for stack in stacks)} hot and {sum(stack.dead for stack in stacks)} dead pixels"
    before = f" ({kept} kept from before)" if kept else ""
    yield f"{len(stacks)} stacks done{before}, {outcome.not_done} not done; {pixels}"
    yield f"values, as the outlier filter takes them: {', '.join(_kinds(plan)) or 'unknown'}"
    if report is not None:
        yield f"report: {report}"
    use = STORE_USE.get(write, "makes the next run over this session quick")
    yield f"session store: {plan.store}, {readable(measure(plan.store).size)}; it {use}"
    noise = mean_noise(stacks).items()
    means = [f"{kind} -" if value is None else f"{kind} {value:.2e}" for kind, value in noise]
    yield f"correlated noise, held out, mean over stacks without high contrast: {', '.join(means)}"
    size_in, size_out = sum(stack.bytes_in for stack in stacks), sum(stack.bytes_out for stack in stacks)
    why = LARGER["counts" if plan.settings.write.dtype == "counts" else write]
    larger = f"; larger than the inputs: {why}" if size_out > size_in else ""
    yield from plan.size_lines(size_out)
    yield f"{readable(size_in)} in, {readable(size_out)} out, in {plan.folder}{larger}"
    yield verdict_on(stacks) or "What KOMA gained was not measured: it takes two good stacks."


def _kinds(plan: Plan) -> list[str]:
    """Return what kinds of values a dozen stacks of the session have, as their records say."""
    from mrcz_dask.session.store import SessionStore

    records = []
    for entry in plan.stacks[:: -(-len(plan.stacks) // 12)]:
        with suppress(MrczDaskError):
            records.append(SessionStore(plan.store).record(entry.stem))
    return sorted({record.outliers["kind"] for record in records if record and "kind" in record.outliers})


CAPTION = (
    "seconds of all threads; sum: with statistics and digests; fit: with masks; disk: with the store; "
    "waiting: slots without a task"
)


def show_times(report: TimingReport) -> None:
    """Print where the time of a run went, and how much longer it took than codec and disk alone need."""
    from mrcz_dask.correction.timing_report import PROFILE, REPORT

    say("")
    results().print(_phases(report))
    helpers = sum(total.helpers for total in report.totals.values())
    if helpers:
        say(
            f"{helpers:.2f} s of it come from threads that helped a task; so the phases add up to more than "
            "the time of the slots"
        )
    if report.ratio is None:
        say("no stack was read: there is no codec floor to compare with")
    else:
        say(
            f"codec floor (decode, decode, encode, disk): {report.floor:.2f} s; all slots together: "
            f"{report.slot_seconds:.2f} s, {report.ratio:.2f} times the floor "
            f"({report.busy / report.floor:.2f} times without waiting)"
        )
    slots = f"{report.slots} slot" + "s" * (report.slots != 1)
    say(f"{report.wall:.2f} s from beginning to end on {slots}; all figures: {report.folder / PROFILE}")
    page = report.folder / REPORT
    say(f"Dask's report: {page}" if page.exists() else "no report of Dask: it needs a cluster (--workers)")


def _phases(report: TimingReport) -> Table:
    numbers = (*(part.name for part in report.phases), "both", "share", "processor", "GB", "GB/s")
    rows = table("phase", *numbers, right=numbers, caption=CAPTION)
    everything = _busy(report) + report.waiting

    def share(seconds: float) -> str:
        """Return seconds as a share of all of them."""
        return f"{seconds / everything:.1%}" if everything else ""

    for name, total in report.totals.items():
        parts = [part.totals.get(name) for part in report.phases]
        seconds = ["" if part is None else f"{part.seconds:.2f}" for part in (*parts, total)]
        moved = ("", "") if total.rate is None else (f"{total.bytes / 1e9:.3g}", f"{total.rate:.3g}")
        rows.add_row(name, *seconds, share(total.seconds), f"{total.processor:.2f}", *moved)
    waiting = f"{report.waiting:.2f}"
    rows.add_row("waiting", *[""] * len(report.phases), waiting, share(report.waiting))
    processor = sum(total.processor for total in report.totals.values())
    seconds = [f"{_busy(part):.2f}" for part in report.phases]
    rows.add_row("all", *seconds, f"{everything:.2f}", "", f"{processor:.2f}")
    return rows


def _busy(part: PhaseTimes | TimingReport) -> float:
    return sum(total.seconds for total in part.totals.values())
