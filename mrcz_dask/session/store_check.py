"""Verifies a session store: compares every record and array with the checksums in their groups."""

from __future__ import annotations

from pathlib import Path

from mrcz_dask.session.store import CONTENT, GROUPS, SessionStore
from mrcz_dask.values.errors import MrczDaskError, error_text


def store_problems(path: Path) -> list[str]:
    """Read all of a session store, and return what is not as it was written."""
    problems, store = [], SessionStore(path)
    places = [place for name in GROUPS for place in sorted((path / name).glob("[!.]*")) if place.is_dir()]
    for group in ("", *(str(place.relative_to(path)) for place in places)):
        try:
            store.arrays(group, *store.attributes(group).get(CONTENT, {}).get("arrays", {}))
        except (MrczDaskError, OSError) as error:
            problems.append(error_text(error))
    return problems
