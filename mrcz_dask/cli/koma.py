"""`mrcz-dask koma`: the main job."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mrcz_dask.cli import gain_options as gains
from mrcz_dask.cli import input_options as reading
from mrcz_dask.cli import koma_options as of
from mrcz_dask.cli import where as on
from mrcz_dask.cli.console import print_json, stopping, warn
from mrcz_dask.cli.exits import DONE, FAILED, PARTLY
from mrcz_dask.cli.options import grouped
from mrcz_dask.cli.progress import Bars, Teller, teller
from mrcz_dask.cli.summary import show_outcome
from mrcz_dask.cli.times import show_profile
from mrcz_dask.values.durations import parse_seconds
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.messages import Noted
from mrcz_dask.values.params import (
    KomaParams,
    OutlierParams,
    Settings,
)
from mrcz_dask.values.records import only_copies
from mrcz_dask.values.sizes import readable

AUTO = "auto"

if TYPE_CHECKING:
    from mrcz_dask.correction.follow import FollowParams
    from mrcz_dask.correction.plan import Plan
    from mrcz_dask.correction.run import Outcome
    from mrcz_dask.correction.timing_report import TimingReport
    from mrcz_dask.engine.clusters import ClientOptions
    from mrcz_dask.gain.options import GainOptions
    from mrcz_dask.monitor.serving import PageParams
    from mrcz_dask.values.messages import Listener


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("koma")(koma)


@grouped(inputs=reading.input_params, gain=gains.applied, running=on.running)
def koma(
    session: of.Session = Path(),
    radius: of.RadiusOrAuto = "12",
    output: of.Output = None,
    write: of.Write = "normalized",
    format: of.Format = "mrcz",
    dtype: of.Dtype = None,
    step: of.Step = None,
    codec: of.OutputCodec = "auto",
    form: of.FormOption = "subtract",
    rule: of.Rule = "fdr",
    method: of.MethodOption = "fit",
    long: of.LongOption = "before",
    breaks: of.BreaksOption = "auto",
    break_after: of.BreakAfter = None,
    include: of.Include = None,
    exclude: of.Exclude = None,
    recursive: of.Recursive = False,
    *,
    inputs: reading.Inputs,
    gain: gains.Gain,
    overwrite: of.OverwriteOption = False,
    follow: of.FollowOption = False,
    settle: of.Settle = "60s",
    until_idle: of.UntilIdle = None,
    poll: of.Poll = "5s",
    provisional: of.Provisional = False,
    running: on.Running,
    page: of.Page = None,
    dry_run: of.DryRun = False,
    profile: of.ProfileOption = False,
    no_report: of.NoReport = False,
    as_json: of.JsonOption = False,
    log_json: of.LogJson = False,
    verbose: of.Verbose = False,
    quiet: of.Quiet = False,
) -> None:
    """Filter outliers and take the fixed pattern off every stack of a session.

    Each stack is corrected by what its neighbours in time have in common with it (knock-out moving average),
    its outlier pixels are filled, and the footer of every output records what was done. Run again after it
    was stopped, it does what is missing or has changed, and says why.

    Exit code: 0 all done, 3 some stacks could not be, 2 asked for wrongly, 1 it failed, 130 Ctrl-C.
    """
    from mrcz_dask.api.settings import koma_params, write_params

    settings = Settings(
        outliers=OutlierParams(rule=rule),
        koma=koma_params(_radius(radius), method, form, breaks, break_after, long),
        write=write_params(write, format, codec, dtype, step),
        input=inputs(),
    )
    tell = teller(log_json=log_json, verbose=verbose, quiet=quiet, following=follow)
    if not dry_run:  # before what takes seconds to load
        _note(tell, f"looking for stacks in {session.absolute()}")
    from mrcz_dask.correction.follow import FollowParams
    from mrcz_dask.correction.outputs import check_codec
    from mrcz_dask.monitor.serving import PageParams

    where = running()
    check_codec(codec, format, may_keep=write == "recompressed")
    idle = None if until_idle is None else parse_seconds(until_idle, "--until-idle")
    if follow and profile:
        raise ParameterError("--profile takes the times of one run; it does not go with --follow")
    following = FollowParams(
        parse_seconds(settle, "--settle"), parse_seconds(poll, "--poll"), idle, provisional
    )
    applied = gain()
    automatic = radius == AUTO
    if automatic and follow:
        raise ParameterError(
            "--radius auto needs the session; with --follow give a number, such as one that `mrcz-dask "
            "noise` found on an earlier session of this detector"
        )
    job = Job(session, output, settings, applied, automatic, include, exclude, recursive, overwrite)
    if dry_run:
        with Bars() as bars:
            plan = job.plan(bars)
        on.show_plan(plan, where, as_json=as_json)
        raise typer.Exit(PARTLY if plan.discovery.rejected else DONE)
    if dtype == "float16":
        warn("float16 is MRC mode 12: python-mrcz, RELION 3 and many other programs cannot read it")
    if dtype == "int16" and format not in ("mrcz", "zarr"):
        warn("int16 has a scale that other programs do not know: they take steps for counts")
    pages = PageParams.of(page)
    report = not no_report
    with stopping(job.kept):
        if follow:
            outcome, times = _follow(job, where, following, tell, pages, report=report), None
        else:
            outcome, times = _once(job, where, tell, pages, report=report, profile=profile)
    page_path = outcome.plan.folder / "report.html"
    shown = page_path if report and page_path.exists() else None
    print_json(outcome.to_dict()) if as_json else show_outcome(outcome, shown)
    if times is not None and not as_json:
        show_profile(times)
    if not outcome.results and not only_copies(outcome.failures):
        raise typer.Exit(FAILED)
    raise typer.Exit(DONE if outcome.complete else PARTLY)


def _radius(text: str) -> int:
    """Return the radius that is asked for, or the usual one until it is found."""
    if text != AUTO and not text.isdecimal():
        raise ParameterError(f"--radius is {text!r}; expected a number of stacks, or auto")
    return KomaParams().radius if text == AUTO else int(text)


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done with which folder."""

    session: Path
    output: Path | None
    settings: Settings
    gain: GainOptions
    find_radius: bool
    include: list[str] | None
    exclude: list[str] | None
    recursive: bool
    overwrite: bool

    def plan(self, listen: Listener) -> Plan:
        """Return the plan over what is there now."""
        from mrcz_dask.correction.plan import make_plan

        return make_plan(
            self.session,
            self.output,
            self.settings,
            include=self.include,
            exclude=self.exclude,
            recursive=self.recursive,
            overwrite=self.overwrite,
            gain=self.gain,
            listen=listen,
            mixing=self.find_radius,
        )

    def kept(self) -> str:
        """Return what is there of a run that was stopped, and how to go on."""
        from mrcz_dask.correction.plan import output_folder
        from mrcz_dask.session.log import last_results, read_messages
        from mrcz_dask.values.records import StackResult

        out = output_folder(self.session, self.output)
        done = sum((out / name).exists() for name in last_results(read_messages(out), StackResult))
        there = f"{done} outputs are done and kept in {out}" if done else f"no output is in {out} yet"
        return f"{there}, and nothing half written; run the same command again to go on"


