"""Handling of Ctrl-C and SIGTERM: the first asks the command to finish in order, the second ends it at once.

No work is done in a signal handler: the interpreter writes the signal's number into a pipe, and a thread
reads it there. So nothing is raised into compiled code, a handler never waits for a lock that its own thread
holds, and a second signal ends the process while the main thread is busy.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mrcz_dask.cli.console import warn
from mrcz_dask.values.stopping import ask_to_stop, check_stop

# A signal that comes again so soon is the same one: `timeout` sends it to a process and to its group.
SAME_SECONDS = 0.2
SHOW_CURSOR = b"\x1b[?25h"
_finishing: list[threading.Event] = []
_pipe: list[int] = []
_heeded = 0.0


def heed_signals() -> None:
    """Handle Ctrl-C and SIGTERM from now on; Ctrl-C stays ignored if the parent process ignores it."""
    global _heeded
    _heeded = 0.0
    if not _pipe:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        _pipe.extend((reading, writing))
        threading.Thread(target=_read, args=(reading,), name="signals", daemon=True).start()
    signal.set_wakeup_fd(_pipe[1], warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, _nothing)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _nothing)


@contextmanager
def stopped_by_interrupt() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C sets, so that the block can finish the stacks or frames it has.

    SIGTERM sets it, too, and asks for an end in order; at the latest this block raises it.
    """
    stop = threading.Event()
    heed_signals()
    signal.signal(signal.SIGINT, _nothing)
    _finishing.append(stop)
    try:
        yield stop
        check_stop()
    finally:
        _finishing.remove(stop)


def _nothing(number: int, frame: object) -> None:
    """Be a handler, so that the number is written into the pipe."""


def _read(pipe: int) -> None:
    while True:
        number = os.read(pipe, 1)[0]
        if number in (signal.SIGINT, signal.SIGTERM):
            _heed(number)


def _heed(number: int) -> None:
    """Ask for an end in order; the second time end."""
    global _heeded
    if not _heeded:
        _heeded = time.monotonic()
        is_finishing = _finishing and number == signal.SIGINT
        if not is_finishing:
            ask_to_stop(number)
        for stop in _finishing:
            stop.set()
        if is_finishing:
            warn("finishing what is there; Ctrl-C once more stops at once (run again to go on)")
        elif number == signal.SIGINT:
            warn("stopping at the next frame or stack; Ctrl-C once more ends at once")
    elif time.monotonic() - _heeded > SAME_SECONDS:
        if sys.stderr.isatty():
            with suppress(OSError):
                os.write(2, SHOW_CURSOR)
        os._exit(128 + number)
