"""HDF5 and Zarr: which array is taken, its attributes, and what is wrong with files."""

import gc
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mrcz_dask.formats.sources import open_source, read
from mrcz_dask.values.errors import FormatError, HeaderError, MrczDaskError, NoStackError
from tests.inputs import as_hdf5, as_zarr

COUNTS = np.random.default_rng(0).poisson(2, (4, 20, 30)).astype(np.uint8)


@given(data=st.data())
def test_every_type_comes_back(
    data: st.DataObject, stacks: st.SearchStrategy[NDArray[Any]], tmp_path_factory: Any
) -> None:
    array = data.draw(stacks.filter(lambda a: a.dtype.kind != "c"))
    stack = array.reshape(-1, *array.shape[-2:]).astype(
        array.dtype.newbyteorder(data.draw(st.sampled_from("<>")))
    )
    path = tmp_path_factory.mktemp("arrays") / "a"
    chunks = data.draw(st.sampled_from([(1, *stack.shape[1:]), (2, 5, 7)]))
    chunks = tuple(min(a, b) for a, b in zip(chunks, stack.shape, strict=True))
    with h5py.File(f"{path}.h5", "w") as file:
        file.create_dataset(
            "a", data=stack, chunks=chunks, compression=data.draw(st.sampled_from([None, "gzip"]))
        )
    version = data.draw(st.sampled_from([2, 3]))
    kept = {"write_empty_chunks": True}
    zarr.create_array(f"{path}.zarr", data=stack, chunks=chunks, zarr_format=version, config=kept)  # type: ignore[arg-type]
    for end in ("h5", "zarr"):
        with open_source(f"{path}.{end}") as source:
            assert (source.shape, source.dtype) == (stack.shape, array.dtype)
            np.testing.assert_array_equal(source.frames(nthreads=2), stack)


