"""A live session as a whole: all processors at a time, one that sleeps among them, frames over a socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.harness import Amounts, Bench, at_least, row
from benchmarks.live_processors import FOLDER, NAMES, SHAPE, frames
from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.live import Frame, FrameSender, Keep, Listen, Replay, start
from mrcz_dask.live.record.recorder import Recorder

FPS_GOAL = 4.0
OFFERED = 8.0  # frames a second: more than the goal, so that the newest frame is always another one
SECONDS, QUICK_SECONDS = 12.0, 3.0
SLEEPER = """
import time
from mrcz_dask.live import Scalar, processor

@processor(Scalar("slept"), seconds=60)
def sleeper(frame):
    time.sleep(5)
    return 5
"""
PUSHED = 400


def _session(bench: Bench, scripts: Sequence[Path | str], fps: float) -> dict[str, float]:
    """Return how many frames a second each processor did, over some seconds of a replay with all kept."""
    stack = bench.folder / "live.mrcz"
    if not stack.exists():
        write(stack, np.array(frames(SHAPE) * 8))
    with TemporaryDirectory(dir=bench.folder) as folder:
        keep = Keep(Path(folder) / "live.zarr", Path(folder) / "record")
        with start(Replay(stack, fps=fps, loop=True), scripts, keep=keep) as session:
            while any(one.processed < 2 for one in session.panels() if one.name != "sleeper"):
                time.sleep(0.1)
            began, before = time.monotonic(), {one.name: one.processed for one in session.panels()}
            time.sleep(QUICK_SECONDS if bench.quick else SECONDS)
            passed = time.monotonic() - began
            return {one.name: (one.processed - before[one.name]) / passed for one in session.panels()}


@row("live: all processors, 870 x 870, slowest", rival=f"{FPS_GOAL:g} frames/s", goal=at_least(1))
def together(bench: Bench) -> Amounts:
    scripts = [FOLDER / f"{name}.py" for name in NAMES]
    return Amounts(1 / min(_session(bench, scripts, OFFERED).values()), 1 / FPS_GOAL)


@row("live: three beside one that sleeps 5 s a frame, slowest", rival="without it", goal=at_least(0.8))
def beside_a_sleeper(bench: Bench) -> Amounts:
    sleeper = bench.folder / "sleeper.py"
    sleeper.write_text(SLEEPER)
    three = [FOLDER / f"{name}.py" for name in ("mean_dose", "radial_profile", "drift")]
    without = _session(bench, three, OFFERED)
    beside = _session(bench, [*three, sleeper], OFFERED)
    slowest = min(without, key=lambda name: beside[name] / without[name])
    return Amounts(1 / beside[slowest], 1 / without[slowest])


@row("live: frames pushed, recorded and acknowledged, 870 x 870", rival="recorded in this process")
def pushed(bench: Bench) -> Amounts:
    with TemporaryDirectory(dir=bench.folder) as folder:
        with Recorder(Path(folder) / "here") as recorder:
            began = time.monotonic()
            for k in range(PUSHED):
                recorder.append([Frame(k, 0.0, frames(SHAPE)[k % 4])])
            alone = time.monotonic() - began
        with Recorder(Path(folder) / "pushed") as recorder:
            source = Listen("tcp://127.0.0.1:*", next_number=recorder.next_number, until_closed=True)
            taking = threading.Thread(target=source.run, args=(recorder.append, threading.Event()))
            taking.start()
            began = time.monotonic()
            with FrameSender(source.address) as sender:
                for k in range(PUSHED):
                    sender.send(frames(SHAPE)[k % 4])
            seconds = time.monotonic() - began
            taking.join()
    return Amounts(seconds / PUSHED, alone / PUSHED)
