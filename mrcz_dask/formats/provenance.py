"""Provenance: the list of processing steps that made a stack, each protected by a digest.

Nothing volatile goes in: no time, platform, user, host or absolute path, so that equal input and parameters
give equal files.
"""

from __future__ import annotations

import json
from math import isfinite
from pathlib import PurePath
from typing import Any

import numpy as np
import xxhash

from mrcz_dask.values.errors import FooterError, MrczDaskError, ParameterError
from mrcz_dask.version import __version__

PACKAGE = "mrcz-dask"
_SEAL = "digest"


def step(
    name: str,
    parameters: Any = None,
    inputs: Any = (),
    results: Any = None,
    caveats: Any = (),
    skipped: Any = (),
) -> dict[str, Any]:
    """Return the description of one processing step: its name, parameters, inputs, results and caveats.

    Parameters
    ----------
    name
        Name of the step.
    parameters
        Resolved parameters: a mapping or one of the parameter classes.
    inputs
        Mappings with the name (never an absolute path), size and digest of each input.
    results
        Results that are worth keeping: thresholds, fit, counts, window members, coefficients.
    caveats, skipped
        Texts: what to beware of, and what was left out and why.

    Raises
    ------
    ParameterError
        Something that is no plain value.
    """
    return {
        "name": name,
        "package": PACKAGE,
        "version": __version__,
        "parameters": plain(parameters or {}),
        "inputs": plain(inputs),
        "results": plain(results or {}),
        "caveats": plain(caveats),
        "skipped": plain(skipped),
    }


def append(previous: list[dict[str, Any]] | None, new: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the list of steps with a new one, sealed by a digest over it and the step before."""
    steps = list(previous or [])
    return [*steps, {**new, _SEAL: _seal(steps[-1].get(_SEAL, "") if steps else "", new)}]


def steps_in(value: Any, name: str, error: type[MrczDaskError] = FooterError) -> list[dict[str, Any]]:
    """Return the processing steps in a footer's provenance; an empty list for None.

    Raises
    ------
    FooterError, or `error`
        It is no list of steps; says where it is from.
    """
    if value is not None and not _are_steps(value):
        raise error(f"{name}: its provenance is no list of steps; expected what this package wrote")
    return value or []


def verify_chain(steps: Any) -> list[str]:
    """Check the digests of all processing steps and return the problems; an empty list if they are sound."""
    if not _are_steps(steps):
        return ["provenance: expected a list of steps"]
    problems, before = [], ""
    for i, entry in enumerate(steps):
        seal = entry.get(_SEAL, "")
        if seal != _seal(before, {key: value for key, value in entry.items() if key != _SEAL}):
            name = entry.get("name", "without a name")
            problems.append(f"provenance: step {i} ({name}) was changed after it was written")
        before = seal
    return problems


def plain(value: Any) -> Any:
    """Convert a value to plain ones (text, numbers, lists, maps), as JSON and MessagePack hold them.

    NumPy scalars and arrays become numbers and lists, bytes hexadecimal text, numbers that are not finite the
    texts ``inf``, ``-inf`` and ``nan`` (JSON has none), absolute paths their last part.

    Raises
    ------
    ParameterError
        There is no plain form of it.
    """
    if value is None or (isinstance(value, int) and -(1 << 63) <= value < 1 << 64):
        return value
    if isinstance(value, str):  # names of files need not be UTF-8
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, PurePath):
        return value.name if value.is_absolute() else value.as_posix()
    if isinstance(value, bytes):
        return value.hex()
    if hasattr(value, "to_dict"):
        return plain(value.to_dict())
    raise ParameterError(f"{value!r} is no plain value; give text, numbers, lists or maps")


def canonical(value: Any) -> bytes:
    """Return a value as JSON bytes with sorted keys, so that equal values give equal digests."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _are_steps(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, dict) and isinstance(entry.get("name", ""), str) for entry in value
    )


def _seal(before: Any, content: dict[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(str(before).encode() + canonical(content))
