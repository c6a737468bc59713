"""No damage to any kind of file passes for sound, nor is it read as something else."""

from pathlib import Path

import pytest

from tests.damage import events, runs, stacks, stores
from tests.damage.generator import Kind, faults

# a new module of kinds goes here
KINDS: list[Kind] = [*stacks.KINDS, *runs.KINDS, *stores.KINDS, *events.KINDS]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_damage_is_found(kind: Kind, tmp_path: Path) -> None:
    cases, missed = faults(kind, tmp_path, flips=40, cuts=10)
    assert cases and not missed, missed[:10]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_any_damage_is_found(kind: Kind, tmp_path: Path) -> None:
    """Every bit of files of up to 125 bytes, 1000 bits of larger ones, and 200 lengths."""
    cases, missed = faults(kind, tmp_path, flips=1000, cuts=200)
    print(f"{kind}: {cases - len(missed)} of {cases} cases held")
    assert cases and not missed, missed[:10]
