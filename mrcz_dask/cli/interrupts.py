"""Ctrl-C as a wish to finish: once for what is there, twice to stop at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mrcz_dask.cli.console import warn


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
