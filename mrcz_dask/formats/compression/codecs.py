"""Compresses frames with a codec, and chooses a fast and small one from a sample of the data.

A chunk is compressed by one thread: with several, blosc stores blocks in the order in which threads finish.
Frames go to different threads instead, so that the bytes are the same on any number of them.

``auto`` aims at the smallest file among those that one core writes fast enough (`AIMS`). Sizes are those of a
sample; speeds come from a fixed table, so that the same data is stored in the same way on any machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.compression import counts, version2
from mrcz_dask.values.checks import one_of, raise_all, within
from mrcz_dask.values.errors import ParameterError

Filter = Literal["none", "byte", "bit"]
# the least MB/s of pixels that one core must take in
AIMS = {"auto": 900, "auto:fast": 2000, "auto:small": 100}
_LEVELS = {"noise": 1, "zstd": 1, "lz4": 9, "lz4hc": 5, "zlib": 5, "blosclz": 5}
_MIB = 1 << 20
_LARGEST_BLOCK = 4 * _MIB
_LARGEST_CHUNK = (1 << 31) - (1 << 20)
_PIECES = 4  # of a frame make a sample
_UNSHUFFLED_SHARE = 8  # this part of a block is sample enough for what is not cut into planes
_SMALLER_BLOCKS = (0.5, 0.25)  # of the default; larger ones gain nothing, above 4 MiB they are slower
_WORTH = 0.99  # smaller blocks are slower to read: the file must shrink to this


@dataclass(frozen=True, slots=True)
class Codec:
    """A way to compress frames: compressor (such as ``zstd``), level, filter and block size.

    Attributes
    ----------
    name
        ``noise`` (zstd's streams, made for counts), ``zstd``, ``lz4``, ``lz4hc``, ``zlib`` or ``blosclz``.
    level
        1 (fast) to 9 (small); of ``noise`` to 3.
    filter
        ``bit`` or ``byte`` shuffle, or ``none``.
    blocksize
        Bytes, about (frames are cut so that no long tail is left); 0 stands for 1 MiB per byte of the pixel
        type, at most 4 MiB.
    version
        2 for blosc1 chunks, which every reader of MRCZ knows, or 5 for blosc2; of ``noise`` 2.
    aim
        Aim of the choice (see `choose`); empty if the user named the codec.
    """

    name: str = "zstd"
    level: int = 1
    filter: Filter = "bit"
    blocksize: int = 0
    version: int = 2
    aim: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        raise_all(
            "codec",
            chain(
                one_of("name", self.name, tuple(_LEVELS)),
                within("level", self.level, *(counts.LEVELS if self.name == "noise" else (1, 9))),
                one_of("filter", self.filter, tuple(version2.SHUFFLES)),
                within("blocksize", self.blocksize, 0, 1 << 30, unit=" bytes"),
                one_of("version", self.version, (2,) if self.name == "noise" else (2, 5)),
            ),
        )

    @classmethod
    def parse(cls, text: str, *, version: int = 2) -> Codec:
        """Make a codec from text NAME[:LEVEL[:FILTER]], such as ``zstd:1`` or ``lz4:9:none``.

        Raises
        ------
        ParameterError
            Not of that form, or a name, level or filter that is not known.
        """
        name, *rest = text.lower().split(":")
        if len(rest) > 2 or (rest and not rest[0].isdigit()):
            raise ParameterError(f"codec is {text!r}; expected NAME[:LEVEL[:FILTER]] such as zstd:1, or auto")
        level = int(rest[0]) if rest else _LEVELS.get(name, 1)
        return cls(name, level, rest[1] if len(rest) == 2 else "bit", version=version)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.name}:{self.level}:{self.filter}"

    @property
    def format(self) -> str:
        """Name of the codec in MRCZ headers, by which other programs know how to decompress."""
        return "zstd" if self.name == "noise" else self.name

    def to_dict(self) -> dict[str, Any]:
        """Return the codec as a dictionary of plain values, for the provenance."""
        return asdict(self)

    def compress(self, frame: NDArray[Any]) -> bytes:
        """Return a C-contiguous frame as one blosc chunk; equal frames give equal bytes in any thread."""
        block = self.blocksize or _default_block(frame.itemsize)
        # blosc knows item sizes, not float16 or complex
        items = frame.reshape(-1).view(f"u{frame.itemsize}")
        if self.name == "noise":
            return counts.compress(items, self.level, self.filter, block)
        compress = version2.compress if self.version == 2 else version2.compress5
        return compress(items, self.name, self.level, self.filter, block)


def check_codec(codec: str) -> None:
    """Raise an error unless a text is a codec: ``auto``, ``auto:fast``, ``auto:small``, ``none``,
    NAME[:LEVEL[:FILTER]].

    Raises
    ------
    ParameterError
        Otherwise.
    """
    if codec not in ("none", *AIMS):
        Codec.parse(codec)


def check_chunk_size(nbytes: int) -> None:
    """Raise an error if a frame is too large (2 GiB) for a blosc chunk.

    Raises
    ------
    ParameterError
        It has 2 GiB or more.
    """
    if nbytes > _LARGEST_CHUNK:
        raise ParameterError(f"frames of {nbytes} bytes; a chunk holds {_LARGEST_CHUNK}: codec none")


def resolve(codec: str | Codec | None, frame: NDArray[Any], *, version: int = 2) -> Codec | None:
    """Return the codec for a stack whose first frame is `frame`; ``auto`` tries several;
    None = no compression.

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
    """Choose the codec for frames like this one: of those fast enough for the aim,
    the one with the smallest result.

    Parameters
    ----------
    frame
        (ny, nx) pixels as they are stored. Pieces that are spread over it make a block, on which codecs and
        then smaller blocks are tried.
    aim
        ``auto`` (at least 900 MB/s a core), ``auto:fast`` (2 GB/s) or ``auto:small`` (100 MB/s). If nothing
        is fast enough, the fastest.
    version
        Version of the chunks, 2 or 5.

    Raises
    ------
    ParameterError
        Another aim.
    """
    if aim not in AIMS:
        raise ParameterError(f"codec is {aim!r}; expected one of {', '.join(AIMS)} or NAME[:LEVEL]")
    limit = _default_block(frame.itemsize)
    size = version2.block_size(frame.size, frame.itemsize, limit) or limit
    block, floor = _sample(frame, size), AIMS[aim]
    trials = list(_trials(_QUICK, block, floor, version))
    shuffled = _smallest(trials, floor).filter == "bit"
    trials += _trials((c for c in _SLOW if c.shuffled is shuffled), block, floor, version)
    best = replace(_smallest(trials, floor), blocksize=size, aim=aim)
    codecs = [best, *(replace(best, blocksize=int(size * part)) for part in _SMALLER_BLOCKS)]
    sizes = [len(codec.compress(block)) for codec in codecs]
    return codecs[int(np.argmin(sizes))] if min(sizes) < _WORTH * sizes[0] else best


def _trials(
    candidates: Iterable[_Candidate], block: NDArray[Any], floor: int, version: int
) -> Iterator[_Trial]:
    """Compress a sample with those candidates that may be fast enough."""
    part = _sample(block, max(1, block.nbytes // _UNSHUFFLED_SHARE))
    items = part.view(f"u{part.itemsize}")
    changing = int(np.bitwise_or.reduce(items ^ items[0]))
    # bytes of a pixel that differ between pixels: the others cost no time
    varying = sum(changing >> 8 * byte & 255 > 0 for byte in range(part.itemsize))
    width = block.itemsize / max(1, varying)
    unshuffled: Filter = "none" if block.itemsize == 1 else "byte"
    for candidate in candidates:
        fastest = max(speed for _, speed in candidate.speeds)
        if fastest * width < floor or (version != 2 and candidate.name == "noise"):
            continue
        shuffle, sample = ("bit", block) if candidate.shuffled else (unshuffled, part)
        codec = Codec(candidate.name, candidate.level, shuffle, block.nbytes, version)  # type: ignore[arg-type]
        share = len(codec.compress(sample)) / sample.nbytes
        speed = next(speed for most, speed in candidate.speeds if share * width <= most)
        yield _Trial(codec, share, speed * width)


def _smallest(trials: list[_Trial], floor: int) -> Codec:
    """Return the codec of the smallest result among those that are fast enough."""
    least = min(floor, max(trial.speed for trial in trials))
    return min((trial for trial in trials if trial.speed >= least), key=lambda trial: trial.share).codec


def _sample(frame: NDArray[Any], nbytes: int) -> NDArray[Any]:
    """Return about `nbytes` of a frame, flat: pieces from the middles of its equal parts."""
    pixels = frame.reshape(-1)
    part, piece = pixels.size // _PIECES, nbytes // frame.itemsize // _PIECES // 8 * 8
    if piece == 0 or part <= piece:
        return pixels
    starts = (k * part + (part - piece) // 2 for k in range(_PIECES))
    return np.concatenate([pixels[start : start + piece] for start in starts])


def _default_block(itemsize: int) -> int:
    """Return the bytes of a block: bit planes of 128 KiB, which is the block of zstd itself."""
    return min(_MIB * itemsize, _LARGEST_BLOCK)
