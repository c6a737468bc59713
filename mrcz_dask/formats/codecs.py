"""How frames are compressed, and the choice of it from a sample of the data.

A chunk is compressed by one thread: with several, blosc stores blocks in the order in which threads finish.
Frames go to different threads instead, so that the bytes are the same on any number of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats import version2
from mrcz_dask.values.checks import one_of, raise_all, within
from mrcz_dask.values.errors import ParameterError

Filter = Literal["none", "byte", "bit"]
AIMS = {"auto": 500, "auto:fast": 2000, "auto:small": 100}
_LEVELS = {"zstd": 1, "lz4": 9, "lz4hc": 5, "zlib": 5, "blosclz": 5}
# MB/s that one core was seen to take in, rounded: the model that keeps timing out of the choice
_CANDIDATES = (("zstd", 1, 800), ("lz4", 9, 2500), ("zstd", 5, 250))
_MIB = 1 << 20
_MAX_BLOCK = 4 * _MIB


@dataclass(frozen=True, slots=True)
class Codec:
    """One way to compress a frame.

    Attributes
    ----------
    name
        ``zstd``, ``lz4``, ``lz4hc``, ``zlib`` or ``blosclz``.
    level
        1 (fast) to 9 (small).
    filter
        ``bit`` or ``byte`` shuffle, or ``none``.
    blocksize
        Bytes, about (frames are cut so that no long tail is left); 0 stands for 1 MiB per byte of the pixel
        type, at most 4 MiB.
    version
        2 for blosc1 chunks, which every reader of MRCZ knows, or 5 for blosc2.
    """

    name: str = "zstd"
    level: int = 1
    filter: Filter = "bit"
    blocksize: int = 0
    version: int = 2

    def __post_init__(self) -> None:
        raise_all(
            "codec",
            chain(
                one_of("name", self.name, tuple(_LEVELS)),
                within("level", self.level, 1, 9),
                one_of("filter", self.filter, tuple(version2.SHUFFLES)),
                within("blocksize", self.blocksize, 0, 1 << 30, unit=" bytes"),
                one_of("version", self.version, (2, 5)),
            ),
        )

    @classmethod
    def parse(cls, text: str, *, version: int = 2) -> Codec:
        """Make a codec from NAME[:LEVEL[:FILTER]], such as ``zstd:1`` or ``lz4:9:none``.

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

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def compress(self, frame: NDArray[Any]) -> bytes:
        """Return a C-contiguous frame as one chunk; the same bytes in any thread."""
        block = self.blocksize or _default_block(frame)
        # blosc knows item sizes, not float16 or complex
        items = frame.reshape(-1).view(f"u{frame.itemsize}")
        compress = version2.compress if self.version == 2 else version2.compress5
        return compress(items, self.name, self.level, self.filter, block)


def choose(frames: NDArray[Any] | Sequence[NDArray[Any]], aim: str = "auto", *, version: int = 2) -> Codec:
    """Choose codec and filter: the smallest of samples of the frames, among those that are fast enough.

    Speed comes from a fixed table, so that the choice depends on the data alone.

    Parameters
    ----------
    frames
        A frame (ny, nx) or several; about one block from the middle of each is tried.
    aim
        ``auto`` (at least 500 MB/s a core), ``auto:fast`` (2 GB/s) or ``auto:small`` (100 MB/s).
    version
        Of the chunks, 2 or 5.

    Raises
    ------
    ParameterError
        Another aim.
    """
    if aim not in AIMS:
        raise ParameterError(f"codec is {aim!r}; expected one of {', '.join(AIMS)} or NAME[:LEVEL]")
    several = [frames] if isinstance(frames, np.ndarray) and frames.ndim == 2 else frames
    samples = [_middle(frame) for frame in several]
    plain: Filter = "none" if samples[0].itemsize == 1 else "byte"
    candidates = [
        Codec(name, level, shuffle, version=version)
        for name, level, speed in _CANDIDATES
        if speed >= AIMS[aim]
        for shuffle in ("bit", plain)
    ]
    return min(candidates, key=lambda codec: sum(len(codec.compress(sample)) for sample in samples))


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


def _default_block(frame: NDArray[Any]) -> int:
    return min(_MIB * frame.itemsize, _MAX_BLOCK)


def _middle(frame: NDArray[Any]) -> NDArray[Any]:
    """Whole rows round the middle of a frame, about one block of them."""
    rows = max(1, min(len(frame), _default_block(frame) // frame[0].nbytes))
    start = (len(frame) - rows) // 2
    return np.ascontiguousarray(frame[start : start + rows])
