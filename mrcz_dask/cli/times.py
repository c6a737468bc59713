"""The table of `koma --profile`: where the time went."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mrcz_dask.cli.console import results, say, table
from mrcz_dask.correction.timing_report import PROFILE, REPORT

if TYPE_CHECKING:
    from mrcz_dask.correction.timing_report import Pass, TimingReport, Total

CAPTION = (
    "seconds of all threads; sum: with statistics and digests; fit: with masks; disk: with the store; "
    "waiting: slots without a task"
)


def show_profile(profile: TimingReport) -> None:
    """Print where the time of a run went, and how far it is from what codec and disk need."""
    say("")
    results().print(_phases(profile))
    for text in _remarks(profile):
        say(text)


def _phases(profile: TimingReport) -> object:
    numbers = (*(one.name for one in profile.passes), "both", "share", "processor", "GB", "GB/s")
    made = table("phase", *numbers, right=numbers)
    made.caption, made.caption_justify = CAPTION, "left"
    everything = _busy(profile) + profile.waiting
    for name, total in profile.totals.items():
        each = [_seconds(one.totals.get(name)) for one in profile.passes]
        share = _share(total.seconds, everything)
        made.add_row(name, *each, _seconds(total), share, f"{total.processor:.2f}", *_moved(total))
    blank, waiting = [""] * len(profile.passes), f"{profile.waiting:.2f}"
    made.add_row("waiting", *blank, waiting, _share(profile.waiting, everything))
    processor = sum(total.processor for total in profile.totals.values())
    each = [f"{_busy(one):.2f}" for one in profile.passes]
    made.add_row("all", *each, f"{everything:.2f}", "", f"{processor:.2f}")
    return made


def _busy(of: Pass | TimingReport) -> float:
    return sum(one.seconds for one in of.totals.values())


def _share(seconds: float, everything: float) -> str:
    return f"{seconds / everything:.1%}" if everything else ""


def _seconds(total: Total | None) -> str:
    return "" if total is None else f"{total.seconds:.2f}"


def _moved(total: Total) -> tuple[str, str]:
    return ("", "") if total.rate is None else (f"{total.bytes / 1e9:.3g}", f"{total.rate:.3g}")


def _remarks(profile: TimingReport) -> Iterator[str]:
    helpers = sum(one.helpers for one in profile.totals.values())
    if helpers:
        yield (
            f"{helpers:.2f} s of it are of threads that helped a task beside its own: the phases add up to "
            "more than the time of the slots"
        )
    if profile.ratio is None:
        yield "no stack was read: there is no codec floor to compare with"
    else:
        yield (
            f"codec floor (decode, decode, encode, disk): {profile.floor:.2f} s; all slots together: "
            f"{profile.slot_seconds:.2f} s, {profile.ratio:.2f} times the floor "
            f"({profile.busy / profile.floor:.2f} times without waiting)"
        )
    slots = f"{profile.slots} slot" + "s" * (profile.slots != 1)
    yield f"{profile.wall:.2f} s from beginning to end on {slots}; all figures: {profile.folder / PROFILE}"
    yield _report(profile)


def _report(profile: TimingReport) -> str:
    path = profile.folder / REPORT
    return f"Dask's report: {path}" if path.exists() else "no report of Dask: it is of a cluster (--workers)"
