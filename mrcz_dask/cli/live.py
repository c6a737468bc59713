"""`mrcz-dask live`: runs a user's own Python on every frame as it is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrcz_dask.cli.console import DONE, PARTLY, results, say, table, warn
from mrcz_dask.cli.options.declare import command
from mrcz_dask.cli.options.koma import SettleGroup
from mrcz_dask.cli.options.live import (
    CorrectionGroup,
    KeptGroup,
    PageGroup,
    ProcessorGroup,
    SourceGroup,
)
from mrcz_dask.cli.options.running import SchedulerGroup
from mrcz_dask.cli.options.shared import GainGroup, InputGroup, MessageGroup
from mrcz_dask.cli.progress import message_display
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.params import InputParams

if TYPE_CHECKING:
    from mrcz_dask.live.launch import LiveSource
    from mrcz_dask.live.session import LiveSession
    from mrcz_dask.values.messages import Listener

SETTLE = SettleGroup(settle="5s")
_COLUMNS = ("processor", "done", "skipped", "failed", "restarts", "lag, s")


@command(settings=True, leave_out=("gain_orient", "gain_force"))
def live(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="[SOURCE]",
            help="Folder that is followed: stacks as they settle, a growing MRC frame by frame; with "
            "--catch-up the folder of a recording.",
            show_default=False,
        ),
    ] = None,
    *,
    processors: ProcessorGroup,
    frames: SourceGroup,
    settle: SettleGroup = SETTLE,
    kept: KeptGroup,
    page: PageGroup,
    correction: CorrectionGroup,
    gain: GainGroup,
    inputs: InputGroup,
    scheduler: SchedulerGroup,
    messages: MessageGroup,
) -> None:
    """Run your own Python on every frame as it is recorded, and look at its results.

    A processor is a function of a frame under @processor(...) that returns a number, a line or an image.
    Some to copy are in workflows/live of the source; an installed package has none. A processor that takes
    long, raises, hangs, exits or eats memory disturbs neither the others nor the recording. A slow one takes
    the newest frame each time; --catch-up does the others. Ctrl-C ends in order.

    Exit code: 0 all done, 3 the source failed or a processor did on some frames, 2 wrong usage, 1 anything
    else.
    """
    from mrcz_dask.cli.interrupts import stopped_by_interrupt
    from mrcz_dask.live.launch import start
    from mrcz_dask.pages.address import PageAddress

    sources = {"SOURCE": source, "--replay": frames.replay, "--listen": frames.listen}
    names = [name for name, value in sources.items() if value]
    if len(names) > 1:
        raise ParameterError(f"{' and '.join(names)} each name a source; give one of them")
    tell = message_display(messages)
    with (
        tell,
        stopped_by_interrupt() as stop,
        start(
            _source(source, frames, settle, kept, inputs.params(), tell),
            processors.processor or [],
            keep=kept.keep(resume=frames.listen is not None),
            params=processors.params(every=frames.catch_up),
            values=processors.first_values(),
            correct=correction.options(gain.params(), wait=kept.store is not None),
            where=scheduler.client_options(),
            page=None if frames.catch_up else PageAddress.parse(page.page),
            listen=tell,
        ) as session,
    ):
        session.wait(stop)
        if page.stay and not stop.is_set():
            stop.wait()
    _show(session)
    failed = session.source().error or any(
        panel.failed or panel.trace or panel.load_error for panel in session.panels()
    )
    raise typer.Exit(PARTLY if failed else DONE)


def _source(
    folder: Path | None,
    frames: SourceGroup,
    settle: SettleGroup,
    kept: KeptGroup,
    inputs: InputParams,
    listen: Listener,
) -> LiveSource:
    """Choose the source of frames: a recording, a replay, a sender or a folder."""
    from mrcz_dask.live.transport.replay import Folder, Recorded, Replay

    if frames.catch_up:
        if folder is None or kept.store is None or kept.record is not None or frames.replay or frames.listen:
            raise ParameterError(
                "--catch-up takes the folder of a recording as SOURCE and the --store of its results, and "
                "none of --record, --replay and --listen"
            )
        return Recorded(folder)
    if frames.replay:
        return Replay(*frames.replay, fps=frames.fps, loop=frames.loop, inputs=inputs)
    if frames.listen is not None:
        return lambda recorder: frames.listener(
            next_number=None if recorder is None else recorder.next_number, listen=listen
        )
    if folder is None:
        raise ParameterError(
            "no source; give a folder that is followed, --replay STACK or --listen tcp://..."
        )
    seconds, idle = settle.seconds()
    return Folder(folder, listen, settle=seconds, idle=idle, new=frames.new, inputs=inputs)


def _show(session: LiveSession) -> None:
    source = session.source()
    panels = table(*_COLUMNS, right=_COLUMNS[1:])
    for panel in session.panels():
        numbers = (panel.processed, panel.skipped, panel.failed, panel.restarts)
        panels.add_row(panel.name, *map(str, numbers), f"{panel.lag:.3f}")
    if session.panels():
        results().print(panels)
    recorded = "" if source.recorded is None else f", {source.recorded} recorded"
    say(f"{source.received} frames{recorded}, {source.missing} missing, from {source.name}")
    if source.error:
        warn(f"the source ended: {source.error}")
