"""Electrons of frames that come: the events of the same frames in a file, whatever happens on the way."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import mrcz_dask
from mrcz_dask.counting import Calibration, EventList, FractionParams
from mrcz_dask.counting.counter import CountingMethod
from mrcz_dask.counting.packing import unpack
from mrcz_dask.counting.tasks import estimate_memory
from mrcz_dask.engine.client import DaskClient, SerialClient
from mrcz_dask.engine.clusters import ClientOptions, open_client
from mrcz_dask.live.counting.frame_compressor import LADDER, FrameCompressor, SentTask, count_sent
from mrcz_dask.live.counting.stacks import StreamOptions
from mrcz_dask.live.counting.stream import CountStream, count_stream
from mrcz_dask.live.frames import Frame
from mrcz_dask.live.transport import sender as sender_module
from mrcz_dask.live.transport.listen import Listen
from mrcz_dask.live.transport.sender import FrameSender
from mrcz_dask.values import messages
from mrcz_dask.values.errors import OutputExistsError, ParameterError, ProcessorError
from tests.electrons import count

ROOT = Path(__file__).parents[3]
DOUBLE = FractionParams(2, 7)


@pytest.fixture(scope="module")
def frames(raw_stacks: list[Path]) -> NDArray[Any]:
    return mrcz_dask.read(raw_stacks[0])


@pytest.fixture(scope="module")
def expected(raw_stacks: list[Path], calibration: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The counted stack of the same frames in a file."""
    out = tmp_path_factory.mktemp("expected")
    count(raw_stacks[0], output=out, calibration=calibration, fractions=DOUBLE, events=True)
    return out / "raw_000.mrcz"


def options(folder: Path, calibration: Path, **changed: Any) -> StreamOptions:
    return StreamOptions(folder, calibration, **{"fractions": DOUBLE, "events": True} | changed)


def test_an_iterable_gives_what_the_file_gives(
    frames: NDArray[Any], expected: Path, calibration: Path, tmp_path: Path
) -> None:
    done = count_stream(frames, options(tmp_path, calibration))
    made = tmp_path / "frames_0000000000.mrcz"
    assert np.array_equal(mrcz_dask.read(made), mrcz_dask.read(expected))
    assert (done.received, done.missing, len(done.results)) == (40, 0, 1)
    inputs = [mrcz_dask.read_footer(p)["provenance"][0]["inputs"][0] for p in (made, expected)]
    assert inputs[0]["frames_digest"] == inputs[1]["frames_digest"] and "size" not in inputs[0]
    assert not list(tmp_path.glob("*.counting"))
    listed = (tmp_path / "MANIFEST").read_text()
    assert made.name in listed and "frames_0000000000.events.zarr/y/c/0" in listed


class Serving:
    """A counting receiver in a thread."""

    def __init__(self, stream: StreamOptions, where: ClientOptions | None = None) -> None:
        self.told: list[messages.Message] = []
        self.done: CountStream | None = None
        self.error: BaseException | None = None
        self._address: list[str] = []
        self._bound = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(stream, where))

    def _source(self, counting: CountStream) -> Listen:
        made = Listen("*", next_number=counting.next_number, safe=counting.safe_number, until_closed=True)
        self._address.append(made.address)
        self._bound.set()
        return made

    def _run(self, stream: StreamOptions, where: ClientOptions | None) -> None:
        try:
            self.done = count_stream(self._source, stream, where, listen=self.told.append)
        except Exception as error:  # noqa: BLE001 - what ended it is what tests ask for
            self.error = error

    def __enter__(self) -> str:
        self._thread.start()
        assert self._bound.wait(60)
        return self._address[0]

    def __exit__(self, *error: object) -> None:
        self._thread.join()


