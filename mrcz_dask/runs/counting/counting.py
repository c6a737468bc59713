"""Counting from Python in one call."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcz_dask.engine.where import Where, open_client
from mrcz_dask.runs.counting.plan import CountPlan, count_plan
from mrcz_dask.runs.counting.run import CountOutcome, CountRun
from mrcz_dask.runs.lock import locked
from mrcz_dask.runs.readback import swept
from mrcz_dask.values import events

if TYPE_CHECKING:
    import distributed

ALONE = Where(workers=0)


def count(
    *paths: Path | str,
    output: Path | str,
    where: Where | distributed.Client = ALONE,
    listen: events.Listener = events.silent,
    **options: Any,
) -> CountOutcome:
    """Count the electrons of raw stacks.

    Parameters
    ----------
    *paths
        Stacks, or folders with stacks.
    output
        Folder for counted stacks and event lists.
    where
        Where tasks run, or a Dask client; by default in this process.
    listen
        Is told what happens.
    **options
        As `count_plan` takes them: find, fractions, events, gain, calibration, detector, ...

    Returns
    -------
    CountOutcome
        What became of each stack; a bad one is a failure and does not stop the others.

    Raises
    ------
    MrczDaskError, OSError
        When nothing can be done at all.
    """
    return carry_out(count_plan(paths, output, **options), where, listen)


def carry_out(
    plan: CountPlan, where: Where | distributed.Client, listen: events.Listener = events.silent
) -> CountOutcome:
    """Carry a plan out; see `count`."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    with (
        locked(plan.folder, listen),
        swept(plan.folder, (one.stem for one in plan.stacks)),
        open_client(where, plan.need(), listen) as client,
    ):
        return CountRun(plan, client, listen).execute()
