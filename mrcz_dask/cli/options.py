"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

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


def grouped(**groups: Callable[..., Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that puts options which several commands share in the place of one parameter.

    The command is given a function that makes the parameter's value of the options, so that it decides when
    what this needs is loaded, which takes seconds.

    Parameters
    ----------
    **groups
        Functions whose parameters are the options, by the names of the command's parameters.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        options = {name: signature(make, eval_str=True).parameters for name, make in groups.items()}
        own = signature(command, eval_str=True).parameters.values()
        every = [one for mine in own for one in options.get(mine.name, {mine.name: mine}).values()]

        @wraps(command)
        def run(**given: Any) -> None:
            for name, make in groups.items():
                given[name] = partial(make, **{option: given.pop(option) for option in options[name]})
            command(**given)

        shown = signature(command).replace(
            parameters=[one.replace(kind=Parameter.KEYWORD_ONLY) for one in every]
        )
        run.__signature__ = shown  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in every}
        return run

    return decorate


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
