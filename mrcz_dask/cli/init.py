"""`mrcz-dask init`: prints a settings file of a command, to be edited."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mrcz_dask.cli.options.settings import settings_text
from mrcz_dask.values.errors import ParameterError


def init(
    context: typer.Context,
    command: Annotated[str, typer.Argument(help="Command that will read the file.")] = "koma",
) -> None:
    """Print a settings file in which every option of a command stands, with its help and default.

    Edit it, and give it to the command: mrcz-dask init koma > session.toml, then mrcz-dask koma SESSION
    --settings session.toml. Options on the command line win over the file.
    """
    commands = context.find_root().command.commands  # type: ignore[attr-defined]
    settings = {name: getattr(known.callback, "settings", ()) for name, known in commands.items()}
    if not settings.get(command):
        names = ", ".join(sorted(name for name, parameters in settings.items() if parameters))
        raise ParameterError(f"{command} has no settings file; expected one of {names}")
    sys.stdout.write(settings_text(command, settings[command]))
