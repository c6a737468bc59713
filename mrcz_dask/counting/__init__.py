"""Count the electrons of raw stacks: plan, run, event lists, and counted stacks made from event lists."""

from __future__ import annotations

from mrcz_dask.counting.calibration import Calibration
from mrcz_dask.counting.params import FindParams, FractionParams
from mrcz_dask.counting.plan import CountPlan, count_plan
from mrcz_dask.counting.rendering import events_to_stack
from mrcz_dask.counting.run import CountOutcome, run_plan
from mrcz_dask.counting.store import EventList
from mrcz_dask.counting.tasks import Counted

__all__ = [
    "Calibration",
    "CountOutcome",
    "CountPlan",
    "Counted",
    "EventList",
    "FindParams",
    "FractionParams",
    "count_plan",
    "events_to_stack",
    "run_plan",
]
