import asyncio
import contextlib
import shutil
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from zarr.storage import MemoryStore

from mrcz_dask.formats.digest import correction_digest
from mrcz_dask.numerics.outliers.kept_fit import kept_fit
from mrcz_dask.numerics.outliers.mask import outlier_mask
from mrcz_dask.numerics.reference.correction import Correction
from mrcz_dask.session import store as stores
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.errors import DamagedError, SpaceError
from mrcz_dask.values.params import OutlierParams


def correction(seed: int = 0, form: str = "subtract") -> Correction:
    rng = np.random.default_rng(seed)
    weight = np.full((8, 10), 255, np.uint8)
    weight[2, 3:5] = 0
    return Correction(
        form,  # type: ignore[arg-type]
        rng.integers(-9, 9, (8, 10)).astype(np.int16),
        0.25,
        weight,
        rng.normal(size=2).astype(np.float32),
    )


@pytest.fixture
def store(tmp_path: Path) -> SessionStore:
    made = SessionStore(tmp_path / "session.zarr")
    made.create()
    return made


@pytest.mark.parametrize("form", ["subtract", "subtract-raw", "divide"])
def test_a_correction_comes_back(store: SessionStore, form: str) -> None:
    kept = correction(form=form)
    digest = store.put_correction("a", kept)
    found = store.correction("a")
    assert digest == store.correction_digest("a") == correction_digest(found) == correction_digest(kept)
    assert (found.form, found.step) == (kept.form, kept.step)
    assert np.array_equal(found.pattern, kept.pattern)


def test_a_scale_comes_back_and_is_part_of_the_digest(store: SessionStore) -> None:
    bare = correction()
    scale = np.random.default_rng(1).integers(16384, 65535, (8, 10)).astype(np.uint16)
    kept = replace(bare, scale=scale)
    digest = store.put_correction("a", kept)
    found = store.correction("a").scale
    assert found is not None and np.array_equal(found, scale)
    assert digest == correction_digest(kept) != correction_digest(bare)
    assert store.has_correction("a", digest)


def test_a_digest_knows_every_part(store: SessionStore) -> None:
    digests = {
        correction_digest(correction(seed, form)) for seed in (0, 1) for form in ("subtract", "divide")
    }
    assert len(digests) == 4


def test_what_is_not_there(store: SessionStore) -> None:
    assert store.record("a") is None
    assert store.correction_digest("a") is None
    with pytest.raises(DamagedError, match=r"zarr\.json is gone"):
        store.load("a", "sum")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"a": ' * 5000])
def test_attributes_that_cannot_be_read_are_damaged(store: SessionStore, text: str) -> None:
    digest = store.put_correction("a", correction())
    (store.path / "corrections" / "a" / "zarr.json").write_text(text)
    with pytest.raises(DamagedError, match=r"corrections/a: .*; remove the folder .* and run again"):
        store.correction_digest("a")
    assert not store.has_correction("a", digest)


def test_a_root_that_cannot_be_read_is_named_with_its_file(store: SessionStore) -> None:
    root = store.path / "zarr.json"
    root.write_text(root.read_text()[:-3])
    with pytest.raises(DamagedError, match=r"remove the file .*zarr.json and run again"):
        store.create()
    root.unlink()
    store.create()


def test_it_can_be_made_twice(store: SessionStore) -> None:
    store.put_correction("a", correction())
    store.create()
    assert store.correction_digest("a") is not None


@given(values=arrays(st.sampled_from([np.int16, np.int32, np.int64, np.uint8, np.float32]), array_shapes()))
def test_any_array_comes_back(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray) -> None:
    folder = tmp_path_factory.mktemp("store")
    made = SessionStore(folder / "session.zarr")
    made.create()
    made.put("outliers/a", {"x": values}, {})
    (found,) = made.arrays("outliers/a", "x")
    assert found.dtype == values.dtype
    assert found.tobytes() == values.tobytes()
    shutil.rmtree(folder)


