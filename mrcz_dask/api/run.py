"""A run with all that guards it: lock, temporary files, log, page, report; the same from Python and shell."""

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
    """Give a client, and a listener that also tells the page; keep other runs out, and sweep afterwards.

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
    """Carry out a plan.

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
    """Carry out a plan over a folder that grows; see `run` and `follow`."""
    with at_work(plan, options, listen, pages or PageParams()) as (client, told):
        outcome = follow(watcher, plan, client, told, params, stop)
    if report:
        write_report(outcome, listen)
    return outcome


def write_report(outcome: Outcome, listen: Listener) -> None:
    """Write the report of a run; whatever goes wrong with it is a warning."""
    folder = outcome.plan.folder
    try:
        from mrcz_dask.report.files import write_page

        write_page(folder)
    except Exception as error:  # noqa: BLE001 - the stacks are done, and matter more
        reason = f"{type(error).__name__}: {error}"
        listen(Warned(f"no report was made ({reason}); try again: mrcz-dask report {folder}"))
