"""`simulate`: a session with its truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mrcz_dask.cli.console import print_json, say
from mrcz_dask.cli.options.shared import AsJson
from mrcz_dask.cli.progress import Bars
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.sizes import readable

# As `numerics.simulate` names them, which is not loaded for every command.
SESSIONS = ("standard", "evolving", "no pattern", "white", "mature")


def simulate(
    output: Annotated[Path, typer.Argument(help="Folder for the session, empty or new.", show_default=False)],
    stacks: Annotated[int, typer.Option(help="Number of stacks.")] = 60,
    frames: Annotated[int, typer.Option(help="Frames in each stack.")] = 30,
    shape: Annotated[str, typer.Option(help="Y,X pixels of a frame.")] = "512,512",
    dose: Annotated[float, typer.Option(help="Mean counts per pixel and frame.")] = 1.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same session.")] = 0,
    kind: Annotated[
        str, typer.Option("--session", help=f"Named session: {', '.join(SESSIONS)}.")
    ] = "standard",
    carbon: Annotated[
        list[int] | None, typer.Option(help="Stack (from 0) with a carbon edge; repeatable.")
    ] = None,
    ice: Annotated[list[int] | None, typer.Option(help="Stack (from 0) with thick ice; repeatable.")] = None,
    new_gain: Annotated[
        list[int] | None,
        typer.Option(
            help="Stack (from 0) from which on columns, rows and pixel gain are others; repeatable."
        ),
    ] = None,
    dose_jump: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STACK:FACTOR",
            help="Stack (from 0) from which on the dose is so many times higher, such as 30:1.3; repeatable.",
        ),
    ] = None,
    coincidence: Annotated[
        float,
        typer.Option(help="Pixels round an electron where a counting camera loses others; some 9 in a K2."),
    ] = 0.0,
    super_resolution: Annotated[
        bool,
        typer.Option("--super-resolution", help="Outliers are physical pixels, 2 x 2 of an image."),
    ] = False,
    codec: Annotated[str, typer.Option(help="Codec of the stacks: NAME[:LEVEL] or auto.")] = "zstd:1",
    as_json: AsJson = False,
) -> None:
    """Simulate a session of movie stacks, with the truth about its pixels beside it in Zarr."""
    from mrcz_dask.numerics.simulate import named
    from mrcz_dask.session.simulation import write_session

    jumps = [_jump(text) for text in dose_jump or ()]
    params = named(
        kind,
        stacks=stacks,
        frames=frames,
        shape=_shape(shape),
        dose=dose,
        seed=seed,
        carbon=tuple(carbon or ()),
        ice=tuple(ice or ()),
        new_gain=tuple(new_gain or ()),
        dose_jumps=tuple(stack for stack, _ in jumps),
        dose_factors=tuple(factor for _, factor in jumps),
        coincidence=coincidence,
        super_resolution=super_resolution,
    )
    with Bars() as bars:
        written = write_session(output, params, codec=codec, listener=bars)
    size = sum(path.stat().st_size for path in written)
    if as_json:
        print_json({"output": str(output), "stacks": [p.name for p in written], "bytes": size})
    else:
        say(f"{len(written)} stacks, {readable(size)}, in {output}; the truth is in {output / 'truth.zarr'}")


def simulate_raw(
    output: Annotated[Path, typer.Argument(help="Folder for the stacks, empty or new.", show_default=False)],
    stacks: Annotated[int, typer.Option(help="Number of stacks.")] = 1,
    frames: Annotated[int, typer.Option(help="Raw frames in each stack.")] = 64,
    shape: Annotated[str, typer.Option(help="Y,X pixels of a frame.")] = "512,512",
    occupancy: Annotated[float, typer.Option(help="Electrons per pixel and raw frame.")] = 0.01,
    dtype: Annotated[
        Literal["uint8", "uint16", "int16", "float32"], typer.Option(help="Pixel type.")
    ] = "uint16",
    seed: Annotated[int, typer.Option(help="The same seed gives the same frames.")] = 0,
    dark_frames: Annotated[int, typer.Option(help="Frames without electrons, in dark.mrcz; 0 = none.")] = 0,
    codec: Annotated[str, typer.Option(help="Codec of the stacks: NAME[:LEVEL] or auto.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Simulate raw frames of a linear detector, to be counted, with their electrons beside them in Zarr."""
    from mrcz_dask.counting.simulation import write_raw
    from mrcz_dask.numerics.counting.raw import LARGEST, RawParams

    saturation = min(4095.0, LARGEST[dtype])
    params = RawParams(_shape(shape), frames, occupancy, seed, saturation=saturation, dtype=dtype)
    written = write_raw(output, params, stacks=stacks, dark_frames=dark_frames, codec=codec)
    size = sum(path.stat().st_size for path in written)
    if as_json:
        print_json({"output": str(output), "stacks": [p.name for p in written], "bytes": size})
    else:
        say(f"{len(written)} stacks, {readable(size)}, in {output}; the truth is in {output / 'truth.zarr'}")


def _shape(text: str) -> tuple[int, int]:
    parts = text.replace("x", ",").split(",")
    if len(parts) != 2 or not all(part.strip().isdigit() for part in parts):
        raise ParameterError(f"--shape is {text!r}; expected two numbers, rows and columns, such as 480,464")
    return int(parts[0]), int(parts[1])


def _jump(text: str) -> tuple[int, float]:
    stack, _, factor = text.partition(":")
    try:
        return int(stack), float(factor)
    except ValueError:
        raise ParameterError(
            f"--dose-jump is {text!r}; expected a stack and a factor, such as 30:1.3"
        ) from None
