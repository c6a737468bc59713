"""Prints the table of `koma --profile`: the time of each kind of work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from mrcz_dask.cli.console import results, say, table

if TYPE_CHECKING:
    from mrcz_dask.correction.timing_report import PhaseTimes, TimingReport

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
            f"{helpers:.2f} s of it are of threads that helped a task beside its own: the phases add up to "
            "more than the time of the slots"
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
    say(f"Dask's report: {page}" if page.exists() else "no report of Dask: it is of a cluster (--workers)")


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
