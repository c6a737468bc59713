"""Breaks: those that are there are found where they are, others are not, and none by what comes later."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcz_dask.numerics.session.breaks import (
    REACH,
    SURE,
    DetectedBreak,
    Evidence,
    dose_steps,
    final_below,
    find_breaks,
    gather_evidence,
    groups,
)
from mrcz_dask.numerics.session.sketch import sketch_sizes

SHAPE = (65, 65)


def sketches(epochs: list[int], flips: float, seed: int = 0, drift: float = 0.0) -> list[bytes]:
    """Sketches of stacks whose patterns are those of their epochs, but for noise; a walk where it drifts."""
    rng = np.random.default_rng(seed)
    parts = sketch_sizes(SHAPE)
    patterns: dict[int, list[np.ndarray]] = {}
    made = []
    for epoch in epochs:
        mine = patterns.setdefault(epoch, [rng.random(n) < 0.5 for n in parts])
        for bits in mine:
            bits ^= rng.random(bits.size) < drift
        halves = [bits ^ (rng.random(bits.size) < flips) for bits in mine]
        made.append(b"".join(np.packbits(np.pad(h, (0, -h.size % 64))).tobytes() for h in halves))
    return made


def breaks(epochs: list[int], flips: float = 0.2, seed: int = 0, drift: float = 0.0) -> list[DetectedBreak]:
    evidence = gather_evidence(sketches(epochs, flips, seed, drift), SHAPE, [1.0] * len(epochs), 0.2)
    return find_breaks(evidence)


@pytest.mark.parametrize("place", [3, 4, 12, 27, 37])
def test_a_new_pattern_is_found_where_it_is(place: int) -> None:
    (one,) = breaks([0] * place + [1] * (40 - place))
    assert (one.place, one.kind) == (place, "pattern")
    share, errors = one.numbers
    assert share == pytest.approx(1, abs=0.2)
    assert errors > SURE


@pytest.mark.parametrize("flips", [0.01, 0.1, 0.3])
def test_one_stack_at_an_end_is_too_few(flips: float) -> None:
    for odd in (0, 1, 38, 39):
        assert breaks([100 if k == odd else 0 for k in range(40)], flips) == []


def test_several_breaks_and_a_return() -> None:
    epochs = [0] * 15 + [1] * 12 + [0] * 20 + [2] * 9
    assert [one.place for one in breaks(epochs)] == [15, 27, 47]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("drift", [0.003, 0.02, 0.05])
def test_a_pattern_that_changes_evenly_has_no_break(drift: float, seed: int) -> None:
    assert breaks([0] * 80, 0.1, seed, drift) == []


@pytest.mark.parametrize("odd", [[10], [10, 11], [10, 14, 19]])
def test_odd_stacks_are_no_break(odd: list[int]) -> None:
    assert breaks([100 + k if k in odd else 0 for k in range(40)], 0.1) == []


def test_unrelated_stacks_have_no_break() -> None:
    assert not any(breaks(list(range(60)), seed=seed) for seed in range(5))


def test_half_of_a_pattern_that_is_new_is_one() -> None:
    old, new = sketches([0] * 20 + [1] * 20, 0.1), sketches([0] * 20 + [0] * 20, 0.1)
    cut = len(old[0]) // 2
    mixed = [a[:cut] + b[cut:] for a, b in zip(old, new, strict=True)]
    (one,) = find_breaks(gather_evidence(mixed, SHAPE, [1.0] * 40, 0.2))
    assert one.place == 20
    assert 0.3 < one.numbers[0] < 0.7


def of_doses(doses: list[float], known: tuple[int, ...] = (), limit: float = 0.2) -> list[DetectedBreak]:
    flat = sketches([0] * len(doses), 0.2)
    return find_breaks(gather_evidence(flat, SHAPE, doses, limit), known)


@pytest.mark.parametrize("factor", [0.5, 0.79, 1.25, 3.0])
@pytest.mark.parametrize("place", [3, 10, 27])
def test_a_jump_of_dose_is_found_where_it_is(factor: float, place: int) -> None:
    (one,) = of_doses([2.0] * place + [2.0 * factor] * (30 - place))
    assert (one.place, one.kind) == (place, "dose")
    assert one.numbers == (2.0, 2.0 * factor)


def test_jumps_below_the_limit_odd_stacks_and_slow_changes_are_none() -> None:
    assert of_doses([1.0] * 15 + [1.19] * 15) == []
    assert of_doses([1.0] * 14 + [3.0, 0.1] + [1.0] * 14) == []
    assert of_doses([1.02**k for k in range(60)]) == []
    assert of_doses([1.0] * 20 + [-1.0] * 20) == []


def test_up_and_down_are_two() -> None:
    assert [one.place for one in of_doses([1.0] * 12 + [1.5] * 9 + [1.0] * 12)] == [12, 21]


def test_what_changes_both_is_one_break_of_dose() -> None:
    both = gather_evidence(sketches([0] * 20 + [1] * 20, 0.2), SHAPE, [1.0] * 20 + [2.0] * 20, 0.2)
    assert [(one.place, one.kind) for one in find_breaks(both)] == [(20, "dose")]
    assert find_breaks(both, known=[21]) == []


def test_apart_they_are_two() -> None:
    both = gather_evidence(sketches([0] * 20 + [1] * 20, 0.2), SHAPE, [1.0] * 26 + [2.0] * 14, 0.2)
    assert {(one.place, one.kind) for one in find_breaks(both)} >= {(26, "dose")}


@pytest.mark.parametrize("number", [0, 1, 2, 5])
def test_few_stacks_have_none(number: int) -> None:
    assert of_doses([float(k + 1) for k in range(number)]) == []


def test_sketches_that_are_not_whole_are_not_compared() -> None:
    mixed = [*sketches([0] * 10, 0.1), b""]
    assert gather_evidence(mixed, SHAPE, [1.0] * 11, 0.2).channels == ()


def test_steps_are_relative_to_the_smaller_dose() -> None:
    steps = dose_steps(np.array([1.0] * 6 + [1.3] * 6))
    assert steps[6] == pytest.approx(0.3)
    assert not steps[:3].any() and not steps[10:].any()


@given(st.sets(st.integers(0, 200)))
def test_groups_keep_order_and_all(places: set[int]) -> None:
    found = groups(sorted(places))
    assert [k for group in found for k in group] == sorted(places)
    assert all(b[0] - a[-1] > 4 for a, b in pairwise(found))


@st.composite
def sessions(draw: st.DrawFn) -> tuple[list[bytes], list[float]]:
    """Sketches and doses of a session with breaks of any kind, some of them hard to tell."""
    lengths = draw(st.lists(st.integers(1, 25), min_size=1, max_size=5))
    epochs = [k for k, n in enumerate(lengths) for _ in range(n)]
    flips, drift = draw(st.sampled_from([0.1, 0.3, 0.4, 0.45])), draw(st.sampled_from([0.0, 0.02]))
    levels = draw(st.lists(st.sampled_from([1.0, 1.1, 1.25, 1.5]), min_size=5, max_size=5))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    doses = [levels[(k + 3) // 13 % 5] * rng.normal(1, 0.05) for k in range(len(epochs))]
    return sketches(epochs, flips, seed, drift), doses


@settings(max_examples=60, deadline=None)
@given(session=sessions(), data=st.data())
def test_what_is_decided_stays(session: tuple[list[bytes], list[float]], data: st.DataObject) -> None:
    made, doses = session
    known = sorted(data.draw(st.sets(st.integers(1, 99), max_size=2)))
    settled = data.draw(st.integers(0, len(made)))
    there = data.draw(st.integers(settled, len(made)))
    # those that are there and not settled may be others in the end
    other = sketches([7] * len(made), 0.2)
    part = gather_evidence([*made[:settled], *other[settled:there]], SHAPE, doses[:there], 0.2)
    whole = gather_evidence(made, SHAPE, doses, 0.2)

    below = final_below(part.candidates, settled)

    assert 0 <= below <= max(0, settled - REACH)
    found, expected = find_breaks(part, known), find_breaks(whole, known)
    assert [one for one in found if one.place < below] == [one for one in expected if one.place < below]


def test_all_is_decided_but_the_last_where_nothing_is_found() -> None:
    evidence: Evidence = gather_evidence(sketches([0] * 50, 0.2), SHAPE, [1.0] * 50, 0.2)
    assert evidence.candidates == []
    assert final_below([], 50) == 50 - REACH
