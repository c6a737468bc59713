"""`mrcz-dask koma`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mrcz_dask.cli.console import print_json, say, warn
from mrcz_dask.cli.exits import DONE, FAILED, PARTLY
from mrcz_dask.cli.progress import Bars
from mrcz_dask.cli.summary import show_outcome
from mrcz_dask.cli.times import show_profile
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.params import (
    KomaParams,
    OutlierParams,
    OutputDtype,
    Settings,
    WriteMode,
    WriteParams,
)

INPUT, METHOD, OUTPUT, WHERE = "Session", "Method", "Output", "Running"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("koma")(koma)


def koma(
    session: Annotated[Path, typer.Argument(help="Folder with the session's stacks.")] = Path(),
    radius: Annotated[
        int,
        typer.Option(
            help="Window radius: so many usable stacks to either side in time.", rich_help_panel=METHOD
        ),
    ] = 12,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Folder for the outputs. [default: SESSION/koma]", rich_help_panel=OUTPUT
        ),
    ] = None,
    write: Annotated[
        Literal["normalized", "recompressed", "references"],
        typer.Option(
            help="Corrected pixels; or the counts, losslessly, with a recipe in the footer; or only the "
            "reference, mask and outlier table of each stack.",
            rich_help_panel=OUTPUT,
        ),
    ] = "normalized",
    dtype: Annotated[
        Literal["int16", "float32", "float16"] | None,
        typer.Option(
            help="Of normalized pixels. [default: int16] int16 has a scale; float16 is MRC mode 12, which "
            "python-mrcz and many other programs cannot read.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    step: Annotated[
        float | None,
        typer.Option(
            help="Quantisation step of int16 in counts, a power of two. [default: 0.0625]",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    codec: Annotated[
        str,
        typer.Option(
            help="NAME[:LEVEL], such as zstd:1, lz4:9, zlib:5, none; auto, auto:fast or auto:small choose "
            "filter and block size from the data; keep (recompressed only) copies the chunks as they are.",
            rich_help_panel=OUTPUT,
        ),
    ] = "auto",
    form: Annotated[
        Literal["subtract", "subtract-raw", "divide"],
        typer.Option(
            help="Subtract the pattern scaled to the stack's dose, or in counts (additive ones), or divide.",
            rich_help_panel=METHOD,
        ),
    ] = "subtract",
    rule: Annotated[
        Literal["fdr", "paper"],
        typer.Option(
            help="Outlier threshold: by the share of good pixels masked, or Eq. 5.", rich_help_panel=METHOD
        ),
    ] = "fdr",
    method: Annotated[
        Literal["fit", "plain"],
        typer.Option(
            help="Regression on a short and a long window, band by band; or the plain mean of the window.",
            rich_help_panel=METHOD,
        ),
    ] = "fit",
    include: Annotated[
        list[str] | None,
        typer.Option(help="Only stacks that match this pattern; repeatable.", rich_help_panel=INPUT),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            help="No stacks that match this pattern, or are in this list; repeatable.", rich_help_panel=INPUT
        ),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Look into folders below, too.", rich_help_panel=INPUT)
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace outputs that differ.", rich_help_panel=OUTPUT)
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Worker processes of the local cluster; 0 runs without one. [default: one for each core, or "
            "as many as there is memory for]",
            rich_help_panel=WHERE,
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option(min=1, help="Threads of each local worker.", rich_help_panel=WHERE)
    ] = 1,
    memory: Annotated[
        str | None,
        typer.Option(
            help="Memory of each local worker at most, such as 4GB: so many stacks at a time in each as fit. "
            "[default: the machine's, shared out]",
            show_default=False,
            rich_help_panel=WHERE,
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Address of a Dask scheduler that runs already.", rich_help_panel=WHERE),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print what would be done and write nothing.", rich_help_panel=WHERE),
    ] = False,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile",
            help="Say where the time went: a table at the end, OUT/profile.json, and of a cluster Dask's "
            "report, OUT/dask-report.html. The outputs are the same.",
            rich_help_panel=WHERE,
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON.", rich_help_panel=WHERE)
    ] = False,
) -> None:
    """Filter outliers and take the fixed pattern off every stack of a session.

    Each stack is corrected by what its neighbours in time have in common with it (knock-out moving average),
    its outlier pixels are filled, and the footer of every output records what was done.

    Exit code: 0 all done, 3 some stacks could not be, 2 wrong usage, 1 anything else.
    """
    settings = Settings(
        outliers=OutlierParams(rule=rule),
        koma=KomaParams(radius=radius, method=method, form=form),
        write=_write_params(write, codec, dtype, step),
    )
    from mrcz_dask.runs.cluster import Where, local_crew, open_executor
    from mrcz_dask.runs.memory import parse_memory
    from mrcz_dask.runs.outputs import check_codec
    from mrcz_dask.runs.plan import make_plan

    where = Where(workers, threads, None if memory is None else parse_memory(memory), scheduler)
    check_codec(codec, may_keep=write == "recompressed")
    plan = make_plan(
        session, output, settings, include=include, exclude=exclude, recursive=recursive, overwrite=overwrite
    )
    crew = local_crew(where, plan.need())
    if dry_run:
        print_json(plan.to_dict() | {"crew": crew and crew.to_dict()}) if as_json else say(str(plan))
        if crew and not as_json:
            say(str(crew))
        raise typer.Exit(PARTLY if plan.discovery.rejected else DONE)
    for text in plan.discovery.warnings:
        warn(text)
    if dtype == "float16":
        warn("float16 is MRC mode 12: python-mrcz, RELION 3 and many other programs cannot read it")

    from mrcz_dask.runs.koma import Run
    from mrcz_dask.runs.lock import locked
    from mrcz_dask.runs.profiling import run_profiled
    from mrcz_dask.runs.readback import swept

    with (
        Bars() as bars,
        open_executor(where, plan.need(), bars) as executor,
        locked(plan.folder),
        swept(plan.folder, (stack.stem for stack in plan.stacks)),
    ):
        outcome, times = (
            run_profiled(plan, executor, bars) if profile else (Run(plan, executor, bars).execute(), None)
        )
    print_json(outcome.to_dict()) if as_json else show_outcome(outcome)
    if times is not None and not as_json:
        show_profile(times)
    if not outcome.results:
        raise typer.Exit(FAILED)
    raise typer.Exit(DONE if outcome.complete else PARTLY)


def _write_params(write: WriteMode, codec: str, dtype: OutputDtype | None, step: float | None) -> WriteParams:
    """Return the output parameters; those of normalised pixels only where there are any."""
    given = {"dtype": dtype, "step": step}
    known = {name: value for name, value in given.items() if value is not None}
    if write != "normalized" and known:
        names = " and ".join(f"--{name}" for name in known)
        raise ParameterError(f"{names} is of normalized pixels; --write {write} has none")
    return WriteParams(write=write, codec=codec, **known)  # type: ignore[arg-type]
