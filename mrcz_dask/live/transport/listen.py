"""Frames that senders push over a socket: see `sender.py`, which is copied to the camera's computer."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Event
from typing import Any, Self

import numpy as np
import zmq

from mrcz_dask.live.frames import Frame, Publish
from mrcz_dask.live.transport.wire import Announced, BrokenInTransitError, Hello
from mrcz_dask.values import messages
from mrcz_dask.values.errors import DtypeError, FormatError, ParameterError, SessionError
from mrcz_dask.values.messages import Listener

PORT = 5577
LARGEST = 1 << 30
_PLACE = re.compile(r"(?:tcp://)?(?:(?P<host>\[[^\]]+\]|[^:/\[\]]+):)?(?P<port>\d+|\*)")
_LOOPBACK = ("127.", "localhost", "[::1]")
_TICK, _OFTEN = 100, 5  # ms
_GRACE = 200  # ms in which the last sender hears the answer to its farewell
# of one batch, so that memory is bounded and acknowledgements come in time
_MOST_FRAMES, _MOST_BYTES = 256, 256 << 20
_COMPLAINTS = 20
Next = Callable[[str], int]


@dataclass(slots=True)
class _Peer:
    """A sender that has greeted, and what its frames are like."""

    stream: str
    session: str
    kind: tuple[np.dtype[Any], tuple[int, int]] | None = None


class Listen:
    """Frames of one or more senders; a `FrameStream`.

    Frames are acknowledged after `publish` has returned. A frame that came already is left out, one that was
    lost on its way is asked for again; numbers that the sender left out are gaps. A new sender of a stream
    takes over from the one before, which is told so and ends.

    Parameters
    ----------
    address
        ``tcp://HOST:PORT``, HOST:PORT or PORT; a port ``*`` is any that is free, a host ``0.0.0.0`` lets
        other machines in.
    next_number
        Says where a stream goes on, such as `Recorder.next_number`.
    safe
        Says below which number the frames of a stream are safe, where they are not when `publish` returns;
        only these are acknowledged. It is asked all the time.
    token
        What senders must say, '' = nothing.
    keys
        This receiver's CURVE keys (public, secret), to encrypt; senders are given the public one.
    until_closed
        End when all senders that came have closed.
    largest
        Bytes of the largest frame.
    listen
        Is told who comes, and warned.

    Attributes
    ----------
    name, address
        Where it listens, with the port.

    Raises
    ------
    ParameterError
        No such address.
    SessionError
        Somebody else listens there.
    """

    def __init__(
        self,
        address: str = f"tcp://127.0.0.1:{PORT}",
        *,
        next_number: Next | None = None,
        safe: Next | None = None,
        token: str = "",
        keys: tuple[bytes, bytes] | None = None,
        until_closed: bool = False,
        largest: int = LARGEST,
        listen: Listener = messages.silent,
    ) -> None:
        self._known, self._token, self._until_closed = next_number, token, until_closed
        self._safe_below, self._told = safe, dict[bytes, int]()
        self._tick = _TICK if safe is None else _OFTEN
        self._largest, self._tell, self._complaints = largest, listen, 0
        self._peers: dict[bytes, _Peer] = {}
        self._replaced: dict[str, None] = {}
        self._expected: dict[str, int] = {}
        self._batch: list[Frame] = []
        self._came = False
        self._context = zmq.Context()
        self._socket = self._bound(address, keys)
        self.address = self.name = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._warn_beyond(address, keys)

    def _bound(self, address: str, keys: tuple[bytes, bytes] | None) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.LINGER, 1000)
        # a longer part ends its connection before it is in memory
        socket.setsockopt(zmq.MAXMSGSIZE, self._largest + (1 << 20))
        socket.setsockopt(zmq.RCVHWM, _MOST_FRAMES)
        if keys is not None:
            socket.curve_publickey, socket.curve_secretkey = keys
            socket.curve_server = True
        try:
            socket.bind(endpoint(address))
        except (zmq.ZMQError, ParameterError) as error:
            socket.close()
            self._context.term()
            if isinstance(error, ParameterError):
                raise
            raise SessionError(f"cannot listen at {address} ({error}); choose another address") from error
        return socket

    def _warn_beyond(self, address: str, keys: tuple[bytes, bytes] | None) -> None:
        host = endpoint(address).removeprefix("tcp://")
        if host.startswith(_LOOPBACK) or "://" in host:
            return
        open_to = "nothing is encrypted" if keys is None else "the connection is encrypted"
        asked = "a token is asked for" if self._token else "anybody may send"
        self._tell(
            messages.Warned(f"{self.address} can be reached from other machines; {open_to}, and {asked}")
        )

    def run(self, publish: Publish, stop: Event) -> None:
        """Hand on frames, all that are there at a time, until `stop` is set.

        Parameters
        ----------
        publish
            Returns when the frames are safe. If it raises, that ends the run: senders keep what was not
            acknowledged.
        stop
            Ends the run.
        """
        try:
            quiet = 0
            while not stop.is_set() and not (self._over() and quiet >= _GRACE):
                quiet += self._tick
                if self._socket.poll(self._tick):
                    self._take(publish)
                    quiet = 0
                self._tell_safe()
        except BaseException as error:
            self._put_off(error)
            raise
        finally:
            self._peers.clear()
            self.close()

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _over(self) -> bool:
        return self._until_closed and self._came and not self._peers

    def _take(self, publish: Publish) -> None:
        """Take all messages that are there, publish their frames, acknowledge them."""
        size = 0
        while size < _MOST_BYTES and len(self._batch) < _MOST_FRAMES and self._socket.poll(0):
            parts = self._received()
            size += sum(map(len, parts))
            sender, kind = parts[0], parts[1] if len(parts) > 1 else b""
            if kind != b"FRAME":
                self._hand_on(publish)
            self._handled(sender, kind, parts[2:])
        self._hand_on(publish)

    def _received(self) -> list[bytes]:
        """Return a message; more parts than any has are read and dropped."""
        parts = [self._socket.recv()]
        while self._socket.getsockopt(zmq.RCVMORE):
            part = self._socket.recv()
            if len(parts) < 5:
                parts.append(part)
        return parts

    def _hand_on(self, publish: Publish) -> None:
        if not self._batch:
            return
        publish(self._batch)
        streams = {frame.stream for frame in self._batch}
        self._batch = []
        for sender, peer in self._peers.items():
            if peer.stream in streams and self._safe_below is None:
                self._answer(sender, b"ACK", next=self._expected[peer.stream])

    def _tell_safe(self) -> None:
        """Acknowledge what has become safe meanwhile."""
        if self._safe_below is None:
            return
        for sender, peer in self._peers.items():
            number = self._safe(peer.stream)
            if number > self._told.get(sender, 0):
                self._told[sender] = number
                self._answer(sender, b"ACK", next=number)

    def _handled(self, sender: bytes, kind: bytes, parts: list[bytes]) -> None:
        try:
            if kind == b"FRAME" and len(parts) == 2:
                self._frame(sender, *parts)
            elif kind == b"HELLO" and len(parts) == 1:
                self._greeted(sender, Hello.parse(parts[0]))
            elif kind == b"CLOSE" and len(parts) == 1:
                self._peers.pop(sender, None)
                self._answer(sender, b"BYE")
            else:
                raise FormatError(
                    f"a message {kind[:16]!r} of {len(parts)} parts; expected HELLO, FRAME or CLOSE"
                )
        except BrokenInTransitError:
            self._answer(sender, b"AGAIN")
        except (FormatError, DtypeError) as error:
            self._refuse(sender, str(error))

    def _greeted(self, sender: bytes, hello: Hello) -> None:
        said, asked = (one.encode(errors="backslashreplace") for one in (hello.token, self._token))
        if asked and not hmac.compare_digest(said, asked):
            raise FormatError("the token is not the one that is asked for")
        if hello.session in self._replaced:
            raise FormatError(f"another sender has taken over stream {hello.stream}")
        self._replace(hello)
        known = self._expected.get(hello.stream, 0)
        if self._known is not None:
            known = max(known, self._known(hello.stream))
        self._expected[hello.stream] = max(known, hello.acknowledged)
        self._peers[sender] = _Peer(hello.stream, hello.session)
        self._came = True
        self._answer(
            sender,
            b"READY",
            greeting=hello.greeting,
            next=self._safe(hello.stream),
            largest=self._largest,
        )

    def _replace(self, hello: Hello) -> None:
        """Let a sender's connection of before, or the sender before it, go."""
        for other, peer in list(self._peers.items()):
            if peer.stream == hello.stream:
                del self._peers[other]
                if peer.session != hello.session:
                    self._replaced[peer.session] = None
                    self._refuse(other, f"another sender has taken over stream {hello.stream}")

    def _frame(self, sender: bytes, header: bytes, payload: bytes) -> None:
        peer = self._peers.get(sender)
        if peer is None:  # it greeted a receiver that is gone
            self._answer(sender, b"AGAIN")
            return
        said = Announced.parse(header, peer.stream, self._largest)
        expected = self._expected[peer.stream]
        if said.after > expected:  # one before it was lost
            self._answer(sender, b"AGAIN")
        elif said.frame.number < expected:
            self._answer(sender, b"ACK", next=self._safe(peer.stream))
        else:
            self._accept(peer, said, payload)

    def _safe(self, stream: str) -> int:
        """Return the number below which frames of a stream are safe."""
        waiting = (frame.number for frame in self._batch if frame.stream == stream)
        here = next(waiting, self._expected[stream])
        return here if self._safe_below is None else min(here, self._safe_below(stream))

    def _accept(self, peer: _Peer, said: Announced, payload: bytes) -> None:
        kind = (said.dtype, said.shape)
        if peer.kind not in (None, kind):
            raise FormatError(
                f"frame {said.frame.number} is {said.shape} {said.dtype}, those before it were not; expected "
                "one shape and dtype from a sender; close it and make a new one"
            )
        chunk = payload if said.encoding == "blosc" else None
        frame = replace(said.frame, data=said.pixels(payload), chunk=chunk)
        peer.kind = kind
        self._expected[peer.stream] = frame.number + 1
        self._batch.append(frame)

    def _refuse(self, sender: bytes, reason: str) -> None:
        peer = self._peers.pop(sender, None)
        self._answer(sender, b"NO", reason=reason)
        self._complaints += 1
        if self._complaints <= _COMPLAINTS:
            who = f"the sender of stream {peer.stream}" if peer else "a sender"
            self._tell(messages.Warned(f"{self.address}: {who} was refused: {reason}"))

    def _put_off(self, error: BaseException) -> None:
        for sender in self._peers:
            self._answer(sender, b"LATER", reason=f"{type(error).__name__}: {error}")

    def _answer(self, sender: bytes, kind: bytes, **said: Any) -> None:
        """Answer; whoever is gone, or does not listen, is left alone."""
        try:
            self._socket.send_multipart([sender, kind, json.dumps(said).encode()], zmq.NOBLOCK)
        except zmq.Again:
            return


def endpoint(address: str) -> str:
    """Return the socket's address: ``tcp://HOST:PORT`` of HOST:PORT or PORT, loopback if there is no host.

    Raises
    ------
    ParameterError
        It is none.
    """
    found = _PLACE.fullmatch(address)
    if address.startswith("ipc://") and len(address) > 6:
        return address
    if found is None or (found["port"] != "*" and not 0 < int(found["port"]) < 65536):
        raise ParameterError(f"address is {address!r}; expected tcp://HOST:PORT, HOST:PORT or PORT")
    return f"tcp://{found['host'] or '127.0.0.1'}:{found['port']}"
