"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Paths = Annotated[list[Path], typer.Argument(help="Stacks of any format that is read.", show_default=False)]
Folder = Annotated[Path, typer.Option("-o", "--output", help="Folder for the outputs.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that are there.")]
CodecOption = Annotated[
    str,
    typer.Option(help="NAME[:LEVEL], such as zstd:1, lz4:9, zlib:5, none; or auto, auto:fast, auto:small."),
]
