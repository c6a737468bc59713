"""JSON that was edited by hand, and is still JSON, is damaged."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcz_dask.session.log import NAME, read_messages
from mrcz_dask.values.errors import MrczDaskError
from tests.damage.generator import Kind
from tests.damage.runs import read_log, write_log
from tests.damage.test_damage import KINDS

ODD = [None, True, -1, 0, 1e30, 2**70, "", [], {}, [[]], {"a": 1}, "../../x", 1.0000001]
SEALED = [kind for kind in KINDS if kind.name in ("mrcs scaled", "tiff scaled", "sum and record", "gain")]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each map or list in a value with each key or position in it."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])


def edited(text: bytes, random: np.random.Generator) -> bytes:
    """Replace one value by an odd one."""
    value = json.loads(text)
    everywhere = list(places(value))
    inside, key = everywhere[random.integers(len(everywhere))]
    others = [odd for odd in ODD if odd != inside[key]]
    inside[key] = others[random.integers(len(others))]
    return json.dumps(value).encode()


@pytest.mark.parametrize("kind", SEALED, ids=str)
def test_values_that_were_edited_are_not_sound(kind: Kind, tmp_path: Path) -> None:
    path, random = kind.write(tmp_path), np.random.default_rng(0)
    assert kind.verify is not None
    for file in (one for one in kind.files(path) if one.suffix == ".json"):
        text = file.read_bytes()
        for _ in range(15):
            file.write_bytes(edited(text, random))
            with suppress(MrczDaskError):
                assert not kind.verify(path), file.read_text()
        file.write_bytes(text)


def test_lines_of_the_log_that_were_edited_are_left_out(tmp_path: Path) -> None:
    folder, random = write_log(tmp_path), np.random.default_rng(0)
    written, lines = read_log(folder), (folder / NAME).read_bytes().splitlines()
    for k in range(60):
        changed = list(lines)
        changed[k % len(lines)] = edited(lines[k % len(lines)], random)
        (folder / NAME).write_bytes(b"\n".join(changed) + b"\n")
        found = list(read_messages(folder))
        assert len(found) == len(written) - 1 and all(one in written for one in found)
