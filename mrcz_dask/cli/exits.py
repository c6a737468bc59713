"""Exit codes, the same for every command: 0 done, 1 failure, 2 wrong usage, 3 not all done, 4 unchecked."""

from __future__ import annotations

from collections.abc import Iterable

from mrcz_dask.values.errors import is_usage_error

DONE = 0
FAILED = 1
USAGE = 2
PARTLY = 3
UNCHECKED = 4


def failed(errors: Iterable[BaseException]) -> int:
    """Return the exit code of a command that could do nothing: 2 if all errors are wrong usage, else 1."""
    return USAGE if all(map(is_usage_error, errors)) else FAILED
