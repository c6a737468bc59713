"""What is known of the noise of stacks: a small file for each in ``OUT/noise``, with what it depends on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from mrcz_dask.formats.atomic import write_atomic
from mrcz_dask.session.store import key_of
from mrcz_dask.values.records import Record

FOLDER = "noise"
R = TypeVar("R", bound=Record)


class Kept:
    """Results of one part, kept between runs.

    Parameters
    ----------
    output
        Folder of the outputs.
    part
        ``stacks``, ``dose`` or ``radius``.
    kind
        Of the records.
    """

    def __init__(self, output: Path, part: str, kind: type[Any]) -> None:
        self._folder = output / FOLDER / part
        self._kind = kind

    def get(self, stem: str, key: str) -> Any:
        """Return what is known of a stack, if it depends on the same; else None."""
        try:
            found = json.loads(self._path(stem).read_bytes())
            return self._kind.from_dict(found["result"]) if found["key"] == key else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def put(self, stem: str, key: str, result: Record) -> None:
        """Keep what was found out about a stack.

        Raises
        ------
        SpaceError
            The folder is full or cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"key": key, "result": result.to_dict()}, indent=1, ensure_ascii=False)
        write_atomic(self._path(stem), f"{text}\n".encode("utf-8", "backslashreplace"), durable=False)

    def _path(self, stem: str) -> Path:
        return self._folder / f"{key_of(stem)}.json"
