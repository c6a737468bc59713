"""The sender: what it takes, what it keeps, and that its file works alone."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from mrcz_dask.formats.compression.chunks import ChunkHeader
from mrcz_dask.live.transport import sender, wire
from mrcz_dask.live.transport.sender import FrameSender, ReceiverLostError, RefusedError, SenderError
from tests.live.transport.streaming import Receiver, pixels

ALONE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("mrcz_dask", "numcodecs", "blosc2"):
            raise ImportError(name)

sys.meta_path.insert(0, Refuse())
sys.path.insert(0, sys.argv[1])
import numpy as np
from sender import FrameSender

with FrameSender(sys.argv[2], "alone") as sender:
    for k in range(10):
        sender.send(np.full((5, 7), k, np.int16))
print(sender.next_number)
"""


def test_frames_come_as_they_were_sent() -> None:
    with Receiver(until_closed=True) as receiver:
        with FrameSender(receiver.address, "k3", pixel_size=1.25) as sending:
            numbers = [
                sending.send(pixels(k), time=1e9 + k, stack=f"s{k // 3}", index=k % 3, meta={"k": k})
                for k in range(10)
            ]
        receiver.join()
    assert numbers == [frame.number for frame in receiver.frames] == list(range(10))
    for k, frame in enumerate(receiver.frames):
        assert np.array_equal(frame.data, pixels(k)) and frame.data.dtype == np.uint16
        assert (frame.time, frame.stack, frame.index) == (1e9 + k, f"s{k // 3}", k % 3)
        assert (frame.stream, frame.pixel_size, frame.meta) == ("k3", 1.25, {"k": k})
        assert frame.chunk is not None and ChunkHeader.parse(frame.chunk).version == 2


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("dtype", [*sender.DTYPES, ">i2", ">f4"])
def test_all_types_that_can_be_recorded(dtype: str, compress: bool) -> None:
    frame = pixels(1, (13, 7), dtype)
    with Receiver(until_closed=True) as receiver:
        with FrameSender(receiver.address, compress=compress) as sending:
            sending.send(frame[::-1])
        receiver.join()
    (found,) = receiver.frames
    assert np.array_equal(found.data, frame[::-1]) and found.data.dtype.newbyteorder(
        "="
    ) == frame.dtype.newbyteorder("=")
    assert (found.chunk is not None) is compress


def test_the_cameras_numbers_keep_their_gaps() -> None:
    with Receiver(until_closed=True) as receiver:
        with FrameSender(receiver.address) as sending:
            assert [sending.send(pixels(k), number=k) for k in (3, 4, 9)] == [3, 4, 9]
            assert sending.next_number == 10
            with pytest.raises(ValueError, match=r"frame 9 was sent already.*at least 10"):
                sending.send(pixels(9), number=9)
        receiver.join()
    assert [frame.number for frame in receiver.frames] == [3, 4, 9]


@pytest.mark.parametrize(
    ("frame", "options", "error", "words"),
    [
        (np.zeros((3, 3)), {}, TypeError, r"float64 pixels.*cast it to float32"),
        (np.zeros((3, 3), bool), {}, TypeError, "cast it to uint8"),
        (np.zeros((3, 3), np.int64), {}, TypeError, "cast it to int32"),
        (np.zeros(3, np.uint8), {}, ValueError, "expected \\(ny, nx\\)"),
        (np.zeros((3, 0), np.uint8), {}, ValueError, "expected \\(ny, nx\\)"),
        (pixels(0), {"meta": {"long": "x" * 70000}}, ValueError, "meta has"),
        (pixels(0), {"time": float("nan")}, ValueError, "seconds since 1970"),
        (pixels(0), {"number": -1}, ValueError, "or is no number"),
    ],
)
def test_what_is_no_frame(frame: Any, options: dict[str, Any], error: type[Exception], words: str) -> None:
    with Receiver() as receiver, FrameSender(receiver.address) as sending:
        with pytest.raises(error, match=words):
            sending.send(frame, **options)
        assert sending.send(pixels(0)) == 0  # nothing was taken of it


