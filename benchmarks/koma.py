"""The outlier mask from a file, and the main job, against reading and against the codec alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.harness import BEFORE, Bench, Pair, at_most, movie, row
from mrcz_dask.correction.plan import make_plan
from mrcz_dask.correction.run import carry_out
from mrcz_dask.engine.client import SerialClient
from mrcz_dask.engine.memory import keep_memory
from mrcz_dask.formats.compression.codecs import Codec
from mrcz_dask.formats.mrc.reader import StackReader
from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.numerics.outliers.mask import outlier_mask
from mrcz_dask.numerics.sums import sum_stack
from mrcz_dask.values.params import KomaParams, Settings, WriteParams

STACKS = 4
ROOT = Path(__file__).parents[1]


def floor(source: Path, output: Path, *, reads: int = 2) -> None:
    """Decode a stack some times, encode frames of its output as often, write them and wait for the disk."""
    with StackReader(output) as reader:
        known = {k: v for k, v in reader.footer["codec"].items() if k in Codec.__dataclass_fields__}
        codec, frames = Codec(**known), reader.frames(slice(0, 3))
    with output.with_suffix(".floor").open("wb") as file:
        for _ in range(reads):
            read_frames(source)
        with StackReader(source) as reader:
            for k in range(len(reader)):
                file.write(codec.compress(frames[k % len(frames)]))
        file.flush()
        os.fsync(file.fileno())
    output.with_suffix(".floor").unlink()


def read_frames(path: Path) -> None:
    """Decode every frame of a stack into the same buffer."""
    with StackReader(path) as reader:
        out = np.empty(reader.shape[1:], reader.dtype)
        for k in range(len(reader)):
            reader.frame(k, out)


@row("outlier mask, from file to mask, one thread", rival="reading the frames", goal=at_most(1.6))
def mask(bench: Bench) -> Pair:
    shape = (20, 1024, 1024) if bench.quick else (50, 4096, 4096)
    path = bench.folder / "mask.mrcz"
    write(path, movie(shape, 0), durable=False)

    def ours() -> None:
        with StackReader(path) as reader:
            outlier_mask(sum_stack(reader))

    return Pair(ours, lambda: read_frames(path))


@row("fit, mask and its images, of a sum", rival="reading 60 frames, one thread", goal=at_most(0.1))
def of_a_sum(bench: Bench) -> Pair:
    path = bench.folder / "sum.mrcz"
    shape = (60, 960, 928) if bench.quick else (60, 3838, 3710)
    stack = movie(shape, 0)
    write(path, stack, durable=False)
    total = sum_stack(stack)
    return Pair(lambda: outlier_mask(total), lambda: read_frames(path))


def make_session(folder: Path, stacks: int, shape: tuple[int, int, int]) -> Path:
    """Write so many stacks into a folder, if it is not there."""
    if not folder.exists():
        folder.mkdir()
        for i in range(stacks):
            write(folder / f"s{i:03}.mrcz", movie(shape, i), durable=False)
    return folder


def _main_job(bench: Bench, settings: WriteParams) -> tuple[Path, Path]:
    shape = (10, 960, 928) if bench.quick else (30, 3838, 3710)
    source, out = make_session(bench.folder / "session", STACKS, shape), bench.folder / "koma"
    shutil.rmtree(out, ignore_errors=True)
    plan = make_plan(source, out, Settings(koma=KomaParams(radius=2), write=settings))
    assert carry_out(plan, SerialClient()).complete
    return source, out


@row("koma, serial executor", rival="decode, decode, encode of its output, disk", goal=at_most(1.4))
def normalized(bench: Bench) -> Pair:
    keep_memory()
    source, out = _main_job(bench, WriteParams())

    def rival() -> None:
        for path in sorted(out.glob("*.mrcz")):
            floor(source / path.name, path)

    return Pair(lambda: _main_job(bench, WriteParams()), rival)


@row("koma --write recompressed, codec kept, serial", rival="one decode and a copy of the bytes, disk")
def recompressed(bench: Bench) -> Pair:
    keep_memory()
    keep = WriteParams(write="recompressed", codec="keep")
    source, out = _main_job(bench, keep)

    def rival() -> None:
        for path in sorted(source.glob("*.mrcz")):
            read_frames(path)
            with (out / f"{path.stem}.floor").open("wb") as file:
                file.write(path.read_bytes())
                file.flush()
                os.fsync(file.fileno())

    return Pair(lambda: _main_job(bench, keep), rival)


@row("koma, 10 stacks on 2 workers, the whole command", rival=BEFORE, goal=at_most(1.1))
def cost_per_stack(bench: Bench) -> Pair:
    session, out = bench.folder / "cost", bench.folder / "cost-out"
    session.mkdir()
    for k in range(10):
        write(session / f"stack-{k}.mrcz", movie((20, *bench.shape[1:]), k), durable=False)
    options = ["--radius", "4", "--workers", "2", "--no-report", "-q"]

    def koma(checkout: Path) -> None:
        shutil.rmtree(out, ignore_errors=True)
        command = [sys.executable, "-m", "typer_cli", "koma", str(session), "-o", str(out), *options]
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        subprocess.run(command, check=True, capture_output=True, cwd=checkout, env=environment)

    return Pair(partial(koma, ROOT), partial(koma, bench.before or ROOT))
