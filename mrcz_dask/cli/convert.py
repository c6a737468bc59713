"""`recompress`, `decompress` and `outliers`: one stack at a time, without its neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mrcz_dask.cli.console import errors, print_json, results, say, stopping, table, warn
from mrcz_dask.cli.exits import DONE, FAILED, PARTLY, USAGE
from mrcz_dask.cli.options.declare import command, info
from mrcz_dask.cli.options.koma import FormatGroup, RuleOption
from mrcz_dask.cli.options.running import LocalGroup
from mrcz_dask.cli.options.shared import AsJson, Folder, InputGroup, Overwrite, Recursive, StacksOrFolders
from mrcz_dask.cli.progress import Bars
from mrcz_dask.values.params import InputParams, OutlierParams
from mrcz_dask.values.sizes import readable

if TYPE_CHECKING:
    from mrcz_dask.convert.recompress import Converted

IN_THIS_PROCESS = LocalGroup(workers=0)


@command(settings=True)
def recompress(
    paths: StacksOrFolders,
    output: Folder,
    *,
    form: FormatGroup,
    inputs: InputGroup,
    recursive: Recursive = False,
    overwrite: Overwrite = False,
    local: LocalGroup = IN_THIS_PROCESS,
    as_json: AsJson = False,
) -> None:
    """Write the same pixels with another codec or in another format, read them back, and compare.

    Stacks of a folder that were done before, in the same way, are kept.

    Exit code: 0 all done, 3 some could not be, 1 none could be, 2 wrong usage.
    """
    from mrcz_dask.convert import recompress as convert
    from mrcz_dask.correction.outputs import check_codec

    params, codec, format = inputs.params(), form.codec, form.format
    check_codec(codec, format, may_keep=True)
    work = partial(
        convert.recompress, folder=output, codec=codec, format=format, params=params, overwrite=overwrite
    )
    Each("recompress", paths, output, params, recursive, as_json).run(work, local)


@command(settings=True)
def decompress(
    paths: StacksOrFolders,
    output: Folder,
    footer: Annotated[bool, info("Keep the provenance behind the pixels.", often=True)] = False,
    sidecar: Annotated[bool, info("Keep the provenance in a .json beside the file.", often=True)] = True,
    *,
    inputs: InputGroup,
    recursive: Recursive = False,
    overwrite: Overwrite = False,
    local: LocalGroup = IN_THIS_PROCESS,
    as_json: AsJson = False,
) -> None:
    """Write stacks as plain MRC (.mrcs), for software that knows no MRCZ; quantized ones as float32 counts.

    For the stored integers as they are, use recompress --format mrcs. Stacks of a folder that were done
    before are kept where their footer or .json says so.

    Exit code: 0 all done, 3 some could not be, 1 none could be, 2 wrong usage.
    """
    from mrcz_dask.convert import recompress as convert

    keep: Literal["footer", "sidecar", "none"] = "footer" if footer else "sidecar" if sidecar else "none"
    params = inputs.params()
    work = partial(
        convert.recompress, folder=output, format="plain", keep=keep, params=params, overwrite=overwrite
    )
    Each("decompress", paths, output, params, recursive, as_json).run(work, local)


@command(settings=True)
def outliers(
    paths: StacksOrFolders,
    output: Folder,
    rule: RuleOption = "fdr",
    *,
    form: FormatGroup,
    inputs: InputGroup,
    recursive: Recursive = False,
    overwrite: Overwrite = False,
    local: LocalGroup = IN_THIS_PROCESS,
    as_json: AsJson = False,
) -> None:
    """Find and fill the outlier pixels of each stack, without KOMA.

    Counts stay counts: a Poisson draw around the mean of its neighbors replaces an outlier. In a folder,
    single images and outputs of koma are left out; stacks that were done before, in the same way, are kept.

    Exit code: 0 all done, 3 some could not be, 1 none could be, 2 wrong usage.
    """
    from mrcz_dask.convert import filtering
    from mrcz_dask.correction.outputs import check_codec

    params, codec, format = inputs.params(), form.codec, form.format
    check_codec(codec, format, may_keep=False)
    work = partial(
        filtering.filter_outliers,
        folder=output,
        outliers=OutlierParams(rule=rule),
        codec=codec,
        format=format,
        params=params,
        overwrite=overwrite,
    )
    Each("outliers", paths, output, params, recursive, as_json, movies=True).run(work, local)


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

    def run(self, work: Callable[..., Converted], local: LocalGroup) -> None:
        """Do it; a stack that fails is named and does not stop the others."""
        from mrcz_dask.convert.batch import choose
        from mrcz_dask.engine.clusters import open_client
        from mrcz_dask.engine.memory import MemoryEstimate
        from mrcz_dask.session.output_folder import check_space

        where = local.where()
        check_space(self.output, 0)
        batch = choose(self.paths, self.output, self.inputs, recursive=self.recursive, movies=self.movies)
        for path, reason in batch.failed.items():
            errors().print(f"{path}: {reason}", style="red", markup=False, highlight=False)
        if batch.stacks:
            needed = batch.memory_estimate(self.inputs) if local.workers else MemoryEstimate(0, 1)
            with stopping(batch.kept), Bars() as tell, open_client(where, needed, tell) as client:
                batch.run(work, self.phase, client, tell)
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
