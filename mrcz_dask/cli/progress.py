"""What a person sees while a run goes on: bars, lines, or JSON for a machine."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from time import monotonic
from types import TracebackType
from typing import Protocol, Self

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from mrcz_dask.cli.console import errors
from mrcz_dask.values import events, live_events
from mrcz_dask.values.records import StackResult

FIRST = "no output yet"


class Teller(Protocol):
    """A listener with a beginning and an end."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __call__(self, event: events.Event) -> None:
        """Take in one event."""
        ...


def teller(
    *, log_json: bool = False, verbose: bool = False, quiet: bool = False, following: bool = False
) -> Teller:
    """Return what tells a person, or a machine, of a run."""
    return Lines() if log_json else Bars(verbose=verbose, quiet=quiet, following=following)


class Lines:
    """A listener that prints every event as a line of JSON on standard error."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def __call__(self, event: events.Event) -> None:
        """Print one event."""
        from mrcz_dask.session.logbook import to_line

        sys.stderr.write(to_line(event, datetime.now(UTC)) + "\n")
        sys.stderr.flush()


class Bars:
    """A listener that draws a bar for each pass on standard error; on a pipe it prints lines instead.

    Parameters
    ----------
    verbose
        A line for every stack, too.
    quiet
        Nothing but warnings and failures.
    following
        More stacks may come, so that no time is left that could be told.
    """

    def __init__(self, *, verbose: bool = False, quiet: bool = False, following: bool = False) -> None:
        console = errors()
        self._verbose, self._quiet = verbose, quiet
        self._live = console.is_terminal and not quiet
        self._progress = Progress(
            TextColumn("{task.description:<16}"),
            BarColumn(),
            TextColumn("{task.fields[stacks]}/{task.fields[of]} stacks"),
            DownloadColumn(),
            TransferSpeedColumn(),
            *(() if following else (TextColumn("left"), TimeRemainingColumn())),
            console=console,
            disable=not self._live,
        )
        self._tasks: dict[str, TaskID] = {}
        self._stacks: dict[str, tuple[int, int]] = {}
        self._seen: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, event: events.Event) -> None:
        """Take in one event."""
        match event:
            case events.StackFound():
                self._seen[event.name] = monotonic()
                if self._verbose:
                    self._say(f"{event.name}: of {event.acquired} ({event.acquired_from})")
            case events.StackDone():
                self._done(event)
            case events.StackFailed():
                self._say(f"{event.name}: {event.reason}", "red")
                self._advance(event.phase, event.bytes)
                if event.phase != events.CORRECTION and events.CORRECTION in self._tasks:
                    self._grow(events.CORRECTION, -1, -event.bytes)  # it will not be corrected
            case events.Warned():
                self._say(f"warning: {event.message}", "yellow")
            case live_events.ProcessorFailed() | live_events.ProcessorRestarted():
                self._say(*failure(event))
            case live_events.FramesMissing():
                self._say(f"warning: {event.count} frames before frame {event.frame} never came", "yellow")
            case _ if not self._quiet:
                self._chat(event)
            case _:
                pass

    def _chat(self, event: events.Event) -> None:
        match event:
            case events.ClusterReady():
                self._say(
                    f"{event.workers} workers x {event.threads} threads at {event.scheduler}"
                    + (f", dashboard {event.dashboard}" if event.dashboard else "")
                )
            case events.Noted():
                self._say(event.message)
            case events.Waiting():
                self._say(str(event))
            case events.PageReady():
                self._say(f"the session's page: {event.address}")
            case events.PhaseStarted():
                self._start(event)
            case live_events.LiveStarted():
                self._say(f"{', '.join(event.processors) or 'no processor'} on {event.source}")
            case live_events.ProcessorLoaded() if event.version > 1 or self._verbose:
                self._say(f"{event.name}: {event.file} was loaded, version {event.version}")
            case events.StackDue() if event.reason != FIRST:
                self._say(f"{event.name}: once more: {event.reason}")
            case events.StackLeftOut() if self._verbose:
                self._say(f"{event.name}: {'rejected' if event.rejected else 'skipped'}: {event.reason}")
            case _:
                pass

    def _start(self, event: events.PhaseStarted) -> None:
        """Begin a bar, or go on with one that is there already."""
        if not self._live:
            self._say(f"{event.phase}: {event.stacks} stacks")
        if event.phase not in self._tasks:
            self._tasks[event.phase] = self._progress.add_task(event.phase, total=0, stacks=0, of=0)
        self._grow(event.phase, event.stacks, event.bytes)

    def _grow(self, phase: str, stacks: int, size: int) -> None:
        """Make a bar longer, or shorter; its end is where all is done that is to be done."""
        done, of = self._stacks.get(phase, (0, 0))
        self._stacks[phase] = done, of + stacks
        task = self._tasks[phase]
        total = (self._progress.tasks[task].total or 0) + size
        self._progress.update(task, total=total, of=of + stacks)

    def _done(self, event: events.StackDone) -> None:
        kept = event.found is not None and event.found.kept
        if self._verbose:
            self._say(f"{event.name}: {event.phase}: {'kept' if kept else 'done' + self._since(event)}")
        if not kept:
            self._advance(event.phase, event.bytes)
        elif event.phase in self._tasks:
            self._grow(event.phase, -1, -event.bytes)
        if isinstance(event.found, StackResult) and event.found.provisional:
            self._grow(event.phase, 1, event.bytes)  # it will be corrected once more

    def _since(self, event: events.StackDone) -> str:
        """Return how long a stack took from being taken in to its output."""
        seen = self._seen.get(event.name)
        if seen is None or event.phase != events.CORRECTION:
            return ""
        return f", {monotonic() - seen:.1f} s after it was taken in"

    def _advance(self, phase: str, size: int) -> None:
        done, of = self._stacks.get(phase, (0, 0))
        self._stacks[phase] = done + 1, of
        if phase in self._tasks:
            self._progress.update(self._tasks[phase], advance=size, stacks=done + 1)

    def _say(self, text: str, style: str = "") -> None:
        self._progress.console.print(text, style=style, markup=False, highlight=False)


def failure(event: live_events.ProcessorFailed | live_events.ProcessorRestarted) -> tuple[str, str]:
    """Return what is said of a processor that failed, and how: its last line; the page has the traceback."""
    where = "" if event.frame < 0 else f" on frame {event.frame}"
    if isinstance(event, live_events.ProcessorRestarted):
        return f"{event.name}: gets another worker{where}", "yellow"
    return f"{event.name}: failed{where}: {event.trace.rstrip().splitlines()[-1]}", "red"
