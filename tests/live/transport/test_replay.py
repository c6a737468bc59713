from pathlib import Path
from threading import Event

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.live.frames import Frame
from mrcz_dask.live.transport.replay import Replay
from mrcz_dask.values.errors import ParameterError


def _stack(path: Path, first: int, n: int) -> Path:
    frames = np.arange(first, first + n, dtype=np.int16)[:, None, None] * np.ones((1, 4, 5), np.int16)
    mrcz_dask.write(path, frames, pixel_size=1.5)
    return path


def _frames(source: Replay, most: int = 1000) -> list[Frame]:
    found: list[Frame] = []
    stop = Event()

    def publish(frames: object) -> None:
        found.extend(frames)  # type: ignore[arg-type]
        if len(found) >= most:
            stop.set()

    source.run(publish, stop)
    return found


def test_frames_of_stacks_one_after_the_other(tmp_path: Path) -> None:
    paths = _stack(tmp_path / "a.mrcz", 0, 3), _stack(tmp_path / "b.mrc", 3, 2)
    found = _frames(Replay(*paths, fps=1000))
    assert [one.number for one in found] == [0, 1, 2, 3, 4]
    assert [(one.stack, one.index) for one in found] == [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1)]
    assert [int(one.data[0, 0]) for one in found] == [0, 1, 2, 3, 4]
    assert {one.pixel_size for one in found} == {1.5}
    assert not found[0].data.flags.writeable


def test_again_and_again(tmp_path: Path) -> None:
    found = _frames(Replay(_stack(tmp_path / "a.mrcz", 0, 3), loop=True), most=8)
    assert [one.number for one in found] == list(range(8))
    assert [int(one.data[0, 0]) for one in found] == [0, 1, 2, 0, 1, 2, 0, 1]


@pytest.mark.parametrize("fps", [0, -1, 1e9])
def test_rates_that_are_none(fps: float) -> None:
    with pytest.raises(ParameterError, match="--fps"):
        Replay("a.mrcz", fps=fps)
