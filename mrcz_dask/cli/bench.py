"""`mrcz-dask bench`: benchmarks of codecs; they run only from the source tree."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated

import typer

from mrcz_dask.formats.libraries import checkout
from mrcz_dask.values.errors import ParameterError


def register(app: typer.Typer) -> None:
    """Add the commands of `mrcz-dask bench` to the command line."""
    group = typer.Typer(no_args_is_help=True, help="Benchmarks against other programs, on this machine.")
    as_they_are = {"ignore_unknown_options": True, "help_option_names": []}
    group.command("codecs", context_settings=as_they_are)(codecs)
    app.add_typer(group, name="bench", rich_help_panel="Set up and try")


def codecs(
    options: Annotated[list[str] | None, typer.Argument(help="Options of the benchmark, or --help.")] = None,
) -> None:
    """Measure speed and size of codecs as in J. Struct. Biol. 201, 252 (2018): Table 1, Figs. 2 and 3.

    The benchmarks lie beside the package in its source tree, and run only from there.
    """
    root = checkout()
    if root is None:
        raise ParameterError(
            "the benchmarks are not in the installed package; expected its source tree; run there: "
            "python typer_cli.py bench codecs, or install the package from it: pip install -e ."
        )
    sys.path.insert(0, str(root))
    benchmark = import_module("benchmarks.codecs.command").app
    raise typer.Exit(benchmark(options or [], "mrcz-dask bench codecs", standalone_mode=False) or 0)
