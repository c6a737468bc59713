import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import xarray
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mrcz_dask.live.frames import Roi
from mrcz_dask.live.page.exports import StoredResults, write_csv
from mrcz_dask.live.processors.checking import MARK, results_problems
from mrcz_dask.live.processors.declare import Image, Profile, Scalar, Spec
from mrcz_dask.live.processors.results import ProcessorSettings, ResultStore
from mrcz_dask.live.view import Result
from mrcz_dask.values.errors import DamagedError, FormatError, MrczDaskError, OutputExistsError

SPEC = Spec("p", "p", (Scalar("a"), Profile("b"), Image("c")))


def _result(k: int, n: int = 3) -> Result:
    line = (np.arange(n) / 2, np.full(n, float(k)))
    return Result(k, 10.0 + k, {"a": float(k), "b": line, "c": np.full((n, 2), k, np.float32)})


def _opened(path: Path) -> xarray.Dataset:
    return xarray.open_zarr(path, group="p", consolidated=False)


def test_rows_come_back(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "s")
    series = store.series("p", "p.py")
    series.declare(SPEC)
    for k in range(600):
        series.append(_result(k))
    series.close()
    with _opened(store.path) as found:
        assert found.frame.values.tolist() == list(range(600))
        assert found.a.values.tolist() == list(range(600))
        assert found.b.values[599].tolist() == [599.0] * 3 and found.b_axis.values[1].tolist() == [0, 0.5, 1]
        assert found.c.values[7].tolist() == [[7.0] * 2] * 3
        assert found.attrs["outputs"][0]["kind"] == "scalar"


def test_sizes_that_change_are_filled_up(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "s")
    series = store.series("p", "p.py")
    for k, n in enumerate((2, 4, 3)):
        series.append(_result(k, n))
        series.flush()
    series.close()
    with _opened(store.path) as found:
        assert found.b.shape == (3, 4) and found.c.shape == (3, 4, 2)
        np.testing.assert_array_equal(np.isfinite(found.b.values).sum(1), [2, 4, 3])
        np.testing.assert_array_equal(np.isfinite(found.c.values[:, :, 0]).sum(1), [2, 4, 3])


def test_an_output_that_is_left_out_or_comes_later_has_nan(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "s")
    series = store.series("p", "p.py")
    for k, values in enumerate(({"a": 1.0}, {"z": 2.0}, {"a": 3.0})):
        series.append(Result(k, 0.0, values))
        series.flush()
    series.close()
    with _opened(store.path) as found:
        np.testing.assert_array_equal(found.a.values, [1, np.nan, 3])
        np.testing.assert_array_equal(found.z.values, [np.nan, 2, np.nan])


def test_a_store_that_is_there_is_refused_appended_to_or_replaced(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "s")
    series = store.series("p", "p.py")
    series.append(_result(0))
    series.close()
    with pytest.raises(OutputExistsError, match="--append"):
        ResultStore(store.path)
    series = ResultStore(store.path, append=True).series("p", "p.py")
    series.append(_result(5))
    series.close()
    with _opened(store.path) as found:
        assert found.frame.values.tolist() == [0, 5]
    assert not (ResultStore(store.path, overwrite=True).path / "p").exists()