def test_many_writers_of_the_same_leave_one_whole(store: SessionStore) -> None:
    problems: list[Exception] = []

    def put() -> None:
        try:
            for _ in range(5):
                store.put_correction("a", correction())
        except (OSError, SpaceError) as error:
            problems.append(error)

    threads = [threading.Thread(target=put) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert correction_digest(store.correction("a")) == correction_digest(correction())
    assert [p.name for p in store.path.parent.iterdir()] == ["session.zarr"]


def test_an_interrupt_while_a_group_is_written_leaves_nothing_on_the_way(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    interrupts = [threading.get_ident()]

    async def slow(self: MemoryStore, *arguments: Any) -> None:
        if interrupts:  # once: a second one could come when the handler is another again
            signal.pthread_kill(interrupts.pop(), signal.SIGALRM)
        await asyncio.sleep(0.05)
        await put(self, *arguments)

    put = MemoryStore.set
    monkeypatch.setattr(MemoryStore, "set", slow)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            store.put_correction("a", correction())
    finally:
        signal.signal(signal.SIGALRM, before)
    assert {path.name for path in store.path.parent.iterdir()} == {store.path.name}
    assert store.correction_digest("a") == correction_digest(store.correction("a"))


def test_a_folder_that_is_gone_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a bare mount point, while the file server is away."""
    share, away = tmp_path / "share", tmp_path / "away"
    store = SessionStore(share / "out" / "session.zarr")
    (share / "out").mkdir(parents=True)
    store.create()
    share.rename(away)
    with pytest.raises(OSError, match=r"session\.zarr"):
        store.put_correction("a", correction())
    assert not share.exists()

    inner = stores.write_array

    def goes_away(*arguments: Any) -> None:
        if (share / "out").exists() and not away.exists():
            share.rename(away)
        inner(*arguments)

    away.rename(share)
    monkeypatch.setattr(stores, "write_array", goes_away)
    with contextlib.suppress(OSError, DamagedError):
        store.put_correction("a", correction())
    assert not (share / "out").exists()


def test_a_histogram_comes_back_with_its_outliers(store: SessionStore) -> None:
    values = np.random.default_rng(0).poisson(60, (90, 101)).astype(np.int32)
    values[3, 5:9] = 300
    mask = outlier_mask(values)
    kept = kept_fit(mask, OutlierParams())
    store.put_histogram("a", kept, mask.hot, mask.dead)
    found, packed = store.histogram("a"), store.packed_outliers("a")
    assert found is not None and packed is not None
    for name in ("edges", "counts", "z", "residual", "weight"):
        assert np.array_equal(getattr(found, name), getattr(kept, name), equal_nan=True)
    assert (found.below, found.above) == (kept.below, kept.above)
    assert (found.dark_line, found.hot_line) == (kept.dark_line, kept.hot_line)
    assert packed[1] == 101
    bits = np.unpackbits(packed[0], axis=2, count=101).astype(bool)
    assert np.array_equal(bits, np.stack([mask.hot, mask.dead])) and bits[0, 3, 5:9].all()


def test_histograms_and_patches_that_are_not_there(store: SessionStore) -> None:
    assert store.histogram("a") is store.packed_outliers("a") is store.patch("a") is None


@pytest.mark.parametrize("part", ["", "/pattern"])
def test_what_is_of_another_stack_or_session_is_damaged(part: str, store: SessionStore) -> None:
    for stem, seed in (("a", 0), ("b", 1)):
        store.put_correction(stem, correction(seed))
    shutil.rmtree(store.path / f"corrections/a{part}")
    shutil.copytree(store.path / f"corrections/b{part}", store.path / f"corrections/a{part}")
    with pytest.raises(DamagedError, match=r"another|has changed since it was written"):
        store.correction("a")


def test_groups_of_older_versions_are_read(store: SessionStore) -> None:
    digest = store.put_correction("a", correction())
    group = zarr.open_group(store.path / "corrections/a", mode="a")
    group.attrs.put({name: group.attrs[name] for name in ("form", "step", "digest", "scaled")})
    assert store.has_correction("a", digest)
