import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.formats.mrc.reader import StackReader
from mrcz_dask.session import shared_readers as stacks
from mrcz_dask.session.shared_readers import frames_array, identity, physical_frame, shared_reader
from mrcz_dask.values.errors import FormatError


def write(path: Path, seed: int = 0) -> np.ndarray:
    frames = np.random.default_rng(seed).poisson(2, (4, 16, 24)).astype(np.uint8)
    mrcz_dask.write(path, frames, durable=False)
    return frames


def test_one_chunk_a_frame(tmp_path: Path) -> None:
    frames = write(tmp_path / "a.mrcz")
    array = frames_array(physical_frame, identity(tmp_path / "a.mrcz"), frames.shape, frames.dtype)
    assert array.chunks == ((1,) * 4, (16,), (24,))
    assert array.dtype == frames.dtype
    assert np.array_equal(array.compute(scheduler="sync"), frames)


def test_the_same_file_gives_the_same_graph_and_a_changed_one_another(tmp_path: Path) -> None:
    frames = write(tmp_path / "a.mrcz")

    def name() -> str:
        known = identity(tmp_path / "a.mrcz")
        return str(frames_array(physical_frame, known, frames.shape, frames.dtype).name)

    first = name()
    assert name() == first
    os.utime(tmp_path / "a.mrcz", ns=(1, 1))
    assert name() != first


def test_a_file_that_changed_after_its_graph_was_made_is_refused(tmp_path: Path) -> None:
    frames = write(tmp_path / "a.mrcz")
    array = frames_array(physical_frame, identity(tmp_path / "a.mrcz"), frames.shape, frames.dtype)
    (tmp_path / "a.mrcz").unlink()
    write(tmp_path / "a.mrcz", seed=1)
    os.utime(tmp_path / "a.mrcz", ns=(1, 1))
    with pytest.raises(FormatError, match="changed"):
        array.compute(scheduler="sync")


def test_readers_are_used_again(tmp_path: Path) -> None:
    write(tmp_path / "a.mrcz")
    known = identity(tmp_path / "a.mrcz")
    with shared_reader(*known) as first:
        pass
    with shared_reader(*known) as second, shared_reader(*known) as third:
        assert second is first
        assert third is not second


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted in /proc")
def test_many_stacks_leave_few_files_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for k in range(3 * stacks.OPEN_FILES):
        write(tmp_path / f"{k}.mrcz", k)
        mrcz_dask.open_stack(tmp_path / f"{k}.mrcz").compute()
    assert len(list(Path("/proc/self/fd").iterdir())) - before <= stacks.OPEN_FILES + 4


def test_many_threads_get_the_right_frames(tmp_path: Path) -> None:
    expected = {}
    for k in range(stacks.OPEN_FILES + 8):
        expected[k] = write(tmp_path / f"{k}.mrcz", k)
    known = {k: identity(tmp_path / f"{k}.mrcz") for k in expected}
    jobs = [(k, i) for i in range(4) for k in expected] * 3
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda job: physical_frame(*known[job[0]], job[1]), jobs))
    for (k, i), frame in zip(jobs, found, strict=True):
        assert np.array_equal(frame, expected[k][i])


def test_a_reader_that_is_put_back_late_does_not_close_another(tmp_path: Path) -> None:
    write(tmp_path / "a.mrcz")
    known = identity(tmp_path / "a.mrcz")
    with shared_reader(*known) as outer:
        with shared_reader(*known):
            pass
        assert isinstance(outer, StackReader)
        assert outer.frame(0).shape == (16, 24)
    with shared_reader(*known) as again:
        assert again.frame(3).shape == (16, 24)
