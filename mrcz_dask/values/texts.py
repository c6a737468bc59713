"""Makes text from files, such as their names, safe to print in a terminal and in logs."""

from __future__ import annotations

import json
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
