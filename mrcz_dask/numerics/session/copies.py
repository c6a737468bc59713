"""Find stacks of a session that hold the same recorded data: equal, scaled, turned or summed."""

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
Counts = NDArray[np.int64]


class Copies:
    """Finds, stack by stack in order of time, which stacks of a session are copies of each other.

    Whether two stacks are copies depends on nothing but these two. Equal frames are found among the first
    stack that had them and the 256 stacks before, scaled, turned and summed ones among the latter.
    """

    def __init__(self) -> None:
        self._copies: list[set[int]] = []
        self._first: dict[int, int] = {}
        self._recent: dict[int, deque[int]] = {}
        self._grains: dict[tuple[int, ...], deque[tuple[int, Grain]]] = {}

    def of(self, j: int) -> tuple[int, ...]:
        """Return the numbers of the stacks that are copies of stack `j`, ascending."""
        return tuple(sorted(self._copies[j]))

    def share(self, a: int, b: int) -> bool:
        """Return whether stacks `a` and `b` hold the same data."""
        return a in self._copies[b]

    def add(self, fingerprint: Fingerprint) -> None:
        """Compare the next stack's fingerprint with those before it."""
        j = len(self._copies)
        copies: set[int] = set()
        for digest in fingerprint.frames.tolist():
            if digest in self._first:
                recent = self._recent.setdefault(digest, deque(maxlen=REACH))
                copies |= {self._first[digest], *recent}
                recent.append(j)
            else:
                self._first[digest] = j
        grain = fingerprint.grain
        if grain.shared < 1:
            earlier = self._grains.setdefault(grain.signs.shape, deque(maxlen=REACH))
            others = [other for _, other in earlier]
            rows = _with_same_grain(grain, others) | _with_frames_like(grain, others)
            copies |= {earlier[row][0] for row in rows}
            earlier.append((j, grain))
        self._copies.append(copies)
        for k in copies:
            self._copies[k].add(j)


def _with_same_grain(grain: Grain, others: list[Grain]) -> set[int]:
    """Return the indices of the others that have the same signs of shot noise (grain), in any orientation."""
    if not others or not grain.signs.size:
        return set()
    signs_and_known = [_words(other) for other in others]
    their_signs, their_known = (np.stack(words) for words in zip(*signs_and_known, strict=True))
    signs, known = (_packed(bits) for bits in grain.orientations())
    both, differing = _compare(
        signs[:, None, :QUICK], known[:, None, :QUICK], their_signs[:, :QUICK], their_known[:, :QUICK]
    )
    way, row = np.nonzero(differing <= both * np.arccos(COPIES) / np.pi + np.sqrt(both))
    both, differing = _compare(signs[way], known[way], their_signs[row], their_known[row])
    shared = np.sqrt(np.array([other.shared for other in others])[row] * grain.shared)
    return set(row[_are_copies(both, differing, shared)].tolist())


def _with_frames_like(grain: Grain, others: list[Grain]) -> set[int]:
    """Return the indices of the others with a frame like this stack's sum, or a sum like one of its frames.

    So are the movies of a tilt series in its own stack, scaled or not.
    """
    shared = np.sqrt([other.shared * grain.shared for other in others])
    rows: set[int] = set()
    for theirs, own in (
        ([other.tiles for other in others], grain.tile),
        ([_tile(other) for other in others], grain.tiles),
    ):
        row = np.repeat(np.arange(len(others)), [len(tiles) for tiles in theirs])
        for tile in own if row.size else ():
            differing = np.bitwise_count(np.concatenate(theirs) ^ tile).sum(axis=1, dtype=np.int64)
            both = np.full(row.size, 64 * tile.size)
            rows.update(row[_are_copies(both, differing, shared[row])].tolist())
    return rows


@lru_cache(maxsize=KEPT)
def _tile(grain: Grain) -> Words:
    return grain.tile


@lru_cache(maxsize=KEPT)
def _words(grain: Grain) -> tuple[Words, Words]:
    signs, known = _packed(np.stack([grain.signs, grain.known]))
    return signs, known


def _are_copies(both: Counts, differing: Counts, shared: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which pairs are copies: more signs agree than if all but their counting noise were the same.

    `both` counts the pixels whose signs are known in both stacks, `differing` those of them that differ;
    `shared` is the correlation that pattern and specimen explain at most.
    """
    count = np.maximum(both, 1)
    agreeing = 1 - differing / count
    expected = 1 - np.arccos(shared) / np.pi
    errors = (agreeing - expected) / np.sqrt(np.maximum(expected * (1 - expected), 1e-9) / count)
    noise = (correlation(agreeing) - shared) / np.maximum(1 - shared, 1e-9)
    return np.asarray((both > 0) & (errors >= SURE) & (noise >= COPIES))


def _compare(signs: Words, known: Words, their_signs: Words, their_known: Words) -> tuple[Counts, Counts]:
    """Return the number of pixels whose signs are known in both images, and of those whose signs differ."""
    both = known & their_known
    differing = (signs ^ their_signs) & both
    return (
        np.bitwise_count(both).sum(axis=-1, dtype=np.int64),
        np.bitwise_count(differing).sum(axis=-1, dtype=np.int64),
    )


def _packed(bits: NDArray[np.bool_]) -> Words:
    """Pack images of bits (images, rows, columns) into 64-bit words (images, words), padded with 0."""
    flat = np.packbits(bits.reshape(len(bits), -1), axis=1)
    filled = np.zeros((len(bits), -(-flat.shape[1] // 8) * 8), np.uint8)
    filled[:, : flat.shape[1]] = flat
    return filled.view(np.uint64)
