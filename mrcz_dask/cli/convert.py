"""`recompress`, `decompress` and `outliers`: one stack at a time, without its neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mrcz_dask.cli.console import errors, print_json, results, say, stopping, table
from mrcz_dask.cli.exits import DONE, PARTLY, failed
from mrcz_dask.cli.input_options import EerFrames, EerUpsampling, FourBit, Mode0, input_params
from mrcz_dask.cli.options import CODEC_HELP, AsJson, Folder, FormatOption, Overwrite, Paths
from mrcz_dask.runs.space import readable, some
from mrcz_dask.values.errors import MrczDaskError, told
from mrcz_dask.values.params import OutlierParams

if TYPE_CHECKING:
    from mrcz_dask.runs.convert import Converted


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("recompress")(recompress)
    app.command("decompress")(decompress)
    app.command("outliers")(outliers)


def recompress(
    paths: Paths,
    output: Folder,
    format: FormatOption = "mrcz",
    codec: Annotated[str, typer.Option(help=f"{CODEC_HELP} keep (mrcz only) copies chunks.")] = "auto",
    mode0: Mode0 = "auto",
    four_bit: FourBit = "auto",
    eer_frames: EerFrames = 40,
    eer_upsampling: EerUpsampling = "1",
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write the same pixels with another codec or in another format, read them back, and compare."""
    from mrcz_dask.runs import convert
    from mrcz_dask.runs.outputs import check_codec

    params = input_params(mode0, four_bit, eer_frames, eer_upsampling)
    check_codec(codec, format, may_keep=True)
    _each(
        paths,
        lambda p: convert.recompress(p, output, codec, format, params=params, overwrite=overwrite),
        as_json,
    )


def decompress(
    paths: Paths,
    output: Folder,
    footer: Annotated[bool, typer.Option("--footer", help="Keep the provenance behind the pixels.")] = False,
    sidecar: Annotated[
        bool, typer.Option("--sidecar/--no-sidecar", help="Keep it in a .json beside the file.")
    ] = True,
    mode0: Mode0 = "auto",
    four_bit: FourBit = "auto",
    eer_frames: EerFrames = 40,
    eer_upsampling: EerUpsampling = "1",
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write stacks as plain MRC (.mrcs), for software that knows no MRCZ; quantised ones as float32 counts.

    The stored integers as they are: recompress --format mrcs.
    """
    from mrcz_dask.runs import convert

    params = input_params(mode0, four_bit, eer_frames, eer_upsampling)
    keep: Literal["footer", "sidecar", "none"] = "footer" if footer else "sidecar" if sidecar else "none"
    _each(
        paths, lambda p: convert.decompress(p, output, params=params, keep=keep, overwrite=overwrite), as_json
    )


def outliers(
    paths: Paths,
    output: Folder,
    rule: Annotated[
        Literal["fdr", "paper"], typer.Option(help="Threshold by the share of good pixels masked, or Eq. 5.")
    ] = "fdr",
    format: FormatOption = "mrcz",
    codec: Annotated[str, typer.Option(help=CODEC_HELP)] = "auto",
    mode0: Mode0 = "auto",
    four_bit: FourBit = "auto",
    eer_frames: EerFrames = 40,
    eer_upsampling: EerUpsampling = "1",
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Find and fill the outlier pixels of each stack, without KOMA.

    Counts stay counts: outliers are replaced by Poisson draws round their neighbours' mean.
    """
    from mrcz_dask.runs import filtering
    from mrcz_dask.runs.outputs import check_codec

    reading = input_params(mode0, four_bit, eer_frames, eer_upsampling)
    check_codec(codec, format, may_keep=False)
    params = OutlierParams(rule=rule)
    _each(
        paths,
        lambda p: filtering.filter_outliers(
            p, output, params, codec, format, params=reading, overwrite=overwrite
        ),
        as_json,
    )


def _each(paths: list[Path], work: Callable[[Path], Converted], as_json: bool) -> None:
    """Do something with every file; one that fails is named and does not stop the others."""
    done: list[Converted] = []
    wrong: dict[str, Exception] = {}

    def kept() -> str:
        left = paths[len(done) + len(wrong) :]
        return f"{len(done)} of {len(paths)} files are done and kept; go on with {some(left)}"

    for path in paths:
        try:
            with stopping(kept):
                done.append(work(path))
        except (MrczDaskError, OSError) as error:
            wrong[str(path)] = error
            text = told(error).removeprefix(f"{path}: ")
            errors().print(f"{path}: {text}", style="red", markup=False, highlight=False)
    if as_json:
        reasons = {path: told(error) for path, error in wrong.items()}
        print_json({"done": [asdict(one) for one in done], "failed": reasons})
    elif done:
        _show(done)
    raise typer.Exit(DONE if not wrong else PARTLY if done else failed(wrong.values()))


def _show(done: list[Converted]) -> None:
    found = "n_hot" in done[0].findings
    numbers = ("hot", "dead", "t dark", "t hot") if found else ()
    made = table("stack", "output", *numbers, "in", "out", right=(*numbers, "in", "out"))
    for one in done:
        values = [one.findings[k] for k in ("n_hot", "n_dead")] if found else []
        limits = [f"{float(one.findings[k]):.2f}" for k in ("t_dark", "t_hot")] if found else []
        sizes = [readable(one.bytes_in), readable(one.bytes_out)]
        made.add_row(one.name, one.output, *map(str, values), *limits, *sizes)
    results().print(made)
    for one in done:
        for text in one.findings.get("skipped", ()):
            say(f"{one.name}: not kept: {text}")
