import os
import signal
import subprocess
import sys

import pytest

from mrcz_dask.cli.interrupts import stopped_by_interrupt


def test_the_first_interrupt_asks_and_the_second_stops() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stopped_by_interrupt() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.is_set()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == before


LOST = """
import gc, os, signal, sys, time
from mrcz_dask.cli import app
from mrcz_dask.cli.interrupts import insist_on_signals

def once(phase, info):
    gc.callbacks.remove(once)
    os.kill(os.getpid(), signal.{name})
    for _ in range(1000):
        pass

signal.signal(signal.SIGTERM, app._end)
insist_on_signals()
gc.callbacks.append(once)
gc.collect()
time.sleep(30)
print("went on")
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_that_python_throws_away_comes_again(name: str) -> None:
    command = [sys.executable, "-c", LOST.format(name=name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == ""
    assert done.returncode in (143, -signal.SIGINT)
    assert "Exception ignored" not in done.stderr
