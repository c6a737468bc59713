"""What tests of the stream share: a receiver in a thread, and a socket that says what no sender would."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import zmq
from numpy.typing import NDArray

from mrcz_dask.live.frames import Frame, Publish
from mrcz_dask.live.transport.listen import Listen

PATIENCE = 30_000  # ms; for a machine that is busy


def pixels(number: int, shape: tuple[int, int] = (16, 12), dtype: str = "u2") -> NDArray[Any]:
    """Pixels that are those of one number alone."""
    return np.random.default_rng(number).poisson(3, shape).astype(dtype)


class Receiver:
    """A `Listen` at work in a thread, and what it gave."""

    def __init__(self, publish: Publish | None = None, **options: Any) -> None:
        self.frames: list[Frame] = []
        self.stop = threading.Event()
        self.error: BaseException | None = None
        self.listen = Listen(options.pop("address", "*"), **options)
        self.address = self.listen.address
        self._publish = publish or self.frames.extend
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.listen.run(self._publish, self.stop)
        except Exception as error:  # noqa: BLE001 - what ended the run is what tests ask for
            self.error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def join(self) -> None:
        self._thread.join()

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        self._thread.join()


class Raw:
    """A socket that may say anything."""

    def __init__(self, socket: "zmq.Socket[bytes]") -> None:
        self.socket = socket

    def ask(self, *parts: bytes | dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
        self.say(*parts)
        return self.hear()

    def say(self, *parts: bytes | dict[str, Any]) -> None:
        made = [json.dumps(one).encode() if isinstance(one, dict) else one for one in parts]
        self.socket.send_multipart(made)

    def hear(self) -> tuple[bytes, dict[str, Any]]:
        assert self.socket.poll(PATIENCE), "no answer"
        kind, said = self.socket.recv_multipart()
        return kind, json.loads(said)


@contextmanager
def raw(address: str) -> Iterator[Raw]:
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.linger = 0
    socket.connect(address)
    try:
        yield Raw(socket)
    finally:
        socket.close()
        context.term()
