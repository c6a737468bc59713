"""The command line: `mrcz-dask COMMAND`."""

from __future__ import annotations

import signal
import sys
from typing import Annotated, Any

import typer

from mrcz_dask.cli import (
    assess,
    bench,
    cluster,
    convert,
    count,
    events,
    export,
    gain,
    inspect,
    koma,
    live,
    report,
    reproduce,
    simulate,
    status,
    zarr_view,
)
from mrcz_dask.cli.console import complain, tell_stopped
from mrcz_dask.cli.exits import failed
from mrcz_dask.cli.interrupts import heed_signals
from mrcz_dask.values.errors import FormatError, MrczDaskError, TruncatedError
from mrcz_dask.version import __version__


class Commands(typer.core.TyperGroup):
    """The commands; of an `EOFError`, which `TruncatedError` is, click would say nothing but "Aborted."."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except TruncatedError as error:
            raise FormatError(str(error)) from error


app = typer.Typer(
    name="mrcz-dask",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Outlier filtering and knock-out moving average (KOMA) of cryo-EM movie stacks in MRCZ, on Dask.",
)
for module in (
    koma,
    live,
    assess,
    report,
    status,
    inspect,
    convert,
    simulate,
    count,
    events,
    reproduce,
    bench,
    cluster,
    gain,
    zarr_view,
    export,
):
    module.register(app)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Outlier filtering and knock-out moving average (KOMA) of cryo-EM movie stacks in MRCZ, on Dask."""


def main() -> None:
    """Run the command line; an error that we know becomes its message and an exit code."""
    heed_signals()
    try:
        app()
    except (KeyboardInterrupt, SystemExit) as end:
        code = 128 + signal.SIGINT if isinstance(end, KeyboardInterrupt) else end.code
        if code in (128 + signal.SIGINT, 128 + signal.SIGTERM):
            tell_stopped(end)
        sys.exit(code)
    except (MrczDaskError, OSError) as error:
        complain(error)
        sys.exit(failed([error]))


if __name__ == "__main__":
    main()
