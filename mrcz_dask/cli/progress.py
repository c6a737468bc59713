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
from mrcz_dask.cli.options.shared import MessageGroup
from mrcz_dask.values import messages
from mrcz_dask.values.records import StackResult

FIRST = "no output yet"


class Teller(Protocol):
    """A listener with a beginning and an end."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __call__(self, message: messages.Message) -> None:
        """Take in one message."""
        ...


def teller(options: MessageGroup, *, following: bool = False) -> Teller:
    """Return the listener that prints the messages of a run for a person, or as JSON for a machine."""
    if options.log_json:
        return Lines()
    return Bars(verbose=options.verbose, quiet=options.quiet, following=following)


class Lines:
    """A listener that prints every message as a line of JSON on standard error."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def __call__(self, message: messages.Message) -> None:
        """Print one message."""
        from mrcz_dask.session.log import to_line

        sys.stderr.write(to_line(message, datetime.now(UTC)) + "\n")
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

    def __call__(self, message: messages.Message) -> None:
        """Take in one message."""
        match message:
            case messages.StackFound():
                self._seen[message.name] = monotonic()
                if self._verbose:
                    self._say(f"{message.name}: of {message.acquired} ({message.acquired_from})")
            case messages.StackDone():
                self._done(message)
            case messages.StackFailed():
                self._say(f"{message.name}: {message.reason}", "red")
                self._advance(message.phase, message.bytes)
                if message.phase != messages.CORRECTION and messages.CORRECTION in self._tasks:
                    self._grow(messages.CORRECTION, -1, -message.bytes)  # it will not be corrected
            case messages.Warned():
                self._say(f"warning: {message.message}", "yellow")
            case messages.ProcessorFailed() | messages.ProcessorRestarted():
                self._say(*failure(message))
            case messages.FramesMissing():
                self._say(
                    f"warning: {message.count} frames before frame {message.frame} never came", "yellow"
                )
            case _ if not self._quiet:
                self._chat(message)
            case _:
                pass

    def _chat(self, message: messages.Message) -> None:
        match message:
            case messages.ClusterReady():
                self._say(
                    f"{message.workers} workers x {message.threads} threads at {message.scheduler}"
                    + (f", dashboard {message.dashboard}" if message.dashboard else "")
                )
            case messages.Noted():
                self._say(message.message)
            case messages.Waiting():
                self._say(str(message))
            case messages.PageReady():
                self._say(f"the session's page: {message.address}")
            case messages.PhaseStarted():
                self._start(message)
            case messages.LiveStarted():
                self._say(f"{', '.join(message.processors) or 'no processor'} on {message.source}")
            case messages.ProcessorLoaded() if message.version > 1 or self._verbose:
                self._say(f"{message.name}: {message.file} was loaded, version {message.version}")
            case messages.StackDue() if message.reason != FIRST:
                self._say(f"{message.name}: once more: {message.reason}")
            case messages.StackLeftOut() if self._verbose:
                self._say(
                    f"{message.name}: {'rejected' if message.rejected else 'skipped'}: {message.reason}"
                )
            case _:
                pass

    def _start(self, message: messages.PhaseStarted) -> None:
        """Begin a bar, or go on with one that is there already."""
        if not self._live:
            self._say(f"{message.phase}: {message.stacks} stacks")
        if message.phase not in self._tasks:
            self._tasks[message.phase] = self._progress.add_task(message.phase, total=0, stacks=0, of=0)
        self._grow(message.phase, message.stacks, message.bytes)

    def _grow(self, phase: str, stacks: int, size: int) -> None:
        """Make a bar longer, or shorter; its end is where all is done that is to be done."""
        done, of = self._stacks.get(phase, (0, 0))
        self._stacks[phase] = done, of + stacks
        task = self._tasks[phase]
        total = (self._progress.tasks[task].total or 0) + size
        self._progress.update(task, total=total, of=of + stacks)

    def _done(self, message: messages.StackDone) -> None:
        kept = message.found is not None and message.found.kept
        if self._verbose:
            self._say(f"{message.name}: {message.phase}: {'kept' if kept else 'done' + self._since(message)}")
        if not kept:
            self._advance(message.phase, message.bytes)
        elif message.phase in self._tasks:
            self._grow(message.phase, -1, -message.bytes)
        if isinstance(message.found, StackResult) and message.found.provisional:
            self._grow(message.phase, 1, message.bytes)  # it will be corrected once more

    def _since(self, message: messages.StackDone) -> str:
        """Return how long a stack took from being taken in to its output."""
        seen = self._seen.get(message.name)
        if seen is None or message.phase != messages.CORRECTION:
            return ""
        return f", {monotonic() - seen:.1f} s after it was taken in"

    def _advance(self, phase: str, size: int) -> None:
        done, of = self._stacks.get(phase, (0, 0))
        self._stacks[phase] = done + 1, of
        if phase in self._tasks:
            self._progress.update(self._tasks[phase], advance=size, stacks=done + 1)

    def _say(self, text: str, style: str = "") -> None:
        self._progress.console.print(text, style=style, markup=False, highlight=False)


def failure(message: messages.ProcessorFailed | messages.ProcessorRestarted) -> tuple[str, str]:
    """Return what is said of a processor that failed, and how: its last line; the page has the traceback."""
    where = "" if message.frame < 0 else f" on frame {message.frame}"
    if isinstance(message, messages.ProcessorRestarted):
        return f"{message.name}: gets another worker{where}", "yellow"
    return f"{message.name}: failed{where}: {message.trace.rstrip().splitlines()[-1]}", "red"
