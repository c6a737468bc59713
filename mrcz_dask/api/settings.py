"""Builds the parameters of a run from options of the command line, or from keywords in Python."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mrcz_dask.formats.source import read_file
from mrcz_dask.values.checks import parse_seconds
from mrcz_dask.values.errors import ParameterError, PlaceError
from mrcz_dask.values.params import (
    ContrastParams,
    Groups,
    KomaParams,
    OutputDtype,
    OutputFormat,
    WriteMode,
    WriteParams,
)

PathLike = str | os.PathLike[str]
CONTRAST = ContrastParams()
LARGEST_GROUPS = 1 << 26


def koma_params(groups: PathLike, break_after: str | None = None, **values: Any) -> KomaParams:
    """Build `KomaParams` from options: `groups` may name a file, `break_after` is text such as ``2h``.

    Raises
    ------
    ParameterError
        A value is out of its range, or the file of groups cannot be read.
    """
    chosen: Groups = "auto" if groups == "auto" else "none" if groups == "none" else read_groups(Path(groups))
    pause = None if break_after is None else parse_seconds(break_after, "--break-after") / 3600
    return KomaParams(groups=chosen, break_after=pause, **values)


def read_groups(path: Path) -> tuple[tuple[str, str], ...]:
    """Read a file of groups: lines of a pattern of names and a group, with space, tab or comma between.

    Raises
    ------
    PlaceError
        The file is not there or is no regular file.
    ParameterError
        A line has other than two parts.
    """
    if not path.exists():
        raise PlaceError(f"--groups is {path}, which is not there; expected auto, none, or a text file")
    lines = read_file(path, LARGEST_GROUPS).decode("utf-8", "replace").splitlines()
    pairs = []
    for number, line in enumerate(lines, 1):
        parts = line.partition("#")[0].replace(",", " ").split()
        if len(parts) not in (0, 2):
            raise ParameterError(
                f"{path}: line {number} is {line!r}; expected a pattern of names and a group, such as "
                "TS_01_* TS_01"
            )
        if parts:
            pairs.append((parts[0], parts[1]))
    return tuple(pairs)


def write_params(
    write: WriteMode, format: OutputFormat, codec: str, dtype: OutputDtype | None, step: float | None
) -> WriteParams:
    """Build the parameters of the outputs from options, with the default pixel type of the format.

    Raises
    ------
    ParameterError
        For a type or step of pixels that are not written.
    """
    if step is not None and dtype is None and format not in ("mrcz", "zarr"):
        raise ParameterError(
            f"--step is only for int16; --format {format} is float32 unless you say --dtype int16"
        )
    options: dict[str, Any] = {"dtype": dtype, "step": step}
    known = {name: value for name, value in options.items() if value is not None}
    if write == "auto" and (known or format != "mrcz"):
        write = "normalized"
    if write != "normalized" and known:
        names = " and ".join(f"--{name}" for name in known)
        raise ParameterError(f"{names}: only for normalized pixels; --write {write} writes none")
    if write == "normalized" and format not in ("mrcz", "zarr"):
        known.setdefault("dtype", "float32")
    return WriteParams(write=write, codec=codec, format=format, **known)


def path_text(path: PathLike | None) -> str | None:
    """Return a path as text, and None for None."""
    return None if path is None else os.fspath(path)
