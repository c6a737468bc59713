"""The benchmarks are beside the package, not in it."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))


@pytest.fixture(scope="session")
def report() -> Any:
    """A report of all parts, measured on next to nothing."""
    from benchmarks.codecs.measure import run_bench
    from benchmarks.codecs.params import BenchParams

    return run_bench(
        BenchParams(
            threads=(1, 2),
            doses=(0.5, 1.0),
            codecs=("lz4:9", "auto"),
            shape=(2, 24, 40),
            repeats=1,
            metadata_bytes=4000,
        )
    )
