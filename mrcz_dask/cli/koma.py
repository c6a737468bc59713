"""`mrcz-dask koma`: fills outliers and subtracts the pattern in all stacks of a session, the main job."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mrcz_dask.cli.console import DONE, FAILED, PARTLY, print_json, stopping, warn
from mrcz_dask.cli.options.declare import command
from mrcz_dask.cli.options.koma import AUTO, FollowGroup, MethodGroup, OutputGroup, RunGroup
from mrcz_dask.cli.options.running import RunningGroup
from mrcz_dask.cli.options.shared import GainGroup, InputGroup, MessageGroup, SelectionGroup, SessionFolder
from mrcz_dask.cli.progress import Bars, MessageDisplay, message_display
from mrcz_dask.cli.summary import show_outcome, show_plan, show_times
from mrcz_dask.values.errors import MrczDaskError, ParameterError, error_text
from mrcz_dask.values.messages import Noted
from mrcz_dask.values.params import Settings
from mrcz_dask.values.records import only_copies
from mrcz_dask.values.texts import readable

if TYPE_CHECKING:
    from mrcz_dask.correction.follow import FollowParams
    from mrcz_dask.correction.plan import Plan
    from mrcz_dask.correction.run import Outcome
    from mrcz_dask.correction.timing_report import TimingReport
    from mrcz_dask.engine.client import Client
    from mrcz_dask.engine.clusters import ClientOptions
    from mrcz_dask.session.watching import Watcher
    from mrcz_dask.values.messages import Listener

FEW_FRAMES = 20  # of one stack tell the kind of its values


@command(settings=True)
def koma(
    session: SessionFolder = Path(),
    *,
    method: MethodGroup,
    output: OutputGroup,
    selection: SelectionGroup,
    inputs: InputGroup,
    gain: GainGroup,
    follow: FollowGroup,
    running: RunningGroup,
    run: RunGroup,
    messages: MessageGroup,
) -> None:
    """Fill outliers and subtract the detector's fixed pattern in every stack of a session.

    The stacks recorded before and after a stack show the pattern (knock-out moving average). The footer of
    every output records what was done. After a stop, the same command does the rest and says why.

    Exit code: 0 all done, 3 some stacks could not be, 2 wrong usage, 1 failure, 130 Ctrl-C.
    """
    settings = Settings(
        outliers=method.outliers(), koma=method.params(), write=output.params(), input=inputs.params()
    )
    tell = message_display(messages, following=follow.follow)
    if not run.dry_run:  # before what takes seconds to load
        _note(tell, f"looking for stacks in {session.absolute()}")
    from mrcz_dask.correction.outputs import check_codec
    from mrcz_dask.correction.plan import make_plan, output_folder
    from mrcz_dask.monitor.serving import PageParams
    from mrcz_dask.session.watching import Watcher

    check_codec(output.codec, output.format, may_keep=output.write == "recompressed")
    options, following = running.client_options(), follow.params()
    pages: dict[str, Any] = {"pages": PageParams.of(run.page), "report": run.report}
    if follow.follow:
        _check_follow(run, method)
    out = output_folder(session, output.output)
    is_auto = method.radius == AUTO or (method.radius is None and not follow.follow)
    changes: dict[str, Any] = {"overwrite": output.overwrite, "gain": gain.params()}
    make = partial(make_plan, session, output.output, settings, **vars(selection), **changes, mixing=is_auto)
    if run.dry_run:
        with Bars() as bars:
            plan = make(listen=bars)
        _note(tell, _values(plan))
        if is_auto:
            _note(tell, f"the run finds the radius first; shown is {plan.settings.koma.radius}")
        show_plan(plan, options, as_json=messages.as_json)
        raise typer.Exit(PARTLY if plan.discovery.rejected else DONE)
    if output.dtype == "float16":
        warn("float16 is MRC mode 12: python-mrcz, RELION 3 and many other programs cannot read it")
    if output.dtype == "int16" and output.format not in ("mrcz", "zarr"):
        warn("int16 has a scale that other programs do not know: they take steps for counts")
    times = None
    with stopping(partial(_kept, out)):
        if follow.follow:
            watcher = Watcher(session, out, following.settle, **vars(selection), inputs=settings.input)
            outcome = _follow(watcher, settings, options, following, tell, changes, **pages)
        else:
            outcome, times = _once(make, options, tell, **pages, find_radius=is_auto, profile=run.profile)
    if messages.as_json:
        print_json(outcome.to_dict())
    else:
        report = outcome.plan.folder / "report.html"
        show_outcome(outcome, report if run.report and report.exists() else None)
        if times is not None:
            show_times(times)
    if not outcome.results and not only_copies(outcome.failures):
        raise typer.Exit(FAILED)
    raise typer.Exit(DONE if outcome.complete else PARTLY)


def _values(plan: Plan) -> str:
    """Return a sentence on the kind of values in some frames from the middle of the session."""
    from mrcz_dask.formats.sources import open_source
    from mrcz_dask.numerics.outliers.mask import outlier_mask
    from mrcz_dask.numerics.sums import sum_stack

    entry = plan.stacks[len(plan.stacks) // 2]
    try:
        with open_source(entry.path, plan.settings.input) as reader:
            few = min(len(reader), FEW_FRAMES)
            total = sum_stack([reader.physical(k) for k in range(few)])
        kind = outlier_mask(total, plan.settings.outliers).kind
    except (MrczDaskError, OSError) as error:
        return f"kind of values: not known: {error_text(error)}"
    return f"kind of values, in {few} frames of {entry.name}: {kind}"


def _check_follow(run: RunGroup, method: MethodGroup) -> None:
    """Refuse options that need the whole session."""
    if run.profile:
        raise ParameterError("--profile takes the times of one run; it does not go with --follow")
    if method.radius == AUTO:
        raise ParameterError(
            "--radius auto needs the session; with --follow give a number, such as one that `mrcz-dask "
            "assess` found on an earlier session of this detector"
        )


def _kept(out: Path) -> str:
    """Return a text that says how many outputs a stopped run has finished, and how to go on."""
    from mrcz_dask.session.log import last_results, read_messages
    from mrcz_dask.values.records import StackResult

    done = sum((out / name).exists() for name in last_results(read_messages(out), StackResult))
    outputs = f"{done} outputs are done and kept in {out}" if done else f"no output is in {out} yet"
    return f"{outputs}, and nothing half written; run the same command again to go on"


def _once(
    make: Callable[..., Plan], client_options: ClientOptions, tell: MessageDisplay, **options: Any
) -> tuple[Outcome, TimingReport | None]:
    """Run over the stacks that are there now."""
    from mrcz_dask.api.run import run

    with tell:
        plan = make(listen=tell)
        size = readable(plan.discovery.size)
        _note(tell, f"{len(plan.stacks)} stacks, {size}; outputs go to {plan.folder}")
        if client_options.workers != 0:
            _note(tell, "starting workers; then each stack is read twice: for its sum, and to be corrected")
    for text in plan.discovery.warnings:
        warn(text)
    with tell:
        return run(plan, client_options, tell, **options)


def _follow(
    watcher: Watcher,
    settings: Settings,
    client_options: ClientOptions,
    params: FollowParams,
    tell: MessageDisplay,
    changes: dict[str, Any],
    **options: Any,
) -> Outcome:
    """Run over the stacks that are there and those that come."""
    from mrcz_dask.api.run import run
    from mrcz_dask.cli.interrupts import stopped_by_interrupt
    from mrcz_dask.correction.follow import first_stacks, follow
    from mrcz_dask.correction.plan import plan_over
    from mrcz_dask.gain.prepared import FIRST

    with tell, stopped_by_interrupt() as stop:
        discovery = first_stacks(watcher, params, stop, tell, FIRST if changes["gain"].any_file else 1)
        plan = plan_over(discovery, watcher.output, settings, **changes, listen=tell)

        def work(plan: Plan, client: Client, listen: Listener) -> Outcome:
            """Correct the stacks of the plan, and those that come."""
            return follow(watcher, plan, client, listen, params, stop)

        return run(plan, client_options, tell, work=work, **options)[0]


def _note(tell: MessageDisplay, text: str) -> None:
    """Tell a person what goes on before the run begins; lines for a machine are those of the log."""
    if isinstance(tell, Bars):
        tell(Noted(text))
