"""The receiver: what it believes, what it asks for again, and that nothing that is said to it ends it."""

import json
import re
import struct
import threading
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrcz_dask.live.frames import Frame
from mrcz_dask.live.transport.listen import Listen, endpoint
from mrcz_dask.live.transport.sender import FrameSender
from mrcz_dask.live.transport.wire import FrameHeader, Hello
from mrcz_dask.values.errors import DtypeError, FormatError, ParameterError, SessionError
from mrcz_dask.values.messages import Message, Warned
from tests.live.transport.streaming import Raw, Receiver, pixels, raw

HELLO = {"protocol": 1, "stream": "camera", "session": "s1", "greeting": 1, "acknowledged": 0, "token": None}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def header(number: int, payload: bytes, /, **changed: Any) -> dict[str, Any]:
    said = {
        "number": number,
        "after": number,
        "time": 1.5,
        "stack": "",
        "index": 0,
        "meta": {},
        "dtype": "<u2",
        "shape": [16, 12],
        "pixel_size": None,
        "encoding": "raw",
        "crc": zlib.crc32(payload),
    }
    return said | changed


def frame_of(number: int, /, **changed: Any) -> tuple[bytes, dict[str, Any], bytes]:
    payload = pixels(number).tobytes()
    return b"FRAME", header(number, payload, **changed), payload


def greeted(raw: Raw, **changed: Any) -> int:
    kind, said = raw.ask(b"HELLO", HELLO | changed)
    assert kind == b"READY", said
    number: int = said["next"]
    return number


def test_greeting_frames_and_farewell() -> None:
    with Receiver(until_closed=True) as receiver:
        with raw(receiver.address) as one:
            assert greeted(one) == 0
            assert one.ask(*frame_of(0)) == (b"ACK", {"next": 1})
            assert one.ask(*frame_of(5, after=1)) == (b"ACK", {"next": 6})
            assert one.ask(b"CLOSE", {"session": "s1"}) == (b"BYE", {})
        receiver.join()
    assert [frame.number for frame in receiver.frames] == [0, 5]


def test_a_frame_that_came_already_is_left_out_and_acknowledged() -> None:
    with Receiver() as receiver, raw(receiver.address) as one:
        greeted(one)
        for number in (0, 1, 0, 1, 2):
            kind, said = one.ask(*frame_of(number))
            assert kind == b"ACK" and said["next"] >= number + 1
    assert [frame.number for frame in receiver.frames] == [0, 1, 2]


def test_a_frame_that_was_lost_is_asked_for_again() -> None:
    with Receiver() as receiver, raw(receiver.address) as one:
        greeted(one)
        one.ask(*frame_of(0))
        assert one.ask(*frame_of(2))[0] == b"AGAIN"  # it says that 1 was sent before it
        one.ask(*frame_of(1))
        assert one.ask(*frame_of(2)) == (b"ACK", {"next": 3})
        assert one.ask(*frame_of(3, crc=1))[0] == b"AGAIN"
    assert [frame.number for frame in receiver.frames] == [0, 1, 2]


def test_a_frame_before_any_greeting_is_asked_for_again() -> None:
    with Receiver() as receiver, raw(receiver.address) as one:
        assert one.ask(*frame_of(0))[0] == b"AGAIN"
    assert not receiver.frames