@pytest.mark.parametrize("compress", [True, False])
def test_frames_that_are_pushed(
    compress: bool, frames: NDArray[Any], expected: Path, calibration: Path, tmp_path: Path
) -> None:
    serving = Serving(options(tmp_path, calibration))
    with serving as address, FrameSender(address, window=8, compress=compress) as sender:
        for frame in frames:
            sender.send(frame, time=1.7e9)
        sender.flush()
        assert serving.done is None  # all are acknowledged while their stack goes on
    assert np.array_equal(mrcz_dask.read(tmp_path / "camera_0000000000.mrcz"), mrcz_dask.read(expected))
    ours = EventList(tmp_path / "camera_0000000000.events.zarr")
    theirs = EventList(expected.parent / "raw_000.events.zarr")
    assert ours.about["digest"] == theirs.about["digest"]
    assert ours.about["meta"]["acquisition_time"].startswith("2023-11-14T22:13:20")


def test_gaps_are_told_and_recorded_and_stacks_end(
    frames: NDArray[Any], calibration: Path, tmp_path: Path
) -> None:
    serving = Serving(options(tmp_path, calibration, stack_frames=15))
    with serving as address, FrameSender(address) as sender:
        for k, frame in enumerate(frames):
            sender.send(frame, number=k + 3 * (k >= 20), stack="B" if k >= 30 else "A")
    assert serving.done is not None and serving.done.missing == 3
    assert [(one.frame, one.count) for one in serving.told if isinstance(one, messages.FramesMissing)] == [
        (23, 3)
    ]
    paths = sorted(tmp_path.glob("*.mrcz"))
    assert [p.stem for p in paths] == ["camera_0000000000_A", "camera_0000000015_A", "camera_0000000033_B"]
    assert sum(one.frames for one in serving.done.results) == 40
    step = mrcz_dask.read_footer(paths[1])["provenance"][0]
    assert step["results"]["stream"] == {"first": 15, "missing": 3}
    assert "3 frames are missing" in step["caveats"][0]


@pytest.mark.cluster
def test_on_a_cluster(frames: NDArray[Any], expected: Path, calibration: Path, tmp_path: Path) -> None:
    count_stream(frames, options(tmp_path, calibration), ClientOptions(workers=2))
    assert np.array_equal(mrcz_dask.read(tmp_path / "frames_0000000000.mrcz"), mrcz_dask.read(expected))


def stream_of(frames: NDArray[Any], start: int, stop: int) -> list[Frame]:
    return [Frame(k, 1.7e9 + k, frames[k], "shot", k, stream="cam") for k in range(start, stop)]


def interrupted(stream: StreamOptions, frames: list[Frame]) -> int:
    """Count frames and break off; return the number below which they were safe."""
    with pytest.raises(InterruptedError), CountStream(stream, SerialClient()) as counting:
        counting.publish(frames)
        while not counting.safe_number("cam"):
            time.sleep(0.01)
        safe = counting.next_number("cam")
        raise InterruptedError
    return safe


