"""Sends frames from a camera's computer over the network to `mrcz-dask live`.

This file works alone: copy it to the camera's computer. It needs Python 3.7 or newer, numpy and pyzmq, and
numcodecs to compress::

    from sender import FrameSender

    with FrameSender("tcp://127.0.0.1:5577", pixel_size=1.2) as sender:
        for frame in camera:
            sender.send(frame)
"""

from __future__ import annotations

import json
import threading
import time as clock
import uuid
import zlib
from collections import deque
from typing import Any, Callable, NamedTuple  # noqa: UP035 - as Python 3.7 has them

import numpy as np
import zmq

try:
    from numcodecs import blosc
except ImportError:  # frames are sent as they are
    blosc = None

PROTOCOL = 1
DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float16", "float32", "complex64")
_CAST_TO = {"bool": "uint8", "float64": "float32", "complex128": "complex64", "int64": "int32"}
_LARGEST_HEADER = 1 << 16
_LARGEST_NUMBER = 1 << 53
_LARGEST_CHUNK = (1 << 31) - (1 << 20)
_BLOCK = 1 << 20
_LATEST = 6e10  # seconds before and after 1970: years that dates can hold
_TICK = 50  # ms


class SenderError(Exception):
    """Error: frames cannot be sent."""


class RefusedError(SenderError):
    """Error: the receiver refuses this sender or its frames; the message gives the receiver's reason."""


class ReceiverLostError(SenderError, TimeoutError):
    """Error: the receiver has not answered for too long; unacknowledged frames are kept."""


class _Message(NamedTuple):
    number: int
    after: int
    header: bytes
    payload: bytes


