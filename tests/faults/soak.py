"""Hundreds of random faults, one after the other, and what came of them: ``python -m tests.faults.soak``.

Every round runs over a small session, does something bad to it at a random moment, resumes until all is done,
and compares the bytes with those of a serial run.
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
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.faults.scene import Koma, Night, check, half_written, kill, koma, make_night, resume

LONGEST = 8.0


def kill_a_worker(running: Koma, night: Night, rng: random.Random) -> None:
    """End one worker at once."""
    workers = running.workers()
    if workers:
        kill(rng.choice(workers))


def kill_all_workers(running: Koma, night: Night, rng: random.Random) -> None:
    """End all workers at once."""
    for pid in running.workers():
        kill(pid)


def kill_the_command(running: Koma, night: Night, rng: random.Random) -> None:
    """End the command and its scheduler at once; its workers see to themselves."""
    kill(running.process.pid)


def kill_everything(running: Koma, night: Night, rng: random.Random) -> None:
    """As when the power fails."""
    for pid in (*running.workers(), running.process.pid):
        kill(pid)


def tell_to_stop(running: Koma, night: Night, rng: random.Random) -> None:
    """As a queue system or a terminal does."""
    os.killpg(running.process.pid, rng.choice([signal.SIGTERM, signal.SIGINT]))


def damage_an_output(running: Koma, night: Night, rng: random.Random) -> None:
    """Change a byte of an output that is done, then end everything."""
    done = sorted(running_output(running).glob("*.mrcz"))
    if done:
        path = rng.choice(done)
        data = bytearray(path.read_bytes())
        data[rng.randrange(2000, len(data))] ^= 1
        path.write_bytes(data)
    kill_everything(running, night, rng)


def take_the_inputs_away(running: Koma, night: Night, rng: random.Random) -> None:
    """Move the session's folder away and back."""
    away = night.session.with_name("away")
    night.session.rename(away)
    time.sleep(rng.uniform(0, 3))
    away.rename(night.session)


def running_output(running: Koma) -> Path:
    """Return the output folder of a command."""
    arguments = running.process.args
    assert isinstance(arguments, list)
    return Path(str(arguments[arguments.index("-o") + 1]))


Fault = Callable[[Koma, Night, random.Random], None]
FAULTS: tuple[Fault, ...] = (
    kill_a_worker,
    kill_all_workers,
    kill_the_command,
    kill_everything,
    tell_to_stop,
    damage_an_output,
    take_the_inputs_away,
)


def one_round(night: Night, out: Path, fault: Fault, rng: random.Random) -> int:
    """Run with a fault at a random moment, resume, compare; return the exit code of the disturbed run."""
    with koma(night, out, "--workers", 2) as running:
        running.wait_for(1, "PhaseStarted")
        time.sleep(rng.uniform(0, LONGEST))
        fault(running, night, rng)
        code = running.end()
    if fault is not damage_an_output:
        assert half_written(out) == []
    resume(night, out, "--workers", rng.choice([0, 2]))
    check(night, out)
    return code


def main() -> None:
    """Do so many rounds and print what came of each."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng, counts, wrong = random.Random(options.seed), Counter[str](), 0
    with tempfile.TemporaryDirectory() as folder:
        night = make_night(Path(folder), 10, (512, 512), 12, options.seed)
        for k in range(options.rounds):
            fault, out = rng.choice(FAULTS), Path(folder) / "out"
            try:
                counts[
                    f"{fault.__name__}: exit {one_round(night, out, fault, rng)}, resumed, same bytes"
                ] += 1
            except (AssertionError, TimeoutError) as error:
                wrong += 1
                counts[f"{fault.__name__}: WRONG"] += 1
                sys.stderr.write(f"round {k}, {fault.__name__}: {error}\n")
            shutil.rmtree(out, ignore_errors=True)
            sys.stderr.write(f"{k + 1}/{options.rounds} {fault.__name__}\n")
    sys.stdout.write("\n".join(f"{number:5} {what}" for what, number in sorted(counts.items())) + "\n")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
