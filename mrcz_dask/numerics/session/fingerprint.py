"""Recognizes copies of stacks by fingerprints: also scaled, turned, cut or summed ones."""

from __future__ import annotations

import base64
import hashlib
from collections import deque
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.arrays import Floats, Mask
from mrcz_dask.numerics.doses import constant_ends

PATCH = 256  # pixels a side whose values are digested: shot noise makes them unique
BLOCKS = 64  # of 2 x 2 pixels a side, whose signs are kept
MOST_FRAMES = 256
TILE = 16  # blocks a side, of which the signs of single frames are kept
MOST_TILES = 128
DENSE = 0.8  # share of a tile's differences that are not 0
EXACT = 2.0**24  # float32 holds all integers below
NO_TILES = np.zeros((0, TILE * TILE // 64), np.uint64)
STEPS = ((1, 1), (-1, -1), (1, -1), (-1, 1))  # the last two are one flip

Words = NDArray[np.uint64]
REACH = 256  # earlier stacks whose grain is compared: as far as windows reach
QUICK = 16  # words of 64 bits that tell unrelated stacks apart
COPIES = 0.25  # correlation of shot noise; a quarter of the frames give .5, a tilt of seven .4
SURE = 6.0  # standard errors
KEPT = 512  # stacks whose words are remembered
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Grain:
    """The signs of the shot noise in a stack's sum, which only its copies share, also scaled or turned.

    Attributes
    ----------
    signs, known
        (rows, columns) bool: whether a difference is positive, and whether it is one at all.
    shared
        Correlation that two such sums would have if all but their counting noise were the same; not a number
        where it could not be measured.
    tiles
        (frames, words) uint64: the signs of single frames of many counts, in the middle 16 x 16 blocks. A
        frame of a tilt series is the sum of a movie.
    """

    signs: Mask
    known: Mask
    shared: float
    tiles: Words

    @classmethod
    def of(cls, even: Floats, odd: Floats, tiles: Words) -> Grain:
        """Compute the grain of a stack from the diagonal differences of two halves of its frames.

        Notes
        -----
        Pattern and specimen are in both halves, counting noise is not: from the correlation r of the halves
        follows 2 r / (1 + r) for the sum (Spearman and Brown). Three standard errors are added, so that a
        strong pattern is not taken for a copy.
        """
        total = even + odd
        known = np.isfinite(total) & (total != 0)
        both = np.isfinite(total) & (even != 0) & (odd != 0)
        count = int(both.sum())
        if not count:
            return cls((total > 0) & known, known, np.nan, tiles)
        agreeing = float(((even > 0) == (odd > 0))[both].mean())
        r = max(0.0, float(correlation(agreeing)))
        error = np.pi * np.sqrt(max(0.0, (1 - r**2) * agreeing * (1 - agreeing) / count))
        shared = 2 * r / (1 + r) + 3 * error * 2 / (1 + r) ** 2
        return cls((total > 0) & known, known, float(min(1.0, shared)), tiles)

    @property
    def tile(self) -> Words:
        """The signs of the sum at the places where single frames have theirs, (1, words), to compare the two;
        (0, words) at few counts.
        """
        return _tile(self.signs, self.known)

    def orientations(self) -> tuple[Mask, Mask]:
        """Return the sum's signs, and where they are known, in all orientations, to find turned copies.

        There are 8 ways if the frame is square, else 4. One flip changes the sign of a diagonal difference.
        """
        both = np.stack([self.signs, self.known])
        ways = [both, both.swapaxes(1, 2)] if both.shape[1] == both.shape[2] else [both]
        turned = [image[:, :: step[0], :: step[1]] for image in ways for step in STEPS]
        signs, known = np.stack(turned, axis=1)
        signs[2::4] ^= True
        signs[3::4] ^= True
        return signs, known


def correlation(agreeing: Any) -> Any:
    """Return the correlation of two normal variables from the share of places where their signs agree."""
    return np.cos(np.pi * (1 - np.asarray(agreeing, np.float64)))


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """The fingerprint of a stack, by which copies are found: digests of its frames, and the grain of its sum.

    Attributes
    ----------
    frames
        Sorted uint64: digests of the values of its frames and of their sum, blank frames left out; of long
        stacks the smallest 256.
    grain
        Grain of its sum.
    """

    frames: Words
    grain: Grain

    def to_text(self) -> tuple[str, str]:
        """Return the fingerprint as two texts, for a record: one for the digests, one for the grain."""
        grain = self.grain
        bits = np.packbits(np.stack([grain.signs, grain.known])).tobytes()
        digests = base64.b64encode(self.frames.astype("<u8").tobytes()).decode("ascii")
        tiles = base64.b64encode(grain.tiles.astype("<u8").tobytes()).decode("ascii")
        signs = base64.b64encode(bits).decode("ascii")
        return digests, f"{grain.signs.shape[0]} {grain.shared!r} {signs} {tiles}"

    @classmethod
    @lru_cache(maxsize=8192)
    def from_text(cls, frames: str, grain: str) -> Fingerprint:
        """Read a fingerprint from the two texts that `to_text` wrote; empty texts give an empty one."""
        digests = np.frombuffer(base64.b64decode(frames), "<u8").astype(np.uint64)
        rows, shared, bits, tiles = grain.split(" ") if grain else ("0", "nan", "", "")
        height = int(rows)
        flat = np.unpackbits(np.frombuffer(base64.b64decode(bits), np.uint8)).astype(np.bool_)
        # rows and columns are multiples of 2, so that two images of bits never leave part of a byte
        signs, known = flat.reshape(2, height, -1) if height else np.zeros((2, 0, 0), np.bool_)
        words = np.frombuffer(base64.b64decode(tiles), "<u8").astype(np.uint64)
        return cls(digests, Grain(signs, known, float(shared), words.reshape(-1, NO_TILES.shape[1])))


@dataclass(slots=True)
class Fingerprinter:
    """Accumulates, frame by frame, the fingerprint of a stack.

    Attributes
    ----------
    shape
        (ny, nx) of the frames.
    """

    shape: tuple[int, int]
    _rows: NDArray[np.intp] = field(init=False)
    _columns: NDArray[np.intp] = field(init=False)
    _halves: list[Floats] = field(init=False)
    _digests: list[int] = field(default_factory=list)
    _tiles: list[Words] = field(default_factory=list)

    def __post_init__(self) -> None:
        lines = []
        for n in self.shape:  # of the blocks in the middle, which a flip of the image maps onto themselves
            half = n // 2
            used = 2 * min(BLOCKS // 2, half // 2)
            lines.append(np.concatenate([np.arange(half - used, half), np.arange(n - half, n - half + used)]))
        self._rows, self._columns = lines
        self._halves = [np.zeros((self._rows.size // 2, self._columns.size // 2)) for _ in range(2)]

    def add(self, frame: NDArray[Any]) -> int | None:
        """Add the next frame (ny, nx), of any real dtype, and return its digest; None for a blank frame."""
        digest = value_digest(frame)
        if digest is None:
            return None
        with np.errstate(invalid="ignore"):
            block = frame[np.ix_(self._rows, self._columns)].astype(np.float64)
            # neither columns nor rows reach a diagonal difference
            diagonal = block[::2, ::2] + block[1::2, 1::2] - block[::2, 1::2] - block[1::2, ::2]
            self._halves[len(self._digests) % 2] += diagonal
            if len(self._digests) < MOST_TILES:
                self._tiles.append(_tile(diagonal > 0, (diagonal != 0) & np.isfinite(diagonal)))
        self._digests.append(digest)
        return digest

    def result(self, total: NDArray[Any], unit: float = 1.0) -> Fingerprint:
        """Return the fingerprint of the frames added so far.

        Parameters
        ----------
        total
            (ny, nx) the sum over frames, by which a stack is known whose frames were summed.
        unit
            Counts that a unit of `total` is.
        """
        digests, of_sum = list(self._digests), value_digest(total, unit)
        if of_sum is not None:
            digests.append(of_sum)
        even, odd = self._halves
        smallest = np.unique(np.array(digests, np.uint64))[:MOST_FRAMES]
        return Fingerprint(smallest, Grain.of(even, odd, np.concatenate([NO_TILES, *self._tiles])))


def _tile(signs: Mask, known: Mask) -> Words:
    """Return the signs of the middle blocks as (1, words); (0, words) where too few are known."""
    if min(signs.shape) < TILE:
        return NO_TILES
    top, left = ((n - TILE) // 2 for n in signs.shape)
    middle = slice(top, top + TILE), slice(left, left + TILE)
    if known[middle].mean() < DENSE:
        return NO_TILES
    return np.packbits(signs[middle]).view(np.uint64)[None]


def value_digest(frame: NDArray[Any], unit: float = 1.0) -> int | None:
    """Return a hash of a frame's values, whatever its dtype and constant border; None for a blank frame.

    Parameters
    ----------
    frame
        (ny, nx), any real dtype. The middle of what is inside the border is taken, or all where the middle
        is blank.
    unit
        Factor of the values.
    """
    top, bottom = constant_ends(frame)
    if top == bottom:
        return None
    left, right = constant_ends(frame[top:bottom].T)
    if left == right:
        return None
    inside = frame[top:bottom, left:right]
    patch = inside[tuple(slice((n - min(n, PATCH)) // 2, (n + min(n, PATCH)) // 2) for n in inside.shape)]
    values = inside if (patch == patch[0, 0]).all() else patch
    with np.errstate(over="ignore", invalid="ignore"):
        plain = np.multiply(values, unit, dtype=np.float64) + 0.0  # no -0
        if np.abs(plain).max() < EXACT:  # else float32 would make frames on a large offset equal
            plain = plain.astype(np.float32)
    digest = hashlib.blake2b(np.ascontiguousarray(plain).view(np.uint8).data, digest_size=8).digest()
    return int.from_bytes(digest, "little")


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
        ([_kept_tile(other) for other in others], grain.tiles),
    ):
        row = np.repeat(np.arange(len(others)), [len(tiles) for tiles in theirs])
        for tile in own if row.size else ():
            differing = np.bitwise_count(np.concatenate(theirs) ^ tile).sum(axis=1, dtype=np.int64)
            both = np.full(row.size, 64 * tile.size)
            rows.update(row[_are_copies(both, differing, shared[row])].tolist())
    return rows


@lru_cache(maxsize=KEPT)
def _kept_tile(grain: Grain) -> Words:
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
