"""Epochs: windows stay inside them, pauses and breaks are told apart, and what is final stays."""

from base64 import b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcz_dask.correction.judged_stacks import Epochs, find_epochs
from mrcz_dask.correction.windows import Windows, windows_of
from mrcz_dask.numerics.session.sketch import sketch_sizes
from mrcz_dask.values.params import KomaParams
from mrcz_dask.values.records import Break

SHAPE = (65, 65)
BEGIN = datetime(2026, 10, 14, 19, 6, 33)
MINUTE = timedelta(minutes=1)


def sketch_of(pattern: list[np.ndarray], rng: np.random.Generator, flips: float) -> str:
    halves = [bits ^ (rng.random(bits.size) < flips) for bits in pattern]
    whole = b"".join(np.packbits(np.pad(half, (0, -half.size % 64))).tobytes() for half in halves)
    return b64encode(whole).decode()


def session(
    epochs: list[int],
    doses: list[float] | None = None,
    usable: list[bool] | None = None,
    gaps: dict[int, timedelta] | None = None,
    flips: float = 0.2,
    seed: int = 0,
) -> list[Any]:
    """Stacks, one a minute but for gaps; those of equal epochs have a pattern in common."""
    rng = np.random.default_rng(seed)
    patterns: dict[int, list[np.ndarray]] = {}
    time, made = BEGIN, []
    for k, epoch in enumerate(epochs):
        time += (gaps or {}).get(k, MINUTE)
        pattern = patterns.setdefault(epoch, [rng.random(n) < 0.5 for n in sketch_sizes(SHAPE)])
        record = SimpleNamespace(
            sketch=sketch_of(pattern, rng, flips), shape=(3, *SHAPE), dose=doses[k] if doses else 1.0
        )
        name, when = f"s{k:03d}", SimpleNamespace(time=time)
        entry = SimpleNamespace(name=name, stem=name, acquired=when, series="", tilt=None, place=None)
        made.append(SimpleNamespace(record=record, entry=entry, usable=usable[k] if usable else True))
    return made


def all_windows(ready: list[Any], koma: KomaParams) -> tuple[Epochs, list[Windows]]:
    epochs = find_epochs(ready, koma)
    usable = [one.usable for one in ready]
    return epochs, [windows_of(i, usable, epochs, koma) for i in range(len(ready))]


def test_windows_do_not_cross_a_new_pattern() -> None:
    epochs, windows = all_windows(session([0] * 20 + [1] * 20), KomaParams(radius=3, long_window=10))
    assert epochs.starts == (20,)
    (found,) = epochs.breaks
    assert found.first == "s020" and found.reason.startswith("a new pattern: ")
    assert windows[19].short == [13, 14, 15, 16, 17, 18]
    assert windows[20].short == [21, 22, 23, 24, 25, 26]
    for i, one in enumerate(windows):
        assert {j < 20 for j in [*one.short, *one.long]} == {i < 20}
    assert [i for i, one in enumerate(windows) if one.breaks] == list(range(17, 27))


def test_a_jump_of_dose_is_told_with_its_size() -> None:
    epochs = find_epochs(session([0] * 30, [0.5] * 12 + [0.75] * 18), KomaParams())
    assert epochs.starts == (12,)
    assert epochs.breaks[0].reason == "the dose goes from 0.5 to 0.75 counts per pixel and frame (+50%)"
    assert str(epochs.breaks[0]).endswith("Stacks before and after it are not used to correct each other.")


def test_none_are_looked_for() -> None:
    ready = session([0] * 20 + [1] * 20, [0.5] * 12 + [0.75] * 28)
    epochs = find_epochs(ready, KomaParams(breaks="none", radius=4))
    assert epochs == Epochs(40, (), (), 36)
    assert epochs.around(0) == epochs.around(39) == (0, 40)


@pytest.mark.parametrize(("hours", "starts"), [(None, ()), (6.0, (5, 11)), (9.0, (11,)), (30.0, ())])
@pytest.mark.parametrize("breaks", ["auto", "none"])
def test_pauses_are_breaks_if_asked(hours: float | None, starts: tuple[int, ...], breaks: Any) -> None:
    ready = session([0] * 18, gaps={5: timedelta(hours=7), 11: timedelta(hours=12)})
    epochs = find_epochs(ready, KomaParams(radius=2, breaks=breaks, break_after=hours))
    assert epochs.starts == starts
    assert all(one.reason.endswith("hours without a stack") for one in epochs.breaks)


def test_a_stack_that_is_not_usable_belongs_to_its_time() -> None:
    usable = [k not in (4, 5) for k in range(12)]
    ready = session([0] * 12, usable=usable, gaps={5: timedelta(hours=7)})
    epochs, windows = all_windows(ready, KomaParams(radius=2, break_after=6.0))
    assert epochs.starts == (5,)
    assert windows[4].short == [0, 1, 2, 3]
    assert windows[5].short == [6, 7, 8, 9]


