"""Runs plans for Python and the command line, with lock, log, web page, report and cleaning up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mrcz_dask.assess.run import with_found_radius
from mrcz_dask.correction.follow import FollowParams, follow
from mrcz_dask.correction.plan import Plan
from mrcz_dask.correction.run import Outcome, carry_out
from mrcz_dask.correction.timing_report import run_profiled
from mrcz_dask.engine.client import Client
from mrcz_dask.engine.clusters import ClientOptions, open_client, plan_local_workers
from mrcz_dask.monitor.serving import PageParams, watched
from mrcz_dask.session.output_folder import locked, swept
from mrcz_dask.session.watching import Watcher
from mrcz_dask.values.messages import Listener, Warned, silent

if TYPE_CHECKING:
    import distributed

    from mrcz_dask.correction.timing_report import TimingReport


@contextmanager
def at_work(
    plan: Plan, options: ClientOptions | distributed.Client, listen: Listener, pages: PageParams
) -> Iterator[tuple[Client, Listener]]:
    """Lock the output folder, open a client and the web page, and remove temporary files at the end.

    Parameters
    ----------
    plan
        Of the run.
    options
        What is to be opened, or a connected client of `distributed`, which stays open.
    listen
        Is told what happens.
    pages
        Whether there is a page, and where.

    Raises
    ------
    SessionError
        When there is too little memory, or no worker.
    OutputExistsError
        When another run is at work in the output folder.
    """
    if isinstance(options, ClientOptions):
        plan_local_workers(options, plan.memory_estimate())  # too little memory: nothing is made
    with (
        locked(plan.folder, listen),
        swept(plan.folder, (stack.stem for stack in plan.stacks)),  # at the end no worker is left
        open_client(options, plan.memory_estimate(), listen) as client,
        watched(client, pages, listen) as told,
    ):
        yield client, told


def run(
    plan: Plan,
    options: ClientOptions | distributed.Client,
    listen: Listener = silent,
    *,
    pages: PageParams | None = None,
    report: bool = True,
    find_radius: bool = False,
    profile: bool = False,
) -> tuple[Outcome, TimingReport | None]:
    """Correct and write all stacks of a plan, with lock, log, web page and report.

    Parameters
    ----------
    plan, options, listen
        See `at_work`.
    pages
        Whether there is a page, and where; None = as the client suggests.
    report
        Whether ``report.html`` is written at the end.
    find_radius
        Whether the radius is found from the session first.
    profile
        Whether times are taken.

    Returns
    -------
    Outcome, TimingReport or None
        What was done, and where the time went.

    Raises
    ------
    MrczDaskError, OSError
        When nothing can be done at all.
    """
    times = None
    with at_work(plan, options, listen, pages or PageParams()) as (client, told):
        if find_radius:
            plan = with_found_radius(plan, client, listen)
        if profile:
            outcome, times = run_profiled(plan, client, told)
        else:
            outcome = carry_out(plan, client, told)
    if report:
        write_report(outcome, listen)
    return outcome, times


def run_following(
    watcher: Watcher,
    plan: Plan,
    options: ClientOptions | distributed.Client,
    params: FollowParams,
    stop: threading.Event,
    listen: Listener = silent,
    *,
    pages: PageParams | None = None,
    report: bool = True,
) -> Outcome:
    """Correct stacks as they appear in a folder, with lock, log, page and report; see `follow`."""
    with at_work(plan, options, listen, pages or PageParams()) as (client, told):
        outcome = follow(watcher, plan, client, told, params, stop)
    if report:
        write_report(outcome, listen)
    return outcome


def write_report(outcome: Outcome, listen: Listener) -> None:
    """Write ``report.html`` of a run; an error in it becomes a warning, since the stacks are done."""
    folder = outcome.plan.folder
    try:
        from mrcz_dask.report.files import write_page

        write_page(folder)
    except Exception as error:  # noqa: BLE001 - the stacks are done, and matter more
        reason = f"{type(error).__name__}: {error}"
        listen(Warned(f"no report was made ({reason}); try again: mrcz-dask report {folder}"))
