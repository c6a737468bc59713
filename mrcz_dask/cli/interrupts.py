"""Ctrl-C as a wish to finish, once for what is there, twice to stop at once; and no signal is lost."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mrcz_dask.cli.console import warn

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_AGAIN_SECONDS = 0.05
_SIGNAL_OF: dict[type[BaseException], signal.Signals] = {
    KeyboardInterrupt: signal.SIGINT,
    SystemExit: signal.SIGTERM,
}


@contextmanager
def stopped_by_interrupt() -> Iterator[threading.Event]:
    """Give an event that the first Ctrl-C in the block sets; the second one interrupts as usual."""
    stop = threading.Event()

    def finish(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        warn("finishing what is there; Ctrl-C once more stops at once (run again to go on)")

    before = signal.signal(signal.SIGINT, finish)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def insist_on_signals() -> None:
    """Send a signal again whose exception Python threw away.

    A handler runs between any two instructions of the main thread; where those are of a callback of the
    garbage collector (Dask has one) or of a finalizer, what it raises is printed and forgotten, and the run
    would go on.
    """
    sys.unraisablehook = _again


def _again(lost: UnraisableHookArgs) -> None:
    number = _SIGNAL_OF.get(lost.exc_type)
    if number is None:
        sys.__unraisablehook__(lost)
        return
    # Later: this hook runs in the same callback. To the main thread, which may sleep, and no other.
    main = threading.main_thread().ident
    timer = threading.Timer(_AGAIN_SECONDS, signal.pthread_kill, (main, number))
    timer.daemon = True
    timer.start()