def test_a_pause_and_what_changes_after_it_are_one_break() -> None:
    ready = session([0] * 16 + [1] * 16, gaps={16: timedelta(hours=7)})
    epochs = find_epochs(ready, KomaParams(break_after=6.0))
    assert epochs.starts == (16,)
    assert "hours" in epochs.breaks[0].reason


def test_one_stack_between_two_pauses_has_no_window() -> None:
    ready = session([0] * 9, gaps={4: timedelta(hours=7), 5: timedelta(hours=7)})
    _, windows = all_windows(ready, KomaParams(radius=2, break_after=6.0))
    assert windows[4].short == windows[4].long == []
    assert [one.reason for one in windows[4].breaks] == ["7.0 hours without a stack"] * 2


@pytest.mark.parametrize("breaks", ["auto", "none"])
def test_nothing_usable_and_nothing_at_all(breaks: Any) -> None:
    koma = KomaParams(breaks=breaks, radius=1)
    assert find_epochs([], koma) == Epochs(0, (), (), 0)
    epochs, windows = all_windows(session([0] * 4, usable=[False] * 4), koma)
    assert epochs.starts == ()
    assert all(one.short == one.long == [] for one in windows)


def test_segments_by_hand() -> None:
    found = Break("b", "x"), Break("c", "y")
    epochs = Epochs(10, (4, 7), found, 6)
    assert [epochs.around(i) for i in (0, 3, 4, 6, 7, 9)] == [
        (0, 4), (0, 4), (4, 7), (4, 7), (7, 10), (7, 10),
    ]  # fmt: skip
    assert epochs.at(4) == found[0] and epochs.at(7) == found[1] and epochs.at(0) is None
    assert epochs.before(epochs.final) == found[:1]


@dataclass(frozen=True)
class Drawn:
    """A session, another in which what is not settled may be otherwise, and how it is worked on."""

    whole: list[Any]
    part: list[Any]
    koma: KomaParams


@st.composite
def growing(draw: st.DrawFn) -> Drawn:
    lengths = draw(st.lists(st.integers(1, 22), min_size=1, max_size=4))
    epochs = [k % 3 for k, n in enumerate(lengths) for _ in range(n)]
    n = len(epochs)
    seed, flips = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from([0.1, 0.35, 0.43]))
    rng = np.random.default_rng(seed)
    levels = rng.choice([1.0, 1.15, 1.3, 2.0], 6)
    doses = [float(levels[k // 14 % 6] * rng.normal(1, 0.04)) for k in range(n)]
    share = draw(st.sampled_from([1.0, 0.8]))
    usable = [bool(u) for u in rng.random(n) < share]
    pauses = draw(st.sets(st.integers(1, max(1, n - 1)), max_size=2))
    koma = KomaParams(
        radius=draw(st.integers(1, 5)),
        long_window=draw(st.sampled_from([4, 12, 200])),
        method=draw(st.sampled_from(["fit", "plain"])),
        breaks=draw(st.sampled_from(["auto", "auto", "none"])),
        break_after=draw(st.sampled_from([None, 6.0])),
    )
    whole = session(epochs, doses, usable, dict.fromkeys(pauses, timedelta(hours=7)), flips, seed)
    there = draw(st.integers(1, n))
    part = [SimpleNamespace(**vars(one)) for one in whole[:there]]
    for one in part[max(0, there - koma.radius) :]:  # these are judged anew when others come
        one.usable = bool(rng.random() < 0.5)
    return Drawn(whole, part, koma)


@settings(max_examples=150, deadline=None)
@given(drawn=growing())
def test_final_windows_are_those_of_the_whole_session(drawn: Drawn) -> None:
    before, windows = all_windows(drawn.part, drawn.koma)
    after, expected = all_windows(drawn.whole, drawn.koma)

    assert before.before(before.final) == after.before(before.final)
    for now, then in zip(windows, expected[: len(windows)], strict=True):
        if now.final:
            assert (now.short, now.long, now.breaks) == (then.short, then.long, then.breaks)
    assert after.final >= before.final


@pytest.mark.parametrize(("breaks", "wait"), [("auto", 8), ("none", 0)])
def test_a_stack_is_final_as_soon_as_it_can_be(breaks: Any, wait: int) -> None:
    koma = KomaParams(radius=3, breaks=breaks)
    _, windows = all_windows(session([0] * 40), koma)
    assert [i for i, one in enumerate(windows) if one.final] == list(range(40 - 2 * 3 - wait))


def test_a_known_end_makes_the_stacks_before_it_final() -> None:
    _, windows = all_windows(session([0] * 6 + [1] * 30), KomaParams(radius=12))
    assert [i for i, one in enumerate(windows) if one.final] == list(range(6))
