"""`koma --radius auto`: the radius that the session's own noise asks for, found before the run begins."""

from __future__ import annotations

from dataclasses import replace

from mrcz_dask.correction.plan import Plan, forbid_mixing
from mrcz_dask.engine.client import Client
from mrcz_dask.noise.results import NoiseParams
from mrcz_dask.noise.run import NoiseRun
from mrcz_dask.values.messages import Listener, Noted


def with_found_radius(plan: Plan, client: Client, listen: Listener) -> Plan:
    """Return the plan with the smallest radius that is not behind the best by more than its error.

    The sums of the first pass that this takes are kept, and the run takes them over. A sample of the stacks
    is scored, held out, with windows of several radii; what is known is kept in OUT/noise.

    Parameters
    ----------
    plan
        Over the session, with the usual radius, which is kept where too few stacks can tell.
    client
        Where.
    listen
        Is told of the radius and the reason.

    Raises
    ------
    OutputExistsError
        When outputs are there that were made with other parameters, and the plan does not replace them.
    """
    found = NoiseRun(plan, NoiseParams(parts=("radius",)), client, listen).execute().over_radius
    if found is None:
        listen(Noted(f"radius {plan.settings.koma.radius}: too few stacks to choose one by their noise"))
        return plan
    radius = found.choice.radius
    listen(Noted(f"radius {radius}: {found.choice.reason}"))
    koma = replace(plan.settings.koma, radius=radius)
    chosen = replace(plan, settings=replace(plan.settings, koma=koma))
    if not chosen.overwrite:
        forbid_mixing(chosen)
    return chosen
