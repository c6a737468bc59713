"""The footer's payload as JSON beside a plain MRC file: some programs dislike bytes behind the data."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import xxhash

from mrcz_dask.formats.atomic import write_atomic
from mrcz_dask.formats.footer import VERSION
from mrcz_dask.formats.provenance import canonical
from mrcz_dask.values.errors import FooterError

_FORMAT = "mrcz-dask sidecar"
_LARGEST = 1 << 28


def sidecar_path(path: str | os.PathLike[str]) -> Path:
    """Return where the sidecar of a file is: its name and ``.json``."""
    return Path(path).with_name(Path(path).name + ".json")


def write_sidecar(path: str | os.PathLike[str], payload: dict[str, Any], *, durable: bool = True) -> None:
    """Write the payload beside `path`."""
    content = {
        "format": _FORMAT,
        "version": VERSION,
        "xxh3": xxhash.xxh3_64_hexdigest(canonical(payload)),
        "payload": payload,
    }
    text = json.dumps(content, indent=1, sort_keys=True)
    write_atomic(sidecar_path(path), (text + "\n").encode(), durable=durable)


def drop_sidecar(path: str | os.PathLike[str]) -> None:
    """Remove a sidecar of ours: it is about a file that is being replaced."""
    if _load(path) is not None:
        sidecar_path(path).unlink()


def read_sidecar(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the payload beside `path`; None if there is none, or a JSON file of somebody else.

    Raises
    ------
    FooterError
        It is one of ours and was changed.
    """
    content = _load(path)
    if content is None:
        return None
    payload = content.get("payload")
    if not isinstance(payload, dict) or content.get("xxh3") != xxhash.xxh3_64_hexdigest(canonical(payload)):
        raise FooterError(f"{sidecar_path(path)}: its checksum does not match")
    return payload


def _load(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    beside = sidecar_path(path)
    if not beside.is_file() or beside.stat().st_size > _LARGEST:
        return None
    try:
        content = json.loads(beside.read_bytes())
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and content.get("format") == _FORMAT else None