def test_something_else_is_never_removed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    zarr.open_group(tmp_path / "other", mode="w")
    for name in ("mine", "other"):
        with pytest.raises(FormatError, match="no store of live results"):
            ResultStore(tmp_path / name, overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").exists()


@pytest.mark.parametrize("file", ["zarr.json", "p/zarr.json", "p/a/zarr.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", '{"a":' * 3000])
def test_damaged_metadata_are_an_error_that_names_the_folder(tmp_path: Path, file: str, content: str) -> None:
    store = ResultStore(tmp_path / "s")
    series = store.series("p", "p.py")
    series.append(_result(0))
    series.add_setting(ProcessorSettings(0, None, {}))
    series.close()
    (store.path / file).write_text(content)
    with pytest.raises(DamagedError, match=r"s.*: expected .*another --store"):
        ResultStore(store.path, append=True).series("p", "p.py")
    if file != "zarr.json":
        with pytest.raises(DamagedError, match=r"s/p: expected .*another --store"):
            StoredResults.open(store.path / "p")
    assert (store.path / file).read_text() == content


def test_settings_of_another_kind_are_an_error(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "s")
    zarr.create_group(store.path / "p", attributes={"settings": [3]})
    with pytest.raises(DamagedError, match="settings of a processor"):
        store.settings("p")


def test_what_replaces_appears_when_it_is_whole(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "s")
    series = store.series("p", "p.py")
    series.append(_result(0))
    series.close()
    fresh = store.series("p", "p.py", replace=True)
    fresh.append(_result(7))
    fresh.flush()
    with _opened(store.path) as found:
        assert found.frame.values.tolist() == [0]
    fresh.close()
    with _opened(store.path) as found:
        assert found.frame.values.tolist() == [7]


def test_settings_come_back(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "s")
    said = [
        ProcessorSettings(0, None, {"sigma": 2.0}, "abc"),
        ProcessorSettings(7, Roi(1, 2, 3, 4), {"sigma": 3.0, "kind": "a"}, "def", reset=True),
    ]
    series = store.series("p", "p.py")
    for one in said:
        series.add_setting(one)
    series.close()
    assert store.settings("p") == said
    assert store.settings("nobody") == []


@pytest.mark.parametrize("other", [Spec("p", "p", (Profile("a"),)), Spec("p", "p", (Image("b"),))])
def test_an_output_of_another_kind_is_refused(tmp_path: Path, other: Any) -> None:
    series = ResultStore(tmp_path / "s").series("p", "p.py")
    series.append(_result(0))
    series.flush()
    with pytest.raises(FormatError, match="another --store"):
        series.declare(other)


def _written(folder: Path) -> ResultStore:
    store = ResultStore(folder / "s")
    series = store.series("p", "p.py")
    series.declare(SPEC)
    for k in range(3):
        series.append(_result(k))
    series.add_setting(ProcessorSettings(0, Roi(0, 4, 0, 4), {"sigma": 2.0}))
    series.close()
    return store


@pytest.mark.parametrize("name", ["frame/c/0", "a/c/0", "b/c/0/0", "c/c/0/0/0"])
def test_a_changed_bit_is_an_error_to_whoever_reads_or_goes_on(name: str, tmp_path: Path) -> None:
    store = _written(tmp_path)
    file = store.path / "p" / name
    sound = file.read_bytes()
    for bit in range(0, 8 * len(sound), 7):
        changed = bytearray(sound)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        with pytest.raises(Exception, match=r"checksum|[Cc]annot|corrupt|[Dd]ecompress"):
            zarr.open_group(store.path, mode="r")[f"p/{name.partition('/')[0]}"][:]
    series = ResultStore(store.path, append=True).series("p", "p.py")
    series.append(_result(9))
    if name != "c/c/0/0/0":  # a chunk of its own for each image
        with pytest.raises(DamagedError, match="choose another --store"):
            series.flush()


def test_damaged_metadata_are_an_error_with_a_remedy(tmp_path: Path) -> None:
    store = _written(tmp_path)
    for file in (store.path / "zarr.json", store.path / "p" / "zarr.json"):
        sound = file.read_bytes()
        for bit in range(0, 8 * len(sound), 61):
            changed = bytearray(sound)
            changed[bit // 8] ^= 1 << bit % 8
            file.write_bytes(changed)
            try:
                again = ResultStore(store.path, append=True)
                again.settings("p")
                again.series("p", "p.py").close()
            except MrczDaskError as error:
                assert "--store" in str(error)
        file.write_bytes(sound)


@pytest.mark.parametrize(
    "damage",
    [
        lambda p: (p / "a/c/0").unlink(),
        lambda p: (p / "c/c/1/0/0").unlink(),
        lambda p: shutil.copy(p / "c/c/0/0/0", p / "c/c/1/0/0"),
        lambda p: shutil.copy(p / "a/c/0", p / "time/c/0"),
        lambda p: shutil.rmtree(p / "b"),
        shutil.rmtree,
    ],
)
def test_results_that_are_gone_or_swapped_are_found(damage: Any, tmp_path: Path) -> None:
    store = _written(tmp_path)
    assert results_problems(store.path) == ([], [])
    damage(store.path / "p")
    assert results_problems(store.path)[0]


@pytest.mark.parametrize("name", ["frame/c/0", "a/c/0", "b/c/0/0"])
def test_exports_refuse_numbers_that_are_gone(name: str, tmp_path: Path) -> None:
    store = _written(tmp_path)
    (store.path / "p" / name).unlink()
    with pytest.raises(DamagedError, match="not the results that were written"):
        write_csv(store.path / "p", tmp_path / "a.csv")


def test_rows_that_a_killed_process_left_half_written_are_written_again(tmp_path: Path) -> None:
    store = _written(tmp_path)
    group = zarr.open_group(store.path / "p", mode="a")
    for name in ("frame", "a"):
        group[name].append(np.full(2, 77))
    assert results_problems(store.path) == (
        [],
        ["p: results from row 3 on were not written to the end, and are not checked (frame, a)"],
    )
    series = ResultStore(store.path, append=True).series("p", "p.py")
    for k in range(3, 8):
        series.append(Result(k, 0.0, {"z": 1.0}))
    series.close()
    assert results_problems(store.path) == ([], [])
    with _opened(store.path) as found:
        np.testing.assert_array_equal(found.a.values, [0, 1, 2, *[np.nan] * 5])


def test_results_of_an_older_version_are_read_and_go_on(tmp_path: Path) -> None:
    store = _written(tmp_path)
    zarr.open_group(store.path, mode="a").attrs.put({MARK: 1})
    group = zarr.open_group(store.path / "p", mode="a")
    group.attrs.put({name: group.attrs[name] for name in ("processor_file", "outputs", "settings")})
    series = ResultStore(store.path, append=True).series("p", "p.py")
    series.append(_result(3))
    series.close()
    with _opened(store.path) as found:
        assert found.a.values.tolist() == [0, 1, 2, 3]
    problems, unchecked = results_problems(store.path)
    assert not problems and "older version" in unchecked[0]


rows_of_results = st.lists(
    st.dictionaries(
        st.sampled_from("abc"), hnp.arrays(np.float32, st.tuples(*[st.integers(1, 3)] * 2)), min_size=1
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=15)
@given(rows_of_results, st.integers(0, 63))
def test_any_results_are_sound_however_they_are_flushed(rows: list[dict[str, Any]], flushes: int) -> None:
    with TemporaryDirectory() as folder:
        store = ResultStore(Path(folder) / "s")
        series = store.series("p", "p.py")
        for k, values in enumerate(rows):
            series.append(Result(k, 0.0, values))
            if flushes >> k & 1:
                series.flush()
            if flushes >> k & 3 == 1:
                series = ResultStore(store.path, append=True).series("p", "p.py")
        series.close()
        assert results_problems(store.path) == ([], [])