def test_it_goes_on_where_the_recording_ends() -> None:
    with Receiver(next_number={"camera": 12}.__getitem__) as receiver, raw(receiver.address) as one:
        assert greeted(one) == 12
        assert greeted(one, acknowledged=20) == 20
    assert not receiver.frames


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"dtype": "<f8"}, "cast to float32"),
        ({"dtype": "|b1"}, "cast to uint8"),
        ({"dtype": "<i8"}, "cast to int32"),
        ({"dtype": "O"}, "dtype is 'O'; expected one of"),
        ({"dtype": "<u2,<u2"}, "expected one of"),
        ({"dtype": 3}, "expected one of"),
        ({"shape": [16]}, r"expected \[ny, nx\]"),
        ({"shape": [16, -12]}, "whole number from 0"),
        ({"shape": [16, 0]}, "at least one pixel"),
        ({"shape": [1 << 20, 1 << 20]}, "bytes at most"),
        ({"shape": [16, 13]}, "has 384 bytes; expected 416"),
        ({"encoding": "zip"}, "expected blosc or raw"),
        ({"encoding": "blosc"}, "the chunk holds"),
        ({"number": -1}, "number is -1"),
        ({"number": True}, "number is True"),
        ({"after": 7}, "after is 7"),
        ({"time": "now"}, "time is 'now'"),
        ({"time": 10**400}, "time is 1000"),
        ({"meta": []}, "an object as meta"),
        ({"meta": {"a": 1 << 70}}, "cannot be stored"),
        ({"meta": {"\ud800": 1}}, "cannot be stored"),
        ({"stack": "\ud800"}, "cannot be stored"),
        ({"meta": {"a": [[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]}}, "more than 16 levels"),
        ({"pixel_size": -1}, "above 0"),
        ({"index": 0.5}, "index is 0.5"),
    ],
)
def test_a_frame_that_makes_no_sense_is_refused_with_a_reason(changed: dict[str, Any], words: str) -> None:
    told: list[Message] = []
    with Receiver(listen=told.append) as receiver:
        with raw(receiver.address) as one:
            greeted(one)
            kind, said = one.ask(*frame_of(0, **changed))
            assert kind == b"NO"
            assert re.search(words, said["reason"])
        with FrameSender(receiver.address) as sending:  # it is still there
            sending.send(pixels(0))
    assert len(receiver.frames) == 1
    assert any(isinstance(message, Warned) and "was refused" in message.message for message in told)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"protocol": 2}, "protocol is 2; expected 1"),
        ({"stream": "../x"}, "stream is"),
        ({"stream": ""}, "stream is"),
        ({"session": None}, "session is"),
        ({"greeting": "a"}, "greeting is"),
        ({"acknowledged": -1}, "acknowledged is"),
        ({"token": "other"}, "the token is not"),
        ({"token": "\ud800"}, "the token is not"),
        ({"token": None}, "the token is not"),
    ],
)
def test_a_greeting_that_is_refused(changed: dict[str, Any], words: str) -> None:
    with Receiver(token="word") as receiver, raw(receiver.address) as one:
        kind, said = one.ask(b"HELLO", {**HELLO, "token": "word", **changed})
        assert kind == b"NO" and words in said["reason"]
        assert greeted(one, token="word") == 0


@pytest.mark.parametrize(
    "parts",
    [
        [b""],
        [b"FRAME"],
        [b"FRAME", b"{}", b"", b"", b"", b""],
        [b"HELLO", b"not json"],
        [b"HELLO", b"[1]"],
        [b"HELLO", b"[" * 60000],
        [b"HELLO", b" " * 70000],
        [b"HELLO", b'{"protocol": ' + b"9" * 5000 + b"}"],
        [b"WHAT", b"{}"],
        [b"\xff" * 50, b"\xff"],
    ],
)
def test_what_is_no_message_is_refused_with_a_reason(parts: list[bytes]) -> None:
    with Receiver() as receiver, raw(receiver.address) as one:
        kind, said = one.ask(*parts)
        assert kind == b"NO" and said["reason"]
        assert greeted(one) == 0


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=6))
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
def test_any_bytes_are_answered(parts: list[bytes]) -> None:
    with Receiver() as receiver, raw(receiver.address) as one:
        assert one.ask(*parts)[0] in (b"NO", b"AGAIN", b"BYE")


@given(st.dictionaries(st.sampled_from(sorted(header(0, b""))), JSON, max_size=4), st.binary(max_size=500))
def test_a_frame_is_believed_or_refused(changed: dict[str, Any], payload: bytes) -> None:
    said = header(0, payload) | changed
    try:
        made = FrameHeader.parse(json.dumps(said).encode(), "camera", 1 << 20)
        assert made.pixels(payload).shape == made.shape
    except (FormatError, DtypeError) as error:
        assert str(error)


@given(st.dictionaries(st.sampled_from(sorted(HELLO)), JSON, max_size=3))
def test_a_greeting_is_believed_or_refused(changed: dict[str, Any]) -> None:
    try:
        assert Hello.parse(json.dumps(HELLO | changed).encode()).stream
    except FormatError as error:
        assert str(error)


def test_a_chunk_that_would_blow_up_is_not_decoded() -> None:
    bomb = struct.pack("<4B3I", 2, 1, 0x80, 2, 1 << 30, 1 << 20, 100) + bytes(84)
    with Receiver() as receiver, raw(receiver.address) as one:
        greeted(one)
        kind, said = one.ask(b"FRAME", header(0, bomb, encoding="blosc"), bomb)
        assert kind == b"NO" and "1073741824 bytes, a frame has 384" in said["reason"]


