"""Files that name other files: only present, regular files beside them are read, whatever a link says."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr

from mrcz_dask.formats.sources import open_source, read
from mrcz_dask.values.errors import MrczDaskError

COUNTS = np.random.default_rng(0).poisson(2, (4, 8, 10)).astype(np.uint8)
SECRET = b"secret " * 64


def other(folder: Path, name: str = "other.h5", data: Any = COUNTS) -> Path:
    with h5py.File(folder / name, "w") as file:
        file["data"] = data
    return folder / name


def virtual(path: Path, *parts: tuple[Any, str, str, Any], shape: tuple[int, ...] = COUNTS.shape) -> Path:
    """Write a virtual dataset of (where, file, dataset, selection)."""
    layout = h5py.VirtualLayout(shape, "u1")
    for where, file, dataset, taken in parts:
        layout[where] = h5py.VirtualSource(file, dataset, shape=COUNTS.shape)[taken]
    with h5py.File(path, "w") as new:
        new.create_virtual_dataset("movie", layout)
    return path


ALL = slice(None)


def external_storage(folder: Path) -> Path:
    (folder / "passwd").write_bytes(SECRET)
    with h5py.File(folder / "a.h5", "w") as file:
        storage = [(str(folder / "passwd"), 0, COUNTS.nbytes)]
        file.create_dataset("movie", COUNTS.shape, "u1", external=storage)
    return folder / "a.h5"


def link_to_external_storage(folder: Path) -> Path:
    external_storage(folder).rename(folder / "b.h5")
    with h5py.File(folder / "a.h5", "w") as file:
        file["entry/movie"] = h5py.ExternalLink("b.h5", "movie")
    return folder / "a.h5"


def array_of_external_storage(folder: Path) -> Path:
    external_storage(folder).rename(folder / "b.h5")
    return virtual(folder / "a.h5", (ALL, "b.h5", "movie", ALL))


def link_out(folder: Path) -> Path:
    other(folder.parent)
    with h5py.File(folder / "a.h5", "w") as file:
        file["movie"] = h5py.ExternalLink("../other.h5", "data")
    return folder / "a.h5"


def absolute_link(folder: Path) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        file["movie"] = h5py.ExternalLink(str(other(folder.parent)), "data")
    return folder / "a.h5"


def link_to_a_link_out(folder: Path) -> Path:
    link_out(folder).rename(folder / "b.h5")
    with h5py.File(folder / "a.h5", "w") as file:
        file["entry/movie"] = h5py.ExternalLink("b.h5", "movie")
    return folder / "a.h5"


def link_through_a_link_of_the_disk(folder: Path) -> Path:
    (folder / "b.h5").symlink_to(other(folder.parent))
    with h5py.File(folder / "a.h5", "w") as file:
        file["movie"] = h5py.ExternalLink("b.h5", "data")
    return folder / "a.h5"


def array_of_a_link_out(folder: Path) -> Path:
    link_out(folder).rename(folder / "b.h5")
    return virtual(folder / "a.h5", (ALL, "b.h5", "movie", ALL))


def array_out(folder: Path) -> Path:
    return virtual(folder / "a.h5", (ALL, str(other(folder.parent)), "data", ALL))


def link_to_a_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "b.h5")
    with h5py.File(folder / "a.h5", "w") as file:
        file["movie"] = h5py.ExternalLink("b.h5", "data")
    return folder / "a.h5"


def array_of_a_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "b.h5")
    return virtual(folder / "a.h5", (ALL, "b.h5", "data", ALL))


def array_of_a_missing_file(folder: Path) -> Path:
    return virtual(folder / "a.h5", (ALL, "gone.h5", "data", ALL))


def array_of_a_missing_array(folder: Path) -> Path:
    other(folder)
    return virtual(folder / "a.h5", (ALL, "other.h5", "gone", ALL))


def array_of_a_missing_array_of_its_own(folder: Path) -> Path:
    return virtual(folder / "a.h5", (ALL, ".", "gone", ALL))


def array_of_itself(folder: Path) -> Path:
    return virtual(folder / "a.h5", (ALL, ".", "movie", ALL))


def array_of_a_pattern(folder: Path) -> Path:
    end, block = h5py.h5s.UNLIMITED, COUNTS.shape
    space = h5py.h5s.create_simple(block, (end, *block[1:]))
    space.select_hyperslab((0, 0, 0), (end, 1, 1), stride=(block[0], 1, 1), block=block)
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_virtual(space, b"other%b.h5", b"data", h5py.h5s.create_simple(block))
    with h5py.File(folder / "a.h5", "w") as file:
        h5py.h5d.create(file.id, b"movie", h5py.h5t.NATIVE_UINT8, space, layout)
    return folder / "a.h5"


def array_that_overlaps(folder: Path) -> Path:
    """As many pixels as it has come from files, half of them twice."""
    other(folder)
    half = slice(0, 2)
    return virtual(folder / "a.h5", (half, "other.h5", "data", half), (half, "other.h5", "data", slice(2, 4)))


def array_of_a_shorter_one(folder: Path) -> Path:
    other(folder, data=COUNTS[:2])
    return virtual(folder / "a.h5", (ALL, "other.h5", "data", ALL))


def links_in_a_circle(folder: Path) -> Path:
    for name, next_name in (("a.h5", "b.h5"), ("b.h5", "a.h5")):
        with h5py.File(folder / name, "w") as file:
            file["movie"] = h5py.ExternalLink(next_name, "movie")
    return folder / "a.h5"


def store(folder: Path) -> Path:
    path = folder / "a.zarr"
    array = zarr.create_array(str(path), shape=COUNTS.shape, chunks=(1, 8, 10), dtype="u1", compressors=None)
    array[:] = COUNTS + 1
    return path


def linked_chunk(folder: Path) -> Path:
    (folder / "passwd").write_bytes(SECRET[:80])
    chunk = store(folder) / "c/1/0/0"
    chunk.unlink()
    chunk.symlink_to(folder / "passwd")
    return folder / "a.zarr"


def pipe_in_a_store(folder: Path) -> Path:
    chunk = store(folder) / "c/1/0/0"
    chunk.unlink()
    os.mkfifo(chunk)
    return folder / "a.zarr"


def linked_folder_of_a_store(folder: Path) -> Path:
    store(folder).rename(folder / "b.zarr")
    zarr.open_group(str(folder / "a.zarr"), mode="w")
    (folder / "a.zarr/movie").symlink_to(folder / "b.zarr")
    return folder / "a.zarr"


def store_in_a_circle(folder: Path) -> Path:
    zarr.open_group(str(folder / "a.zarr"), mode="w")
    for name in "bc":
        (folder / "a.zarr" / name).symlink_to(folder / "a.zarr")
    return folder / "a.zarr"


HOSTILE = [
    external_storage,
    link_to_external_storage,
    array_of_external_storage,
    link_out,
    absolute_link,
    link_to_a_link_out,
    link_through_a_link_of_the_disk,
    array_of_a_link_out,
    array_out,
    link_to_a_pipe,
    array_of_a_pipe,
    array_of_a_missing_file,
    array_of_a_missing_array,
    array_of_a_missing_array_of_its_own,
    array_of_itself,
    array_of_a_pattern,
    array_that_overlaps,
    array_of_a_shorter_one,
    links_in_a_circle,
    linked_chunk,
    pipe_in_a_store,
    linked_folder_of_a_store,
    store_in_a_circle,
]


@pytest.mark.parametrize("make", HOSTILE)
@pytest.mark.parametrize("inside", ["", "::/movie", "::/entry/movie"])
def test_pixels_come_from_no_file_but_those_beside(
    tmp_path: Path, make: Callable[[Path], Path], inside: str
) -> None:
    folder = tmp_path / "session"
    folder.mkdir()
    path = make(folder)
    with pytest.raises(MrczDaskError) as error:
        read(f"{path}{inside}")
    assert str(folder) in str(error.value) and "; " in str(error.value)


def test_soft_links_and_parts_beside_are_read(tmp_path: Path) -> None:
    other(tmp_path)
    parts = [(slice(k, k + 1), "other.h5", "data", slice(k, k + 1)) for k in range(4)]
    virtual(tmp_path / "v.h5", *parts)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["entry/one"] = h5py.ExternalLink("v.h5", "movie")
        file["soft"] = h5py.SoftLink("/entry/one")
        file["own"] = COUNTS[:3]
    for name in ("v.h5", "a.h5::/entry", "a.h5::/entry/one", "a.h5::/soft"):
        np.testing.assert_array_equal(read(f"{tmp_path / name}"), COUNTS)


def test_what_a_folder_is_called_is_no_address(tmp_path: Path) -> None:
    store(tmp_path).rename(tmp_path / "memory::b.zarr")
    with open_source(tmp_path / "memory::b.zarr") as source:
        np.testing.assert_array_equal(source.frames(), COUNTS + 1)
