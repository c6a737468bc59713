"""How frames are compressed.

A chunk is compressed by one thread: with several, blosc stores blocks in the order in which threads finish.
Frames go to different threads instead, so that the bytes are the same on any number of them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any, Literal

from numpy.typing import NDArray

from mrcz_dask.formats.compression import counts as noise
from mrcz_dask.formats.compression import version2
from mrcz_dask.values.checks import one_of, raise_all, within
from mrcz_dask.values.errors import ParameterError

Filter = Literal["none", "byte", "bit"]
# the least MB/s of pixels that one core must take in
AIMS = {"auto": 900, "auto:fast": 2000, "auto:small": 100}
_LEVELS = {"noise": 1, "zstd": 1, "lz4": 9, "lz4hc": 5, "zlib": 5, "blosclz": 5}
_MIB = 1 << 20
_MAX_BLOCK = 4 * _MIB


@dataclass(frozen=True, slots=True)
class Codec:
    """One way to compress a frame.

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
        What it was chosen for (see `choice`); empty if it was asked for.
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
                within("level", self.level, *(noise.LEVELS if self.name == "noise" else (1, 9))),
                one_of("filter", self.filter, tuple(version2.SHUFFLES)),
                within("blocksize", self.blocksize, 0, 1 << 30, unit=" bytes"),
                one_of("version", self.version, (2,) if self.name == "noise" else (2, 5)),
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

    @property
    def format(self) -> str:
        """The name that MODE and other readers have for its streams."""
        return "zstd" if self.name == "noise" else self.name

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def compress(self, frame: NDArray[Any]) -> bytes:
        """Return a C-contiguous frame as one chunk; the same bytes in any thread."""
        block = self.blocksize or default_block(frame.itemsize)
        # blosc knows item sizes, not float16 or complex
        items = frame.reshape(-1).view(f"u{frame.itemsize}")
        if self.name == "noise":
            return noise.compress(items, self.level, self.filter, block)
        compress = version2.compress if self.version == 2 else version2.compress5
        return compress(items, self.name, self.level, self.filter, block)


def default_block(itemsize: int) -> int:
    """Return the bytes of a block: bit planes of 128 KiB, which is the block of zstd itself."""
    return min(_MIB * itemsize, _MAX_BLOCK)


def check_codec(codec: str) -> None:
    """Return if `codec` is ``auto``, ``auto:fast``, ``auto:small``, ``none`` or NAME[:LEVEL[:FILTER]].

    Raises
    ------
    ParameterError
        Otherwise.
    """
    if codec not in ("none", *AIMS):
        Codec.parse(codec)
