"""Hundreds of signals at random moments of `koma`: ``python -m tests.faults.signals``.

Each run goes on with the output folder of the one before, until one comes to its end: then the bytes are
those of an undisturbed run, and the next one begins anew. A run is a fork of this process, which has imported
all and loaded no compiled kernel, so that most of its time is the work.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from mrcz_dask.cli import app
from mrcz_dask.cli.interrupts import SAME_SECONDS, heed_signals
from mrcz_dask.numerics.simulate import named
from mrcz_dask.session.simulation import write_session
from tests.faults.scene import contents, half_written

ONCE = (signal.SIGTERM, signal.SIGINT)
# Seconds in which a run that was told to stop has to end, on a machine that is busy.
LONGEST = 300.0
BESIDE = {".koma.lock", "session.zarr"}


def forked(work: Callable[[], object]) -> tuple[int, int]:
    """Do something in a fork of this process; return its number, and a pipe that ends with it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        os.read(reading, 1)  # signals are heeded from here on
        return pid, reading
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
        heed_signals()
        os.write(writing, b"x")
        work()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001 - what is raised in a fork must not go on in it
        traceback.print_exc()
    finally:
        os._exit(code)


def koma(session: Path, out: Path, workers: int) -> None:
    """Run the command in this process."""
    options = ["-o", str(out), "--radius", "2", "--workers", str(workers), "--no-report", "-q"]
    sys.argv = ["mrcz-dask", "koma", str(session), *options]
    app.main()


def disturbed(work: Callable[[], object], moment: float, signals: list[int]) -> int:
    """Send signals to a run, the first after some seconds; return its exit code, negative if it crashed."""
    pid, pipe = forked(work)
    time.sleep(moment)
    for k, number in enumerate(signals):
        if k:
            time.sleep(2 * SAME_SECONDS)
        os.kill(pid, number)  # a run that has ended is still there, as nobody has waited for it
    end = time.monotonic() + LONGEST
    while (found := os.waitpid(pid, os.WNOHANG))[0] == 0:
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
    os.close(pipe)
    return os.waitstatus_to_exitcode(found[1])


def left_behind(out: Path) -> list[str]:
    """Return temporary files."""
    return [one.name for one in out.glob(".*") if one.name not in BESIDE] if out.exists() else []


def one_round(session: Path, out: Path, length: float, rng: random.Random, expected: dict[str, bytes]) -> str:
    """Disturb a run; return what came of it."""
    first = rng.choice(ONCE)
    signals = [first, *rng.choices(ONCE, k=rng.random() < 0.1)]
    workers = 2 if rng.random() < 0.04 else 0
    moment = rng.uniform(0, length * (1 if workers == 0 else 4))
    code = disturbed(lambda: koma(session, out, workers), moment, signals)
    what = f"{len(signals)} signals, {workers} workers: exit {code}"
    assert code in (0, *(128 + number for number in signals)), what
    assert half_written(out) == [], f"{what}: half an output"
    if code == 0:
        assert contents(out) == expected, what
        shutil.rmtree(out)
    elif len(signals) == 1:
        assert left_behind(out) == [], f"{what}: {left_behind(out)}"
    return what


def main() -> None:
    """Do so many rounds and print what came of each."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.signals", description=__doc__)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng, counts, wrong = random.Random(options.seed), Counter[str](), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        night = named("standard", shape=(128, 128), frames=6, stacks=6, seed=1, hot=(0.005, 0.01), dose=1)
        disturbed(lambda: write_session(folder / "night", night), 0, [])
        for _ in range(2):  # the second time everything is compiled
            shutil.rmtree(folder / "expected", ignore_errors=True)
            began = time.monotonic()
            assert disturbed(lambda: koma(folder / "night", folder / "expected", 0), 0, []) == 0
        length, expected = time.monotonic() - began, contents(folder / "expected")
        for k in range(options.rounds):
            try:
                counts[one_round(folder / "night", folder / "out", length, rng, expected)] += 1
            except AssertionError as error:
                wrong += 1
                counts[f"WRONG: {error}"] += 1
                sys.stderr.write(f"\nround {k}: {error}\n")
                shutil.rmtree(folder / "out", ignore_errors=True)
            sys.stderr.write(f"{k + 1}/{options.rounds}, {wrong} wrong\n")
    sys.stdout.write("\n".join(f"{number:5} {what}" for what, number in sorted(counts.items())) + "\n")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
