"""Checks files before they are read, and refuses those that would take too much time, memory or disk.

A small file can ask for much: blank stacks shrink to a 5000th, and so do those made to fill a machine. So the
ratio alone refuses nothing. Refused is what is larger than a limit, which an environment variable raises,
and beyond all proportion to the file; and what does not fit into what is free.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from math import ceil
from pathlib import Path

import psutil

from mrcz_dask.values.errors import HeaderError, ParameterError
from mrcz_dask.values.texts import readable

LARGEST = "MRCZ_DASK_LARGEST"  # GB that a stack may decode to; a 16th of it at once
_DEFAULT, _GB = 64.0, 1e9
_AT_ONCE = 16
_PROPORTION = 256
_PART_BYTES = 256  # that a reader remembers of each frame or chunk
OWN_GROUPS, GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
_GROUP_FILES = (
    ("memory.max", "memory.current"),  # of version 2
    ("memory.limit_in_bytes", "memory.usage_in_bytes"),
)
_FREE = 0.5  # share of free memory or disk that one file may take


def limit_for_workers() -> dict[str, str]:
    """Return the size limit for input files as an environment variable for new workers, if it is set."""
    return {LARGEST: os.environ[LARGEST]} if LARGEST in os.environ else {}


def check_cost(name: str, *, stored: int, decoded: int = 0, at_once: int = 0, parts: int = 0) -> None:
    """Raise an error if a file would take too long to read, or more memory than allowed.

    Parameters
    ----------
    name
        Name of the file in messages.
    stored
        Its bytes.
    decoded
        Bytes of all its pixels, which cost time.
    at_once
        Bytes of the largest piece that has to be in memory, a frame or a chunk.
    parts
        Number of frames or chunks, whose places are remembered.

    Raises
    ------
    HeaderError
        Says how much, and how the limit is raised.
    """
    limit = _limit()
    held = at_once + _PART_BYTES * parts
    if decoded > max(limit, _PROPORTION * stored):
        raise HeaderError(_too_much(name, stored, decoded, "pixels", decoded))
    if held > max(limit // _AT_ONCE, stored):
        raise HeaderError(_too_much(name, stored, held, "memory at once", _AT_ONCE * held))
    free = int(_FREE * free_memory())
    if held > free:
        raise HeaderError(
            f"{name}: asks for {readable(held)} of memory at once; expected at most {readable(free)}, half "
            "of what is free; read it on a larger machine"
        )


def free_memory() -> int:
    """Return the free memory in bytes: of the machine, or of the container or queue job if that is less."""
    of_machine: int = psutil.virtual_memory().available
    return min([of_machine, *_left_in_groups()])


def _left_in_groups() -> Iterator[int]:
    """Yield what the control groups of this process, and those above them, leave of their limits (Linux)."""
    for line in _text(OWN_GROUPS).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = GROUPS / controllers
        group, (limit_file, used_file) = root / path.strip("/"), _GROUP_FILES[bool(controllers)]
        for folder in (group, *group.parents):
            limit, used = (_text(folder / name).strip() for name in (limit_file, used_file))
            if folder.is_relative_to(root) and limit.isdecimal() and used.isdecimal():
                cached = re.search(r"^(?:total_)?inactive_file (\d+)", _text(folder / "memory.stat"), re.M)
                yield max(0, int(limit) - int(used) + (int(cached[1]) if cached else 0))


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace")
    except OSError:
        return ""


def check_temporary(name: str, stored: int, nbytes: int) -> None:
    """Raise an error if unpacking a compressed file would take too much of the temporary folder's disk.

    Raises
    ------
    HeaderError
        Says how much, and what to do.
    """
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if nbytes > min(int(_FREE * free), max(_limit() // _AT_ONCE, _PROPORTION * stored)):
        folder = tempfile.gettempdir()
        resource = f"disk in {folder}, where {readable(free)} are free (TMPDIR sets another folder)"
        raise HeaderError(_too_much(name, stored, nbytes, resource, _AT_ONCE * nbytes))


def _too_much(name: str, stored: int, nbytes: int, resource: str, needed: int) -> str:
    return (
        f"{name}: its {readable(stored)} ask for {readable(nbytes)} of {resource}; if that is right, set "
        f"{LARGEST}={ceil(needed / _GB)} (GB)"
    )


def _limit() -> int:
    text = os.environ.get(LARGEST, str(_DEFAULT))
    try:
        return int(float(text) * _GB)
    except (ValueError, OverflowError) as error:
        raise ParameterError(f"{LARGEST} is {text!r}; expected a number of GB, such as 64") from error
