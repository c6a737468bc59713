"""Verifies a session store: compares every record, array and file with the checksums in their groups."""

from __future__ import annotations

from pathlib import Path

from mrcz_dask.formats.digest import problems_below
from mrcz_dask.formats.metadata import ZARR_FILE, read_json
from mrcz_dask.session.log import last_results, read_messages
from mrcz_dask.session.store import CONTENT, GROUPS, ROOT, SessionStore, remedy_of
from mrcz_dask.values.errors import MrczDaskError, error_text
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
                file = path / group / ZARR_FILE
                own = {"attributes": {} if group else ROOT, "zarr_format": 3, "node_type": "group"}
                # no checksum covers it; Zarr before 3.1.3 writes one more entry
                if read_json(file) not in (own, own | {"consolidated_metadata": None}):
                    problems.append(f"{file}: has changed since it was written; remove it and run again")
                continue
            about = SessionStore(path).attributes(group)
            names.add(about.get("name"))
            content, place = about.get(CONTENT, {}), path / group
            # of older versions the values alone are known
            wrong = problems_below(place, content["files"], ZARR_FILE) if "files" in content else []
            problems += [f"{place}: {problem}; {remedy_of(place)}" for problem in wrong]
            if not wrong:
                SessionStore(path).arrays(group, *content.get("arrays", {}))
        except (MrczDaskError, OSError) as error:
            problems.append(error_text(error))
    corrected = last_results(read_messages(path.parent), StackResult).values()
    if gone := sorted({result.name for result in corrected} - names):
        problems.append(f"{path}: the sums of {some(gone)} are gone; run the same command again")
    return problems
