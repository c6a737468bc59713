"""Assess a session from Python and the command line: with its lock, and its results on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrcz_dask.assess.assessment import Assessment
from mrcz_dask.assess.files import write_json
from mrcz_dask.assess.params import AssessParams
from mrcz_dask.assess.plan import assess_memory
from mrcz_dask.assess.run import assess
from mrcz_dask.correction.plan import Plan
from mrcz_dask.engine.clusters import ClientOptions, open_client, plan_local_workers
from mrcz_dask.session.output_folder import locked
from mrcz_dask.values.messages import Listener, silent

if TYPE_CHECKING:
    import distributed


def run_assessment(
    plan: Plan,
    params: AssessParams,
    options: ClientOptions | distributed.Client,
    listen: Listener = silent,
) -> Assessment:
    """Assess a session, and keep what was found in ``OUT/assess``; no movie is written.

    Parameters
    ----------
    plan, params
        Session and settings; parts and sizes of samples.
    options
        What is to be opened, or a connected client of `distributed`, which stays open.
    listen
        Is told what happens.

    Raises
    ------
    SessionError
        When there is too little memory, no worker, or no stack that could be scored by method.
    OutputExistsError
        When another run is at work in the output folder.
    MrczDaskError, OSError
        When nothing can be done at all.
    """
    memory = assess_memory(plan)
    if isinstance(options, ClientOptions):
        plan_local_workers(options, memory)  # too little memory is said before anything is made
    with locked(plan.folder, listen), open_client(options, memory, listen) as client:
        assessment = assess(plan, params, client, listen)
        write_json(assessment)
    return assessment
