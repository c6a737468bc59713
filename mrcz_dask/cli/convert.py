"""Commands that write stacks for other programs, or in another format, without their neighbors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrcz_dask.cli.console import (
    DONE,
    FAILED,
    PARTLY,
    USAGE,
    alert,
    print_json,
    results,
    say,
    stopping,
    table,
    warn,
)
from mrcz_dask.cli.options.declare import command, info
from mrcz_dask.cli.options.koma import FormatGroup, RuleOption
from mrcz_dask.cli.options.running import LocalGroup
from mrcz_dask.cli.options.shared import (
    AsJson,
    InputGroup,
    OutputFolder,
    Overwrite,
    Recursive,
    StacksOrFolders,
)
from mrcz_dask.cli.progress import Bars
from mrcz_dask.values.choices import Program
from mrcz_dask.values.errors import OutputExistsError, SessionError
from mrcz_dask.values.params import OutlierParams
from mrcz_dask.values.texts import readable

if TYPE_CHECKING:
    from mrcz_dask.convert.recompress import Converted


class BatchGroup(LocalGroup, InputGroup, panel="Stacks"):
    """Options of commands that convert stacks one after the other: reading, workers, overwriting."""

    recursive: Recursive = False
    overwrite: Overwrite = False
    as_json: AsJson = False


IN_THIS_PROCESS = BatchGroup(workers=0)


@command(settings=True)
def recompress(
    paths: StacksOrFolders,
    output: OutputFolder,
    *,
    form: FormatGroup,
    batch: BatchGroup = IN_THIS_PROCESS,
) -> None:
    """Write the same pixels with another codec or in another format, read them back, and compare.

    Stacks of a folder that were done before, in the same way, are kept.

    Exit code: 0 all done, 3 some could not be, 1 none could be, 2 wrong usage.
    """
    from mrcz_dask.convert.recompress import recompress
    from mrcz_dask.correction.outputs import check_codec

    check_codec(form.codec, form.format, may_keep=True)
    work = partial(recompress, codec=form.codec, format=form.format)
    _run("recompress", work, paths, output, batch)


@command(settings=True)
def decompress(
    paths: StacksOrFolders,
    output: OutputFolder,
    footer: Annotated[bool, info("Keep the provenance behind the pixels.", often=True)] = False,
    sidecar: Annotated[bool, info("Keep the provenance in a .json beside the file.", often=True)] = True,
    *,
    batch: BatchGroup = IN_THIS_PROCESS,
) -> None:
    """Write stacks as plain MRC (.mrcs), for software that knows no MRCZ; quantized ones as float32 counts.

    The files are read back and compared, unless they have neither footer nor .json. For the stored integers
    as they are, use recompress --format mrcs. Stacks of a folder that were done before are kept where their
    footer or .json says so.

    Exit code: 0 all done, 3 some could not be, 1 none could be, 2 wrong usage.
    """
    from mrcz_dask.convert.recompress import ProvenancePlace, recompress

    keep: ProvenancePlace = "footer" if footer else "sidecar" if sidecar else "none"
    _run("decompress", partial(recompress, format="plain", keep=keep), paths, output, batch)


@command(settings=True)
def outliers(
    paths: StacksOrFolders,
    output: OutputFolder,
    rule: RuleOption = "fdr",
    *,
    form: FormatGroup,
    batch: BatchGroup = IN_THIS_PROCESS,
) -> None:
    """Find and fill the outlier pixels of each stack, without KOMA.

    Counts stay counts: a Poisson draw around the mean of its neighbors replaces an outlier. In a folder,
    single images and outputs of koma are left out; stacks that were done before, in the same way, are kept.

    Exit code: 0 all done, 3 some could not be, 1 none could be, 2 wrong usage.
    """
    from mrcz_dask.convert.filtering import filter_outliers
    from mrcz_dask.correction.outputs import check_codec

    check_codec(form.codec, form.format, may_keep=False)
    rules = OutlierParams(rule=rule)
    work = partial(filter_outliers, outliers=rules, codec=form.codec, format=form.format)
    _run("outliers", work, paths, output, batch, movies=True)


def _run(
    phase: str,
    work: Callable[..., Converted],
    paths: list[Path],
    output: Path,
    options: BatchGroup,
    *,
    movies: bool = False,
) -> None:
    """Do something with every stack that paths stand for; a stack that fails stops no other."""
    from mrcz_dask.convert.conversion import choose
    from mrcz_dask.engine.clusters import open_client
    from mrcz_dask.engine.memory import MemoryEstimate
    from mrcz_dask.session.output_folder import check_space

    inputs, client_options = options.params(), options.client_options()
    work = partial(work, folder=output, params=inputs, overwrite=options.overwrite)
    check_space(output, 0)
    conversion = choose(paths, output, inputs, recursive=options.recursive, movies=movies)
    for path, reason in conversion.failed.items():
        alert(f"{path}: {reason}")
    if conversion.stacks:
        memory = conversion.memory_estimate(inputs) if options.workers else MemoryEstimate(0, 1)
        with stopping(conversion.kept), Bars() as tell, open_client(client_options, memory, tell) as client:
            conversion.run(work, phase, client, tell)
    if options.as_json:
        done = [asdict(converted) for converted in conversion.done]
        print_json({"done": done, "skipped": conversion.skipped, "failed": conversion.failed})
    else:
        for path, reason in conversion.skipped.items():
            say(f"skipped: {path}: {reason}")
        if conversion.done:
            _show(conversion.done)
    nothing = USAGE if conversion.usage_error else FAILED
    raise typer.Exit(DONE if not conversion.failed else PARTLY if conversion.done else nothing)


def _show(done: list[Converted]) -> None:
    filtered = "n_hot" in done[0].findings
    numbers = ("hot", "dead", "t dark", "t hot") if filtered else ()
    rows = table("stack", "output", *numbers, "in", "out", "", right=(*numbers, "in", "out"))
    for stack in done:
        counts = [str(stack.findings[key]) for key in ("n_hot", "n_dead") if filtered]
        limits = [f"{float(stack.findings[key]):.2f}" for key in ("t_dark", "t_hot") if filtered]
        sizes = (readable(stack.bytes_in), readable(stack.bytes_out))
        rows.add_row(stack.name, stack.output, *counts, *limits, *sizes, "kept" if stack.kept else "")
    results().print(rows)
    for stack in done:
        for text in (*stack.findings.get("caveats", ()), *stack.findings.get("notes", ())):
            warn(f"{stack.name}: {text}")
        for text in stack.findings.get("skipped", ()):
            say(f"{stack.name}: not kept: {text}")


@command()
def zarr_view(
    session: Annotated[
        Path, typer.Argument(help="Folder with MRCZ or MRC stacks, or with the outputs of koma.")
    ] = Path(),
    output: Annotated[Path, info("JSON file for the references.", "-o", "--output")] = Path(
        "session.zarr.json"
    ),
    recursive: Recursive = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write references (fsspec, kerchunk) through which Zarr and xarray read the stacks where they are.

    Every stack is an array (frame, y, x) whose chunks are the bytes in its file: nothing is copied. The files
    must stay where they are.

    Exit code: 0 all stacks are in it, 3 some are not, 1 none.
    """
    if output.exists() and not overwrite:
        raise OutputExistsError(f"{output}: is there; use --overwrite to replace it")
    from mrcz_dask.convert.zarr_view import view
    from mrcz_dask.session.discovery import discover

    try:
        discovery = discover(session, recursive=recursive)
    except SessionError:  # as in the folder of a run
        discovery = discover(session, recursive=recursive, outputs=True)
    references = view(discovery.stacks)
    left_out = {discovery.name_of(file.path): file.reason for file in discovery.rejected}
    left_out |= references.left_out
    for name, reason in left_out.items():
        warn(f"{name}: left out: {reason.replace(' (--exclude)', '')}")
    if not references.arrays:
        raise typer.Exit(FAILED)
    references.write(output)
    if as_json:
        print_json({"output": str(output), "arrays": list(references.arrays), "left_out": left_out})
    else:
        say(f"{output}: {len(references.arrays)} arrays, {len(references.references)} references")
    raise typer.Exit(PARTLY if left_out else DONE)


