"""Sets glibc's malloc to keep freed memory for the next frame, which saves the time to request it again.

Memory that a process touches for the first time costs as much as decoding a frame into it, and malloc gives
everything above some 128 KiB back to the system as soon as it is freed: six stacks of 30 K2 frames make
800 000 page faults, and 80 000 with the settings below. Threads get arenas of their own, whose heaps hold
64 MiB at most; larger arrays would be mapped and unmapped again, so that there is one arena for all.

The price: a process keeps its peak until it ends. Nothing but its peak may be compared with a limit.
"""

from __future__ import annotations

import ctypes
from functools import cache

# One arena; nothing is mapped on its own; the heap never shrinks, and grows by 64 MiB.
_GROWTH = 64 << 20


# Name in the environment: number for `mallopt`, value (-1 = without bounds), and default.
SETTINGS = {
    "MALLOC_ARENA_MAX": (-8, 1, 0),
    "MALLOC_MMAP_MAX_": (-4, 0, 65536),
    "MALLOC_TRIM_THRESHOLD_": (-1, -1, 128 << 10),
    "MALLOC_TOP_PAD_": (-2, _GROWTH, 128 << 10),
}


def environment() -> dict[str, str]:
    """Return environment variables that make malloc keep freed memory in
    worker processes started with them.
    """
    return {variable: str(value) for variable, (_, value, _) in SETTINGS.items()}


@cache
def keep_memory() -> bool:
    """Make malloc keep freed memory in this process for the next frames; return False if it is not glibc's.

    Threads that have an arena of their own by now keep it.
    """
    return _set({parameter: value for parameter, value, _ in SETTINGS.values()})


def give_back() -> None:
    """Reset malloc to its defaults and return freed memory to the system."""
    keep_memory.cache_clear()
    if _set({parameter: default for parameter, _, default in SETTINGS.values()}):
        ctypes.CDLL(None).malloc_trim(0)


def _set(values: dict[int, int]) -> bool:
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    taken = [library.mallopt(parameter, value) for parameter, value in values.items()]
    return 0 not in taken
