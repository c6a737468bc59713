"""How often `assess` finds a pattern where there is none, and where there is a small one; a Markdown table.

Usage: python -m docs.study.assess_table [FIRST LAST]     (seeds; from the top folder; a minute for each)
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import mrcz_dask
from mrcz_dask.engine.clusters import ClientOptions
from mrcz_dask.numerics.simulate import named
from mrcz_dask.session.simulation import write_session

SESSION = {"shape": (384, 384), "stacks": 100, "frames": 2, "dose": 12.0}
PATTERNS = (0.0, 0.003)  # of pixels, standard deviation relative to the mean


def main(first: int, last: int) -> None:
    """Print the table, one line for each pattern."""
    print("| pattern | sessions | found | z | percent of the mean |", "|---|---|---|---|---|", sep="\n")
    for pattern in PATTERNS:
        found, z, percent = [], [], []
        for seed in range(first, last):
            with TemporaryDirectory() as folder:
                path = Path(folder) / "session"
                list(write_session(path, named("no pattern", seed=seed, pixel=pattern, **SESSION)))
                session = mrcz_dask.open_session(path)
                verdict = session.assess(client=ClientOptions(0), parts=("pattern",)).verdict
            assert verdict is not None and verdict.evidence is not None
            common = verdict.evidence.common
            assert common is not None
            found.append(verdict.evidence.has_pattern)
            z.append(common.z)
            percent.append(100 * np.sqrt(max(0.0, common.value)))
            print(seed, pattern, found[-1], round(z[-1], 2), verdict.advice, file=sys.stderr, flush=True)
        print(
            f"| {100 * pattern:g} % | {len(found)} | {sum(found)} | {np.mean(z):.1f} ± {np.std(z):.1f} "
            f"| {np.mean(percent):.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:3]) if len(sys.argv) > 2 else (1, 31))
