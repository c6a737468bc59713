"""Philox4x32-10 against Random123's known answers, and what is drawn with it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.numerics.philox import Purpose, key_of, philox4x32, uniform, uniform16

KEYS = st.integers(0, 2**64 - 1)
FRAMES = st.integers(0, 10_000)
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text):
    return [int(w, 16) for w in text.split()]


def by_definition(counter, key):
    """Salmon et al. 2011 in Python integers."""
    c, (k0, k1) = list(counter), key
    for _ in range(10):
        p0, p1 = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [(p1 >> 32) ^ c[1] ^ k0, p1 % 2**32, (p0 >> 32) ^ c[3] ^ k1, p0 % 2**32]
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c


def one(counter, key):
    found = np.empty((4, 1), np.uint32)
    philox4x32(np.array(counter[:1], np.uint64), *counter[1:], np.uint64(key[0] | key[1] << 32), found)
    return found[:, 0].tolist()


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_known_answers_of_random123(counter, key, expected):
    assert one(words(counter), tuple(words(key))) == words(expected)


@given(
    counter=st.lists(st.integers(0, 2**32 - 1), min_size=4, max_size=4),
    key=st.tuples(*[st.integers(0, 2**32 - 1)] * 2),
)
def test_any_counter_and_key_as_in_the_definition(counter, key):
    assert one(counter, key) == by_definition(counter, key)


def test_the_key_is_the_low_half_of_the_digest():
    assert key_of("0123456789abcdef" + "fedcba9876543210") == 0xFEDCBA9876543210


@given(size=st.integers(1, 100), key=KEYS, frame=FRAMES, purpose=st.sampled_from(Purpose))
def test_sixteen_bits_are_halves_of_words_of_blocks_by_tiles(size, key, frame, purpose):
    found = uniform16(size, key, purpose, frame)

    assert found.dtype == np.uint16
    assert found.size == size
    for pixel in {0, size // 3, size // 2, size - 1} - {-1}:
        tile, j = divmod(pixel, 4096)
        block = 512 * tile + j % 512
        word = by_definition((block, 0, frame, purpose), (key & 0xFFFFFFFF, key >> 32))[j // 1024]
        assert found[pixel] == (word >> 16 if (j // 512) % 2 else word & 0xFFFF)


@given(pixels=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20), key=KEYS, frame=FRAMES)
def test_a_pixel_draws_the_same_number_in_any_company(pixels, key, frame):
    indices = np.array(pixels, np.int64)

    together = uniform(indices, key, Purpose.DRAW, frame)
    alone = [uniform(indices[k : k + 1], key, Purpose.DRAW, frame)[0] for k in range(len(pixels))]

    assert together.tolist() == alone
    assert ((together > 0) & (together < 1)).all()


def test_kinds_frames_and_keys_draw_different_numbers():
    pixels = np.arange(100)
    draws = [
        uniform(pixels, key, purpose, frame)
        for key in (1, 2, 1 << 32)
        for purpose in Purpose
        for frame in (0, 1)
    ]

    assert len({d.tobytes() for d in draws}) == len(draws)
    assert len({v for d in draws for v in d.tolist()}) == 100 * len(draws)


def test_numbers_are_uniform():
    n = 200_000
    fine = uniform(np.arange(n), 5, Purpose.DRAW, 0)
    coarse = uniform16(n, 5, Purpose.ROUNDING, 0) / 65536

    for numbers in (fine, coarse):
        counts = np.histogram(numbers, 50, (0, 1))[0]
        assert abs(numbers.mean() - 0.5) < 5 * np.sqrt(1 / 12 / n)
        assert ((counts - n / 50) ** 2 / (n / 50)).sum() < 49 + 5 * np.sqrt(2 * 49)
        assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 5 / np.sqrt(n)
