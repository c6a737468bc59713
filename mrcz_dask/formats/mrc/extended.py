"""python-mrcz's `meta`: UTF-8 JSON in the extended header, with the scale of quantised pixels."""

from __future__ import annotations

import json
from typing import Any

from mrcz_dask.formats.provenance import plain
from mrcz_dask.values.errors import FormatError

JSON = "json"
_OWN = "mrcz_dask"
_SCALE_KEYS = ("scale", "offset", "unit")


def encode(meta: dict[str, Any] | None, pixels: dict[str, Any]) -> bytes:
    """Return the extended header for `meta` and, if pixels are quantised, their scale; may be empty."""
    content = plain(meta or {})
    own = {key: pixels[key] for key in _SCALE_KEYS if key in pixels}
    if "scale" in own:
        content[_OWN] = own
    return json.dumps(content, ensure_ascii=False).encode() if content else b""


def decode(kind: str, data: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (meta, pixels) of an extended header; both empty if it is of another kind.

    Raises
    ------
    FormatError
        It is said to be JSON and is not.
    """
    if kind != JSON or not data:
        return {}, {}
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the extended header is said to be JSON and is not: {error}") from error
    if not isinstance(content, dict):
        raise FormatError(f"the extended header is a JSON {type(content).__name__}, expected an object")
    own = content.pop(_OWN, {})
    return content, own if isinstance(own, dict) else {}
