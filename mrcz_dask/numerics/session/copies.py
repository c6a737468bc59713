"""Stacks of a session that hold the same recorded data under several names."""

from __future__ import annotations

from collections import deque
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.session.fingerprint import Fingerprint, Grain, correlation

REACH = 256  # earlier stacks whose grain is compared: as far as windows reach
QUICK = 16  # words of 64 bits that tell unrelated stacks apart
COPIES = 0.25  # correlation of shot noise; a quarter of the frames give .5, a tilt of seven .4
SURE = 6.0  # standard errors
KEPT = 512  # stacks whose words are remembered

Words = NDArray[np.uint64]


class Copies:
    """The stacks of a session in order of time, and which of them share recorded data.

    Whether two stacks are copies depends on nothing but these two. Equal frames are found among the first
    stack that had them and the 256 stacks before, scaled, turned and summed ones among the latter.
    """

    def __init__(self) -> None:
        self._found: list[set[int]] = []
        self._first: dict[int, int] = {}
        self._recent: dict[int, deque[int]] = {}
        self._grains: dict[tuple[int, ...], deque[tuple[int, Grain]]] = {}

    def of(self, j: int) -> tuple[int, ...]:
        """Return the stacks that share data with stack `j`, in order."""
        return tuple(sorted(self._found[j]))

    def share(self, a: int, b: int) -> bool:
        """Return whether two stacks share data."""
        return a in self._found[b]

    def add(self, one: Fingerprint) -> None:
        """Take in the next stack."""
        j = len(self._found)
        self._found.append(self._equal_frames(one, j) | self._equal_grain(one.grain, j))
        for k in self._found[j]:
            self._found[k].add(j)

    def _equal_frames(self, one: Fingerprint, j: int) -> set[int]:
        earlier: set[int] = set()
        for digest in one.frames.tolist():
            if digest in self._first:
                recent = self._recent.setdefault(digest, deque(maxlen=REACH))
                earlier |= {self._first[digest], *recent}
                recent.append(j)
            else:
                self._first[digest] = j
        return earlier

    def _equal_grain(self, grain: Grain, j: int) -> set[int]:
        if not grain.shared < 1:
            return set()
        before = self._grains.setdefault(grain.signs.shape, deque(maxlen=REACH))
        others = tuple(other for _, other in before)
        found = {before[k][0] for k in (*_like(grain, others), *_with_frames_like(grain, others))}
        before.append((j, grain))
        return found


def _like(grain: Grain, before: tuple[Grain, ...]) -> tuple[int, ...]:
    """Return which of earlier stacks have the grain of a stack."""
    if not before or not grain.signs.size:
        return ()
    known_of = [_words(one) for one in before]
    others = np.stack([one[0] for one in known_of]), np.stack([one[1] for one in known_of])
    signs, known = (_packed(one) for one in grain.orientations())
    quick = others[0][:, :QUICK], others[1][:, :QUICK]
    both, differing = _compare(signs[:, None, :QUICK], known[:, None, :QUICK], quick)
    way, row = np.nonzero(differing <= both * np.arccos(COPIES) / np.pi + np.sqrt(both))
    both, differing = _compare(signs[way], known[way], (others[0][row], others[1][row]))
    shared = np.array([one.shared for one in before])[row]
    copies = _copies(both, differing, np.sqrt(shared * grain.shared))
    return tuple(sorted(set(row[copies].tolist())))


def _with_frames_like(grain: Grain, before: tuple[Grain, ...]) -> tuple[int, ...]:
    """Return which earlier stacks have a frame that is this stack's sum, or a sum that is one of its frames.

    So are the movies of a tilt series in its own stack, scaled or not.
    """
    frames, sums = [one.tiles for one in before], [_tile(one) for one in before]
    shared = np.sqrt([one.shared * grain.shared for one in before])
    found: set[int] = set()
    for theirs, own in ((frames, grain.tile), (sums, grain.tiles)):
        row = np.repeat(np.arange(len(before)), [len(one) for one in theirs])
        for one in own if row.size else ():
            differing = np.bitwise_count(np.concatenate(theirs) ^ one).sum(axis=1, dtype=np.int64)
            both = np.full(row.size, 64 * one.size)
            found.update(row[_copies(both, differing, shared[row])].tolist())
    return tuple(sorted(found))


@lru_cache(maxsize=KEPT)
def _tile(grain: Grain) -> Words:
    return grain.tile


@lru_cache(maxsize=KEPT)
def _words(grain: Grain) -> tuple[Words, Words]:
    signs, known = _packed(np.stack([grain.signs, grain.known]))
    return signs, known


def _copies(
    both: NDArray[np.int64], differing: NDArray[np.int64], shared: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return where more agrees than a pattern that is wholly shared explains."""
    count = np.maximum(both, 1)
    agreeing = 1 - differing / count
    expected = 1 - np.arccos(shared) / np.pi
    errors = (agreeing - expected) / np.sqrt(np.maximum(expected * (1 - expected), 1e-9) / count)
    noise = (correlation(agreeing) - shared) / np.maximum(1 - shared, 1e-9)
    return np.asarray((both > 0) & (errors >= SURE) & (noise >= COPIES))


def _compare(signs: Words, known: Words, others: tuple[Words, Words]) -> tuple[NDArray[np.int64], ...]:
    """Return how many signs are known of both, and how many of these differ."""
    both = known & others[1]
    differing = (signs ^ others[0]) & both
    return tuple(np.bitwise_count(one).sum(axis=-1, dtype=np.int64) for one in (both, differing))


def _packed(bits: NDArray[np.bool_]) -> Words:
    """Return images of bits (images, rows, columns) as (images, words), filled up with 0."""
    flat = np.packbits(bits.reshape(len(bits), -1), axis=1)
    filled = np.zeros((len(bits), -(-flat.shape[1] // 8) * 8), np.uint8)
    filled[:, : flat.shape[1]] = flat
    return filled.view(np.uint64)
