"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

StacksOrFolders = Annotated[
    list[Path],
    typer.Argument(help="Stacks of any format that is read, or folders with stacks.", show_default=False),
]
Folder = Annotated[Path, typer.Option("-o", "--output", help="Folder for the outputs.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that are there.")]
CODEC_HELP = (
    "auto, auto:fast, auto:small; none (not mrcs.zst); NAME[:LEVEL], such as zstd:1, lz4:9, zlib:5 (mrcz, "
    "zarr), zstd:3 (mrcs.zst), deflate:6, lzw (tiff)."
)
FormatOption = Annotated[
    Literal["mrcz", "mrcs", "mrcs.zst", "tiff", "zarr"],
    typer.Option(help="Of the outputs; mrcs, mrcs.zst and tiff are for other programs, with a .json beside."),
]
