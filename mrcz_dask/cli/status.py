"""`mrcz-dask status`: how a session stands, from its log."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrcz_dask.cli.console import finite, print_json, results, say
from mrcz_dask.cli.exits import DONE, FAILED, PARTLY
from mrcz_dask.cli.options.shared import AsJson
from mrcz_dask.values.stopping import check_stop

if TYPE_CHECKING:
    from mrcz_dask.monitor.snapshot import Snapshot

WATCH_SECONDS = 2.0
SHOWN = 10


def status(
    output: Annotated[
        Path,
        typer.Argument(help="Output folder of `mrcz-dask koma`, such as SESSION/koma.", show_default=False),
    ],
    as_json: AsJson = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Look again every two seconds until the run is over; with --json a line each time.",
        ),
    ] = False,
) -> None:
    """Print how a session stands: what is done, what is not and why, rates, time left, noise, outliers.

    It reads OUT/events.jsonl and looks whether the outputs are there, at any time, from any machine that sees
    the folder.

    Exit code: 0 finished and complete, or running; 3 finished, and some stacks could not be done or their
    outputs are gone; 1 stopped, lost (it ended without saying so); 2 no run is known there.
    """
    if watch:
        raise typer.Exit(_watch(output, as_json=as_json))
    found, by = next(_looks(output))
    if as_json:
        print_json(_values(found, by))
    else:
        for line in _lines(found, by):
            say(line)
    raise typer.Exit(_exit_code(found))


def _looks(output: Path) -> Iterator[tuple[Snapshot, str | None]]:
    """Yield what the log says each time, and who is at work there."""
    from mrcz_dask.monitor.log_tail import LogTail
    from mrcz_dask.monitor.snapshot import NotDone, snapshot
    from mrcz_dask.monitor.state import SessionState
    from mrcz_dask.session.manifest import Output, lost
    from mrcz_dask.session.output_folder import holder

    tail, state = LogTail(output), SessionState()
    while True:
        by = holder(output)  # asked first: a run that ends meanwhile has said so by then
        for moment, event in tail.new():
            state.take(event, moment)
        found = snapshot(state, datetime.now(UTC), alive=by is not None)
        known: list[Output] = [one.result for one in state.stacks.values() if one.result]
        known += state.written.values()
        gone = lost(output, known, read=False)
        missing = (NotDone(None, name, "output", text) for name, text in gone.items())
        yield replace(found, not_done=(*found.not_done, *missing)), by


def _watch(output: Path, *, as_json: bool) -> int:
    looks = _looks(output)
    for found, by in looks:
        if as_json:
            sys.stdout.write(json.dumps(finite(_values(found, by)), ensure_ascii=False) + "\n")
            sys.stdout.flush()
        else:
            _redraw(list(_lines(found, by)))
        if found.running not in ("running", "nothing yet"):
            return _exit_code(found)
        time.sleep(WATCH_SECONDS)
        check_stop()
    return FAILED


def _redraw(lines: list[str]) -> None:
    """Print in place of what is on the terminal; on a pipe below it, after an empty line."""
    if sys.stdout.isatty():
        results().clear()
    for line in lines if sys.stdout.isatty() else [*lines, ""]:
        say(line)


def _values(found: Snapshot, by: str | None) -> dict[str, object]:
    return {**found.to_dict(), "by": by}


def _lines(found: Snapshot, by: str | None) -> Iterator[str]:
    from mrcz_dask.monitor.words import clock, facts, headline

    yield headline(found)
    if found.output:
        yield f"  {'output':<22} {found.output}"
    yield f"  {'begun':<22} {clock(found.began)}" + (f", {by}" if by else "")
    for fact in facts(found):
        yield f"  {fact.label:<22} {fact.text}"
    yield from _listed("high contrast, left out of windows", list(found.high_contrast_stacks))
    yield from _listed("left out", [f"{name}: {reason}" for name, reason in found.left_out_files])
    yield from _listed("warnings", [f"{clock(moment)}: {text}" for moment, text in found.warnings][::-1])
    yield from _listed("not done", [f"{t.name}: {t.phase}: {t.reason}" for t in found.not_done])


def _listed(title: str, texts: list[str]) -> Iterator[str]:
    if texts:
        yield f"{title}:"
    yield from (f"  {text}" for text in texts[:SHOWN])
    if len(texts) > SHOWN:
        yield f"  and {len(texts) - SHOWN} more; --json lists all"


def _exit_code(found: Snapshot) -> int:
    match found.running:
        case "running":
            return DONE
        case "finished":
            return PARTLY if found.not_done else DONE
        case _:
            return FAILED
