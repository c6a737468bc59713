"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import typer

from mrcz_dask.values.errors import ParameterError

T = TypeVar("T", int, float)
Many = list[str] | None  # an option that takes commas, or is given several times

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
    typer.Option(
        help="Format of the outputs; mrcs, mrcs.zst and tiff are for other programs, with a .json beside."
    ),
]


def texts_of(given: Many) -> tuple[str, ...]:
    """Return what an option was given, with commas or repeated, each once."""
    return tuple(dict.fromkeys(part.strip() for text in given or () for part in text.split(",")))


def numbers_of(given: Many, option: str, kind: Callable[[str], T]) -> tuple[T, ...]:
    """Return the numbers that an option was given, with commas or repeated, each once.

    Raises
    ------
    ParameterError
        One of them is no number; names the option.
    """
    try:
        return tuple(kind(part) for part in texts_of(given))
    except ValueError as error:
        said = ",".join(given or ())
        raise ParameterError(f"{option} is {said!r}; expected numbers with commas between them") from error
