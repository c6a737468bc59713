"""Numbers of bytes and lists of names as short text for messages."""

from __future__ import annotations

from collections.abc import Iterable


def readable(size: float) -> str:
    """Return a number of bytes as text in a fitting unit, such as ``1.2 GB`` (1 kB = 1000 B)."""
    units = ("B", "kB", "MB", "GB", "TB", "PB")
    power = next((p for p in range(len(units)) if abs(size) < 999.5 * 1000**p), len(units) - 1)
    return f"{size / 1000**power:.3g} {units[power]}"


def some(names: Iterable[object], most: int = 5) -> str:
    """Return the first `most` names as text, with the number of the others, such as ``a, b and 3 more``."""
    listed = [str(name) for name in names]
    rest = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {rest} more" if rest > 0 else "")
