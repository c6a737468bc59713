"""Writes STAR files as RELION reads them: tables of columns."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from mrcz_dask.formats.atomic import write_atomic
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.texts import visible

# A word that begins so is no value, unless in quotes.
_MARKS = ("#", "_", ";", "$", "data_", "loop_", "save_")

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
