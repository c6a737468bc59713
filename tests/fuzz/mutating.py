"""Damaged copies of sound files: a few changes each, of the kinds that disks, programs and attackers make."""

import random
import struct
from collections.abc import Callable, Sequence

# Numbers at the edges of types, and texts at which parsers of numbers, JSON and markup stumble.
EDGES = [0, 1, -1, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, 10**6]
TOKENS = [
    *(
        b"nan",
        b"inf",
        b"-1",
        b"1e999",
        b"9" * 400,
        b"1_0",
        b"0x10",
        b"\xd9\xa3",
        b"\xc2\xb2",
        b"\xff\xfe",
        b"\0",
    ),
    *(b"[" * 2000, b'{"":' * 900, b"null", b'""', b"\n", b"\r", b"\x1b[31m", b"\xe2\x80\xae", b"1 2 3", b"="),
    *(
        b"true",
        b"{}",
        b"[]",
        b"1.5",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"../../x",
        b"%s",
        b"-0",
        b'"\\ud800"',
    ),
]

Change = Callable[[random.Random, bytearray], None]


def _flip(choose: random.Random, data: bytearray) -> None:
    data[choose.randrange(len(data))] ^= 1 << choose.randrange(8)


def _cut(choose: random.Random, data: bytearray) -> None:
    del data[choose.randrange(len(data)) :]


def _remove(choose: random.Random, data: bytearray) -> None:
    start = choose.randrange(len(data))
    del data[start : start + choose.randrange(1, 40)]


def _repeat(choose: random.Random, data: bytearray) -> None:
    start = choose.randrange(len(data))
    data[start:start] = data[start : start + choose.randrange(1, 200)] * choose.randrange(1, 9)


def _number(choose: random.Random, data: bytearray) -> None:
    size, order, value = choose.choice([1, 2, 4, 8]), choose.choice("<>"), choose.choice(EDGES)
    packed = struct.pack(f"{order}Q", value % 2**64)
    packed = packed[:size] if order == "<" else packed[-size:]
    start = choose.randrange(len(data)) // size * size
    data[start : start + size] = packed


def _token(choose: random.Random, data: bytearray) -> None:
    start = choose.randrange(len(data) + 1)
    data[start : start + choose.randrange(6)] = choose.choice(TOKENS)


def _word(choose: random.Random, data: bytearray) -> None:
    """Put a token in the place of a word of text."""
    words = bytes(data).split()
    word = choose.choice(words) if words else b""
    start = data.find(word)
    data[start : start + len(word)] = choose.choice(TOKENS)


CHANGES: Sequence[Change] = (_flip, _flip, _cut, _remove, _repeat, _number, _number, _token, _word)


def mutated(data: bytes, seed: int) -> bytes:
    """Return a damaged copy; the same seed gives the same damage."""
    choose = random.Random(seed)
    changed = bytearray(data)
    for _ in range(choose.choice((1, 1, 2, 3, 6))):
        if changed:
            choose.choice(CHANGES)(choose, changed)
    return bytes(changed)
