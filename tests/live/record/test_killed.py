"""A sender and a receiver, each a process, each killed: what was acknowledged is recorded, once, in order."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mrcz_dask.formats.verify import verify_file
from mrcz_dask.live.record.stacks import recorded
from mrcz_dask.live.transport import sender

ROOT = Path(__file__).parents[3]
RECEIVER = """
import sys, threading
from mrcz_dask.live.transport.listen import Listen
from mrcz_dask.live.record.recorder import Recorder

with Recorder(sys.argv[2], frames_per_stack=700) as recorder:
    listen = Listen(sys.argv[1], next_number=recorder.next_number, until_closed=True)
    listen.run(recorder.append, threading.Event())
"""
# writes down what is acknowledged as it comes to know of it
SENDER = """
import sys
sys.path.insert(0, sys.argv[3])
import numpy as np
from sender import FrameSender

with FrameSender(sys.argv[1], timeout=300) as sender, open(sys.argv[2], "a", buffering=1) as log:
    while sender.next_number < int(sys.argv[4]):
        number = sender.next_number
        sender.send(np.random.default_rng(number).poisson(3, (48, 40)).astype(np.uint16))
        print(number + 1 - sender.poll(), file=log)
"""


class Scene:
    """An address, a recording, and what the sender knows to be safe."""

    def __init__(self, folder: Path, frames: int) -> None:
        self.recording, self.log, self.frames = folder / "recording", folder / "acknowledged.txt", frames
        self.address = f"ipc://{folder}/socket"
        self.home = Path(sender.__file__).parent

    def start(self, script: str, *args: object) -> "subprocess.Popen[bytes]":
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-c", script, *map(str, args)], env=environment
        )

    def receiver(self) -> "subprocess.Popen[bytes]":
        return self.start(RECEIVER, self.address, self.recording)

    def sender(self) -> "subprocess.Popen[bytes]":
        return self.start(SENDER, self.address, self.log, self.home, self.frames)

    def acknowledged(self) -> int:
        lines = self.log.read_text().split("\n") if self.log.exists() else []
        return int(lines[-2]) if len(lines) > 1 else 0

    def wait(self, number: int) -> None:
        while self.acknowledged() < number:
            time.sleep(0.01)


def kill(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def disturbed(scene: Scene, rng: random.Random) -> None:
    """Send all frames; both processes are killed once, at random moments, in random order."""
    receiver, sending = scene.receiver(), scene.sender()
    victims = rng.sample(["sender", "receiver"], 2)
    moments = sorted(rng.sample(range(1, scene.frames * 9 // 10), 2))
    for victim, moment in zip(victims, moments, strict=True):
        scene.wait(moment)
        time.sleep(rng.uniform(0, 0.05))
        known = scene.acknowledged()
        if victim == "sender":
            kill(sending)
            sending = scene.sender()
        else:
            kill(receiver)
            receiver = scene.receiver()
        assert known >= moment
    assert sending.wait() == 0
    assert receiver.wait() == 0


def check(scene: Scene) -> None:
    number = -1
    for number, frame in enumerate(recorded(scene.recording)):
        assert frame.number == number
        expected = np.random.default_rng(number).poisson(3, (48, 40)).astype(np.uint16)
        assert np.array_equal(frame.data, expected)
    assert number == scene.frames - 1
    assert scene.acknowledged() <= scene.frames
    assert all(verify_file(path).status == "sound" for path in scene.recording.glob("*.mrcz"))
    assert not list(scene.recording.glob(".*.spool")) and not list(scene.recording.glob(".*.part"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_each_killed_once(seed: int, tmp_path: Path) -> None:
    scene = Scene(tmp_path, 600)
    disturbed(scene, random.Random(seed))
    check(scene)


@pytest.mark.slow
def test_ten_thousand_frames_over_loopback(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    scene = Scene(tmp_path, 10_000)
    scene.address = f"tcp://127.0.0.1:{_free_port()}"
    seed = random.SystemRandom().randrange(1 << 32)
    record_property("seed", seed)
    print("seed", seed)
    disturbed(scene, random.Random(seed))
    check(scene)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
