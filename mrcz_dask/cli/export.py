"""`mrcz-dask export`: writes the results of a run for RELION, MotionCor, cryoSPARC or Warp."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mrcz_dask.cli.console import print_json, say, warn
from mrcz_dask.cli.exits import DONE, PARTLY
from mrcz_dask.cli.options.declare import command, info
from mrcz_dask.cli.options.shared import AsJson
from mrcz_dask.cli.progress import Bars
from mrcz_dask.values.choices import Program


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
    as_json: AsJson = False,
) -> None:
    """Write the movies and outliers of a run for RELION, MotionCor, cryoSPARC or Warp.

    Movies become plain MRC (float32, corrected; for MotionCor, of recompressed outputs, the counts with a
    dark reference each). Beside them are the outliers of each as map, boxes and SerialEM's text, and a gain
    of ones. The program's tables and a README with the commands complete the folder.

    Exit code: 0 all movies, 3 some were left out, 1 nothing could be done, 2 wrong usage.
    """
    from mrcz_dask.export.run import export
    from mrcz_dask.export.texts import Optics

    optics = Optics(voltage, cs, contrast, pixel_size)
    with Bars() as bars:
        done = export(outputs, output or outputs / to, to, optics, bars)
    for stem, reason in done.left_out.items():
        warn(f"{stem}: left out: {reason}")
    if as_json:
        print_json({"folder": str(done.folder), "movies": list(done.movies), "left_out": done.left_out})
    else:
        say(f"{done.folder}: {len(done.movies)} movies for {to}; read {done.folder / 'README.md'}")
    raise typer.Exit(PARTLY if done.left_out else DONE)
