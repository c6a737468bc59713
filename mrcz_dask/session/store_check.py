"""Verifies a session store: compares every record, array and file with the checksums in their groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mrcz_dask.formats.digest import problems_below
from mrcz_dask.formats.metadata import ZARR_FILE, read_json
from mrcz_dask.session.log import last_results, read_messages
from mrcz_dask.session.store import CONTENT, GROUPS, ROOT, SessionStore, remedy_of
from mrcz_dask.values.errors import DamagedError, MrczDaskError, error_text
from mrcz_dask.values.records import StackResult
from mrcz_dask.values.texts import some


def store_problems(path: Path) -> list[str]:
    """Read all of a session store; return a text for each part that differs from what was written."""
    problems, names = [], set()
    levels = ["", *(name for name in GROUPS if (path / name).exists())]
    places = [place for name in levels[1:] for place in sorted((path / name).glob("[!.]*")) if place.is_dir()]
    for group in (*levels, *(str(place.relative_to(path)) for place in places)):
        try:
            if group in levels:
                _check_level(path / group / ZARR_FILE, {} if group else ROOT)
                continue
            about = SessionStore(path).attributes(group)
            names.add(about.get("name"))
            problems += _problems_of(SessionStore(path), group, about.get(CONTENT, {}))
        except (MrczDaskError, OSError) as error:
            problems.append(error_text(error))
    corrected = last_results(read_messages(path.parent), StackResult).values()
    if gone := sorted({result.name for result in corrected} - names):
        problems.append(f"{path}: the sums of {some(gone)} are gone; run the same command again")
    return problems


def _check_level(file: Path, attributes: dict[str, int]) -> None:
    """Check the store's own metadata, or those of a folder with groups, which no checksum covers."""
    if read_json(file) != {"attributes": attributes, "zarr_format": 3, "node_type": "group"}:
        raise DamagedError(f"{file}: not what was written; remove it and run again")


def _problems_of(store: SessionStore, group: str, content: dict[str, Any]) -> list[str]:
    """Read a group and all arrays in it; return what is wrong with its files."""
    if "files" in content:  # of older versions the values alone are known
        wrong = problems_below(store.path / group, content["files"], ZARR_FILE)
        if wrong:
            place = store.path / group
            return [f"{place}: {problem}; {remedy_of(place)}" for problem in wrong]
    store.arrays(group, *content.get("arrays", {}))
    return []
