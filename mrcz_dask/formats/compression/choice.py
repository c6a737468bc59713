"""The choice of codec, filter and block size from a sample of the data.

The aim: the smallest file among those that one core writes fast enough (`AIMS`). Sizes are those of a sample;
speeds come from a fixed table, so that the same data is stored in the same way on any machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.compression.codecs import AIMS, Codec, Filter, default_block
from mrcz_dask.formats.compression.version2 import block_size
from mrcz_dask.values.errors import ParameterError

PIECES = 4
_PLAIN = 8  # this part of a block does for what is not cut into planes
_BLOCKS = (0.5, 0.25)  # of the default; larger ones gain nothing, above 4 MiB they are slower
_GAIN = 0.99  # smaller blocks are slower to read: they must be worth it


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A codec, and the MB/s of 8-bit counts that one core takes in where they shrink to at most such a share.

    Of Poisson counts, 0.1 to 10 a pixel, rounded. Bytes of a wider type that are the same everywhere take no
    time: what is left is as 8-bit counts are.
    """

    name: str
    level: int
    shuffled: bool
    speeds: tuple[tuple[float, int], ...]

    def codec(self, itemsize: int, block: int, version: int) -> Codec:
        plain: Filter = "none" if itemsize == 1 else "byte"
        shuffle = "bit" if self.shuffled else plain
        return Codec(self.name, self.level, shuffle, block, version)

    def speed(self, share: float) -> int:
        return next(speed for most, speed in self.speeds if share <= most)

    @property
    def fastest(self) -> int:
        return max(speed for _, speed in self.speeds)


_ANY = float("inf")
_QUICK = (
    _Candidate("noise", 1, True, ((_ANY, 1000),)),
    _Candidate("noise", 1, False, ((0.3, 300), (0.35, 800), (_ANY, 1000))),
    _Candidate("zstd", 1, True, ((_ANY, 1000),)),
    _Candidate("zstd", 1, False, ((0.1, 900), (0.45, 300), (_ANY, 900))),
    _Candidate("lz4", 9, True, ((0.4, 2000), (_ANY, 1500))),
)
# tried with the filter that is best with the others
_SLOW = (
    _Candidate("noise", 3, True, ((_ANY, 100),)),
    _Candidate("zstd", 5, True, ((_ANY, 250),)),
    _Candidate("zstd", 5, False, ((_ANY, 100),)),
)


@dataclass(frozen=True, slots=True)
class _Trial:
    codec: Codec
    share: float
    speed: float


def choose(frame: NDArray[Any], aim: str = "auto", *, version: int = 2) -> Codec:
    """Choose codec, filter and block size for frames like this one.

    Parameters
    ----------
    frame
        (ny, nx) pixels as they are stored. Pieces that are spread over it make a block, on which codecs and
        then smaller blocks are tried.
    aim
        ``auto`` (at least 900 MB/s a core), ``auto:fast`` (2 GB/s) or ``auto:small`` (100 MB/s). If nothing
        is fast enough, the fastest.
    version
        Of the chunks, 2 or 5.

    Raises
    ------
    ParameterError
        Another aim.
    """
    if aim not in AIMS:
        raise ParameterError(f"codec is {aim!r}; expected one of {', '.join(AIMS)} or NAME[:LEVEL]")
    limit = default_block(frame.itemsize)
    size = block_size(frame.size, frame.itemsize, limit) or limit
    block = _sample(frame, size)
    best = replace(_best(block, AIMS[aim], version), blocksize=size, aim=aim)
    return _with_block(best, block)


def resolve(codec: str | Codec | None, frame: NDArray[Any], *, version: int = 2) -> Codec | None:
    """Return the codec for a stack that begins with `frame`; None stands for no compression.

    Raises
    ------
    ParameterError
        A text that names no codec.
    """
    if isinstance(codec, Codec):
        return replace(codec, version=version) if codec.version != version else codec
    if codec is None or codec == "none":
        return None
    if codec.partition(":")[0] == "auto":
        return choose(frame, codec, version=version)
    return Codec.parse(codec, version=version)


def _best(block: NDArray[Any], floor: int, version: int) -> Codec:
    tried = list(_trials(_QUICK, block, floor, version))
    shuffled = _smallest(tried, floor).filter == "bit"
    slower = (one for one in _SLOW if one.shuffled is shuffled)
    return _smallest([*tried, *_trials(slower, block, floor, version)], floor)


def _trials(
    candidates: Iterable[_Candidate], block: NDArray[Any], floor: int, version: int
) -> Iterator[_Trial]:
    plain = _sample(block, max(1, block.nbytes // _PLAIN))
    width = block.itemsize / max(1, _varying(plain))
    for one in candidates:
        if one.fastest * width >= floor and (version == 2 or one.name != "noise"):
            codec, sample = one.codec(block.itemsize, block.nbytes, version), block if one.shuffled else plain
            share = len(codec.compress(sample)) / sample.nbytes
            yield _Trial(codec, share, one.speed(share * width) * width)


def _smallest(tried: list[_Trial], floor: int) -> Codec:
    least = min(floor, max(one.speed for one in tried))
    return min((one for one in tried if one.speed >= least), key=lambda one: one.share).codec


def _varying(sample: NDArray[Any]) -> int:
    """Return how many bytes of the pixels are not the same in all of them."""
    items = sample.view(f"u{sample.itemsize}")
    changing = int(np.bitwise_or.reduce(items ^ items[0]))
    return sum(changing >> 8 * byte & 255 > 0 for byte in range(sample.itemsize))


def _with_block(codec: Codec, sample: NDArray[Any]) -> Codec:
    smaller = [replace(codec, blocksize=int(codec.blocksize * part)) for part in _BLOCKS]
    sizes = {one: len(one.compress(sample)) for one in (codec, *smaller)}
    found = min(sizes, key=sizes.__getitem__)
    return found if sizes[found] < _GAIN * sizes[codec] else codec


def _sample(frame: NDArray[Any], nbytes: int) -> NDArray[Any]:
    """Return about so many bytes of a frame, flat: pieces from the middles of its equal parts."""
    pixels = frame.reshape(-1)
    part, piece = pixels.size // PIECES, nbytes // frame.itemsize // PIECES // 8 * 8
    if piece == 0 or part <= piece:
        return pixels
    starts = (k * part + (part - piece) // 2 for k in range(PIECES))
    return np.concatenate([pixels[start : start + piece] for start in starts])