def test_a_sender_keeps_to_one_shape_and_dtype() -> None:
    with Receiver() as receiver, raw(receiver.address) as one:
        greeted(one)
        one.ask(*frame_of(0))
        kind, said = one.ask(*frame_of(1, shape=[12, 16]))
        assert kind == b"NO" and "expected one shape and dtype" in said["reason"]
        assert greeted(one, session="s2") == 1  # a new one may have another
        assert one.ask(*frame_of(1, shape=[12, 16])) == (b"ACK", {"next": 2})


def test_a_second_sender_of_a_stream_takes_over() -> None:
    with Receiver() as receiver, raw(receiver.address) as one, raw(receiver.address) as two:
        greeted(one)
        one.ask(*frame_of(0))
        assert greeted(two, session="s2") == 1
        kind, said = one.hear()
        assert kind == b"NO" and "taken over" in said["reason"]
        assert one.ask(b"HELLO", HELLO)[0] == b"NO"  # and does not come back
        assert one.ask(*frame_of(1))[0] == b"AGAIN"
        assert two.ask(*frame_of(1)) == (b"ACK", {"next": 2})
    assert [frame.number for frame in receiver.frames] == [0, 1]


def test_streams_have_their_own_numbers() -> None:
    with Receiver() as receiver, raw(receiver.address) as one, raw(receiver.address) as two:
        greeted(one)
        greeted(two, session="s2", stream="other")
        one.ask(*frame_of(0))
        two.ask(*frame_of(0))
        one.ask(*frame_of(1))
    assert [(f.stream, f.number) for f in receiver.frames] == [("camera", 0), ("other", 0), ("camera", 1)]


def test_nothing_is_acknowledged_before_it_is_safe() -> None:
    entered, let = threading.Event(), threading.Event()

    def publish(frames: Any) -> None:
        entered.set()
        let.wait()

    with Receiver(publish) as receiver, raw(receiver.address) as one:
        greeted(one)
        one.say(*frame_of(0))
        entered.wait()
        assert not one.socket.poll(0)
        let.set()
        assert one.hear() == (b"ACK", {"next": 1})


def test_an_error_of_publish_ends_the_run_and_is_told_to_senders() -> None:
    def publish(frames: Any) -> None:
        raise OSError("disk full")

    with Receiver(publish) as receiver, raw(receiver.address) as one:
        greeted(one)
        kind, said = one.ask(*frame_of(0))
        assert kind == b"LATER" and "disk full" in said["reason"]
        receiver.join()
    assert isinstance(receiver.error, OSError)


def test_all_that_is_there_comes_in_one_batch() -> None:
    batches: list[int] = []
    let = threading.Event()

    def publish(frames: Any) -> None:
        batches.append(len(frames))
        let.wait()

    with Receiver(publish) as receiver, FrameSender(receiver.address) as sending:
        for k in range(20):
            sending.send(pixels(k))
        let.set()
    assert sum(batches) == 20 and len(batches) < 20


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5577", "tcp://127.0.0.1:5577"),
        ("camera:1", "tcp://camera:1"),
        ("tcp://0.0.0.0:*", "tcp://0.0.0.0:*"),
        ("[::1]:80", "tcp://[::1]:80"),
        ("ipc:///tmp/x", "ipc:///tmp/x"),
    ],
)
def test_addresses(text: str, expected: str) -> None:
    assert endpoint(text) == expected


@pytest.mark.parametrize("text", ["", "x", "tcp://host", "host:0", "host:70000", "udp://h:1", "ipc://"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ParameterError, match="expected tcp://HOST:PORT"):
        Listen(text)


def test_two_cannot_listen_at_one_address() -> None:
    with Listen("*") as one, pytest.raises(SessionError, match="choose another address"):
        Listen(one.address)


def test_a_warning_where_other_machines_can_come_in() -> None:
    told: list[Message] = []
    Listen("0.0.0.0:*", listen=told.append).close()
    (message,) = told
    assert isinstance(message, Warned) and "anybody may send" in message.message
    Listen("*", listen=told.append).close()
    assert len(told) == 1


def test_frames_are_not_to_be_changed() -> None:
    found: list[Frame] = []
    with Receiver(found.extend, until_closed=True) as receiver:
        with FrameSender(receiver.address) as sending:
            sending.send(pixels(0))
        receiver.join()
    with pytest.raises(ValueError, match="read-only"):
        found[0].data[:] = np.uint16(0)