@pytest.mark.parametrize("name", ["a.h5", "a.zarr"])
def test_the_largest_array_or_the_named_one(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    root = h5py.File(path, "w") if name == "a.h5" else zarr.open_group(str(path), mode="w")
    for inside, data in {"gain": COUNTS[0], "deep/small": COUNTS[:2], "deep/movie": COUNTS}.items():
        root.create_dataset(inside, data=data) if name == "a.h5" else root.create_array(inside, data=data)
    root["deep/movie"].attrs.update(
        {"pixel_size": 1.06, "DateTime": "2026-10-14 19:06:33", "big": np.zeros(99).tolist()}
    )
    if name == "a.h5":
        root.close()
    with open_source(path) as source:
        np.testing.assert_array_equal(source.frames(), COUNTS)
        assert source.pixel_size == (1.06, 1.06, 1.06)
        assert source.meta["attributes"]["DateTime"] == "2026-10-14 19:06:33"
        assert source.meta["input"]["array"] == "deep/movie"
        assert source.first_row == "top"
    np.testing.assert_array_equal(read(f"{path}::/deep/small"), COUNTS[:2])
    np.testing.assert_array_equal(read(f"{path}::/gain"), COUNTS[:1])  # an image, where it is asked for
    with pytest.raises(
        FormatError, match=r"no three-dimensional array at nowhere.*deep/movie \(4, 20, 30\) uint8"
    ):
        open_source(f"{path}::nowhere")


def test_several_damaged_arrays_are_one_error_and_no_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    for k in range(4):
        group.create_group(f"g{k}").create_array("x", data=COUNTS)
        (tmp_path / f"a.zarr/g{k}/x/zarr.json").write_text('{"zarr_format": 9}')
    with pytest.raises(FormatError, match="expected a Zarr array"):
        open_source(tmp_path / "a.zarr")
    gc.collect()
    assert not caplog.records


@pytest.mark.parametrize("key", ["_FillValue", "missing_value"])
@pytest.mark.parametrize("name", ["a.h5", "a.zarr"])
@pytest.mark.parametrize(
    ("fill", "stated", "missing", "refused"),
    [
        (255, [255], np.s_[1], "frame 1: 600 pixels are missing.* 255"),
        (255, 255, np.s_[1, 3, 4:9], "frame 1: 5 pixels are missing.* 255"),
        (0, 0, np.s_[1], "frame 1: 600 pixels are missing.* 0"),
        (0, 0, np.s_[1, 3], None),
        (np.nan, "AAAAAAAA+H8=", np.s_[1], "frame 1: 600 pixels are missing.* nan"),
        (np.nan, np.nan, np.s_[1, 3], None),
        (9, "?", np.s_[1], "expected a number"),
        (9, 200, np.s_[1], None),
    ],
)
def test_pixels_that_are_missing_are_no_counts(
    tmp_path: Path, key: str, name: str, fill: float, stated: Any, missing: Any, refused: str | None
) -> None:
    stack = COUNTS.astype(np.float32 if np.isnan(fill) else np.uint8)
    stack[missing] = fill
    if name == "a.h5":
        with h5py.File(tmp_path / name, "w") as file:
            file.create_dataset("a", data=stack).attrs[key] = stated
    else:
        kept = {"write_empty_chunks": True}
        array = zarr.create_array(tmp_path / name, data=stack, chunks=(1, 20, 30), config=kept)  # type: ignore[arg-type]
        array.attrs[key] = stated
    if refused is None:
        np.testing.assert_array_equal(read(tmp_path / name), stack)
    else:
        with pytest.raises(FormatError, match=refused):
            read(tmp_path / name)


@pytest.mark.parametrize("name", ["a.h5", "a.zarr"])
def test_no_stack_and_several(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    root = h5py.File(path, "w") if name == "a.h5" else zarr.open_group(str(path), mode="w")
    make = root.create_dataset if name == "a.h5" else root.create_array
    make("image", data=COUNTS[0])
    if name == "a.h5":
        root.flush()
        root.close()
    with pytest.raises(NoStackError, match="no three-dimensional array in it; it has image"):
        open_source(path)
    root = h5py.File(path, "a") if name == "a.h5" else root
    make = root.create_dataset if name == "a.h5" else root.create_array
    make("a", data=COUNTS)
    make("b", data=COUNTS)
    if name == "a.h5":
        root.close()
    with pytest.raises(FormatError, match=f"has 2 three-dimensional arrays of equal size.*{name}::/path"):
        open_source(path)


def test_velox_keeps_frames_last(tmp_path: Path) -> None:
    path = tmp_path / "a.emd"
    with h5py.File(path, "w") as file:
        file.create_dataset("Data/Image/f00/Data", data=np.moveaxis(COUNTS, 0, 2))
    np.testing.assert_array_equal(read(path), COUNTS)


def test_bytes_and_other_processes(tmp_path: Path) -> None:
    path = as_hdf5(tmp_path, "a", COUNTS)
    np.testing.assert_array_equal(read(path.read_bytes()), COUNTS)
    with pytest.raises(FormatError, match="no HDF5 file, so that there is no x in it"):
        (tmp_path / "a.mrc").write_bytes(bytes(2000))
        open_source(f"{tmp_path / 'a.mrc'}::/x")


def test_damaged_and_cut_off(tmp_path: Path) -> None:
    path = as_hdf5(tmp_path, "a", COUNTS)
    whole = path.read_bytes()
    for end in range(1, len(whole), 211):
        path.write_bytes(whole[:end])
        with pytest.raises(MrczDaskError, match=r"a\.h5"):
            read(path, nthreads=1)
    rng = np.random.default_rng(0)
    for _ in range(100):
        broken = bytearray(whole)
        broken[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(broken)
        try:
            read(path, nthreads=1)
        except (MrczDaskError, OSError) as error:
            assert "a.h5" in str(error)
    store = as_zarr(tmp_path, "b", COUNTS)
    chunk = next(one for one in store.rglob("*") if one.is_file() and one.name != "zarr.json")
    os.truncate(chunk, 10)
    with pytest.raises(MrczDaskError, match=r"b\.zarr: frame . cannot be decoded"):
        read(store, nthreads=1)
    (store / "zarr.json").write_text("{")
    with pytest.raises(FormatError, match=r"b\.zarr: expected a JSON object"):
        open_source(store)
    (tmp_path / "c.zarr").mkdir()
    with pytest.raises(FormatError, match=r"c\.zarr: expected a Zarr array or group"):
        open_source(tmp_path / "c.zarr")


@pytest.mark.parametrize(
    ("stated", "found"),
    [
        ({"scale_factor": 0.5}, "scale_factor 0.5"),
        ({"scale_factor": [2.0], "add_offset": 3.0}, "scale_factor .2.0. and add_offset 3.0"),
        ({"_Unsigned": "true"}, "_Unsigned 'true'"),
        ({"scale_factor": 1.0, "add_offset": [0], "_FillValue": -1}, ""),
    ],
)
@pytest.mark.parametrize("kind", ["hdf5", 2, 3])
def test_steps_of_a_scale_are_no_counts(tmp_path: Path, kind: Any, stated: Any, found: str) -> None:
    path = _array(tmp_path, kind, stated, None)
    if not found:
        assert np.array_equal(read(path), COUNTS)
        return
    with pytest.raises(HeaderError, match=f"has {found}; expected counts"):
        open_source(path)


@pytest.mark.parametrize("axes", ["nyx", "yxn", "nxy", "xyn"])
@pytest.mark.parametrize("kind", ["hdf5", 2, 3])
def test_axes_of_another_order_are_refused(tmp_path: Path, kind: Any, axes: str) -> None:
    path = _array(tmp_path, kind, {}, list(axes))
    if axes == "nyx":
        assert np.array_equal(read(path), COUNTS)
        return
    with pytest.raises(HeaderError, match=rf"has the axes \({', '.join(axes)}\); expected \(frame, y, x\)"):
        open_source(path)


def _array(folder: Path, kind: Any, attributes: dict[str, Any], axes: list[str] | None) -> Path:
    """Write counts as int8 with attributes and names of axes, as HDF5 or in a version of Zarr."""
    if kind == "hdf5":
        with h5py.File(folder / "a.h5", "w") as file:
            data = file.create_dataset("a", data=COUNTS.astype(np.int8), compression="gzip")
            data.attrs.update(attributes)
            for k, name in enumerate(axes or ()):
                data.dims[k].label = name
        return folder / "a.h5"
    names: dict[str, Any] = {"dimension_names": axes} if kind == 3 else {}
    array = zarr.create_array(folder / "a.zarr", data=COUNTS.astype(np.int8), zarr_format=kind, **names)
    array.attrs.update({**attributes, **({"_ARRAY_DIMENSIONS": axes} if axes and kind == 2 else {})})
    return folder / "a.zarr"
