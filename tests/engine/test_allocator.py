"""malloc keeps what is freed: fewer pages are touched for the first time, and nothing else changes."""

import os
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mrcz_dask.engine.memory import SETTINGS, environment, give_back, keep_memory

FAULTS = """
import os, resource, sys
from concurrent.futures import ThreadPoolExecutor
from mrcz_dask.engine.memory import keep_memory
import numpy as np

if sys.argv[1] == "call":
    assert keep_memory()
np.ones(12_000_000)
with ThreadPoolExecutor(1) as pool:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        pool.submit(np.ones, 10_000_000).result()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

glibc = pytest.mark.skipif(not keep_memory(), reason="this C library has no mallopt")


def faults(how: str, more: dict[str, str]) -> int:
    # a nanny leaves its workers' environment in this process
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, how],
        env=plain | {"NUMPY_MADVISE_HUGEPAGE": "0"} | more,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return int(done.stdout)


@glibc
@pytest.mark.parametrize("how", ["call", "environment"])
def test_frames_are_put_where_frames_were(how: str) -> None:
    plain = faults("nothing", {})
    kept = faults(how, environment() if how == "environment" else {})
    assert kept < plain / 5


@glibc
def test_it_can_be_undone() -> None:
    assert keep_memory() and keep_memory()
    give_back()
    assert keep_memory()


def test_every_setting_has_its_variable() -> None:
    assert set(environment()) == set(SETTINGS)
    assert environment()["MALLOC_ARENA_MAX"] == "1"


def test_arrays_are_what_they_were() -> None:
    keep_memory()
    with ThreadPoolExecutor(4) as pool:
        sums = pool.map(lambda k: int(np.full(3_000_000, k).sum()), range(8))
    assert list(sums) == [3_000_000 * k for k in range(8)]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0
