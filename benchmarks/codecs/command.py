"""`mrcz-dask bench codecs`: the benchmarks of J. Struct. Biol. 201, 252 again, on this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from benchmarks.codecs import params as defaults
from benchmarks.codecs.files import prepare_folder, write_report
from benchmarks.codecs.measure import run_bench
from benchmarks.codecs.params import BenchParams
from benchmarks.codecs.results import BenchReport
from benchmarks.codecs.tables import text_tables
from benchmarks.codecs.timing import BenchStep
from mrcz_dask.cli.console import errors, print_json, results, say, table
from mrcz_dask.cli.options.shared import AsJson, Many, Overwrite, numbers_of, texts_of
from mrcz_dask.formats.parallel import available_cores
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.messages import Listener, Message

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20}


app = typer.Typer(
    name="mrcz-dask bench codecs",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def measure_codecs(
    doses: Annotated[
        Many, typer.Option(help="Of the Poisson counts, e-/pixel/frame. Default 0.1,0.25,0.5,1,1.5,2,4.")
    ] = None,
    table_dose: Annotated[
        float | None, typer.Option(help="Of the counts of Table 1. Default 2, about that of the paper's.")
    ] = None,
    codecs: Annotated[
        Many, typer.Option(help="NAME[:LEVEL[:FILTER]] or auto. Default lz4:9,zlib:1,zstd:1,zstd:5,auto.")
    ] = None,
    levels: Annotated[
        Many, typer.Option(help="Of each codec in Fig. 2b, at the dose nearest to 1.5. Default 1 to 9.")
    ] = None,
    threads: Annotated[
        Many, typer.Option(help="Numbers of threads; Table 1 takes the largest. Default 1 and all cores.")
    ] = None,
    block_sizes: Annotated[
        Many,
        typer.Option(
            help="Bytes, or 64K, 1M, ...; 0 for the codec's own. Table 1 takes the first. Default 0,64K."
        ),
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(help="FRAMES,Y,X of the counts. Default 6,1919,1855: three minutes on two cores."),
    ] = None,
    repeats: Annotated[
        int, typer.Option(help="Measure so often, in turns; what took 10 s is not repeated.")
    ] = 3,
    stack: Annotated[
        Path | None, typer.Option("--input", help="Take this stack instead of Poisson counts.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for codecs.json, tables and plots.")
    ] = None,
    only: Annotated[
        Literal["table1", "dose", "level", "metadata"] | None,
        typer.Option(help="One part, table1, dose, level or metadata, instead of all four."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of counts and metadata.")] = 0,
    metadata_size: Annotated[
        float, typer.Option(help="Of the nested metadata as JSON, in MB, about.")
    ] = 25.0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Measure codecs as J. Struct. Biol. 201, 252 (2018) did: Table 1, Fig. 2 and Fig. 3 (metadata).

    Lists take commas, or the option several times. What is not installed is named and left out: programs of
    Table 1 (gzip, pigz, lbzip2, xz), imagecodecs (JPEG2000, bzip2), orjson. All that is compressed is decoded
    and compared; a difference is an error.
    """
    if stack is not None and (doses or table_dose or shape):
        raise ParameterError(
            "--input is there together with --doses, --table-dose or --shape; these are of Poisson counts,"
            " leave them out or leave --input out"
        )
    params = BenchParams(
        threads=numbers_of(threads, "--threads", int) or tuple(sorted({1, available_cores()})),
        doses=numbers_of(doses, "--doses", float) or defaults.DOSES,
        table_dose=defaults.TABLE_DOSE if table_dose is None else table_dose,
        codecs=tuple(text.lower() for text in texts_of(codecs)) or defaults.CODECS,
        levels=numbers_of(levels, "--levels", int) or defaults.LEVELS,
        block_sizes=numbers_of(block_sizes, "--block-sizes", _bytes) or defaults.BLOCK_SIZES,
        shape=defaults.SHAPE if shape is None else _shape(shape),
        repeats=repeats,
        seed=seed,
        metadata_bytes=round(metadata_size * 1e6),
        stack=stack,
        only=only,
    )
    if output is not None:
        prepare_folder(output, overwrite=overwrite)
    with _bar() as bar:
        report = run_bench(params, bar)
    if as_json:
        print_json(report.to_dict())
    else:
        _show(report)
    if output is not None:
        written = write_report(report, output)
        if not as_json:
            say(f"{', '.join(path.name for path in written)} in {output}")


def _shape(text: str) -> tuple[int, ...]:
    parts = text.replace("x", ",").split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() for part in parts):
        raise ParameterError(f"--shape is {text!r}; expected frames, rows and columns, such as 6,1919,1855")
    return tuple(map(int, parts))


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d+)([KM]?)(I?B)?", text.upper())
    if found is None:
        raise ValueError(text)
    return int(found[1]) * _UNITS[found[2]]


def _show(report: BenchReport) -> None:
    for one in text_tables(report):
        made = table(*one.columns, right=one.columns[one.names :], caption=one.caption)
        made.title = one.title
        for cells in one.rows:
            made.add_row(*cells)
        results().print(made)
        say("")
    for text in (*map(str, report.left_out), *report.notes):
        say(text)


@contextmanager
def _bar() -> Iterator[Listener]:
    """Give a listener that draws how far a benchmark is, on standard error; on a pipe it names the parts."""
    console, tasks = errors(), dict[str, TaskID]()
    columns = (TextColumn("{task.description:<32}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(
        *columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal
    ) as progress:

        def show(message: Message) -> None:
            """Show that one measurement is done."""
            assert isinstance(message, BenchStep)
            part = message.part
            if part not in tasks:
                if progress.disable:
                    console.print(f"{part}: {message.of} measurements", markup=False, highlight=False)
                tasks[part] = progress.add_task(part, total=message.of)
            progress.update(tasks[part], completed=message.done, description=f"{part}: {message.name}")

        yield show
