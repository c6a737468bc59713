"""`mrcz-dask simulate` and `simulate-raw`: make sessions and raw frames whose true pixels are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrcz_dask.cli.console import print_json, say
from mrcz_dask.cli.options.declare import OptionGroup, command, info, option
from mrcz_dask.cli.options.shared import AsJson, CodecOption
from mrcz_dask.cli.progress import Bars
from mrcz_dask.numerics.counting.params import RawDtype
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.texts import readable

if TYPE_CHECKING:
    from mrcz_dask.numerics.simulate import SimulationParams

# As `numerics.simulate` names them, which is not loaded for every command.
SESSIONS = ("standard", "evolving", "no pattern", "white", "mature", "tilt series", "hole edge")
OF_SESSION = "as the session has it"


NewFolder = Annotated[Path, typer.Argument(help="Folder for the stacks, empty or new.", show_default=False)]
Shape = Annotated[str, info("Y,X pixels of a frame.")]


class SimulationGroup(OptionGroup):
    """Options of a simulated session: its size, dose and disturbances."""

    stacks: int | None = option(None, "Number of stacks.", unset=OF_SESSION)
    frames: int | None = option(None, "Frames in each stack.", unset=OF_SESSION)
    shape: Shape = "512,512"
    dose: float | None = option(None, "Mean counts per pixel and frame.", unset=OF_SESSION)
    seed: int = option(0, "The same seed gives the same session.")
    kind: str = option("standard", f"Named session: {', '.join(SESSIONS)}.", "--session")
    carbon: list[int] | None = option(None, "Stack (from 0) with a carbon edge; repeatable.")
    ice: list[int] | None = option(None, "Stack (from 0) with thick ice; repeatable.")
    new_gain: list[int] | None = option(
        None, "Stack (from 0) at which columns, rows and pixel gain change; repeatable."
    )
    dose_jump: list[str] | None = option(
        None,
        "Stack (from 0) at which the dose is multiplied by a factor, such as 30:1.3; repeatable.",
        metavar="STACK:FACTOR",
    )
    tilts: int | None = option(
        None, "Images of a tilt series, all of one specimen; 0: no tilt series.", unset=OF_SESSION
    )
    edge: float | None = option(
        None, "Share of electrons that the same hole's edge takes in every stack.", unset=OF_SESSION
    )
    aim_error: float = option(4.0, "Pixels by which tilts, areas and edges miss their place.")
    gradient: float = option(0.0, "Illumination from side to side, which turns from stack to stack.")
    same_area: int = option(1, "Stacks one after the other that show the same area.")
    copied: list[int] | None = option(
        None, "Stack (from 1) that holds the same data as the one before; repeatable."
    )
    coincidence: float = option(
        0.0, "Pixels round an electron where a counting camera loses others; some 9 in a K2."
    )
    super_resolution: bool = option(False, "Outliers are physical pixels, 2 x 2 of an image.")

    def params(self) -> SimulationParams:
        """Return the options of a simulated session as `SimulationParams`.

        Raises
        ------
        ParameterError
            When a value is out of its range.
        """
        from mrcz_dask.numerics.simulate import named

        jumps = []
        for text in self.dose_jump or ():
            stack, _, factor = text.partition(":")
            try:
                jumps.append((int(stack), float(factor)))
            except ValueError:
                expected = "expected a stack and a factor, such as 30:1.3"
                raise ParameterError(f"--dose-jump is {text!r}; {expected}") from None
        values = {name: value for name, value in vars(self).items() if name not in ("kind", "dose_jump")}
        values = {name: value for name, value in values.items() if value is not None}
        values |= {name: tuple(values.get(name, ())) for name in ("carbon", "ice", "new_gain", "copied")}
        stacks, factors = zip(*jumps, strict=True) if jumps else ((), ())
        values |= {"shape": _shape(self.shape), "dose_jumps": stacks, "dose_factors": factors}
        return named(self.kind, **values)


@command()
def simulate(
    output: NewFolder,
    *,
    simulation: SimulationGroup,
    codec: CodecOption = "zstd:1",
    as_json: AsJson = False,
) -> None:
    """Simulate a session of movie stacks, with the truth about its pixels beside it in Zarr."""
    from mrcz_dask.session.simulation import write_session

    with Bars() as bars:
        paths = write_session(output, simulation.params(), codec=codec, listener=bars)
    _show(output, paths, as_json)


@command()
def simulate_raw(
    output: NewFolder,
    stacks: Annotated[int, info("Number of stacks.")] = 1,
    frames: Annotated[int, info("Raw frames in each stack.")] = 64,
    shape: Shape = "512,512",
    occupancy: Annotated[float, info("Electrons per pixel and raw frame.")] = 0.01,
    dtype: Annotated[RawDtype, info("Type of the pixels.")] = "uint16",
    seed: Annotated[int, info("The same seed gives the same frames.")] = 0,
    dark_frames: Annotated[int, info("Frames without electrons, in dark.mrcz; 0: none.")] = 0,
    codec: CodecOption = "auto",
    as_json: AsJson = False,
) -> None:
    """Simulate raw frames of a linear detector, to be counted, with their electrons beside them in Zarr."""
    from mrcz_dask.counting.simulation import write_raw
    from mrcz_dask.numerics.counting.params import LARGEST, RawParams

    saturation = min(4095.0, LARGEST[dtype])
    params = RawParams(_shape(shape), frames, occupancy, seed, saturation=saturation, dtype=dtype)
    paths = write_raw(output, params, stacks=stacks, dark_frames=dark_frames, codec=codec)
    _show(output, paths, as_json)


def _shape(text: str) -> tuple[int, int]:
    parts = text.replace("x", ",").split(",")
    if len(parts) != 2 or not all(part.strip().isdigit() for part in parts):
        raise ParameterError(f"--shape is {text!r}; expected two numbers, rows and columns, such as 480,464")
    return int(parts[0]), int(parts[1])


def _show(output: Path, paths: Sequence[Path], as_json: bool) -> None:
    size = sum(path.stat().st_size for path in paths)
    if as_json:
        print_json({"output": str(output), "stacks": [path.name for path in paths], "bytes": size})
    else:
        say(f"{len(paths)} stacks, {readable(size)}, in {output}; the truth is in {output / 'truth.zarr'}")
