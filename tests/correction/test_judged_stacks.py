"""What is known of a session as its stacks come: the same in any increments, and what is decided stays."""

from base64 import b64encode
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcz_dask.correction import judged_stacks
from mrcz_dask.correction.judged_stacks import JudgedStacks
from mrcz_dask.values.params import ContrastParams, KomaParams, Settings

from .test_epochs import session

BLOCKS = np.arange(16)


@dataclass(frozen=True)
class Arrivals:
    """Stacks in order of time, and how many are there at each look."""

    stacks: list[tuple[Any, Any]] = field(repr=False)
    there: list[int]
    settings: Settings


@st.composite
def arrivals(draw: st.DrawFn) -> Arrivals:
    lengths = draw(st.lists(st.integers(1, 40), min_size=1, max_size=4))
    epochs = [k % 3 for k, n in enumerate(lengths) for _ in range(n)]
    n, seed = len(epochs), draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    doses = rng.choice([1.0, 1.15, 2.0], 10).repeat(16)[:n] * rng.normal(1, 0.04, n)
    pauses = draw(st.sets(st.integers(1, n), max_size=2))
    made = session(epochs, doses.tolist(), gaps=dict.fromkeys(pauses, timedelta(hours=7)), seed=seed)
    copied = draw(st.sampled_from([0.0, 0.1, 0.4]))
    blind = draw(st.integers(0, 2 * n))  # from here on hardly any stack is usable for long
    data = [(k,) for k in range(n)]
    for k in range(1, n):
        if rng.random() < copied:
            data[k] = tuple({*data[rng.integers(0, k)], *(data[k] if rng.random() < 0.3 else ())})
    tilts, alike = draw(st.integers(0, 9)), draw(st.sampled_from([0.0, 0.2, 0.7]))
    specimen = rng.normal(0, 16, (32, 32))
    for k, one in enumerate(made):
        if tilts:  # in series of so many
            one.entry.tilt = 3.0 * (k % tilts)
        sound = bool(rng.random() < (0.05 if blind <= k < blind + 60 else 0.97))
        if rng.random() >= alike:  # the specimen of the stack before, or another one
            specimen = rng.normal(0, 16, (32, 32))
        one.record = describe(one.record, data[k], rng, sound=sound, specimen=specimen)
    there = sorted({*draw(st.lists(st.integers(1, n), max_size=12)), n})
    koma = KomaParams(
        radius=draw(st.integers(1, 4)),
        breaks=draw(st.sampled_from(["auto", "none"])),
        break_after=draw(st.sampled_from([None, 6.0])),
    )
    return Arrivals(
        [(one.entry, one.record) for one in made],
        there,
        Settings(koma=koma, contrast=ContrastParams(history=12)),
    )


def describe(
    record: Any, data: tuple[int, ...], rng: np.random.Generator, *, sound: bool, specimen: Any = None
) -> Any:
    """Complete the record of a stack: its contrast, its specimen, and which recorded frames it holds."""
    means = rng.normal(40, 0.01, 16) * np.where(BLOCKS < 8, 1, rng.choice([0.5, 1], p=[0.05, 0.95]))
    about = vars(record) | {
        "grid_means": means.reshape(4, 4).tolist(),
        "grid_pixels": np.full((4, 4), 10**6).tolist(),
        "frames": b64encode(np.array(sorted(data), "<u8").tobytes()).decode(),
        "grain": "",
        "scene": "",
        "sound": sound,
        "has_dose": True,
    }
    if specimen is not None:
        scene = np.roll(specimen + rng.normal(0, 8, (32, 32)), rng.integers(-4, 5, 2), (0, 1))
        about["scene"] = b64encode(scene.clip(-127, 127).astype(np.int8).tobytes()).decode()
    return type(record)(**about)


def known(assessment: JudgedStacks, stop: int) -> list[str]:
    """The verdicts on the first stacks, but for the copies that may follow."""
    return [repr((one.entry.name, one.verdict, one.original, one.groups)) for one in assessment.stacks[:stop]]


@settings(max_examples=40)
@given(drawn=arrivals())
def test_increments_give_what_one_update_gives(drawn: Arrivals) -> None:
    growing, whole = JudgedStacks(drawn.settings), JudgedStacks(drawn.settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judged_stacks, "LEAD_OF_BREAKS", 24)
        whole.update(drawn.stacks)
        for there in drawn.there:
            growing.update(drawn.stacks[:there])
            decided = growing.epochs.final
            assert growing.changed_at <= decided <= whole.epochs.final
            assert known(growing, decided) == known(whole, decided)
            assert growing.epochs.before(decided) == whole.epochs.before(decided)
    assert list(map(repr, growing.stacks)) == list(map(repr, whole.stacks))
    assert growing.epochs == whole.epochs


@settings(max_examples=40)
@given(drawn=arrivals(), change=st.randoms(use_true_random=False))
def test_stacks_that_go_or_come_between_are_taken_in(drawn: Arrivals, change: Any) -> None:
    some = [one for one in drawn.stacks if change.random() < 0.9]
    growing, whole = JudgedStacks(drawn.settings), JudgedStacks(drawn.settings)
    growing.update(some)
    growing.update(drawn.stacks)
    whole.update(drawn.stacks)
    assert growing.changed_at in (0, len(drawn.stacks)) or some == drawn.stacks[: len(some)]
    assert list(map(repr, growing.stacks)) == list(map(repr, whole.stacks))
    assert growing.epochs == whole.epochs


def test_hours_without_a_usable_stack_change_nothing_of_the_breaks_behind_them() -> None:
    rng = np.random.default_rng(0)
    made = session([0] * 30 + [1] * (300 + 7) + [2] * 40)
    records = [describe(one.record, (k,), rng, sound=not 30 <= k < 330) for k, one in enumerate(made)]
    stacks = [(one.entry, record) for one, record in zip(made, records, strict=True)]
    growing, whole = (JudgedStacks(Settings(koma=KomaParams(radius=3))) for _ in range(2))
    whole.update(stacks)
    for there in range(300, len(stacks) + 1):
        growing.update(stacks[:there])
    assert whole.epochs.starts == (330, 337)
    assert growing.epochs == whole.epochs
