import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.correction.outputs import RECIPE_VERSION
from mrcz_dask.formats.mrc.reader import StackReader
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.errors import DamagedError, FormatError, ReferenceNotFoundError
from tests.nights import run_koma


@pytest.mark.parametrize("form", ["subtract", "subtract-raw", "divide"])
def test_corrected_counts_are_the_normalized_floats_bit_for_bit(
    night: Path, tmp_path: Path, koma: Any, form: str
) -> None:
    outcome = koma(night, tmp_path / "floats", dtype="float32", form=form)
    koma(night, tmp_path / "counts", write="recompressed", form=form)
    for result in outcome.results:
        lazy = mrcz_dask.open_stack(tmp_path / "counts" / result.output, corrected=True)
        assert lazy.dtype == np.float32
        floats = mrcz_dask.read(tmp_path / "floats" / result.output)
        for k in range(len(floats)):
            assert lazy[k].compute(scheduler="sync").tobytes() == floats[k].tobytes()
        assert np.array_equal(
            mrcz_dask.open_stack(tmp_path / "counts" / result.output).compute(),
            mrcz_dask.read(night / result.name),
        )


@pytest.fixture(scope="module")
def recompressed(simulated_night: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of recompressed stacks, and the store that belongs to them, which nothing may change."""
    out = tmp_path_factory.mktemp("opening") / "counts"
    run_koma(simulated_night, out, write="recompressed", method="plain")
    return out


@pytest.fixture
def counts(recompressed: Path, tmp_path: Path) -> Path:
    """A copy of both."""
    return Path(shutil.copytree(recompressed, tmp_path / "counts"))


def first(folder: Path) -> Path:
    return sorted(folder.glob("*.mrcz"))[0]


@pytest.mark.parametrize("corrected", [False, True])
def test_nothing_is_read_until_it_is_computed(
    counts: Path, monkeypatch: pytest.MonkeyPatch, corrected: bool
) -> None:
    read: list[str] = []

    def reading(kind: type, name: str) -> None:
        inner = getattr(kind, name)

        def wrapped(self: Any, *args: Any, **more: Any) -> Any:
            read.append(name)
            return inner(self, *args, **more)

        monkeypatch.setattr(kind, name, wrapped)

    reading(StackReader, "stored_chunk")
    reading(SessionStore, "arrays")
    lazy = mrcz_dask.open_stack(first(counts), corrected=corrected)
    assert read == []
    lazy[2, :3].compute(scheduler="sync")
    assert read.count("stored_chunk") == 1


@pytest.mark.parametrize("corrected", [False, True])
def test_it_works_in_worker_processes(counts: Path, corrected: bool) -> None:
    lazy = mrcz_dask.open_stack(first(counts), corrected=corrected)
    expected = lazy.compute(scheduler="sync")
    assert np.array_equal(lazy.compute(scheduler="processes", num_workers=2), expected)
    total = lazy.sum(axis=0).compute(scheduler="threads")
    assert np.allclose(total, expected.sum(axis=0, dtype=np.float64))


def test_quantized_stacks_are_in_counts(night: Path, koma: Any) -> None:
    koma(night)
    path = first(night / "koma")
    lazy = mrcz_dask.open_stack(path)
    assert lazy.dtype == np.float32
    assert np.array_equal(lazy.compute(), mrcz_dask.read(path))


def test_a_stack_and_its_store_can_move_together(counts: Path, tmp_path: Path) -> None:
    before = mrcz_dask.open_stack(first(counts), corrected=True).compute()
    moved = shutil.move(counts, tmp_path / "elsewhere")
    assert np.array_equal(mrcz_dask.open_stack(first(Path(moved)), corrected=True).compute(), before)


def test_a_store_that_is_missing_is_named(counts: Path, tmp_path: Path) -> None:
    mrcz_dask.open_stack(first(counts), corrected=True).compute()
    alone = Path(shutil.copy(first(counts), tmp_path))
    with pytest.raises(ReferenceNotFoundError, match=str(tmp_path / "session.zarr")) as error:
        mrcz_dask.open_stack(alone, corrected=True)
    assert isinstance(error.value, FileNotFoundError)
    assert alone.stem in str(error.value)


def test_a_store_of_another_run_is_found_out(night: Path, counts: Path, tmp_path: Path, koma: Any) -> None:
    koma(night, tmp_path / "other", write="recompressed", method="plain", radius=1)
    shutil.rmtree(counts / "session.zarr")
    shutil.copytree(tmp_path / "other" / "session.zarr", counts / "session.zarr")
    with pytest.raises(DamagedError, match="another run"):
        mrcz_dask.open_stack(first(counts), corrected=True)


def test_a_stack_that_the_store_does_not_know(counts: Path) -> None:
    shutil.rmtree(counts / "session.zarr" / "corrections" / first(counts).stem)
    with pytest.raises(ReferenceNotFoundError, match=first(counts).stem):
        mrcz_dask.open_stack(first(counts), corrected=True)


@pytest.mark.parametrize("name", ["pattern", "weight", "fill"])
def test_a_store_that_lost_pixels_is_found_out(counts: Path, name: str) -> None:
    array = counts / "session.zarr" / "corrections" / first(counts).stem / name
    shutil.rmtree(array / "c")
    lazy = mrcz_dask.open_stack(first(counts), corrected=True)
    with pytest.raises(DamagedError, match=r"session\.zarr"):
        lazy.compute(scheduler="sync")


def test_a_stack_without_recipe(night: Path) -> None:
    with pytest.raises(FormatError, match="no recipe"):
        mrcz_dask.open_stack(first(night), corrected=True)


@pytest.mark.parametrize(
    "recipe",
    [
        {"store": "/etc"},
        {"store": "../x", "stem": "a", "digest": "b"},
        {"store": "session.zarr"},
        {"store": 5, "stem": "a", "digest": "b"},
        {"store": "session.zarr", "stem": "../a", "digest": "b"},
        {"store": "session.zarr", "stem": "a", "digest": "b", "version": 1},
        {},
    ],
)
def test_a_recipe_that_makes_no_sense(tmp_path: Path, recipe: dict[str, Any]) -> None:
    path = tmp_path / "a.mrcz"
    (tmp_path / "session.zarr").mkdir()
    mrcz_dask.write(path, np.ones((2, 8, 8), np.uint8), recipe={"version": RECIPE_VERSION} | recipe)
    with pytest.raises(FormatError, match="recipe"):
        mrcz_dask.open_stack(path, corrected=True)


def test_a_correction_for_another_shape(counts: Path) -> None:
    footer = mrcz_dask.read_footer(first(counts)) or {}
    other = counts / "other.mrcz"
    mrcz_dask.write(other, np.ones((2, 8, 8), np.uint8), recipe=footer["recipe"])
    with pytest.raises(DamagedError, match="shape"):
        mrcz_dask.open_stack(other, corrected=True).compute(scheduler="sync")


def test_a_plain_file_and_an_image(tmp_path: Path) -> None:
    frames = np.arange(48, dtype=np.int16).reshape(2, 4, 6)
    mrcz_dask.write(tmp_path / "a.mrcs", frames)
    mrcz_dask.write(tmp_path / "b.mrc", frames[0])
    assert np.array_equal(mrcz_dask.open_stack(tmp_path / "a.mrcs").compute(), frames)
    assert np.array_equal(mrcz_dask.open_stack(str(tmp_path / "b.mrc")).compute(), frames[:1])
