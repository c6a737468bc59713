"""What of the machine matters to a benchmark; nothing that names it or its user."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import blosc2

import mrcz_dask
from benchmarks.codecs.peers import versions
from mrcz_dask.formats.parallel import available_cores

_PACKAGES = ("numpy", "blosc2", "numcodecs", "msgpack")
_OPTIONAL = ("imagecodecs", "orjson")
_CPUINFO = Path("/proc/cpuinfo")


def machine() -> dict[str, Any]:
    """Return cores, load of the last minute, processor, system and versions as plain values."""
    return {
        "cores": available_cores(),
        "load": round(os.getloadavg()[0], 2),
        "processor": processor(_CPUINFO),
        "architecture": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "mrcz-dask": mrcz_dask.__version__,
        "packages": {name: _installed(name) for name in _PACKAGES}
        | {name: _installed(name) for name in _OPTIONAL if find_spec(name) is not None}
        | {"c-blosc2": blosc2.blosclib_version.split()[0]},
        "programs": versions(),
    }


def processor(cpuinfo: Path) -> str:
    """Return the processor's model, or what the system calls it where that cannot be read."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.processor() or "unknown"


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
