"""The program `mrcz-dask`: gathers all commands into one command line, and turns errors into exit codes."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any

import typer

from mrcz_dask.cli import cluster, gain
from mrcz_dask.cli.assess import assess
from mrcz_dask.cli.console import complain, failed, print_stopped
from mrcz_dask.cli.convert import decompress, export, outliers, recompress, zarr_view
from mrcz_dask.cli.count import count, to_stack
from mrcz_dask.cli.examples import WithExamples
from mrcz_dask.cli.inspect import info, provenance, reproduce, verify
from mrcz_dask.cli.interrupts import heed_signals
from mrcz_dask.cli.koma import koma
from mrcz_dask.cli.live import live
from mrcz_dask.cli.options.declare import Command
from mrcz_dask.cli.options.settings import settings_text
from mrcz_dask.cli.simulate import simulate, simulate_raw
from mrcz_dask.cli.status import report, status
from mrcz_dask.formats.libraries import checkout
from mrcz_dask.values.errors import FormatError, MrczDaskError, ParameterError, TruncatedError
from mrcz_dask.values.texts import visible
from mrcz_dask.version import __version__


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


# Click's `UsageError`, of which typer brings a copy of its own or not.
USAGE_ERROR: Any = typer.BadParameter.__mro__[1]


class Commands(WithExamples, typer.core.TyperGroup):
    """The commands of `mrcz-dask` as one group, which lets errors through with their own message."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was given; control characters in messages of wrong usage are made visible."""
        try:
            return super().invoke(ctx)
        except USAGE_ERROR as error:  # typer prints it, and in it names of files
            error.message = "\n".join(map(visible, str(error.message).split("\n")))
            raise
        except TruncatedError as error:
            raise FormatError(str(error)) from error


class Group(WithExamples, typer.core.TyperGroup):
    """A group of commands."""


PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Every night": (koma, status, report, export, verify),
    "Archive": (recompress, decompress, info, provenance, reproduce),
    "Look closer": (assess, outliers),
    "While recording": (live, count),
    "Set up and try": (init, simulate, simulate_raw, zarr_view),
}
GROUPS: dict[str, tuple[str, str, tuple[Callable[..., None], ...]]] = {
    "gain": (
        "Look closer",
        "Gain references: estimate one, find its orientation, fit its exponent over dose rates.",
        (gain.estimate, gain.orient, gain.fit_gamma),
    ),
    "events": (
        "While recording",
        "Event lists of `mrcz-dask count --events`: make counted stacks of them, without the raw frames.",
        (to_stack,),
    ),
    "cluster": (
        "Set up and try",
        "Use a queue system: write its settings, see the job script, check whether it works.",
        (cluster.init, cluster.script, cluster.check),
    ),
}
ABOUT = (
    "Clean cryo-EM movies before motion correction: fill hot and dead pixels, and subtract the detector's "
    "fixed pattern (KOMA, knock-out moving average)."
)

app = typer.Typer(
    name="mrcz-dask",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=ABOUT,
)
for panel, functions in PANELS.items():
    for function in functions:
        app.command(function.__name__.replace("_", "-"), cls=Command, rich_help_panel=panel)(function)
for name, (panel, about, functions) in GROUPS.items():
    group = typer.Typer(cls=Group, no_args_is_help=True, help=about)
    for function in functions:
        group.command(function.__name__.replace("_", "-"), cls=Command)(function)
    app.add_typer(group, name=name, rich_help_panel=panel)
benchmarks = typer.Typer(
    cls=Group, no_args_is_help=True, help="Benchmarks against other programs, on this machine."
)
as_they_are = {"ignore_unknown_options": True, "help_option_names": []}
benchmarks.command("codecs", context_settings=as_they_are)(codecs)
app.add_typer(benchmarks, name="bench", rich_help_panel="Set up and try")


def _version(chosen: bool) -> None:
    if chosen:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Clean cryo-EM movies; the help of the program is `ABOUT`."""


def main() -> None:
    """Run the command line; a known error is printed as one line and becomes the exit code."""
    heed_signals()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for names that are no UTF-8
    try:
        app()
    except (KeyboardInterrupt, SystemExit) as end:
        code = 128 + signal.SIGINT if isinstance(end, KeyboardInterrupt) else end.code
        if code in (128 + signal.SIGINT, 128 + signal.SIGTERM):
            print_stopped(end)
        sys.exit(code)
    except (MrczDaskError, OSError) as error:
        complain(error)
        sys.exit(failed([error]))


if __name__ == "__main__":
    main()
