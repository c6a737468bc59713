"""Parse durations such as 90s or 2h."""

from __future__ import annotations

import re

from mrcz_dask.values.errors import ParameterError

_UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*(s|m|min|h|d|)\s*")


def parse_seconds(text: str, name: str) -> float:
    """Return the seconds of a duration such as ``90``, ``90s``, ``1.5m``, ``30min``, ``2h`` or ``1d``.

    Parameters
    ----------
    text
        The duration.
    name
        Name of the option, for the message.

    Raises
    ------
    ParameterError
        The text is no duration.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ParameterError(f"{name} is {text!r}; expected a time such as 90s, 30m or 2h")
    return float(found[1]) * _UNITS[found[2]]