def _once(
    job: Job, where: ClientOptions, tell: Teller, pages: PageParams, *, report: bool, profile: bool
) -> tuple[Outcome, TimingReport | None]:
    """Run over what is there now."""
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
        return run(
            plan, where, tell, pages=pages, report=report, find_radius=job.find_radius, profile=profile
        )


def _follow(
    job: Job, where: ClientOptions, params: FollowParams, tell: Teller, pages: PageParams, *, report: bool
) -> Outcome:
    """Run over what is there and what comes."""
    from mrcz_dask.api.run import run_following
    from mrcz_dask.cli.interrupts import stopped_by_interrupt
    from mrcz_dask.correction.follow import first_stacks
    from mrcz_dask.correction.plan import output_folder, plan_over
    from mrcz_dask.gain.prepared import FIRST
    from mrcz_dask.session.watching import Watcher

    out = output_folder(job.session, job.output)
    inputs = job.settings.input
    watcher = Watcher(job.session, out, params.settle, job.include, job.exclude, job.recursive, inputs)
    with tell, stopped_by_interrupt() as stop:
        found = first_stacks(watcher, params, stop, tell, FIRST if job.gain.asked else 1)
        plan = plan_over(found, out, job.settings, overwrite=job.overwrite, gain=job.gain, listen=tell)
        return run_following(watcher, plan, where, params, stop, tell, pages=pages, report=report)


def _note(tell: Teller, text: str) -> None:
    """Tell a person what goes on before the run begins; lines for a machine are those of the logbook."""
    if isinstance(tell, Bars):
        tell(Noted(text))
