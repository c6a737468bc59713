"""`recompress`, `decompress` and `outliers`: one stack at a time, without its neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mrcz_dask.cli import where as on
from mrcz_dask.cli.console import errors, print_json, results, say, stopping, table, warn
from mrcz_dask.cli.exits import DONE, FAILED, PARTLY, USAGE
from mrcz_dask.cli.input_options import EerFrames, EerUpsampling, FourBit, Mode0, input_params
from mrcz_dask.cli.koma_options import Recursive
from mrcz_dask.cli.options import CODEC_HELP, AsJson, Folder, FormatOption, Overwrite, StacksOrFolders
from mrcz_dask.cli.progress import Bars
from mrcz_dask.values.params import InputParams, OutlierParams
from mrcz_dask.values.sizes import readable

CODEC_MORE = "keep (mrcz) copies chunks; uint4 (mrcs) insists on 4 bits, two pixels of 0..15 in a byte."

if TYPE_CHECKING:
    from mrcz_dask.convert.batch import One
    from mrcz_dask.convert.recompress import Converted

Workers = Annotated[
    int,
    typer.Option(min=0, help="Processes of a local cluster; 0: without.", rich_help_panel=on.WHERE),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("recompress")(recompress)
    app.command("decompress")(decompress)
    app.command("outliers")(outliers)


def recompress(
    paths: StacksOrFolders,
    output: Folder,
    format: FormatOption = "mrcz",
    codec: Annotated[str, typer.Option(help=f"{CODEC_HELP} {CODEC_MORE}")] = "auto",
    mode0: Mode0 = "auto",
    four_bit: FourBit = "auto",
    eer_frames: EerFrames = 40,
    eer_upsampling: EerUpsampling = "1",
    recursive: Recursive = False,
    overwrite: Overwrite = False,
    workers: Workers = 0,
    threads: on.Threads = 1,
    memory: on.Memory = None,
    as_json: AsJson = False,
) -> None:
    """Write the same pixels with another codec or in another format, read them back, and compare.

    Stacks of a folder that were done before, in the same way, are kept.

    Exit code: 0 all done, 3 some could not be, 1 none could be, 2 wrong usage.
    """
    from mrcz_dask.convert import recompress as convert
    from mrcz_dask.correction.outputs import check_codec

    params = input_params(mode0, four_bit, eer_frames, eer_upsampling)
    check_codec(codec, format, may_keep=True)
    work = partial(convert.recompress, folder=output, codec=codec, format=format, overwrite=overwrite)
    batch = Each("recompress", paths, output, params, recursive, as_json)
    batch.run(partial(work, params=params), workers, threads, memory)


def decompress(
    paths: StacksOrFolders,
    output: Folder,
    footer: Annotated[bool, typer.Option("--footer", help="Keep the provenance behind the pixels.")] = False,
    sidecar: Annotated[
        bool, typer.Option("--sidecar/--no-sidecar", help="Keep it in a .json beside the file.")
    ] = True,
    mode0: Mode0 = "auto",
    four_bit: FourBit = "auto",
    eer_frames: EerFrames = 40,
    eer_upsampling: EerUpsampling = "1",
    recursive: Recursive = False,
    overwrite: Overwrite = False,
    workers: Workers = 0,
    threads: on.Threads = 1,
    memory: on.Memory = None,
    as_json: AsJson = False,
) -> None:
    """Write stacks as plain MRC (.mrcs), for software that knows no MRCZ; quantised ones as float32 counts.

    The stored integers as they are: recompress --format mrcs. Stacks of a folder that were done before are
    kept where their footer or .json says so.

    Exit code: 0 all done, 3 some could not be, 1 none could be, 2 wrong usage.
    """
    from mrcz_dask.convert import recompress as convert

    params = input_params(mode0, four_bit, eer_frames, eer_upsampling)
    keep: Literal["footer", "sidecar", "none"] = "footer" if footer else "sidecar" if sidecar else "none"
    work = partial(convert.decompress, folder=output, params=params, keep=keep, overwrite=overwrite)
    Each("decompress", paths, output, params, recursive, as_json).run(work, workers, threads, memory)


def outliers(
    paths: StacksOrFolders,
    output: Folder,
    rule: Annotated[
        Literal["fdr", "paper"],
        typer.Option(help="Threshold by the share of good pixels masked, or Eq. 5 of the preprint."),
    ] = "fdr",
    format: FormatOption = "mrcz",
    codec: Annotated[str, typer.Option(help=CODEC_HELP)] = "auto",
    mode0: Mode0 = "auto",
    four_bit: FourBit = "auto",
    eer_frames: EerFrames = 40,
    eer_upsampling: EerUpsampling = "1",
    recursive: Recursive = False,
    overwrite: Overwrite = False,
    workers: Workers = 0,
    threads: on.Threads = 1,
    memory: on.Memory = None,
    as_json: AsJson = False,
) -> None:
    """Find and fill the outlier pixels of each stack, without KOMA.

    Counts stay counts: outliers are replaced by Poisson draws round their neighbours' mean. Of a folder
    single images and outputs of koma are left out; stacks that were done before, in the same way, are kept.

    Exit code: 0 all done, 3 some could not be, 1 none could be, 2 wrong usage.
    """
    from mrcz_dask.convert import filtering
    from mrcz_dask.correction.outputs import check_codec

    reading = input_params(mode0, four_bit, eer_frames, eer_upsampling)
    check_codec(codec, format, may_keep=False)
    params = OutlierParams(rule=rule)
    work = partial(filtering.filter_outliers, folder=output, outliers=params, codec=codec, format=format)
    batch = Each("outliers", paths, output, reading, recursive, as_json, movies=True)
    batch.run(partial(work, params=reading, overwrite=overwrite), workers, threads, memory)


@dataclass(frozen=True, slots=True)
class Each:
    """Something that is done with every stack that paths stand for."""

    phase: str
    paths: list[Path]
    output: Path
    inputs: InputParams
    recursive: bool
    as_json: bool
    movies: bool = False

    def run(self, work: Callable[..., Converted], workers: int, threads: int, memory: str | None) -> None:
        """Do it; a stack that fails is named and does not stop the others."""
        from mrcz_dask.convert.batch import choose
        from mrcz_dask.engine.clusters import ClientOptions, open_client
        from mrcz_dask.engine.memory import MemoryEstimate, parse_memory
        from mrcz_dask.session.output_folder import check_space

        where = ClientOptions(workers, threads, None if memory is None else parse_memory(memory))
        check_space(self.output, 0)
        batch = choose(self.paths, self.output, self.inputs, recursive=self.recursive, movies=self.movies)
        for path, reason in batch.failed.items():
            errors().print(f"{path}: {reason}", style="red", markup=False, highlight=False)
        if batch.ones:
            needed = batch.memory_estimate(self.inputs) if workers else MemoryEstimate(0, 1)
            with stopping(batch.kept), Bars() as tell, open_client(where, needed, tell) as client:
                batch.run(partial(_do, work, self.output), self.phase, client, tell)
        if self.as_json:
            done = [asdict(one) for one in batch.done]
            print_json({"done": done, "skipped": batch.skipped, "failed": batch.failed})
        else:
            for path, reason in batch.skipped.items():
                say(f"skipped: {path}: {reason}")
            if batch.done:
                _show(batch.done)
        nothing = USAGE if batch.usage_error else FAILED
        raise typer.Exit(DONE if not batch.failed else PARTLY if batch.done else nothing)


def _do(work: Callable[..., Converted], folder: Path, one: One) -> Converted:
    from mrcz_dask.formats.digest import files_in
    from mrcz_dask.formats.sidecar import sidecar_path

    made = work(one.path, stem=one.stem, resume=one.found)
    target = Path(made.output)
    return replace(made, files=files_in((target, sidecar_path(target)), folder))


def _show(done: list[Converted]) -> None:
    found = "n_hot" in done[0].findings
    numbers = ("hot", "dead", "t dark", "t hot") if found else ()
    made = table("stack", "output", *numbers, "in", "out", "", right=(*numbers, "in", "out"))
    for one in done:
        values = [one.findings[k] for k in ("n_hot", "n_dead")] if found else []
        limits = [f"{float(one.findings[k]):.2f}" for k in ("t_dark", "t_hot")] if found else []
        sizes = [readable(one.bytes_in), readable(one.bytes_out)]
        made.add_row(one.name, one.output, *map(str, values), *limits, *sizes, "kept" if one.kept else "")
    results().print(made)
    for one in done:
        for text in (*one.findings.get("caveats", ()), *one.findings.get("notes", ())):
            warn(f"{one.name}: {text}")
        for text in one.findings.get("skipped", ()):
            say(f"{one.name}: not kept: {text}")
