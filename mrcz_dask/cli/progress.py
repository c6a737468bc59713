"""Progress bars, from the events of a run."""

from __future__ import annotations

from types import TracebackType
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
from mrcz_dask.values import events


class Bars:
    """A listener that draws a bar for each phase on standard error; on a pipe it prints lines instead."""

    def __init__(self) -> None:
        console = errors()
        self._live = console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description:<16}"),
            BarColumn(),
            TextColumn("{task.fields[stacks]}/{task.fields[of]} stacks"),
            DownloadColumn(),
            TransferSpeedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not self._live,
        )
        self._task: TaskID | None = None
        self._done = 0

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
            case events.ClusterReady():
                self._say(
                    f"{event.workers} workers x {event.threads} threads at {event.scheduler}"
                    + (f", dashboard {event.dashboard}" if event.dashboard else "")
                )
            case events.PhaseStarted():
                self._start(event)
            case events.StackDone():
                self._advance(event.bytes)
            case events.StackFailed():
                self._say(f"{event.name}: {event.reason}", "red")
                self._advance(event.bytes)
            case events.Warned():
                self._say(f"warning: {event.message}", "yellow")
            case _:
                pass

    def _start(self, event: events.PhaseStarted) -> None:
        self._done = 0
        if not self._live:
            self._say(f"{event.phase}: {event.stacks} stacks")
        self._task = self._progress.add_task(event.phase, total=event.bytes, stacks=0, of=event.stacks)

    def _advance(self, size: int) -> None:
        self._done += 1
        if self._task is not None:
            self._progress.update(self._task, advance=size, stacks=self._done)

    def _say(self, text: str, style: str = "") -> None:
        self._progress.console.print(text, style=style, markup=False, highlight=False)
