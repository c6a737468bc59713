"""Reads and writes STAR files as RELION and Warp do: tables of columns."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mrcz_dask.formats.atomic import write_atomic
from mrcz_dask.values.errors import FormatError, ParameterError
from mrcz_dask.values.texts import visible

# A word that begins so is no value, unless in quotes.
_MARKS = ("#", "_", ";", "$", "data_", "loop_", "save_")

# In quotes, which a blank or the end of the line closes, or without blanks; a backslash is itself.
_WORD = re.compile(r"""("[^"]*"|'[^']*')(?!\S)|(\S+)""")

# Names of columns, each with as many values.
Table = Mapping[str, Sequence[Any]]


def is_word(text: str) -> bool:
    """Return True if a text can be a value in a STAR file: no quote, line break or control character."""
    return "'" not in text and '"' not in text and text == visible(text)


def write_star(path: str | os.PathLike[str], blocks: Mapping[str, Table]) -> None:
    """Write tables to a STAR file for RELION; see `star_text`."""
    write_atomic(path, star_text(blocks).encode())


def star_text(blocks: Mapping[str, Table]) -> str:
    """Return tables of columns as the text of a STAR file; column names without underscore.

    Raises
    ------
    ParameterError
        Columns of a table differ in length, or a text cannot be a value.
    """
    texts = []
    for name, table in blocks.items():
        if len({len(column) for column in table.values()}) > 1:
            raise ParameterError(f"STAR table {name}: its columns differ in length")
        labels = [f"_{label} #{k + 1}" for k, label in enumerate(table)]
        rows = [" ".join(map(_quoted, row)) for row in zip(*table.values(), strict=True)]
        texts.append("\n".join([f"# version 30001\n\ndata_{name}\n\nloop_", *labels, *rows, ""]) + "\n")
    return "\n".join(texts)


def read_star(text: str) -> dict[str, dict[str, list[str]]]:
    """Return the tables of a STAR file by name, and their columns by label without underscore.

    Raises
    ------
    FormatError
        A row has another number of values than its table has columns, or a value stands outside of a table.
    """
    blocks: dict[str, dict[str, list[str]]] = {}
    table: dict[str, list[str]] | None = None
    loop = False
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        words = [quoted[1:-1] or word for quoted, word in _WORD.findall(bare)]
        if bare.startswith("data_"):
            table, loop = blocks.setdefault(words[0].removeprefix("data_"), {}), False
        elif bare.startswith("loop_"):
            loop = True
        elif table is None or not (bare.startswith("_") or len(words) == len(table)):
            expected = "data_NAME" if table is None else f"{len(table)} values"
            raise FormatError(f"line {number} is {visible(bare[:80])!r}; expected {expected}")
        elif bare.startswith("_"):
            table[words[0][1:]] = [] if loop else words[1:2]
        else:
            for column, word in zip(table.values(), words, strict=True):
                column.append(word)
    return blocks


def _quoted(value: Any) -> str:
    """Return a value as one word; RELION splits lines at blanks and knows quotes."""
    text = f"{value:.6f}" if isinstance(value, float) else str(value)
    if not is_word(text):
        raise ParameterError(
            f"{text!r} cannot be in a STAR file: it has a quote, a line break or a control character; "
            "rename it"
        )
    bare = text and not text.startswith(_MARKS) and not any(map(str.isspace, text))
    return text if bare else f'"{text}"'
