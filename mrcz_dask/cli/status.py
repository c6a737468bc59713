"""`mrcz-dask status` and `report`: print how a session stands, and show the results of a run."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrcz_dask.cli.console import DONE, FAILED, PARTLY, alert, finite, print_json, results, say
from mrcz_dask.cli.options.declare import command, info
from mrcz_dask.cli.options.shared import AsJson, OutputOfKoma, OutputsOfKoma
from mrcz_dask.values.errors import ParameterError, PlaceError
from mrcz_dask.values.stopping import check_stop
from mrcz_dask.values.texts import json_text

if TYPE_CHECKING:
    from mrcz_dask.monitor.snapshot import Snapshot

WATCH_SECONDS = 2.0
SHOWN = 10
CAMERA_PAGE = "camera.html"


@command()
def status(
    output: OutputOfKoma,
    as_json: AsJson = False,
    watch: Annotated[
        bool, info("Look again every two seconds until the run is over; with --json a line each time.")
    ] = False,
) -> None:
    """Print how a session stands: done and not done and why, rates, time left, noise, outliers.

    The command reads OUT/events.jsonl and looks for the outputs, at any time, from any machine that sees the
    folder.

    Exit code: 0 finished and complete, or running; 3 finished, and some stacks could not be done or their
    outputs are gone; 1 stopped, lost (it ended without saying so); 2 no run is known there.
    """
    for state, holder in _states(output):
        values = {**state.to_dict(), "by": holder}
        if as_json and watch:
            sys.stdout.write(json_text(finite(values)) + "\n")
            sys.stdout.flush()
        elif as_json:
            print_json(values)
        else:
            terminal = sys.stdout.isatty()
            if watch and terminal:
                results().clear()
            for line in (*_lines(state, holder), *([""] if watch and not terminal else [])):
                say(line)
        if not watch or state.running not in ("running", "nothing yet"):
            finished = PARTLY if state.not_done else DONE
            codes = {"running": DONE, "finished": finished}
            raise typer.Exit(codes.get(state.running, FAILED))
        time.sleep(WATCH_SECONDS)
        check_stop()


def _states(output: Path) -> Iterator[tuple[Snapshot, str | None]]:
    """Yield how the session stands each time, and who is at work there."""
    from mrcz_dask.formats.source import open_file
    from mrcz_dask.monitor.snapshot import NotDone, snapshot
    from mrcz_dask.monitor.state import SessionState
    from mrcz_dask.session.log import NAME, read_messages
    from mrcz_dask.session.manifest import OutputRecord, lost
    from mrcz_dask.session.output_folder import holder

    log = output / NAME
    while True:
        if log.is_symlink():
            raise PlaceError(f"{log}: a link; expected the log itself, in {output}")
        try:
            os.close(open_file(log))
        except OSError as error:
            raise PlaceError(
                f"{output}: no log can be read ({NAME}: {error.strerror or error}); expected the output "
                "folder of `mrcz-dask koma`, such as SESSION/koma"
            ) from error
        by = holder(output)  # asked first: a run that ends meanwhile has said so by then
        session = SessionState.of(read_messages(output))
        state = snapshot(session, datetime.now(UTC), alive=by is not None)
        known: list[OutputRecord] = [stack.result for stack in session.stacks.values() if stack.result]
        known += session.written.values()
        gone = lost(output, known, read=False)
        missing = (NotDone(None, name, "output", text) for name, text in gone.items())
        yield replace(state, not_done=(*state.not_done, *missing)), by


def _lines(state: Snapshot, holder: str | None) -> Iterator[str]:
    from mrcz_dask.monitor.snapshot import clock, facts, headline

    yield headline(state)
    if state.output:
        yield f"  {'output':<22} {state.output}"
    yield f"  {'begun':<22} {clock(state.began)}" + (f", {holder}" if holder else "")
    for fact in facts(state):
        yield f"  {fact.label:<22} {fact.text}"
    lists = {
        "high contrast, left out of windows": list(state.high_contrast_stacks),
        "left out": [f"{name}: {reason}" for name, reason in state.left_out_files],
        "warnings": [f"{clock(moment)}: {text}" for moment, text in reversed(state.warnings)],
        "not done": [f"{t.name}: {t.phase}: {t.reason}" for t in state.not_done],
    }
    for title, texts in lists.items():
        if texts:
            yield f"{title}:"
        yield from (f"  {text}" for text in texts[:SHOWN])
        if len(texts) > SHOWN:
            yield f"  and {len(texts) - SHOWN} more; --json lists all"


@command()
def report(
    outputs: OutputsOfKoma,
    page: Annotated[
        Path | None, info("The page about several sessions.", "-o", "--output", unset=CAMERA_PAGE)
    ] = None,
    figures: Annotated[
        Path | None, info("Folder for the figures instead: each as PNG and SVG, with its data as CSV.")
    ] = None,
    overwrite: Annotated[bool, info("Replace figures that are there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make OUT/report.html: what a run gained, how run and camera are, and which stacks to leave out.

    The page is one file that needs no network. OUT/leave-out.txt beside it lists the stacks to leave out, as
    --exclude and grep read them. Both are made from the session store, the log and the footers of
    the outputs; the inputs may be gone. `koma` makes it at the end of every run.

    With several folders, make camera.html instead: how the camera changed from session to session, alarms,
    and whether a new gain reference is due. Folders that cannot be read, or of another camera, are named and
    left out.

    Exit code: 0 made, 3 some folders cannot be used, 2 wrong usage, 1 anything else.
    """
    if len(outputs) > 1:
        if figures is not None or overwrite:
            raise ParameterError("--figures and --overwrite go with one folder; give each its own command")
        raise typer.Exit(_report_camera(outputs, page or Path(CAMERA_PAGE), as_json))
    output = outputs[0]
    if page is not None:
        raise ParameterError("-o goes with several folders; the report of one is OUT/report.html")
    if figures is None and overwrite:
        raise ParameterError("--overwrite goes with --figures; the page is always made anew")
    if figures is None and not as_json:
        from mrcz_dask.report.files import write_page

        say(str(write_page(output)))
        return
    from mrcz_dask.report.files import all_data, write_figures
    from mrcz_dask.report.gather import gather

    data = gather(output)
    paths = [] if figures is None else write_figures(data, figures, overwrite=overwrite)
    if as_json:
        print_json(all_data(data))
    else:
        for path in paths:
            say(str(path))


def _report_camera(outputs: list[Path], page: Path, as_json: bool) -> int:
    """Make the page about a camera, or print its data; return the exit code."""
    from mrcz_dask.report.camera import gather_camera
    from mrcz_dask.report.camera_alarms import camera_values, judge

    data = gather_camera(outputs)
    for one in data.left_out:
        alert(f"left out: {one.name}: {one.reason}", "yellow")
    found = judge(data)
    if as_json:
        print_json(camera_values(data, found))
    else:
        from mrcz_dask.report.camera_page import write_camera_page

        write_camera_page(data, found, page)
        say(found.sentence)
        say(str(page))
    return PARTLY if any(one.rejected for one in data.left_out) else DONE
