"""Damaged sums and records in the session store are made again from the stacks, to the same bytes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mrcz_dask.engine import loop as attempt

Damage = Callable[[Path], None]


def _change(name: str) -> Damage:
    """Return what changes a number of the record of a stack."""

    def damage(group: Path) -> None:
        content = json.loads((group / "zarr.json").read_text())
        value = content["attributes"][name]
        content["attributes"][name] = (
            [[2 * x for x in row] for row in value] if name == "grid_means" else value + 1
        )
        (group / "zarr.json").write_text(json.dumps(content))

    return damage


def _flip(name: str) -> Damage:
    """Return what turns over a bit in the pixels of an array."""

    def damage(group: Path) -> None:
        chunk = next(file for file in sorted((group / name / "c").rglob("*")) if file.is_file())
        data = bytearray(chunk.read_bytes())
        data[-1] ^= 4
        chunk.write_bytes(data)

    return damage


DAMAGES = {
    **{name: _change(name) for name in ("mean", "grid_means")},
    **{f"pixels of {name}": _flip(name) for name in ("sum", "weight_even")},
    "attributes are no JSON": lambda group: (group / "zarr.json").write_text("{"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_outputs_are_the_same_after_damage_in_the_store(
    plain_session: Path, koma: Any, damage: Damage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "PAUSE", 0.0)
    outcome = koma(plain_session)
    outputs = [outcome.plan.folder / result.output for result in outcome.results]
    before = [path.read_bytes() for path in outputs]
    for path in outputs:
        path.unlink()
    damage(outcome.plan.store / "stacks" / outcome.plan.stacks[2].stem)
    again = koma(plain_session)
    assert again.complete
    assert [path.read_bytes() for path in outputs] == before
