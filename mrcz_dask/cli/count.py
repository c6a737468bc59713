"""`mrcz-dask count` counts the electrons of raw frames; `events` makes counted stacks of their lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrcz_dask.cli.console import DONE, FAILED, PARTLY, alert, failed, print_json, results, say, table
from mrcz_dask.cli.options.count import CountedGroup, FindingGroup, FractionGroup, StreamGroup
from mrcz_dask.cli.options.declare import command
from mrcz_dask.cli.options.koma import DryRun
from mrcz_dask.cli.options.running import RunningGroup
from mrcz_dask.cli.options.shared import (
    AsJson,
    Exclude,
    GainGroup,
    InputGroup,
    MessageGroup,
    OutputFolder,
    Overwrite,
)
from mrcz_dask.cli.progress import MessageDisplay, message_display
from mrcz_dask.cli.summary import show_plan
from mrcz_dask.values.errors import MrczDaskError, ParameterError, error_text
from mrcz_dask.values.messages import Noted
from mrcz_dask.values.texts import readable

if TYPE_CHECKING:
    from mrcz_dask.counting import CountOutcome
    from mrcz_dask.counting.tasks import Counted
    from mrcz_dask.engine.clusters import ClientOptions
    from mrcz_dask.live import StreamOptions
    from mrcz_dask.live.counting.stream import CountStream
    from mrcz_dask.live.transport.listen import Listen

_NUMBERS = ("frames", "electrons", "occupancy", "lost", "dose", "corrected", "out")


@command(
    settings=True,
    leave_out=("gain_orient", "gain_gamma", "frame_time", "eer_frames", "eer_upsampling"),
)
def count(
    raw: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Stacks of raw frames of any format, or folders with stacks.", show_default=False
        ),
    ] = None,
    *,
    counted: CountedGroup,
    finding: FindingGroup,
    exclude: Exclude = None,
    gain: GainGroup,
    stream: StreamGroup,
    inputs: InputGroup,
    running: RunningGroup,
    dry_run: DryRun = False,
    messages: MessageGroup,
) -> None:
    """Count the electrons in a linear detector's raw frames; write counted stacks and lists of electrons.

    Dark, noise and the charge of an electron are measured in the frames, unless they are given, and kept in
    calibration.zarr in the output folder. The dark reference may be a stack of dark frames, which gives the
    noise, too. The loss by coincidence is estimated, and recorded with the dose that it corrects.

    Exit code: 0 all done, 3 some stacks could not be counted, 2 wrong usage, 1 anything else.
    """
    from mrcz_dask.counting import count_plan, run_plan

    find, fractions, client_options = finding.params(), counted.params(), running.client_options()
    gain_options = gain.params()
    tell = message_display(messages)
    if stream.listen is not None:
        if raw or gain_options.any_file or dry_run or finding.calibration is None:
            raise ParameterError(
                "--listen counts frames that come: it needs --calibration of an earlier run of this "
                "detector, and takes no RAW, --dark, --gain, --defects and --dry-run"
            )
        done = _listen(stream, _stream_options(counted, finding, stream), client_options, tell)
        print_json([asdict(stack) for stack in done]) if messages.as_json else _show(done)
        raise typer.Exit(DONE)
    if not raw:
        raise ParameterError("nothing to count; give RAW stacks, folders with stacks, or --listen tcp://...")
    plan = count_plan(
        raw,
        counted.output,
        find,
        fractions,
        inputs=inputs.params(),
        exclude=exclude,
        events=counted.events,
        gain=gain_options,
        calibration=finding.calibration,
        detector=finding.detector,
        overwrite=counted.overwrite,
    )
    if dry_run:
        show_plan(plan, client_options, as_json=messages.as_json)
        raise typer.Exit(PARTLY if plan.bad else DONE)
    with tell:
        outcome = run_plan(plan, client_options, tell)
    print_json(outcome.to_dict()) if messages.as_json else _show_outcome(outcome)
    raise typer.Exit(FAILED if not outcome.results else DONE if outcome.complete else PARTLY)


def _stream_options(counted: CountedGroup, finding: FindingGroup, stream: StreamGroup) -> StreamOptions:
    from mrcz_dask.counting.calibration import calibration_path
    from mrcz_dask.live import StreamOptions

    assert finding.calibration is not None
    return StreamOptions(
        counted.output,
        calibration_path(finding.calibration),
        find=finding.params(),
        fractions=counted.params(),
        events=counted.events,
        detector=finding.detector,
        stack_frames=stream.stack_frames,
        backlog=stream.backlog,
        zero_below=stream.zero_below,
        record=stream.record,
    )


def _listen(
    stream: StreamGroup, options: StreamOptions, client_options: ClientOptions, tell: MessageDisplay
) -> list[Counted]:
    """Count frames that are pushed, until Ctrl-C or the last sender closes."""
    from mrcz_dask.cli.interrupts import stopped_by_interrupt
    from mrcz_dask.live import count_stream

    def source(counting: CountStream) -> Listen:
        """Listen from where the counting ends."""
        listener = stream.listener(
            next_number=counting.next_number, safe=counting.safe_number, check=counting.check, listen=tell
        )
        tell(Noted(f"frames are taken at {listener.address}"))
        return listener

    with tell, stopped_by_interrupt() as stop:
        done = count_stream(source, options, client_options, stop, tell)
    say(f"{done.received} frames, {done.missing} missing")
    return done.results


def _show_outcome(outcome: CountOutcome) -> None:
    _show(outcome.results)
    params, unit = outcome.calibration.params, outcome.calibration.detector.unit
    say(
        f"read noise {unit:.4g} ADU, charge {params.charge:.3g} read noises, threshold {params.sigma:g} "
        f"read noises; {int((~outcome.calibration.used).sum())} pixels not used"
    )
    kept = sum(stack.kept for stack in outcome.results)
    before = f" ({kept} kept from before)" if kept else ""
    for stack in outcome.plan.bad:
        say(f"not done: {stack.reason}")
    not_done = len(outcome.failures) + len(outcome.plan.bad)
    say(f"{len(outcome.results)} stacks counted{before}, {not_done} not, in {outcome.plan.folder}")


def _show(counted: Sequence[Counted]) -> None:
    if not counted:
        return
    rows = table("stack", *_NUMBERS, right=_NUMBERS)
    for stack in counted:
        lost, dose = stack.coincidence["loss"], stack.corrected_dose
        rows.add_row(
            stack.name,
            str(stack.frames),
            str(stack.events),
            f"{stack.coincidence['counted']:.4f}",
            "?" if lost is None else f"{lost:.1%}",
            f"{stack.dose:.4g}",
            "?" if dose is None else f"{dose:.4g}",
            readable(stack.bytes_out),
        )
    results().print(rows)
    say("occupancy: counted electrons/pixel/raw frame; dose: electrons/pixel of the stack")


@command()
def to_stack(
    lists: Annotated[
        list[Path],
        typer.Argument(help="Event lists, STEM.events.zarr.", show_default=False, metavar="EVENTS..."),
    ],
    output: OutputFolder,
    *,
    fractions: FractionGroup,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Make counted stacks of event lists: the bytes that `count` writes with the same options."""
    from mrcz_dask.counting import events_to_stack
    from mrcz_dask.counting.rendering import stem_of_events

    params = fractions.params()
    done: list[str] = []
    problems: dict[str, Exception] = {}
    for path in lists:
        try:
            # two lists of one name in different folders: the first is not replaced by the second
            replace = overwrite and str(output / f"{stem_of_events(path)}.mrcz") not in done
            done.append(str(events_to_stack(path, output, params, overwrite=replace)))
        except (MrczDaskError, OSError) as error:
            problems[str(path)] = error
            alert(f"{path}: {error_text(error).removeprefix(f'{path}: ')}")
    if as_json:
        print_json({"done": done, "failed": {path: error_text(error) for path, error in problems.items()}})
    else:
        for output_path in done:
            say(output_path)
    raise typer.Exit(DONE if not problems else PARTLY if done else failed(problems.values()))
