"""Counting in this process for tests, with all parameters as dataclasses."""

from pathlib import Path
from typing import Any

from mrcz_dask.counting import CountOutcome, count_plan, run_plan
from mrcz_dask.engine.clusters import ClientOptions
from mrcz_dask.values.messages import Listener, silent

ALONE = ClientOptions(workers=0)


def count(
    *paths: Path, output: Path, where: ClientOptions = ALONE, listen: Listener = silent, **options: Any
) -> CountOutcome:
    """Plan and count; the options are those of `count_plan`."""
    return run_plan(count_plan(paths, output, **options), where, listen)
