import itertools
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import mrcfile
import numpy as np
import pytest
import tifffile

import mrcz_dask
from mrcz_dask.live.frames import Frame
from mrcz_dask.live.transport.replay import Folder
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.messages import StackLeftOut
from tests.live.conftest import Ears

SHAPE = (32, 48)


def _counts(first: int, n: int) -> Any:
    frames = np.random.default_rng(first).poisson(3.0, (n, *SHAPE)).astype(np.int16)
    frames[:, 0, 0] = np.arange(first, first + n)
    return frames


class Following:
    """A folder that is followed by a thread until it is told to stop."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.ears, self.stop, self.found = Ears(), Event(), list[Frame]()
        self.source = Folder(path, self.ears, **{"settle": 0.5} | options)
        self._thread = threading.Thread(target=self.source.run, args=(self.found.extend, self.stop))
        self._thread.start()

    def until(self, count: int) -> list[tuple[str, int]]:
        """Return stack and index of all frames once there are so many."""
        self._wait(lambda: len(self.found) >= count)
        return [(one.stack, one.index) for one in self.found]

    def _wait(self, true: Callable[[], bool]) -> None:
        for _ in range(6000):
            if true():
                return
            time.sleep(0.01)
        raise AssertionError(f"{len(self.found)} frames came")

    def end(self) -> None:
        self.stop.set()
        self._thread.join()


@pytest.fixture
def following(tmp_path: Path) -> Iterator[Callable[..., Following]]:
    made: list[Following] = []

    def follow(**options: Any) -> Following:
        made.append(Following(tmp_path, **options))
        return made[-1]

    yield follow
    for one in made:
        one.end()


def test_stacks_are_taken_as_they_settle(tmp_path: Path, following: Callable[..., Following]) -> None:
    mrcz_dask.write(tmp_path / "a.mrcz", _counts(0, 3))
    one = following()
    assert one.until(3) == [("a", 0), ("a", 1), ("a", 2)]
    mrcz_dask.write(tmp_path / "b.mrcz", _counts(3, 2))
    assert one.until(5)[3:] == [("b", 0), ("b", 1)]
    assert [int(f.data[0, 0]) for f in one.found] == list(range(5))
    assert [f.number for f in one.found] == list(range(5))


def test_a_growing_stack_is_read_frame_by_frame(tmp_path: Path, following: Callable[..., Following]) -> None:
    whole = tmp_path.parent / "whole.mrc"
    with mrcfile.new(whole, _counts(0, 6), overwrite=True) as made:
        made.set_image_stack()
    data = whole.read_bytes()
    one = following(settle=3600)
    frame = SHAPE[0] * SHAPE[1] * 2
    with (tmp_path / "grows.mrc").open("wb") as out:
        for k in range(3):
            end = 1024 + 2 * (k + 1) * frame - (7 if k == 0 else 0)  # a part of a frame is none
            out.write(data[out.tell() : end])
            out.flush()
            if k < 2:
                one.until(1 if k == 0 else 4)
        assert len(one.found) == 4
    assert [int(f.data[0, 0]) for f in one.found] == [0, 1, 2, 3]


def test_the_rest_of_a_stack_that_has_grown_comes_when_it_settles(
    tmp_path: Path, following: Callable[..., Following]
) -> None:
    whole = tmp_path.parent / "whole2.mrc"
    with mrcfile.new(whole, _counts(0, 5), overwrite=True) as made:
        made.set_image_stack()
    data, frame = whole.read_bytes(), SHAPE[0] * SHAPE[1] * 2
    one = following(settle=1.0)
    with (tmp_path / "grows.mrc").open("wb") as out:
        out.write(data[: 1024 + 2 * frame])
        out.flush()
        one.until(2)
        out.write(data[1024 + 2 * frame :])
    assert [index for _, index in one.until(5)] == list(range(5))
    time.sleep(1.0)
    assert len(one.found) == 5  # nothing comes twice


@pytest.mark.parametrize("name", [".", "linked", "below/.."])
def test_a_folder_under_any_name_gives_every_frame_of_a_growing_stack_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The stack's last frame comes after `idle`, as it is waited for while the file has not settled."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "below").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path)
    whole = tmp_path.parent / f"{tmp_path.name}.mrc"
    with mrcfile.new(whole, _counts(0, 5), overwrite=True) as made:
        made.set_image_stack()
    data, frame = whole.read_bytes(), SHAPE[0] * SHAPE[1] * 2
    (tmp_path / "grows.mrc").write_bytes(data[: 1024 + 8 * frame])
    found: list[Frame] = []

    def publish(frames: Sequence[Frame]) -> None:
        found.extend(frames)
        if len(found) == 4:
            with (tmp_path / "grows.mrc").open("ab") as out:
                out.write(data[1024 + 8 * frame :])

    source = Folder(name, Ears(), settle=6, idle=0.3)
    source._watcher.clock = map(float, itertools.count()).__next__  # so that no pause of the machine counts
    source.run(publish, Event())
    assert [one.index for one in found] == list(range(5))
    assert Folder(name, Ears()).name == f"folder {tmp_path.name}"


def test_bad_files_are_named_once_and_stop_nothing(
    tmp_path: Path, following: Callable[..., Following]
) -> None:
    mrcz_dask.write(tmp_path / "good.mrcz", _counts(0, 3))
    (tmp_path / "bad.mrcz").write_bytes((tmp_path / "good.mrcz").read_bytes()[:1500])
    one = following()
    one._wait(lambda: bool(one.ears.of(StackLeftOut)))
    shutil.copy(tmp_path / "good.mrcz", tmp_path / "other.mrcz")
    assert len(one.until(6)) == 6
    assert [event.name for event in one.ears.of(StackLeftOut)] == ["bad.mrcz"]


def test_what_is_there_can_be_left_out(tmp_path: Path, following: Callable[..., Following]) -> None:
    mrcz_dask.write(tmp_path / "a.mrcz", _counts(0, 3))
    tifffile.imwrite(tmp_path / "a2.tif", _counts(0, 3), photometric="minisblack")
    one = following(new=True)
    one._wait(lambda: bool(one.source._complete))  # it has seen what is there
    mrcz_dask.write(tmp_path / "b.mrcz", _counts(3, 2))
    assert one.until(2) == [("b", 0), ("b", 1)]


def test_it_ends_when_nothing_comes(tmp_path: Path) -> None:
    found: list[Frame] = []
    mrcz_dask.write(tmp_path / "a.mrcz", _counts(0, 3))
    Folder(tmp_path, Ears(), settle=0.1, idle=1).run(found.extend, Event())
    assert len(found) == 3


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="no folder"):
        Folder(tmp_path / "gone", Ears())
