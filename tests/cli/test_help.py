"""Help texts reach the terminal whole."""

import re
from typing import Any

import typer.main

from mrcz_dask.cli.app import app


def texts(command: Any) -> list[str]:
    """Return the help of all options of a command and of those below it."""
    own = [text for one in command.params if (text := getattr(one, "help", None))]
    return own + [text for other in getattr(command, "commands", {}).values() for text in texts(other)]


def test_no_help_text_has_what_is_taken_for_markup_and_not_shown() -> None:
    found = texts(typer.main.get_command(app))
    assert len(found) > 100
    assert [text for text in found if re.search(r"(?<!\\)\[[a-z#/@][^[]*?\]", text)] == []