def test_another_run_goes_on_from_what_is_safe(
    frames: NDArray[Any], expected: Path, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mrcz_dask.live.counting.stream.batch_frames", lambda shape: 4)
    stream = options(tmp_path, calibration)
    safe = interrupted(stream, stream_of(frames, 0, 22))
    assert 0 < safe <= 22
    with CountStream(stream, SerialClient()) as counting:
        again = counting.next_number("cam")
        assert safe <= again <= 22
        counting.publish(stream_of(frames, again - 2, 40))
        assert counting.received == 40 - again
    assert np.array_equal(mrcz_dask.read(tmp_path / "cam_0000000000_shot.mrcz"), mrcz_dask.read(expected))
    with CountStream(stream, SerialClient()) as counting:
        assert counting.next_number("cam") == 40


def test_electrons_that_wait_are_not_mixed_with_others(
    frames: NDArray[Any], calibration: Path, tmp_path: Path
) -> None:
    interrupted(options(tmp_path, calibration), stream_of(frames, 0, 5))
    with pytest.raises(OutputExistsError, match="counted in another way"):
        CountStream(options(tmp_path, calibration, zero_below=2.0), SerialClient())


def test_recorded_frames_are_safe_at_once_and_counted_later(
    frames: NDArray[Any], expected: Path, calibration: Path, tmp_path: Path
) -> None:
    stream = options(tmp_path / "out", calibration, record=tmp_path / "raw")
    (tmp_path / "out").mkdir()
    with pytest.raises(InterruptedError), CountStream(stream, SerialClient()) as counting:
        counting.publish(stream_of(frames, 0, 30))
        assert counting.next_number("cam") == 30
        raise InterruptedError
    with CountStream(stream, SerialClient()) as counting:
        assert counting.next_number("cam") == 30
        counting.publish(stream_of(frames, 30, 40))
    made = tmp_path / "out" / "cam_0000000000_shot.mrcz"
    assert np.array_equal(mrcz_dask.read(made), mrcz_dask.read(expected))
    kept = [mrcz_dask.read(path) for path in sorted((tmp_path / "raw").glob("*.mrcz"))]
    assert np.array_equal(np.concatenate(kept), frames)


def test_a_function_that_fails_ends_the_run_and_frames_stay_with_the_sender(
    frames: NDArray[Any], calibration: Path, tmp_path: Path
) -> None:
    file = tmp_path / "bad.py"
    file.write_text("def bad(frame, camera):\n    raise ValueError('no such electron')\n")
    serving = Serving(options(tmp_path, calibration, detector=f"{file}:bad"))
    with serving as address:
        sender = FrameSender(address, timeout=2.0)
        with pytest.raises(sender_module.ReceiverLostError, match="6 frames"):
            for frame in frames[:6]:
                sender.send(frame)
            sender.flush()
        with pytest.raises(sender_module.SenderError):
            sender.close()
    assert isinstance(serving.error, ProcessorError) and "no such electron" in str(serving.error)


def test_frames_of_another_camera(calibration: Path, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="expected counts \\(96, 112\\)"):
        count_stream(np.zeros((1, 8, 8), np.uint16), options(tmp_path, calibration))


def test_zeroing_is_lossy_and_said(frames: NDArray[Any], calibration: Path, tmp_path: Path) -> None:
    done = count_stream(frames, options(tmp_path, calibration, zero_below=3.0))
    step = mrcz_dask.read_footer(tmp_path / "frames_0000000000.mrcz")["provenance"][0]
    assert any("lossy" in text for text in step["caveats"]) and step["results"]["zero_below"] == 3.0
    assert 0.7 < done.results[0].events / (0.01 * frames.size) < 1.2


def compressed(compressor: FrameCompressor, frames: NDArray[Any]) -> tuple[bytes, ...]:
    return compressor.chunks([Frame(k, 0.0, one) for k, one in enumerate(frames)])


@pytest.mark.parametrize("codec", LADDER)
def test_no_codec_changes_the_electrons(codec: str, frames: NDArray[Any], calibration: Path) -> None:
    found = Calibration.load(calibration)
    method = CountingMethod(str(calibration), found.digest)
    compressor = FrameCompressor(found, threads=1)
    compressor._step = LADDER.index(codec)
    batch = count_sent(SentTask(0, "<u2", method, False), *compressed(compressor, frames[:4]))
    compressor.close()
    usual = count_sent(SentTask(0, "<u2", method, False), *compressed(FrameCompressor(found), frames[:4]))
    assert unpack(batch.packed).digest() == unpack(usual.packed).digest() and batch.frames == usual.frames


def test_a_faster_setting_is_taken_and_told_when_one_does_not_keep_up(
    frames: NDArray[Any], calibration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mrcz_dask.live.counting.frame_compressor.BUSY", 0.0)
    monkeypatch.setattr("mrcz_dask.live.counting.frame_compressor.JUDGED", 2)
    told: list[Any] = []
    compressor = FrameCompressor(Calibration.load(calibration), threads=1, listen=told.append)
    for _ in range(5):
        compressed(compressor, frames[:2])
    compressor.close()
    assert compressor.codec == LADDER[-1] and [LADDER[1] in told[0].message, len(told)] == [
        True,
        len(LADDER) - 1,
    ]


@pytest.mark.parametrize("below", [0.0, 30.0])
def test_zeroing_that_makes_no_sense(below: float, calibration: Path) -> None:
    with pytest.raises(ParameterError, match="--zero-below"):
        FrameCompressor(Calibration.load(calibration), below)


RECEIVER = """
import sys
from pathlib import Path
from mrcz_dask.live import StreamOptions, count_stream
from mrcz_dask.live.transport.listen import Listen
from mrcz_dask.counting import FractionParams
import mrcz_dask.live.counting.stream as counting_module

counting_module.batch_frames = lambda shape: 3
fractions = FractionParams(2, 7)
options = StreamOptions(Path(sys.argv[2]), Path(sys.argv[3]), fractions=fractions, stack_frames=400)
source = lambda c: Listen(sys.argv[1], next_number=c.next_number, safe=c.safe_number, until_closed=True)
count_stream(source, options)
"""


@pytest.fixture
def started() -> Iterator[Any]:
    running: list[subprocess.Popen[bytes]] = []

    def start(*arguments: object) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-W", "error", "-c", RECEIVER, *map(str, arguments)]
        running.append(subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}))
        return running[-1]

    yield start
    for one in running:
        one.kill()
        one.wait()


