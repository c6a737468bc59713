"""Texts that may hold anything, such as file names, made safe for a terminal and for logs."""

from __future__ import annotations

import json
from unicodedata import category

# Control characters, halves of a pair, line ends, and marks of format such as those that turn the direction
# of text. Letters of some scripts are joined or kept apart by two of the last kind.
_OBEYED = {"Cc", "Cs", "Zl", "Zp", "Cf"}
_JOINERS = "\u200c\u200d"


def visible(text: str) -> str:
    """Return a text in one line, with characters that a terminal would obey as JSON escapes.

    JSON in one line stays JSON with the same content. Applied twice, it changes nothing more.
    """
    if text.isprintable():
        return text
    return "".join(json.dumps(c)[1:-1] if category(c) in _OBEYED and c not in _JOINERS else c for c in text)


def json_text(values: object, indent: int | None = None) -> str:
    """Return plain values as JSON: letters stay, and nothing is in it that a terminal would obey."""
    text = json.dumps(values, indent=indent, ensure_ascii=False)
    return "\n".join(map(visible, text.split("\n")))
