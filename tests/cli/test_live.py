"""`mrcz-dask live` as it is typed."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray

import mrcz_dask
from mrcz_dask.live import FrameSender, recorded

MEAN = """
import time
from mrcz_dask.live import Scalar, processor

@processor(Scalar("mean", unit="counts"))
def mean(frame, state, info, *, factor: float = 1.0, sleep: float = 0.0):
    "Mean."
    time.sleep(sleep)
    if frame.max() == 3:
        raise ValueError("a three")
    return frame.mean() * factor
"""


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    path = tmp_path / "stack.mrcz"
    mrcz_dask.write(path, np.arange(8, dtype=np.int16)[:, None, None] * np.ones((1, 6, 4), np.int16))
    return path


@pytest.fixture
def mean(tmp_path: Path) -> Path:
    path = tmp_path / "mean.py"
    path.write_text(MEAN)
    return path


def _means(store: Path) -> dict[int, float]:
    with xarray.open_zarr(store, group="mean", consolidated=False) as found:
        return dict(zip(found.frame.values.tolist(), found["mean"].values.tolist(), strict=True))


def test_recording_needs_no_processor(mrcz: Any, stack: Path, tmp_path: Path) -> None:
    shown = mrcz("live", "--replay", stack, "--record", tmp_path / "record", "--page", "none")
    assert shown.code == 0 and "8 frames, 8 recorded, 0 missing" in shown.out, shown.err
    assert [int(one.data[0, 0]) for one in recorded(tmp_path / "record")] == list(range(8))


def test_a_replay_is_recorded_and_caught_up_with(mrcz: Any, stack: Path, mean: Path, tmp_path: Path) -> None:
    store, record = tmp_path / "live.zarr", tmp_path / "record"
    replay = ("live", "--replay", stack, "--fps", 100, "-p", mean, "--page", "none")
    shown = mrcz(
        *replay, "--store", store, "--record", record, "--set", "mean.factor=2", "--set", "mean.sleep=0.1"
    )
    assert shown.code in (0, 3)  # the frame that fails may be one that is skipped
    assert "8 frames, 8 recorded, 0 missing" in shown.out
    frames = list(recorded(record))
    assert [int(one.data[0, 0]) for one in frames] == list(range(8))
    assert 7 in _means(store) and len(_means(store)) < 8
    caught_up = mrcz("live", record, "--catch-up", "-p", mean, "--store", store)
    assert caught_up.code == 3 and "mean: failed on frame 3: ValueError: a three" in caught_up.err
    assert _means(store) == {k: 2.0 * k for k in range(8) if k != 3}


def test_frames_are_taken_from_a_sender(mrcz: Any, mean: Path, tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/frames"
    sending = threading.Thread(target=_send, args=(address,))
    sending.start()
    try:
        shown = mrcz(
            "live",
            "--listen",
            address,
            "--until-closed",
            "-p",
            mean,
            "--record",
            tmp_path / "r",
            "--page",
            "none",
        )
    finally:
        sending.join()
    assert "5 frames, 5 recorded, 2 missing" in shown.out
    assert "2 frames before frame 5 never came" in shown.err
    assert [one.number for one in recorded(tmp_path / "r")] == [0, 1, 2, 5, 6]


def _send(address: str) -> None:
    with FrameSender(address) as sender:
        for number in (0, 1, 2, 5, 6):
            sender.send(np.full((6, 4), number, np.uint16), number=number)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "no source"),
        (("--replay", "a.mrcz", "--listen", "tcp://127.0.0.1:1"), "each name a source"),
        (("gone", "-p", "mean.py"), "no folder"),
        (("--replay", "a.mrcz"), "nothing to do"),
        (("--replay", "a.mrcz", "-p", "gone.py"), "cannot be read"),
        (("--replay", "a.mrcz", "-p", "mean.py", "--roi", "5"), "--roi is '5'"),
        (("--replay", "a.mrcz", "-p", "mean.py", "--set", "x"), "NAME.PARAMETER=VALUE"),
        (("--replay", "a.mrcz", "-p", "mean.py", "--set", "other.x=1"), "no processor is called other"),
        (("rec", "--catch-up", "-p", "mean.py"), "--catch-up takes the folder"),
        (("--replay", "a.mrcz", "-p", "mean.py", "--fps", "0"), "--fps is 0"),
        (("--replay", "a.mrcz", "-p", "mean.py", "--memory", "5MB"), "50 MB or more"),
    ],
)
def test_wrong_usage(
    mrcz: Any, mean: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], text: str
) -> None:
    monkeypatch.chdir(mean.parent)
    shown = mrcz("live", *arguments)
    assert shown.code == 2 and text in shown.err


def test_what_is_there_is_not_written_over(mrcz: Any, stack: Path, mean: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    replay = ("live", "--replay", stack, "-p", mean, "--page", "none")
    assert mrcz(*replay, "--record", tmp_path / "mine").code == 2
    shown = mrcz(*replay, "--store", tmp_path / "mine", "--overwrite")
    assert shown.code == 1 and "no store of live results" in shown.err


def test_a_source_that_ends_with_an_error(mrcz: Any, mean: Path, tmp_path: Path) -> None:
    shown = mrcz("live", "--replay", tmp_path / "gone.mrcz", "-p", mean, "--page", "none")
    assert shown.code == 3 and "the source ended" in shown.err and "gone.mrcz" in shown.err


def test_a_folder_is_followed_and_frames_are_corrected(mrcz: Any, tmp_path: Path) -> None:
    folder = tmp_path / "night"
    folder.mkdir()
    counts = np.random.default_rng(1).poisson(4.0, (3, 6, 64, 64)).astype(np.uint8)
    counts[:, :, 5, 7] = 90
    for k, one in enumerate(counts):
        mrcz_dask.write(folder / f"{k}.mrcz", one)
    script = tmp_path / "hot.py"
    script.write_text(
        "from mrcz_dask.live import Scalar, processor\n"
        "@processor(Scalar('hot'), Scalar('corrected'))\n"
        "def hot(frame, info): return {'hot': frame.max(), 'corrected': info.corrected}\n"
    )
    times = ("--settle", 0.2, "--until-idle", "2s")
    options = (*times, "--correct", "--page", "none", "--store", tmp_path / "s.zarr")
    shown = mrcz("live", folder, "-p", script, *options)
    assert shown.code == 0 and "18 frames, 0 missing, from folder night" in shown.out
    caught_up = mrcz("live", folder, "-p", script, "--catch-up", "--store", tmp_path / "s.zarr")
    assert caught_up.code == 3 and "the source ended" in caught_up.err  # a session's folder is no recording
    with xarray.open_zarr(tmp_path / "s.zarr", group="hot", consolidated=False) as found:
        assert found.hot.values[-1] < 90 and found.corrected.values[-1] == 1


def test_a_region_for_each_processor_is_kept_for_catching_up(mrcz: Any, stack: Path, tmp_path: Path) -> None:
    body = "from mrcz_dask.live import Scalar, processor\n\n@processor(Scalar('size'))\n"
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(f"{body}def {name}(frame):\n    return float(frame.size)\n")
    both = ("-p", tmp_path / "one.py", "-p", tmp_path / "two.py", "--store", tmp_path / "live.zarr")
    rois = ("--roi", "0:3,0:4", "--roi", "two=0:1,0:2")
    live = ("live", "--replay", stack, "--record", tmp_path / "record", "--page", "none", *both)
    assert mrcz(*live, "--roi", "three=0:1,0:2").code == 2
    assert mrcz(*live, *rois).code == 0
    assert mrcz("live", tmp_path / "record", "--catch-up", *both).code == 0
    for name, size in (("one", 12.0), ("two", 2.0)):
        with xarray.open_zarr(tmp_path / "live.zarr", group=name, consolidated=False) as found:
            assert found["size"].values.tolist() == [size] * 8


@pytest.mark.parametrize("option", ["--settle", "--until-idle", "--timeout"])
def test_times_are_written_as_for_other_commands(tmp_path: Path, mrcz: Any, option: str) -> None:
    shown = mrcz("live", tmp_path, "--record", tmp_path / "r", option, "soon")
    assert shown.code == 2 and f"{option} is 'soon'; expected a time such as 90s" in shown.err