def test_a_receiver_that_is_killed_loses_nothing_that_it_acknowledged(
    frames: NDArray[Any], calibration: Path, tmp_path: Path, started: Any
) -> None:
    address, rng = f"ipc://{tmp_path}/socket", random.Random(4)
    receiver = started(address, tmp_path / "out", calibration)
    with FrameSender(address, window=12, timeout=120) as sender:
        for k in range(200):
            sender.send(frames[k % 40])
            if k == 120:
                time.sleep(rng.uniform(0, 0.05))
                receiver.kill()
                receiver.wait()
                receiver = started(address, tmp_path / "out", calibration)
    assert receiver.wait() == 0
    made = mrcz_dask.read(tmp_path / "out" / "camera_0000000000.mrcz")
    whole = count_stream([frames[k % 40] for k in range(200)], options(tmp_path / "whole", calibration))
    assert np.array_equal(made, mrcz_dask.read(tmp_path / "whole" / "frames_0000000000.mrcz"))
    assert whole.results[0].frames == 200


SLOW = """
import time
import numpy as np

def slow(frame, camera):
    time.sleep(0.05)
    y, x = np.nonzero(frame > np.quantile(frame, 0.99))
    return y.astype(float), x.astype(float), np.full(y.size, 50.0)
"""


@pytest.mark.cluster
def test_workers_that_are_killed_change_nothing(
    frames: NDArray[Any], calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mrcz_dask.live.counting.stream.batch_frames", lambda shape: 3)
    (tmp_path / "slow.py").write_text(SLOW)
    script = {"detector": f"{tmp_path / 'slow.py'}:slow"}
    count_stream(frames, options(tmp_path / "one", calibration, **script))
    (tmp_path / "two").mkdir()
    killed: set[int] = set()
    with open_client(ClientOptions(2), estimate_memory((96, 112), 2), messages.silent) as client:
        assert isinstance(client, DaskClient)
        cluster = client.client.cluster
        with CountStream(options(tmp_path / "two", calibration, **script), client) as counting:
            for k, frame in enumerate(frames):
                counting.publish([Frame(k, 1.7e9, frame)])
                if k in (8, 25, 39):
                    client.client.wait_for_workers(2)
                    there = set(cluster.scheduler.workers)
                    workers = [one for one in cluster.workers.values() if one.worker_address in there]
                    killed.add(workers[-1].pid)
                    os.kill(workers[-1].pid, signal.SIGKILL)
    assert len(killed) == 3
    one, two = (tmp_path / name / "frames_0000000000.mrcz" for name in ("one", "two"))
    assert np.array_equal(mrcz_dask.read(one), mrcz_dask.read(two))
