"""Shows the progress of a run on the terminal: as bars, as lines, or as JSON for other programs."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from time import monotonic
from typing import Self

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
from mrcz_dask.cli.options.shared import MessageGroup
from mrcz_dask.values import messages
from mrcz_dask.values.records import StackResult

FIRST = "no output yet"


class Lines(AbstractContextManager["Lines"]):
    """A listener that prints every message as a line of JSON on standard error."""

    def __exit__(self, *error: object) -> None:
        """End; every line is printed already."""

    def __call__(self, message: messages.Message) -> None:
        """Print one message."""
        from mrcz_dask.session.log import to_line

        sys.stderr.write(to_line(message, datetime.now(UTC)) + "\n")
        sys.stderr.flush()


class Bars:
    """A listener that draws a bar for each phase on standard error; on a pipe it prints lines instead.

    Parameters
    ----------
    verbose
        Print a line for every stack, too.
    quiet
        Print only warnings and failures.
    following
        More stacks may come: show no time left.
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
        self._found: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def __call__(self, message: messages.Message) -> None:
        """Print one message."""
        match message:
            case messages.StackFound():
                self._found[message.name] = monotonic()
                if self._verbose:
                    self._say(f"{message.name}: of {message.acquired} ({message.acquired_from})")
            case messages.StackDone():
                self._done(message)
            case messages.StackFailed():
                self._say(f"{message.name}: {message.reason}", "red")
                self._advance(message.phase, message.bytes)
                if message.phase != messages.CORRECTION:
                    self._grow(messages.CORRECTION, -1, -message.bytes)  # it will not be corrected
            case messages.Warned():
                self._say(f"warning: {message.message}", "yellow")
            case messages.ProcessorRestarted():
                self._say(f"{message.name}: gets another worker{_on_frame(message.frame)}", "yellow")
            case messages.ProcessorFailed():  # the page has the traceback
                reason = message.trace.rstrip().splitlines()[-1]
                self._say(f"{message.name}: failed{_on_frame(message.frame)}: {reason}", "red")
            case messages.FramesMissing():
                missing = f"{message.count} frames before frame {message.frame} never came"
                self._say(f"warning: {missing}", "yellow")
            case _ if not self._quiet:
                self._chat(message)

    def _chat(self, message: messages.Message) -> None:
        match message:
            case messages.ClusterReady():
                dashboard = f", dashboard {message.dashboard}" if message.dashboard else ""
                workers = f"{message.workers} workers x {message.threads} threads at {message.scheduler}"
                self._say(workers + dashboard)
            case messages.Noted():
                self._say(message.message)
            case messages.Waiting():
                self._say(str(message))
            case messages.PageReady():
                self._say(f"the session's page: {message.address}")
            case messages.PhaseStarted():
                if not self._live:
                    self._say(f"{message.phase}: {message.stacks} stacks")
                if message.phase not in self._tasks:
                    task = self._progress.add_task(message.phase, total=0, stacks=0, of=0)
                    self._tasks[message.phase] = task
                self._grow(message.phase, message.stacks, message.bytes)
            case messages.LiveStarted():
                self._say(f"{', '.join(message.processors) or 'no processor'} on {message.source}")
            case messages.ProcessorLoaded() if message.version > 1 or self._verbose:
                self._say(f"{message.name}: {message.file} was loaded, version {message.version}")
            case messages.StackDue() if message.reason != FIRST:
                self._say(f"{message.name}: once more: {message.reason}")
            case messages.StackLeftOut() if self._verbose:
                verdict = "rejected" if message.rejected else "skipped"
                self._say(f"{message.name}: {verdict}: {message.reason}")

    def _done(self, message: messages.StackDone) -> None:
        kept = message.found is not None and message.found.kept
        if self._verbose:
            result = "kept" if kept else "done"
            begin = self._found.get(message.name)
            if not kept and begin is not None and message.phase == messages.CORRECTION:
                result += f", {monotonic() - begin:.1f} s after it was taken in"
            self._say(f"{message.name}: {message.phase}: {result}")
        if kept:
            self._grow(message.phase, -1, -message.bytes)
        else:
            self._advance(message.phase, message.bytes)
        if isinstance(message.found, StackResult) and message.found.provisional:
            self._grow(message.phase, 1, message.bytes)  # it will be corrected once more

    def _grow(self, phase: str, stacks: int, size: int) -> None:
        """Make a bar longer, or shorter; its end is where all is done that is to be done."""
        if phase in self._tasks:
            task = self._progress.tasks[self._tasks[phase]]
            self._progress.update(task.id, total=(task.total or 0) + size, of=task.fields["of"] + stacks)

    def _advance(self, phase: str, size: int) -> None:
        if phase in self._tasks:
            task = self._progress.tasks[self._tasks[phase]]
            self._progress.update(task.id, advance=size, stacks=task.fields["stacks"] + 1)

    def _say(self, text: str, style: str = "") -> None:
        self._progress.console.print(text, style=style, markup=False, highlight=False)


MessageDisplay = Lines | Bars


def message_display(options: MessageGroup, *, following: bool = False) -> MessageDisplay:
    """Return the listener that prints a run's messages: `Bars`, or `Lines` with --log-json."""
    if options.log_json:
        return Lines()
    return Bars(verbose=options.verbose, quiet=options.quiet, following=following)


def _on_frame(frame: int) -> str:
    return "" if frame < 0 else f" on frame {frame}"
