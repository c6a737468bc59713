"""`mrcz-dask koma`: fills outliers and subtracts the pattern in all stacks of a session, the main job."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mrcz_dask.cli.console import print_json, stopping, warn
from mrcz_dask.cli.exits import DONE, FAILED, PARTLY
from mrcz_dask.cli.options.declare import command
from mrcz_dask.cli.options.gain import GainGroup
from mrcz_dask.cli.options.koma import AUTO, FollowGroup, MethodGroup, OutputGroup, RunGroup
from mrcz_dask.cli.options.running import RunningGroup
from mrcz_dask.cli.options.shared import InputGroup, MessageGroup, SelectionGroup, SessionFolder
from mrcz_dask.cli.progress import Bars, MessageDisplay, message_display
from mrcz_dask.cli.summary import show_outcome, show_plan
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.messages import Noted
from mrcz_dask.values.params import Settings
from mrcz_dask.values.records import only_copies
from mrcz_dask.values.sizes import readable

if TYPE_CHECKING:
    from mrcz_dask.correction.follow import FollowParams
    from mrcz_dask.correction.plan import Plan
    from mrcz_dask.correction.run import Outcome
    from mrcz_dask.correction.timing_report import TimingReport
    from mrcz_dask.engine.clusters import ClientOptions
    from mrcz_dask.gain.options import GainOptions
    from mrcz_dask.monitor.serving import PageParams
    from mrcz_dask.values.messages import Listener


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
    from mrcz_dask.monitor.serving import PageParams

    check_codec(output.codec, output.format, may_keep=output.write == "recompressed")
    where, following, page = running.where(), follow.params(), PageParams.of(run.page)
    if follow.follow and run.profile:
        raise ParameterError("--profile takes the times of one run; it does not go with --follow")
    if follow.follow and method.radius == AUTO:
        raise ParameterError(
            "--radius auto needs the session; with --follow give a number, such as one that `mrcz-dask "
            "assess` found on an earlier session of this detector"
        )
    job = Job(session, output, selection, settings, gain.params(), method.radius == AUTO)
    if run.dry_run:
        with Bars() as bars:
            plan = job.plan(bars)
        show_plan(plan, where, as_json=messages.as_json)
        raise typer.Exit(PARTLY if plan.discovery.rejected else DONE)
    if output.dtype == "float16":
        warn("float16 is MRC mode 12: python-mrcz, RELION 3 and many other programs cannot read it")
    if output.dtype == "int16" and output.format not in ("mrcz", "zarr"):
        warn("int16 has a scale that other programs do not know: they take steps for counts")
    with stopping(job.kept):
        if follow.follow:
            outcome, times = _follow(job, where, following, tell, page, report=run.report), None
        else:
            outcome, times = _once(job, where, tell, page, report=run.report, profile=run.profile)
    report = outcome.plan.folder / "report.html"
    if messages.as_json:
        print_json(outcome.to_dict())
    else:
        show_outcome(outcome, report if run.report and report.exists() else None)
    if times is not None and not messages.as_json:
        from mrcz_dask.cli.times import show_times

        show_times(times)
    if not outcome.results and not only_copies(outcome.failures):
        raise typer.Exit(FAILED)
    raise typer.Exit(DONE if outcome.complete else PARTLY)


@dataclass(frozen=True, slots=True)
class Job:
    """Record of one call of `koma`: session, output folder, chosen stacks and settings."""

    session: Path
    output: OutputGroup
    selection: SelectionGroup
    settings: Settings
    gain: GainOptions
    find_radius: bool

    def plan(self, listen: Listener) -> Plan:
        """Plan a run over the stacks that the folder holds now."""
        from mrcz_dask.correction.plan import make_plan

        return make_plan(
            self.session,
            self.output.output,
            self.settings,
            **vars(self.selection),
            overwrite=self.output.overwrite,
            gain=self.gain,
            listen=listen,
            mixing=self.find_radius,
        )

    def kept(self) -> str:
        """Return a text that says how many outputs a stopped run has finished, and how to go on."""
        from mrcz_dask.correction.plan import output_folder
        from mrcz_dask.session.log import last_results, read_messages
        from mrcz_dask.values.records import StackResult

        out = output_folder(self.session, self.output.output)
        done = sum((out / name).exists() for name in last_results(read_messages(out), StackResult))
        there = f"{done} outputs are done and kept in {out}" if done else f"no output is in {out} yet"
        return f"{there}, and nothing half written; run the same command again to go on"


def _once(
    job: Job, where: ClientOptions, tell: MessageDisplay, page: PageParams, *, report: bool, profile: bool
) -> tuple[Outcome, TimingReport | None]:
    """Run over the stacks that are there now."""
    from mrcz_dask.api.run import run

    with tell:
        plan = job.plan(tell)
        size = readable(plan.discovery.size)
        _note(tell, f"{len(plan.stacks)} stacks, {size}; outputs go to {plan.folder}")
        if where.workers != 0:
            _note(tell, "starting workers; then each stack is read twice: for its sum, and to be corrected")
    for text in plan.discovery.warnings:
        warn(text)
    with tell:
        return run(plan, where, tell, pages=page, report=report, find_radius=job.find_radius, profile=profile)


def _follow(
    job: Job,
    where: ClientOptions,
    params: FollowParams,
    tell: MessageDisplay,
    page: PageParams,
    *,
    report: bool,
) -> Outcome:
    """Run over the stacks that are there and those that come."""
    from mrcz_dask.api.run import run_following
    from mrcz_dask.cli.interrupts import stopped_by_interrupt
    from mrcz_dask.correction.follow import first_stacks
    from mrcz_dask.correction.plan import output_folder, plan_over
    from mrcz_dask.gain.prepared import FIRST
    from mrcz_dask.session.watching import Watcher

    out, chosen = output_folder(job.session, job.output.output), job.selection
    watcher = Watcher(
        job.session, out, params.settle, chosen.include, chosen.exclude, chosen.recursive, job.settings.input
    )
    with tell, stopped_by_interrupt() as stop:
        found = first_stacks(watcher, params, stop, tell, FIRST if job.gain.asked else 1)
        plan = plan_over(found, out, job.settings, overwrite=job.output.overwrite, gain=job.gain, listen=tell)
        return run_following(watcher, plan, where, params, stop, tell, pages=page, report=report)


def _note(tell: MessageDisplay, text: str) -> None:
    """Tell a person what goes on before the run begins; lines for a machine are those of the log."""
    if isinstance(tell, Bars):
        tell(Noted(text))