def test_a_frame_larger_than_the_receiver_takes() -> None:
    with Receiver(largest=1000) as receiver, FrameSender(receiver.address) as sending:
        with pytest.raises(ValueError, match="2000 bytes; the receiver takes 1000"):
            sending.send(np.zeros((100, 10), np.uint16))
        assert sending.next_number == 0


def test_nobody_is_there() -> None:
    with pytest.raises(
        ReceiverLostError, match=r"no word from the receiver at tcp://127.0.0.1:9 .* is `mrcz-dask live`"
    ):
        FrameSender("tcp://127.0.0.1:9", timeout=0.2)
    with pytest.raises(ValueError, match="expected tcp://HOST:PORT"):
        FrameSender("nowhere")


def test_frames_are_kept_until_a_receiver_comes_back() -> None:
    with Receiver() as first:
        sending = FrameSender(first.address, window=8, timeout=0.5, retry=0.1)
        for k in range(5):
            sending.send(pixels(k))
        sending.flush()
    with pytest.raises(ReceiverLostError, match="8 frames of stream 'camera' are not acknowledged"):
        for k in range(5, 100):
            sending.send(pixels(k))
    assert sending.next_number == 13
    sending.timeout = 60
    with Receiver(address=first.address, until_closed=True, next_number=lambda stream: 5) as second:
        sending.send(pixels(13))
        sending.close()
        second.join()
    assert [frame.number for frame in second.frames] == list(range(5, 14))
    assert all(np.array_equal(frame.data, pixels(frame.number)) for frame in second.frames)
    with pytest.raises(SenderError, match="closed"):
        sending.send(pixels(0))


def test_a_new_sender_goes_on_where_the_acknowledged_frames_end() -> None:
    with Receiver(next_number=lambda stream: 7) as receiver:
        with FrameSender(receiver.address) as sending:
            assert sending.next_number == 7
            sending.send(pixels(7))
        with FrameSender(receiver.address) as sending:
            assert sending.send(pixels(8)) == 8


def test_a_sender_that_was_replaced_ends() -> None:
    with Receiver() as receiver:
        old = FrameSender(receiver.address)
        with (
            FrameSender(receiver.address),
            pytest.raises(RefusedError, match="another sender has taken over"),
        ):
            while True:
                old.send(pixels(0))
                old.flush()
        with pytest.raises(RefusedError):
            old.close()


def test_an_error_of_the_user_loses_no_frame() -> None:
    with Receiver(until_closed=True) as receiver:
        with pytest.raises(KeyError), FrameSender(receiver.address) as sending:
            sending.send(pixels(0))
            raise KeyError
        receiver.join()
    assert len(receiver.frames) == 1


@pytest.mark.skipif(not zmq.has("curve"), reason="this libzmq has no CURVE")
def test_an_encrypted_connection() -> None:
    keys = zmq.curve_keypair()
    with Receiver(keys=keys, token="word", until_closed=True) as receiver:
        with pytest.raises(ReceiverLostError):
            FrameSender(receiver.address, token="word", timeout=0.3)
        with FrameSender(receiver.address, token="word", server_key=keys[0]) as sending:
            sending.send(pixels(0))
        receiver.join()
    assert len(receiver.frames) == 1


def test_its_file_works_alone(tmp_path: Path) -> None:
    shutil.copy(sender.__file__, tmp_path)
    with Receiver(until_closed=True) as receiver:
        command = [sys.executable, "-W", "error", "-I", "-c", ALONE, str(tmp_path), receiver.address]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "10\n"), done.stderr
        receiver.join()
    assert [int(frame.data[0, 0]) for frame in receiver.frames] == list(range(10))
    assert all(frame.chunk is None for frame in receiver.frames)


def test_old_pythons_understand_it() -> None:
    """As far as syntax goes; names of modules that came later are not looked for."""
    tree = ast.parse(Path(sender.__file__).read_text(encoding="utf-8"), feature_version=(3, 7))
    found = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert not any(name.startswith("mrcz_dask") for name in found)
    future = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    assert future, "annotations must not be evaluated"


def test_both_ends_speak_one_protocol() -> None:
    assert sender.PROTOCOL == wire.PROTOCOL
