"""What KOMA leaves of the specimen where neighbors share it, and how a run judges itself; a Markdown table.

Usage: python -m docs.study.specimen_table [SEED]      (from the top folder; a quarter of an hour)
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import mrcz_dask
from benchmarks.truth import RemovedScore, score_removed
from mrcz_dask.correction.plan import make_plan
from mrcz_dask.correction.run import Outcome, carry_out
from mrcz_dask.correction.verdict import verdict_on
from mrcz_dask.engine.client import SerialClient
from mrcz_dask.numerics.simulate import named, simulate_session
from mrcz_dask.numerics.simulate.params import SimulationParams
from mrcz_dask.session.simulation import write_session
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.params import KomaParams, Settings, WriteParams

SHAPE, SCORED = (384, 384), 14
SINGLE: dict[str, Any] = {"stacks": 40, "frames": 24, "dose": 1.0}
TRUST = {"trust_reference": True}
# name, simulated session, options of KOMA
REGIMES: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    ("another specimen in each stack", {"name": "standard", **SINGLE}, {}),
    ("the same, no pattern", {"name": "no pattern", **SINGLE}, {}),
    ("carbon 15 %, same place", {"name": "hole edge", "edge": 0.15, "aim_error": 0.0}, {}),
    ("the same, `--trust-reference`", {"name": "hole edge", "edge": 0.15, "aim_error": 0.0}, TRUST),
    ("carbon 15 %, 2 pixels", {"name": "hole edge", "edge": 0.15, "aim_error": 2.0}, {}),
    ("carbon 15 %, 10 pixels", {"name": "hole edge", "edge": 0.15, "aim_error": 10.0}, {}),
    ("carbon 15 %, 30 pixels", {"name": "hole edge", "edge": 0.15, "aim_error": 30.0}, {}),
    ("carbon 30 %, same place", {"name": "hole edge", "edge": 0.3, "aim_error": 0.0}, {}),
    ("carbon 30 %, 20 pixels", {"name": "hole edge", "edge": 0.3, "aim_error": 20.0}, {}),
    ("carbon 5 %, same place", {"name": "hole edge", "edge": 0.05, "aim_error": 0.0}, {}),
    ("light from side to side, 10 %, turning", {"name": "standard", "gradient": 0.1, **SINGLE}, {}),
    ("each area taken three times", {"name": "standard", "same_area": 3, **SINGLE}, {}),
    ("three tilt series", {"name": "tilt series"}, {}),
    ("the same, `--groups none`", {"name": "tilt series"}, {"groups": "none"}),
    ("the same, `--groups none --trust-reference`", {"name": "tilt series"}, {"groups": "none"} | TRUST),
    ("tilts, another specimen in each image", {"name": "tilt series", "tilts": 0, "stacks": 93}, {}),
)


def simulated(session: dict[str, Any], seed: int) -> SimulationParams:
    """Return the parameters of a session."""
    return named(session["name"], shape=SHAPE, seed=seed, **{k: v for k, v in session.items() if k != "name"})


def corrected(paths: list[Path], folder: Path, options: dict[str, Any]) -> Outcome:
    """Run KOMA over a session, with float32 outputs."""
    settings = Settings(koma=KomaParams(**options), write=WriteParams(dtype="float32"))
    return carry_out(make_plan(paths[0].parent, folder, settings), SerialClient())


def scores(outcome: Outcome, paths: list[Path], params: SimulationParams) -> Iterator[RemovedScore]:
    """Yield the scores of some stacks against the truth, without pixels that the filter changed."""
    session, store = simulate_session(params), SessionStore(outcome.plan.store)
    places = {path.name: k for k, path in enumerate(paths)}
    for result in outcome.results[:: max(1, len(outcome.results) // SCORED)]:
        k = places[result.name]
        images = [
            mrcz_dask.read(path).sum(axis=0, dtype=np.float64)
            for path in (paths[k], outcome.plan.folder / result.output)
        ]
        masked = store.mask(result.output.removesuffix(".mrcz"))
        yield score_removed((images[0] - images[1]).astype("f4"), session.stack(k).truth, masked)


def main(seed: int) -> None:
    """Print the table."""
    print("| session | kept: mean | least | error | R x 1000 | the run says |\n|---|---|---|---|---|---|")
    for name, session, options in REGIMES:
        params = simulated(session, seed)
        with TemporaryDirectory() as folder:
            paths = list(write_session(Path(folder) / "session", params))
            outcome = corrected(paths, Path(folder) / "out", options)
            kept, error = np.transpose(list(scores(outcome, paths, params)))
            means = [
                1000 * np.mean([float(one.noise[kind] or 0) for one in outcome.results])
                for kind in ("filtered", "corrected")
            ]
            words = verdict_on(outcome.results) or "-"
            shown = f"{error.mean():.2f}" if np.isfinite(error).all() else "-"
            print(
                f"| {name} | {kept.mean():.3f} | {kept.min():.3f} | {shown} | "
                f"{means[0]:.2f} to {means[1]:.2f} | {words} |",
                flush=True,
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