class FrameSender:
    """Sends camera frames to `mrcz-dask live` over the network,
    and keeps each until the receiver has it on disk.

    There is no thread: everything happens in the calls, which may come from any thread.

    Parameters
    ----------
    address
        Address of the receiver: ``tcp://HOST:PORT``.
    stream
        Name of the camera: letters, digits, ``.``, ``-`` and ``_``. A new sender of a name takes over from
        the one before.
    token
        Password, if the receiver asks for one.
    pixel_size
        Angstrom, None = unknown.
    window, memory
        Number and bytes of frames that may be on their way before `send` waits; one frame always may.
    compress
        Compress with blosc, if numcodecs is installed; the receiver stores these bytes as they are.
    codec, level
        Codec of blosc, ``zstd`` or ``lz4``, and its level.
    timeout, retry
        Seconds without an answer after which a call gives up, and after which it asks again.
    server_key
        The receiver's public CURVE key, to encrypt the connection.

    Raises
    ------
    ReceiverLostError
        Nobody answers at the address.
    RefusedError
        The receiver refuses this sender.
    """

    def __init__(
        self,
        address: str,
        stream: str = "camera",
        token: str | None = None,
        pixel_size: float | None = None,
        window: int = 64,
        memory: int = 512 << 20,
        compress: bool = True,
        codec: str = "zstd",
        level: int = 1,
        timeout: float = 60.0,
        retry: float = 1.0,
        server_key: bytes | None = None,
    ) -> None:
        self.address, self.stream, self.timeout = address, stream, timeout
        self._token, self._pixel_size, self._retry = token, pixel_size, retry
        self._window, self._memory = window, memory
        self._codec = (codec, level) if compress and blosc is not None else None
        self._session = uuid.uuid4().hex
        self._pending: deque[_Message] = deque()
        self._bytes = self._sent = self._greeting = self._next = 0
        self._largest = 1 << 62
        self._ready = self._gone = self._closed = False
        self._refusal = self._excuse = ""
        self._heard = self._asked = clock.monotonic() - retry
        self._lock = threading.RLock()
        self._connect(server_key)
        try:
            self._wait(lambda: self._ready)
        except BaseException:
            self._release()
            raise

    def _connect(self, server_key: bytes | None) -> None:
        self._context = zmq.Context()
        self._socket = socket = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        # frames are kept here, not in a queue to a receiver that may never come back
        socket.setsockopt(zmq.IMMEDIATE, 1)
        socket.setsockopt(zmq.SNDHWM, 2 * self._window + 16)
        socket.setsockopt(zmq.HEARTBEAT_IVL, 5000)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 15000)
        if server_key is not None:
            socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
            socket.curve_serverkey = server_key
        try:
            socket.connect(self.address)
        except zmq.ZMQError as error:
            self._release()
            raise ValueError(f"address is {self.address!r} ({error}); expected tcp://HOST:PORT") from error

    @property
    def next_number(self) -> int:
        """Number that the next sent frame of this stream gets."""
        return self._next

    def send(
        self,
        frame: Any,
        number: int | None = None,
        time: float | None = None,
        stack: str = "",
        index: int = 0,
        meta: dict[str, Any] | None = None,
    ) -> int:
        """Send one frame; waits only while `window` frames or `memory` bytes are unacknowledged.

        Parameters
        ----------
        frame
            Pixels (ny, nx) of one of the types in `DTYPES`. They are copied.
        number
            The camera's number of the frame, if it has one: numbers grow, and a number that is left out is a
            missing frame. None = the next one.
        time
            Seconds since 1970 at which it was recorded; None = now.
        stack, index
            Name of the frame's stack, and the frame's place in it.
        meta
            Further metadata: values that JSON knows.

        Returns
        -------
        int
            Number of the frame.

        Raises
        ------
        TypeError, ValueError
            The frame or its number cannot be sent.
        ReceiverLostError
            `window` frames are on their way, and the receiver is silent. This frame was not taken.
        RefusedError
            The receiver refuses the frames, and says why.
        """
        with self._lock:
            pixels = np.asarray(frame)
            if pixels.ndim != 2 or not pixels.size:
                raise ValueError(f"a frame has shape {pixels.shape}; expected (ny, nx)")
            if pixels.dtype.name not in DTYPES:
                text = f"a frame has {pixels.dtype.name} pixels; expected {', '.join(DTYPES)}; cast it to"
                raise TypeError(f"{text} {_CAST_TO.get(pixels.dtype.name, 'int16, uint16 or float32')}")
            pixels = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))
            if number is not None and not self._next <= number < _LARGEST_NUMBER:
                raise ValueError(
                    f"frame {number} was sent already, or is no number; expected at least {self._next} in "
                    f"stream {self.stream!r}; leave number out, or choose another stream"
                )
            header: dict[str, Any] = {"stack": str(stack), "index": int(index), "meta": meta or {}}
            header["time"] = clock.time() if time is None else float(time)
            self._wait(self._has_room)
            if pixels.nbytes > self._largest:
                raise ValueError(
                    f"a frame of {pixels.nbytes} bytes; the receiver takes {self._largest} at most"
                )
            number = self._next if number is None else int(number)
            payload = self._compress(pixels)
            header.update(number=number, after=self._next, crc=zlib.crc32(payload))
            header.update(dtype=pixels.dtype.str, shape=list(pixels.shape), pixel_size=self._pixel_size)
            header["encoding"] = "raw" if self._codec is None else "blosc"
            self._pending.append(_Message(number, self._next, _json(header), payload))
            self._bytes += len(payload)
            self._next = number + 1
            self._serve(0)
            return number

    def _has_room(self) -> bool:
        return not self._pending or (len(self._pending) < self._window and self._bytes < self._memory)

    def _compress(self, pixels: Any) -> bytes:
        if self._codec is None:
            return bytes(pixels.tobytes())
        items = pixels.reshape(-1).view(f"<u{pixels.itemsize}")
        # with several threads blosc stores blocks in the order in which they are done
        blosc.use_threads = False
        codec, level = self._codec
        block = block_size(items.size, items.itemsize)
        return bytes(blosc.compress(items, codec.encode(), level, blosc.BITSHUFFLE, blocksize=block))

    def poll(self) -> int:
        """Process acknowledgements that have arrived; return the number of unacknowledged frames."""
        with self._lock:
            self._serve(0)
            self._check()
            return len(self._pending)

    def flush(self) -> None:
        """Wait until the receiver has acknowledged all frames; raises as `send` does."""
        with self._lock:
            self._wait(lambda: not self._pending)

    def close(self) -> None:
        """Wait for all acknowledgements, tell the receiver that no more frames come,
        and close the connection.
        """
        with self._lock:
            if self._closed:
                return
            try:
                self.flush()
                # all frames are acknowledged, so that it does no harm if nobody hears the farewell
                for _ in range(3):
                    self._post([b"CLOSE", _json({"session": self._session})])
                    end = clock.monotonic() + self._retry
                    while not self._gone and clock.monotonic() < end:
                        self._listen(_TICK)
                    if self._gone:
                        return
            finally:
                self._release()

    def _release(self) -> None:
        self._closed = True
        self._socket.close()
        self._context.term()

    def __enter__(self) -> FrameSender:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        if kind is not None and issubclass(kind, SenderError):
            self._release()
        else:
            self.close()

    def _wait(self, done: Callable[[], bool]) -> None:
        begun = clock.monotonic()
        self._serve(0)
        while True:
            self._check()
            if done():
                return
            silence = clock.monotonic() - max(begun, self._heard)
            if silence > self.timeout:
                raise ReceiverLostError(
                    f"no word from the receiver at {self.address} for {silence:.0f} s{self._excuse}; "
                    f"{len(self._pending)} frames of stream {self.stream!r} are not acknowledged and are "
                    "kept; is `mrcz-dask live` running there, and does the address lead to it?"
                )
            self._serve(_TICK)

    def _check(self) -> None:
        if self._closed:
            raise SenderError("this sender is closed; make a new one")
        if self._refusal:
            raise RefusedError(
                f"the receiver at {self.address} refused stream {self.stream!r}: {self._refusal}"
            )

    def _serve(self, wait: int) -> None:
        """Take in answers, send frames, and greet again if nobody has answered."""
        if self._closed:
            return
        self._listen(wait)
        is_waiting = not self._ready or bool(self._pending)
        if is_waiting and clock.monotonic() - max(self._heard, self._asked) >= self._retry:
            self._greet()
        while self._ready and self._sent < len(self._pending):
            message = self._pending[self._sent]
            if not self._post([b"FRAME", message.header, message.payload]):
                return
            self._sent += 1

    def _listen(self, wait: int) -> None:
        while self._socket.poll(wait):
            parts = self._socket.recv_multipart()
            self._heard, wait = clock.monotonic(), 0
            try:
                self._take_answer(parts[0], json.loads(parts[1]))
            except (ValueError, TypeError, LookupError, RecursionError) as error:
                text = (
                    f"the answer from {self.address} cannot be read ({error}); check the address and the port"
                )
                raise SenderError(text) from error

    def _take_answer(self, kind: bytes, fields: dict[str, Any]) -> None:
        if kind == b"NO":
            self._refusal = str(fields["reason"])
        elif kind == b"LATER":
            self._excuse = f" ({fields['reason']})"
        elif kind == b"BYE":
            self._gone = True
        elif kind == b"AGAIN" and self._ready:
            self._greet()
        elif kind == b"ACK" and self._ready:
            self._forget_below(fields["next"])
        elif kind == b"READY" and fields["greeting"] == self._greeting:
            self._ready, self._sent, self._excuse = True, 0, ""
            self._largest = min(fields["largest"], _LARGEST_CHUNK)
            self._forget_below(fields["next"])

    def _forget_below(self, number: int) -> None:
        """Drop the frames below a number, which the receiver has acknowledged."""
        while self._pending and self._pending[0].number < number:
            self._bytes -= len(self._pending.popleft().payload)
            self._sent = max(0, self._sent - 1)
        self._next = max(self._next, number)

    def _greet(self) -> None:
        self._ready, self._greeting = False, self._greeting + 1
        acknowledged = self._pending[0].after if self._pending else self._next
        hello: dict[str, Any] = {"protocol": PROTOCOL, "stream": self.stream, "session": self._session}
        hello.update(greeting=self._greeting, acknowledged=acknowledged, token=self._token)
        is_connected = self._post([b"HELLO", _json(hello)])
        self._asked = clock.monotonic() - (0 if is_connected else self._retry - _TICK / 1000)

    def _post(self, parts: list[bytes]) -> bool:
        try:
            self._socket.send_multipart(parts, zmq.NOBLOCK)
        except zmq.Again:  # nobody is connected
            return False
        return True


def block_size(items: int, itemsize: int) -> int:
    """Return the bytes of a blosc block. blosc1 shuffles bits only if 8 divides the items of a block."""
    groups, rest = divmod(items, 8)
    limit, unit = _BLOCK * min(itemsize, 4), 8 * itemsize
    if not rest:
        return min(groups, limit // unit) * unit
    return groups // max(1, items * itemsize // limit) * unit


def _json(values: dict[str, Any]) -> bytes:
    if not abs(values.get("time", 0.0)) < _LATEST:
        raise ValueError(f"time is {values['time']}; expected seconds since 1970")
    data = json.dumps(values, allow_nan=False).encode()
    if len(data) > _LARGEST_HEADER:
        raise ValueError(f"meta has {len(data)} bytes; expected {_LARGEST_HEADER} at most")
    return data
