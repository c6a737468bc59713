"""Where commands print: results to standard output, progress and errors to standard error."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mrcz_dask.values.errors import error_text
from mrcz_dask.values.texts import json_text, visible

# A table on a pipe must not be folded: the width that nobody set is taken as wide.
PIPE_WIDTH = 400


class SafeConsole(Console):
    """A console on which each text takes one line and a terminal obeys none, whatever is in a name."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text as rich draws it; all printed texts and cells of tables come through here."""
        return super().render_str(visible(text), **options)


def results() -> Console:
    """Return the console of standard output; plain and unfolded on a pipe."""
    terminal = sys.stdout.isatty()  # names are no markup: a[x].mrc keeps its brackets, a:cat:.mrc its word
    width = None if terminal else PIPE_WIDTH
    return SafeConsole(width=width, soft_wrap=not terminal, markup=False, emoji=False)


def errors() -> Console:
    """Return the console of standard error."""
    return SafeConsole(stderr=True, soft_wrap=True, markup=False, emoji=False)


def say(text: str) -> None:
    """Print a line of results."""
    results().print(text, markup=False, highlight=False, soft_wrap=True)


def say_lines(text: str) -> None:
    """Print a text of our own that has several lines."""
    for line in text.split("\n"):
        say(line)


def alert(text: str, style: str = "red") -> None:
    """Print a line on standard error."""
    errors().print(text, style=style, markup=False, highlight=False)


def warn(text: str) -> None:
    """Print a warning on standard error."""
    alert(f"warning: {text}", "yellow")


def complain(error: BaseException) -> None:
    """Print an error on standard error."""
    alert(f"error: {error_text(error)}")


@contextmanager
def stopping(kept: Callable[[], str]) -> Iterator[None]:
    """Note what is kept and how to go on when Ctrl-C or SIGTERM ends the block; `tell_stopped` prints it."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:
        error.add_note(kept())
        raise


def tell_stopped(end: BaseException) -> None:
    """Say that a signal has ended the command, what is kept, and how to go on."""
    notes: list[str] = []
    error: BaseException | None = end
    while error is not None:
        notes += getattr(error, "__notes__", [])
        error = error.__cause__ or error.__context__
    kept = notes[0] if notes else "files that are finished are kept; run the same command again"
    alert(f"stopped: {kept}", "yellow")


def print_json(values: Any) -> None:
    """Print plain values as JSON, numbers that JSON does not know as null."""
    sys.stdout.write(json_text(finite(values), indent=2) + "\n")


def finite(values: Any) -> Any:
    """Return plain values with infinities and not-a-numbers as None."""
    if isinstance(values, dict):
        return {key: finite(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


def table(*columns: str, right: tuple[str, ...] = (), caption: str | None = None) -> Table:
    """Return a table without lines; on a terminal that is narrow, texts are folded rather than cut."""
    terminal = sys.stdout.isatty()
    rows = Table(box=None, pad_edge=False, collapse_padding=terminal, caption=caption)
    rows.title_justify = rows.caption_justify = "left"
    for column in columns:
        number = column in right
        justify: Literal["left", "right"] = "right" if number else "left"
        rows.add_column(column, justify=justify, no_wrap=number or not terminal, overflow="fold")
    return rows
