"""Electron counting of raw stacks: plan, run, event lists, and what is made of them again."""

from __future__ import annotations

from mrcz_dask.counting.calibration import Calibration
from mrcz_dask.counting.counting import count
from mrcz_dask.counting.params import FindParams, FractionParams
from mrcz_dask.counting.plan import CountPlan, count_plan
from mrcz_dask.counting.run import CountOutcome, CountRun
from mrcz_dask.counting.store import Events, open_events
from mrcz_dask.counting.tasks import Counted
from mrcz_dask.counting.to_stack import events_to_stack

__all__ = [
    "Calibration",
    "CountOutcome",
    "CountPlan",
    "CountRun",
    "Counted",
    "Events",
    "FindParams",
    "FractionParams",
    "count",
    "count_plan",
    "events_to_stack",
    "open_events",
]
