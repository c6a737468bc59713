"""The outlier mask from a file, and the main job, against reading and against the codec alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from benchmarks.harness import Bench, Pair, at_most, counts, row
from mrcz_dask.formats.codecs import Codec
from mrcz_dask.formats.reader import open_reader
from mrcz_dask.formats.writer import write
from mrcz_dask.numerics.outliers import outlier_mask
from mrcz_dask.numerics.sums import sum_stack
from mrcz_dask.runs.executors import SerialExecutor
from mrcz_dask.runs.koma import Run
from mrcz_dask.runs.plan import make_plan
from mrcz_dask.values.params import KomaParams, Settings

STACKS = 4


def _frames(path: Path) -> None:
    with open_reader(path) as reader:
        out = np.empty(reader.shape[1:], reader.dtype)
        for k in range(len(reader)):
            reader.frame(k, out)


@row("outlier mask, from file to mask, one thread", rival="reading the frames", goal=at_most(1.6))
def mask(bench: Bench) -> Pair:
    shape = (20, 1024, 1024) if bench.quick else (50, 4096, 4096)
    path = bench.folder / "mask.mrcz"
    frames = [counts(1.0, shape[1:], seed) for seed in range(4)]
    write(path, np.stack([frames[k % 4] for k in range(shape[0])]), durable=False)

    def ours() -> None:
        with open_reader(path) as reader:
            outlier_mask(sum_stack(reader))

    return Pair(ours, lambda: _frames(path))


def _session(bench: Bench) -> Path:
    folder = bench.folder / "session"
    shape = (10, 960, 928) if bench.quick else (30, 3838, 3710)
    if not folder.exists():
        folder.mkdir()
        for i in range(STACKS):
            stack = np.stack([counts(1.0, shape[1:], 100 * i + k % 5) for k in range(shape[0])])
            write(folder / f"s{i}.mrcz", stack, durable=False)
    return folder


@row("koma, serial executor, whole session", rival="decode, decode, encode of its output", goal=at_most(1.4))
def koma(bench: Bench) -> Pair:
    session, out = _session(bench), bench.folder / "koma"

    def ours() -> None:
        shutil.rmtree(out, ignore_errors=True)
        Run(make_plan(session, out, Settings(koma=KomaParams(radius=2))), SerialExecutor()).execute()

    def floor() -> None:
        for path in sorted(out.glob("*.mrcz")):
            _frames(session / path.name)
            _frames(session / path.name)
            with open_reader(path) as reader:
                codec = Codec(**reader.footer["codec"])
                frame = reader.frame(0)
                for _ in range(len(reader)):
                    codec.compress(frame)

    ours()
    return Pair(ours, floor)
