"""Format numbers of bytes and lists of names for people."""

from __future__ import annotations

from collections.abc import Iterable


def readable(size: float) -> str:
    """Return a number of bytes in the unit that suits it (1 kB = 1000 B)."""
    units = ("B", "kB", "MB", "GB", "TB", "PB")
    power = next((p for p in range(len(units)) if abs(size) < 999.5 * 1000**p), len(units) - 1)
    return f"{size / 1000**power:.3g} {units[power]}"


def some(names: Iterable[object], most: int = 5) -> str:
    """Return the first names, and how many more there are."""
    listed = [str(name) for name in names]
    rest = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {rest} more" if rest > 0 else "")
