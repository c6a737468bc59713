"""Prints the texts of all commands: results to standard output, progress and errors to standard error.

The exit codes are the same for every command: 0 done, 1 failure, 2 wrong usage, 3 not all done, 4 unchecked.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mrcz_dask.values.errors import error_text, is_usage_error
from mrcz_dask.values.texts import json_text, visible

DONE = 0
FAILED = 1
USAGE = 2
PARTLY = 3
UNCHECKED = 4
# A table on a pipe must not be folded: the width that nobody set is taken as wide.
PIPE_WIDTH = 400


def failed(errors: Iterable[BaseException]) -> int:
    """Return the exit code of a command that could do nothing: 2 if all errors are wrong usage, else 1."""
    return USAGE if all(map(is_usage_error, errors)) else FAILED


class SafeConsole(Console):
    """A rich console that shows control characters in file names instead of passing them to the terminal."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text for printing, with its control characters made visible."""
        return super().render_str(visible(text), **options)


def results() -> Console:
    """Return a console that prints to standard output, without colors or folded lines on a pipe."""
    terminal = sys.stdout.isatty()  # names are no markup: a[x].mrc keeps its brackets, a:cat:.mrc its word
    width = None if terminal else PIPE_WIDTH
    return SafeConsole(width=width, soft_wrap=not terminal, markup=False, emoji=False)


def errors() -> Console:
    """Return a console that prints to standard error."""
    return SafeConsole(stderr=True, soft_wrap=True, markup=False, emoji=False)


def say(text: str) -> None:
    """Print one line of a command's results to standard output."""
    results().print(text, markup=False, highlight=False, soft_wrap=True)


def say_lines(text: str) -> None:
    """Print a text of several lines to standard output."""
    for line in text.split("\n"):
        say(line)


def alert(text: str, style: str = "red") -> None:
    """Print one line to standard error, in a color."""
    errors().print(text, style=style, markup=False, highlight=False)


def warn(text: str) -> None:
    """Print a text to standard error as a warning."""
    alert(f"warning: {text}", "yellow")


def complain(error: BaseException) -> None:
    """Print an error's message to standard error."""
    alert(f"error: {error_text(error)}")


@contextmanager
def stopping(kept: Callable[[], str]) -> Iterator[None]:
    """Attach a note to Ctrl-C or SIGTERM in the block: what is kept, how to go on. See `print_stopped`."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:
        error.add_note(kept())
        raise


def print_stopped(end: BaseException) -> None:
    """Print that a signal has ended the command, which files are kept, and how to go on."""
    notes: list[str] = []
    error: BaseException | None = end
    while error is not None:
        notes += getattr(error, "__notes__", [])
        error = error.__cause__ or error.__context__
    kept = notes[0] if notes else "files that are finished are kept; run the same command again"
    alert(f"stopped: {kept}", "yellow")


def print_json(values: Any) -> None:
    """Print dicts, lists and numbers as JSON to standard output, with null for infinity and not-a-number."""
    sys.stdout.write(json_text(finite(values), indent=2) + "\n")


def finite(values: Any) -> Any:
    """Replace infinities and not-a-numbers in nested values by None, since JSON has no such numbers."""
    if isinstance(values, dict):
        return {key: finite(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


def table(*columns: str, right: tuple[str, ...] = (), caption: str | None = None) -> Table:
    """Return an empty table without lines, to print results; a narrow terminal folds its texts."""
    terminal = sys.stdout.isatty()
    rows = Table(box=None, pad_edge=False, collapse_padding=terminal, caption=caption)
    rows.title_justify = rows.caption_justify = "left"
    for column in columns:
        number = column in right
        justify: Literal["left", "right"] = "right" if number else "left"
        rows.add_column(column, justify=justify, no_wrap=number or not terminal, overflow="fold")
    return rows
