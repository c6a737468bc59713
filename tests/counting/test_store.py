from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.counting import EventList
from mrcz_dask.counting import store as store_module
from mrcz_dask.counting.packing import EventArrays, joined, quantized
from mrcz_dask.counting.params import FractionParams
from mrcz_dask.counting.recording import Summary
from mrcz_dask.counting.rendering import counted_frames
from mrcz_dask.counting.store import event_problems, write_events
from mrcz_dask.formats import provenance
from mrcz_dask.values.errors import DamagedError, ParameterError, PlaceError

SHAPE = (24, 32)


def electrons(counts: list[int], seed: int = 0) -> EventArrays:
    rng = np.random.default_rng(seed)
    made = [(rng.uniform(0, 24, n), rng.uniform(0, 32, n), rng.normal(40, 8, n)) for n in counts]
    return quantized(made, SHAPE, 4.0)


def about(found: EventArrays) -> dict[str, Any]:
    step = provenance.step("count", results={"coincidence": {"factor": 1.1}})
    return {
        "shape": [found.counts.size, *SHAPE],
        "frames": found.counts.size,
        "events": found.y.size,
        "charge_step": 0.25,
        "digest": found.digest(),
        "provenance": provenance.append(None, step),
    }


class Held:
    """An event source in memory."""

    def __init__(self, found: EventArrays) -> None:
        self._found, self.about = found, about(found)

    def read(self, start: int, stop: int) -> EventArrays:
        return self._found.frames(start, stop)


@pytest.mark.parametrize("counts", [[3, 0, 5, 0], [0], [0, 0], [700, 300, 1]])
def test_any_frames_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counts: list[int]
) -> None:
    monkeypatch.setattr(store_module, "CHUNK", 64)
    found = electrons(counts)
    parts = [found.frames(k, k + 1) for k in range(len(counts))]
    write_events(tmp_path / "a.events.zarr", about(found), parts)
    events = EventList(tmp_path / "a.events.zarr")
    assert len(events) == len(counts) and events.shape == (len(counts), *SHAPE)
    assert events.read(0, len(counts)).digest() == joined(parts).digest()
    y, x, charge = events.frame(0)
    assert y.size == x.size == charge.size == counts[0]
    assert np.array_equal(charge, parts[0].charge * 0.25)
    with pytest.raises(ParameterError, match="it has"):
        events.read(0, len(counts) + 1)


def test_what_is_no_event_list(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("nothing", "empty"):
        with pytest.raises(PlaceError, match="no event list"):
            EventList(tmp_path / name)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12), st.integers(1, 14), st.sampled_from([1, 2, 4]))
def test_any_fractions_and_upsampling_sum_to_the_same(counts: list[int], each: int, upsampling: int) -> None:
    source = Held(electrons(counts))
    frames = list(counted_frames(source, FractionParams(upsampling, each)))
    assert len(frames) == max(1, len(counts) // each)
    total = np.sum([one.astype(np.int64) for one in frames], axis=0)
    binned = total.reshape(24, upsampling, 32, upsampling).sum(axis=(1, 3))
    whole = next(counted_frames(source, FractionParams(1, len(counts))))
    assert np.array_equal(binned, whole) and total.sum() == sum(counts)


@given(st.integers(1, 1000), st.integers(1, 1000))
def test_what_is_left_over_is_spread_evenly(raw: int, each: int) -> None:
    sizes = np.diff(FractionParams(fraction=each).bounds(raw))
    assert sizes.sum() == raw and sizes.max() - sizes.min() <= 1


def listed(folder: Path, counts: list[int]) -> Path:
    found, summary, path = electrons(counts), Summary(), folder / "a.events.zarr"
    summary.add(b"", found)
    write_events(path, about(found) | {"digest": summary.events_digest}, [found])
    return path


def as_before(path: Path) -> Path:
    """The same list as older versions wrote it: no digest of its files, nothing sealed."""
    group = zarr.open_group(path, mode="a")
    attributes: Any = dict(group.attrs)
    group.attrs.put({name: attributes[name] for name in (store_module.MARK, "steps", "about")})
    return path


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("name", ["y", "x", "charge", "frame"])
def test_a_chunk_that_is_gone_is_an_error(
    name: str, older: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "CHUNK", 4)
    path = listed(tmp_path, [3, 0, 5, 6])
    if older:
        as_before(path)
    assert event_problems(path) == []
    (path / name / "c" / "1").unlink()
    assert event_problems(path)
    if name != "frame" or older:  # it is not used where electrons are read
        with pytest.raises(DamagedError, match="count again"):
            EventList(path).read(0, 4)
    if not older:
        assert EventList(path).read(0, 1).y.size == 3  # all that is whole can be read


def test_lists_of_older_versions_are_read_as_they_were(tmp_path: Path) -> None:
    path = listed(tmp_path, [3, 0, 5])
    new = EventList(path)
    old = EventList(as_before(path))
    assert old.about == new.about and old.read(0, 3).digest() == new.read(0, 3).digest()
    assert event_problems(path) == []
    group: Any = zarr.open_group(path, mode="a")
    group["y"][2] += 1
    with pytest.raises(DamagedError, match="digest does not match"):
        EventList(path).read(0, 1)


def test_zeros_are_stored_so_that_no_chunk_is_missing(tmp_path: Path) -> None:
    assert event_problems(listed(tmp_path, [5])) == [] == event_problems(listed(tmp_path, [0, 0]))
    assert (tmp_path / "a.events.zarr" / "first" / "c" / "0").exists()
