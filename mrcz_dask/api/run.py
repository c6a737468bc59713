"""Runs plans for Python and the command line, with lock, log, web page, report and cleaning up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mrcz_dask.assess.run import with_found_radius
from mrcz_dask.correction.plan import Plan
from mrcz_dask.correction.run import Outcome, carry_out
from mrcz_dask.correction.timing_report import run_profiled
from mrcz_dask.engine.client import Client
from mrcz_dask.engine.clusters import ClientOptions, open_client, plan_local_workers
from mrcz_dask.monitor.serving import PageParams, watched
from mrcz_dask.session.output_folder import locked, without_temporary_files
from mrcz_dask.values.messages import Listener, Warned, silent

if TYPE_CHECKING:
    import distributed

    from mrcz_dask.correction.timing_report import TimingReport


def run(
    plan: Plan,
    options: ClientOptions | distributed.Client,
    listen: Listener = silent,
    *,
    pages: PageParams | None = None,
    report: bool = True,
    find_radius: bool = False,
    profile: bool = False,
    work: Callable[[Plan, Client, Listener], Outcome] = carry_out,
) -> tuple[Outcome, TimingReport | None]:
    """Correct and write all stacks of a plan, with lock, log, web page and report.

    Temporary files are removed at the end, when no worker is left.

    Parameters
    ----------
    plan
        Plan of the run.
    options
        Options of the client, or a connected client of `distributed`, which stays open.
    listen
        Gets messages about the progress.
    pages
        Whether there is a page, and where; None = as the client suggests.
    report
        Whether ``report.html`` is written at the end; an error in it becomes a warning.
    find_radius
        Whether the radius is found from the session first.
    profile
        Whether times are taken.
    work
        Function that carries the plan out: `carry_out`, or one that follows a folder.

    Returns
    -------
    Outcome, TimingReport or None
        Results of the run, and where the time went.

    Raises
    ------
    SessionError
        When there is too little memory, or no worker.
    OutputExistsError
        When another run is at work in the output folder.
    MrczDaskError, OSError
        When nothing can be done at all.
    """
    times = None
    if isinstance(options, ClientOptions):
        plan_local_workers(options, plan.memory_estimate())  # too little memory: nothing is made
    with (
        locked(plan.folder, listen),
        without_temporary_files(plan.folder, (stack.stem for stack in plan.stacks)),
        open_client(options, plan.memory_estimate(), listen) as client,
        watched(client, pages or PageParams(), listen) as listener,
    ):
        if find_radius:
            plan = with_found_radius(plan, client, listen)
        if profile:
            outcome, times = run_profiled(plan, client, listener)
        else:
            outcome = work(plan, client, listener)
    if report:
        try:
            from mrcz_dask.report.files import write_page

            write_page(outcome.plan.folder)
        except Exception as error:  # noqa: BLE001 - the stacks are done, and matter more
            reason = f"{type(error).__name__}: {error}"
            again = f"try again: mrcz-dask report {outcome.plan.folder}"
            listen(Warned(f"no report was made ({reason}); {again}"))
    return outcome, times
