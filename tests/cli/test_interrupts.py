import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from mrcz_dask.cli import interrupts
from mrcz_dask.cli.interrupts import _heed, heed_signals, stopped_by_interrupt
from mrcz_dask.values.stopping import check_stop


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Exit codes with which the process would have ended; afterwards signals are the runner's again."""
    codes: list[int] = []
    monkeypatch.setattr(interrupts.os, "_exit", codes.append)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    fd = signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield codes
    signal.set_wakeup_fd(fd)
    for number, handler in before.items():
        signal.signal(number, handler)


def stopped_within(seconds: float = 30) -> None:
    """Look for the wish to stop as work does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        check_stop()
        time.sleep(0.001)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, None), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_work_at_its_next_look_and_once(ended: list[int], number: int, code: int) -> None:
    heed_signals()
    os.kill(os.getpid(), number)
    with pytest.raises(KeyboardInterrupt if code is None else SystemExit) as raised:
        stopped_within()
    assert getattr(raised.value, "code", None) == code
    check_stop()
    assert ended == []


def test_other_threads_are_not_interrupted(ended: list[int]) -> None:
    heed_signals()
    _heed(signal.SIGINT)
    thread = threading.Thread(target=check_stop)
    thread.start()
    thread.join()
    with pytest.raises(KeyboardInterrupt):
        check_stop()


@pytest.mark.parametrize(("same", "codes"), [(0.0, [130]), (1e9, [])])
def test_the_second_signal_ends_at_once_unless_it_is_the_first_sent_to_the_group_too(
    ended: list[int], monkeypatch: pytest.MonkeyPatch, same: float, codes: list[int]
) -> None:
    monkeypatch.setattr(interrupts, "SAME_SECONDS", same)
    heed_signals()
    _heed(signal.SIGTERM)
    with pytest.raises(SystemExit):
        check_stop()
    time.sleep(0.001)
    _heed(signal.SIGINT)
    assert ended == codes


def test_the_first_interrupt_asks_to_finish(ended: list[int]) -> None:
    with stopped_by_interrupt() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.wait(30)
        check_stop()


def test_sigterm_ends_what_an_interrupt_would_let_finish(ended: list[int]) -> None:
    with pytest.raises(SystemExit, match="143"), stopped_by_interrupt() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(30)


IGNORED = """
import os, signal
from mrcz_dask.cli.interrupts import heed_signals
from mrcz_dask.values.stopping import check_stop
signal.signal(signal.SIGINT, signal.SIG_IGN)
heed_signals()
assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
"""


def test_ctrl_c_that_was_ignored_stays_ignored() -> None:
    """As in a shell script's background job."""
    subprocess.run([sys.executable, "-c", IGNORED], check=True)
