"""Counting from Python in one call."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mrcz_dask.counting.params import FindParams, FractionParams
from mrcz_dask.counting.plan import NO_GAIN, CountPlan, count_plan
from mrcz_dask.counting.run import CountOutcome, CountRun
from mrcz_dask.engine.clusters import ClientOptions, open_client
from mrcz_dask.gain.options import GainOptions
from mrcz_dask.session.output_folder import locked, swept
from mrcz_dask.values.messages import Listener, silent
from mrcz_dask.values.params import InputParams

if TYPE_CHECKING:
    import distributed

ALONE = ClientOptions(workers=0)


def count(
    *paths: Path | str,
    output: Path | str,
    where: ClientOptions | distributed.Client = ALONE,
    listen: Listener = silent,
    find: FindParams | None = None,
    fractions: FractionParams | None = None,
    inputs: InputParams | None = None,
    events: bool = False,
    gain: GainOptions = NO_GAIN,
    calibration: Path | str | None = None,
    detector: str | None = None,
    overwrite: bool = False,
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
    find, fractions, inputs, events, gain, calibration, detector, overwrite
        See `count_plan`.

    Returns
    -------
    CountOutcome
        What became of each stack; a bad one is a failure and does not stop the others.

    Raises
    ------
    MrczDaskError, OSError
        When nothing can be done at all.
    """
    plan = count_plan(
        paths,
        output,
        find,
        fractions,
        inputs=inputs,
        events=events,
        gain=gain,
        calibration=calibration,
        detector=detector,
        overwrite=overwrite,
    )
    return carry_out(plan, where, listen)


def carry_out(
    plan: CountPlan, where: ClientOptions | distributed.Client, listen: Listener = silent
) -> CountOutcome:
    """Carry a plan out; see `count`."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    with (
        locked(plan.folder, listen),
        swept(plan.folder, (one.stem for one in plan.stacks)),
        open_client(where, plan.memory_estimate(), listen) as client,
    ):
        return CountRun(plan, client, listen).execute()
