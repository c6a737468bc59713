"""Ends a command in order after Ctrl-C or another signal: work checks for it between two frames.

An exception from a signal handler can come out of compiled code, which then crashes, or out of a callback,
which loses it. One that is raised here comes where everything is in order.
"""

from __future__ import annotations

import signal
import threading

_asked = threading.Event()
_by = signal.SIGTERM


def ask_to_stop(number: int) -> None:
    """Note that a signal wants the command to end, so that `check_stop` raises.

    It takes a lock, so signal handlers must not call it directly.
    """
    global _by
    _by = signal.Signals(number)
    _asked.set()


def check_stop() -> None:
    """Raise the exception that ends the command if a signal such as Ctrl-C has asked for it; once.

    Called between frames, between stacks and in waits. It raises in the main thread alone, which alone
    cleans up; and once, so that nothing interrupts this.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C.
    SystemExit
        After another signal, with 128 + its number.
    """
    if _asked.is_set() and threading.current_thread() is threading.main_thread():
        _asked.clear()
        if _by == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + _by)