@command()
def export(
    outputs: Annotated[Path, typer.Argument(help="Output folder of a koma run.", show_default=False)],
    to: Annotated[Program, info("The program.")],
    output: Annotated[
        Path | None, info("Folder for its files.", "-o", "--output", unset="OUTPUTS/PROGRAM")
    ] = None,
    pixel_size: Annotated[float | None, info("Angstrom.", unset="that of the stacks")] = None,
    voltage: Annotated[float, info("Kilovolt.")] = 300.0,
    cs: Annotated[float, info("Spherical aberration, millimeter.")] = 2.7,
    contrast: Annotated[float, info("Amplitude contrast.")] = 0.1,
    refined_gain: Annotated[
        Path | None, info("Folder of the recorded movies, which are handed on as they are.", unset="none")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the movies and outliers of a run for RELION, MotionCor, cryoSPARC, Warp or AreTomo.

    With --refined-gain no movie is written. OUTPUTS are then of `koma --write references`; for each epoch
    there are links to its movies (MRC, TIFF or EER), a gain that takes the mean pattern off, its defects,
    and run.sh. AreTomo takes movies in this way alone.

    Movies become plain MRC (float32, corrected; for MotionCor, of recompressed outputs, the counts with a
    dark reference each). Beside them are the outliers of each as map, boxes and SerialEM's text, and a gain
    of ones. The program's tables and a README with the commands complete the folder.

    Exit code: 0 all movies, 3 some were left out, 1 nothing could be done, 2 wrong usage.
    """
    from mrcz_dask.export.refined import export_refined_gain
    from mrcz_dask.export.run import export
    from mrcz_dask.export.texts import Optics

    optics = Optics(voltage, cs, contrast, pixel_size)
    with Bars() as bars:
        target = output or outputs / to
        if refined_gain is not None:
            done = export_refined_gain(outputs, refined_gain, target, to, optics, bars)
        else:
            done = export(outputs, target, to, optics, bars)
    for stem, reason in done.left_out.items():
        warn(f"{stem}: left out: {reason}")
    if as_json:
        print_json({"folder": str(done.folder), "movies": list(done.movies), "left_out": done.left_out})
    else:
        say(f"{done.folder}: {len(done.movies)} movies for {to}; read {done.folder / 'README.md'}")
    raise typer.Exit(PARTLY if done.left_out else DONE)
