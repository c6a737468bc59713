"""Text for messages: names that are safe to print, numbers of bytes, durations, lists of names."""

from __future__ import annotations

import json
from collections.abc import Iterable
from unicodedata import category

# Control characters, halves of a pair, line ends, and marks of format such as those that turn the direction
# of text. Letters of some scripts are joined or kept apart by two of the last kind.
_OBEYED = {"Cc", "Cs", "Zl", "Zp", "Cf"}
_JOINERS = "\u200c\u200d"


def visible(text: str) -> str:
    """Return text as one line in which control characters are visible escapes, safe to print in a terminal.

    JSON in one line stays JSON with the same content. Applied twice, it changes nothing more.
    """
    if text.isprintable():
        return text
    return "".join(json.dumps(c)[1:-1] if category(c) in _OBEYED and c not in _JOINERS else c for c in text)


def json_text(values: object, indent: int | None = None) -> str:
    """Return plain values as JSON that is safe to print: letters stay, control characters are escaped."""
    text = json.dumps(values, indent=indent, ensure_ascii=False)
    return "\n".join(map(visible, text.split("\n")))


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


def duration(seconds: float | None) -> str:
    """Return a time in words with two units at most, such as "2 h 5 min"; ``-`` if it is not known."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 9.5 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes < 10 else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours / 24:.1f} days"
