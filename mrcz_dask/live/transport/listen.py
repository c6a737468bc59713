"""Receives live frames over a network socket from `sender.py` on the camera's computer."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import Event
from typing import Any

import numpy as np
import zmq

from mrcz_dask.formats.source import Closing
from mrcz_dask.live.frames import Frame, Publish
from mrcz_dask.live.transport.wire import BrokenInTransitError, FrameHeader, Hello
from mrcz_dask.values import messages
from mrcz_dask.values.errors import DtypeError, FormatError, ParameterError, SessionError
from mrcz_dask.values.messages import Listener

PORT = 5577
LARGEST = 1 << 30
_PLACE = re.compile(r"(?:tcp://)?(?:(?P<host>\[[^\]]+\]|[^:/\[\]]+):)?(?P<port>\d+|\*)")
_LOOPBACK = ("127.", "localhost", "[::1]")
_TICK, _SHORT_TICK = 100, 5  # ms
_GRACE = 200  # ms in which the last sender hears the answer to its farewell
# of one batch, so that memory is bounded and acknowledgements come in time
_MOST_FRAMES, _MOST_BYTES = 256, 256 << 20
_MOST_PARTS = 5
_MOST_WARNINGS = 20
NumberOf = Callable[[str], int]
Check = Callable[[np.dtype[Any], tuple[int, int]], None]


@dataclass(slots=True)
class _Peer:
    """A sender that has greeted, and the type and shape of its frames."""

    stream: str
    session: str
    kind: tuple[np.dtype[Any], tuple[int, int]] | None = None


class Listen(Closing):
    """Source of live frames: receives them over a network socket from one or more senders.

    Frames are acknowledged after `publish` has returned. A frame that arrives twice is dropped, one that was
    lost on its way is asked for again; numbers that the sender left out are missing frames. A new sender of a
    stream takes over from the one before, which is told so and ends.

    Parameters
    ----------
    address
        ``tcp://HOST:PORT``, HOST:PORT or PORT; a port ``*`` is any that is free, a host ``0.0.0.0`` lets
        other machines in.
    next_number
        Returns the number with which a stream goes on, as `Recorder.next_number` does.
    safe
        Returns the number below which the frames of a stream are safe. For receivers whose frames are not
        yet safe when `publish` returns; only safe frames are acknowledged. It is called all the time.
    token
        Password of senders, '' = none.
    keys
        This receiver's CURVE keys (public, secret), to encrypt; senders get the public one.
    until_closed
        End when all senders that came have closed.
    largest
        Bytes of the largest frame.
    check
        Raises a `ParameterError` for frames of a type and shape (ny, nx) that are not taken: their sender is
        refused, and all others go on.
    listen
        Gets warnings.

    Attributes
    ----------
    name, address
        Address of the socket, with the port.

    Raises
    ------
    ParameterError
        The address has another form.
    SessionError
        The address is taken.
    """

    def __init__(
        self,
        address: str = f"tcp://127.0.0.1:{PORT}",
        *,
        next_number: NumberOf | None = None,
        safe: NumberOf | None = None,
        token: str = "",
        keys: tuple[bytes, bytes] | None = None,
        until_closed: bool = False,
        largest: int = LARGEST,
        check: Check | None = None,
        listen: Listener = messages.silent,
    ) -> None:
        self._next_number, self._safe_below = next_number, safe
        self._token, self._until_closed, self._largest = token, until_closed, largest
        self._check, self._listener, self._warnings = check, listen, 0
        self._peers: dict[bytes, _Peer] = {}
        self._replaced_sessions: set[str] = set()
        self._expected: dict[str, int] = {}
        self._acknowledged: dict[bytes, int] = {}
        self._batch: list[Frame] = []
        self._had_peers = False
        place = endpoint(address)
        self._bind(place, keys)
        self.address = self.name = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        host = place.removeprefix("tcp://")
        if not host.startswith(_LOOPBACK) and "://" not in host:
            encryption = "nothing is encrypted" if keys is None else "the connection is encrypted"
            access = "a token is asked for" if token else "anybody may send"
            listen(
                messages.Warned(
                    f"{self.address} can be reached from other machines; {encryption}, and {access}"
                )
            )

    def _bind(self, place: str, keys: tuple[bytes, bytes] | None) -> None:
        self._context = zmq.Context()
        self._socket = socket = self._context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.LINGER, 1000)
        # a longer part ends its connection before it is in memory
        socket.setsockopt(zmq.MAXMSGSIZE, self._largest + (1 << 20))
        socket.setsockopt(zmq.RCVHWM, _MOST_FRAMES)
        if keys is not None:
            socket.curve_publickey, socket.curve_secretkey = keys
            socket.curve_server = True
        try:
            socket.bind(place)
        except zmq.ZMQError as error:
            self.close()
            raise SessionError(f"cannot listen at {place} ({error}); choose another address") from error

    def run(self, publish: Publish, stop: Event) -> None:
        """Pass on received frames, several at a time if they have arrived, until `stop` is set.

        Parameters
        ----------
        publish
            Takes frames and returns when they are safe. An error that it raises ends the run; senders keep
            the frames that were not acknowledged.
        stop
            Ends the run.
        """
        tick, quiet = (_TICK if self._safe_below is None else _SHORT_TICK), 0
        try:
            while not stop.is_set():
                is_over = self._until_closed and self._had_peers and not self._peers
                if is_over and quiet >= _GRACE:
                    return
                quiet += tick
                if self._socket.poll(tick):
                    self._receive(publish)
                    quiet = 0
                if self._safe_below is None:
                    continue
                for sender, peer in self._peers.items():  # frames that became safe after they were published
                    number = self._safe_number(peer.stream)
                    if number > self._acknowledged.get(sender, 0):
                        self._acknowledged[sender] = number
                        self._answer(sender, b"ACK", next=number)
        except BaseException as error:
            for sender in self._peers:
                self._answer(sender, b"LATER", reason=f"{type(error).__name__}: {error}")
            raise
        finally:
            self._peers.clear()
            self.close()

    def close(self) -> None:
        """Close the network socket."""
        self._socket.close()
        self._context.term()

    def _receive(self, publish: Publish) -> None:
        """Take all messages that have arrived, publish their frames, acknowledge them."""
        size = 0
        while size < _MOST_BYTES and len(self._batch) < _MOST_FRAMES and self._socket.poll(0):
            parts = [self._socket.recv()]
            while self._socket.getsockopt(zmq.RCVMORE):
                part = self._socket.recv()
                if len(parts) < _MOST_PARTS:
                    parts.append(part)
            size += sum(map(len, parts))
            sender, kind = parts[0], parts[1] if len(parts) > 1 else b""
            if kind != b"FRAME":
                self._publish_batch(publish)
            self._handle(sender, kind, parts[2:])
        self._publish_batch(publish)

    def _publish_batch(self, publish: Publish) -> None:
        if not self._batch:
            return
        publish(self._batch)
        streams = {frame.stream for frame in self._batch}
        self._batch = []
        for sender, peer in self._peers.items():
            if peer.stream in streams and self._safe_below is None:
                self._answer(sender, b"ACK", next=self._expected[peer.stream])

    def _safe_number(self, stream: str) -> int:
        """Return the number below which the frames of a stream are safe."""
        waiting = (frame.number for frame in self._batch if frame.stream == stream)
        number = next(waiting, self._expected[stream])
        return number if self._safe_below is None else min(number, self._safe_below(stream))

    def _handle(self, sender: bytes, kind: bytes, parts: list[bytes]) -> None:
        """Take in one message; whatever makes no sense is refused."""
        try:
            if kind == b"FRAME" and len(parts) == 2:
                self._take_frame(sender, *parts)
            elif kind == b"HELLO" and len(parts) == 1:
                self._greet(sender, Hello.parse(parts[0]))
            elif kind == b"CLOSE" and len(parts) == 1:
                self._peers.pop(sender, None)
                self._answer(sender, b"BYE")
            else:
                raise FormatError(
                    f"a message {kind[:16]!r} of {len(parts)} parts; expected HELLO, FRAME or CLOSE"
                )
        except BrokenInTransitError:
            self._answer(sender, b"AGAIN")
        except (FormatError, DtypeError, ParameterError) as error:
            self._refuse(sender, str(error))

    def _greet(self, sender: bytes, hello: Hello) -> None:
        stream, token = hello.stream, self._token.encode(errors="backslashreplace")
        if token and not hmac.compare_digest(hello.token.encode(errors="backslashreplace"), token):
            raise FormatError("the token is not the one that is asked for")
        if hello.session in self._replaced_sessions:
            raise FormatError(f"another sender has taken over stream {stream}")
        for other, peer in list(self._peers.items()):
            if peer.stream == stream:  # an earlier connection of this sender, or the sender before it
                del self._peers[other]
                if peer.session != hello.session:
                    self._replaced_sessions.add(peer.session)
                    self._refuse(other, f"another sender has taken over stream {stream}")
        recorded = 0 if self._next_number is None else self._next_number(stream)
        self._expected[stream] = max(self._expected.get(stream, 0), recorded, hello.acknowledged)
        self._peers[sender] = _Peer(stream, hello.session)
        self._had_peers = True
        safe = self._safe_number(stream)
        self._answer(sender, b"READY", greeting=hello.greeting, next=safe, largest=self._largest)

    def _take_frame(self, sender: bytes, header: bytes, payload: bytes) -> None:
        peer = self._peers.get(sender)
        if peer is None:  # it has greeted a receiver that is gone
            self._answer(sender, b"AGAIN")
            return
        announced = FrameHeader.parse(header, peer.stream, self._largest)
        number, expected = announced.frame.number, self._expected[peer.stream]
        kind = announced.dtype, announced.shape
        if announced.after > expected:  # a frame before it was lost
            self._answer(sender, b"AGAIN")
        elif number < expected:
            self._answer(sender, b"ACK", next=self._safe_number(peer.stream))
        elif peer.kind not in (None, kind):
            raise FormatError(
                f"frame {number} is {announced.shape} {announced.dtype}, those before it were not; expected "
                "one shape and dtype from a sender; close it and make a new one"
            )
        else:
            if self._check is not None:
                self._check(*kind)
            chunk = payload if announced.encoding == "blosc" else None
            self._batch.append(replace(announced.frame, data=announced.pixels(payload), chunk=chunk))
            self._expected[peer.stream] = number + 1
            peer.kind = kind

    def _refuse(self, sender: bytes, reason: str) -> None:
        peer = self._peers.pop(sender, None)
        self._answer(sender, b"NO", reason=reason)
        self._warnings += 1
        if self._warnings <= _MOST_WARNINGS:
            who = f"the sender of stream {peer.stream}" if peer else "a sender"
            self._listener(messages.Warned(f"{self.address}: {who} was refused: {reason}"))

    def _answer(self, sender: bytes, kind: bytes, **fields: Any) -> None:
        with suppress(zmq.Again):  # a sender that is gone, or does not listen, is left alone
            self._socket.send_multipart([sender, kind, json.dumps(fields).encode()], zmq.NOBLOCK)


def endpoint(address: str) -> str:
    """Return the full socket address ``tcp://HOST:PORT`` of HOST:PORT or PORT; without a host, loopback.

    Raises
    ------
    ParameterError
        The address has another form.
    """
    if address.startswith("ipc://") and len(address) > 6:
        return address
    match = _PLACE.fullmatch(address)
    if match is None or (match["port"] != "*" and not 0 < int(match["port"]) < 65536):
        raise ParameterError(f"address is {address!r}; expected tcp://HOST:PORT, HOST:PORT or PORT")
    return f"tcp://{match['host'] or '127.0.0.1'}:{match['port']}"
