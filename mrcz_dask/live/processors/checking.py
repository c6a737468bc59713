"""Checks the results of live processors: a chunk that is gone reads as NaN, and has no checksum to compare.

A processor's attributes hold how many rows are whole, and for each output a digest of these rows. Each row's
digest takes in the one before, so that rows can be added without reading the others. NaN at the end of an
axis is padding, which grows when a larger row comes, and does not count.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from mrcz_dask.formats.metadata import ZARR_FILE, group_attributes, open_group, read_json, reading
from mrcz_dask.formats.places import is_zarr
from mrcz_dask.formats.provenance import canonical
from mrcz_dask.values.errors import DamagedError, MrczDaskError

MARK = "mrcz_dask_live"
PROCESSORS = "processors"
REMEDY = "move the store away, or choose another --store"
ROWS = 1024  # that are read at a time
_OLDER = "was written by an older version, without digests of its results"


def rows_digest(rows: NDArray[Any], first: int, digest: str) -> str:
    """Return the digest of an output's rows from that of the rows before the first of these."""
    for number, row in enumerate(rows, first):
        values = np.atleast_1d(row)
        for axis in range(values.ndim):  # without padding
            lines = np.moveaxis(values, axis, 0)
            length = len(lines)
            while length and np.isnan(lines[length - 1]).all():
                length -= 1
            values = np.moveaxis(lines[:length], 0, axis)
        if values.size:
            state = xxhash.xxh3_64(f"{digest} {number} {values.shape} {values.dtype.str}".encode())
            state.update(np.ascontiguousarray(values).data)
            digest = state.hexdigest()
    return digest


def is_results(path: Path) -> bool:
    """Return True if a folder is a store of live results."""
    try:
        return is_zarr(path) and MARK in group_attributes(path)
    except (MrczDaskError, OSError):
        return False


def sealed_array(folder: Path, digest: str) -> dict[str, Any]:
    """Return the seal of an output array for its processor's attributes: digest, metadata and shape."""
    content = read_json(folder / ZARR_FILE, REMEDY)
    shape = content.pop("shape", None)
    return {"rows": digest, "shape": shape, "metadata": xxhash.xxh3_64_hexdigest(canonical(content))}


def grown_arrays(folder: Path, about: dict[str, Any]) -> list[str]:
    """Compare the metadata of a processor's outputs, and name those that are new or larger since.

    A process that was killed, or that writes now, leaves such ones.

    Raises
    ------
    DamagedError
        They are not what was written.
    """
    if "digests" not in about:
        return []
    with reading(str(folder), "results of a processor", REMEDY):
        grown = sorted({entry.name for entry in folder.iterdir()} - {ZARR_FILE, *about["digests"]})
        for name, known in about["digests"].items():
            array = sealed_array(folder / name, known["rows"])
            smaller = any(n < m for n, m in zip(array["shape"], known["shape"], strict=True))
            if smaller or array["metadata"] != known["metadata"]:
                raise DamagedError(
                    f"{folder / name}: its metadata have changed since they were written; {REMEDY}"
                )
            grown += [name] * (array != known)
    return grown


def check_rows(folder: Path, about: dict[str, Any], axes: int) -> None:
    """Compare a processor's results with their digests, which results of older versions do not have.

    Parameters
    ----------
    folder
        Folder of its Zarr group. Rows may be added meanwhile.
    about
        The attributes.
    axes
        Largest number of axes of an output: 1 numbers, 2 profiles, 3 images.

    Raises
    ------
    DamagedError
        They are not what was written.
    """
    with reading(str(folder), "results of a processor", REMEDY):
        group, rows = open_group(folder, REMEDY), about.get("rows", 0)
        for name, written in about.get("digests", {}).items():
            array, digest = group[name], ""
            if array.ndim > axes:
                continue
            for first in range(0, rows, ROWS):
                digest = rows_digest(array[first : min(first + ROWS, rows)], first, digest)
            if digest != written["rows"]:
                raise DamagedError(f"{folder / name}: not the results that were written; {REMEDY}")


def results_problems(path: Path) -> tuple[list[str], list[str]]:
    """Verify a store of live results; return what is wrong, and what cannot be checked."""
    problems, unchecked = [], []
    about = group_attributes(path, REMEDY)
    folders = {entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")}
    for name in sorted(folders | set(about.get(PROCESSORS, []))):
        folder = path / name
        try:
            stated = group_attributes(folder, REMEDY)
            if "digests" not in stated:
                unchecked.append(f"{name} {_OLDER}")
                continue
            grown = grown_arrays(folder, stated)
            check_rows(folder, stated, 3)
            if grown:
                text = (
                    f"results from row {stated['rows']} on were not written to the end, and are not checked"
                )
                unchecked.append(f"{name}: {text} ({', '.join(grown)})")
        except FileNotFoundError:
            problems.append(f"{name} is gone; {REMEDY}")
        except (MrczDaskError, OSError) as error:
            problems.append(str(error))
    return problems, unchecked if PROCESSORS in about else unchecked or [f"it {_OLDER}"]
