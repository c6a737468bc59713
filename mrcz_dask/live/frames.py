"""A live frame with its metadata, and the region of interest that processors get of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Any, Protocol

from numpy.typing import NDArray

from mrcz_dask.values.errors import ParameterError

_ROI = re.compile(r"(\d+):(\d+),(\d+):(\d+)")


@dataclass(frozen=True, slots=True)
class Roi:
    """A region of interest in a frame: rows y0 <= y < y1 and columns x0 <= x < x1, in pixels.

    Raises
    ------
    ParameterError
        The region holds no pixel.
    """

    y0: int
    y1: int
    x0: int
    x1: int

    def __post_init__(self) -> None:
        if not (0 <= self.y0 < self.y1 and 0 <= self.x0 < self.x1):
            raise ParameterError(f"region {self} is empty; expected y0:y1,x0:x1 with y0 < y1 and x0 < x1")

    def __str__(self) -> str:
        return f"{self.y0}:{self.y1},{self.x0}:{self.x1}"

    @classmethod
    def parse(cls, text: str) -> Roi:
        """Read a region of interest from text such as ``100:400,0:512`` (``y0:y1,x0:x1``).

        Raises
        ------
        ParameterError
            The text has another form, or the region is empty.
        """
        match = _ROI.fullmatch(text.replace(" ", ""))
        if match is None:
            raise ParameterError(f"--roi is {text!r}; expected y0:y1,x0:x1, such as 100:400,0:512")
        return cls(*map(int, match.groups()))

    @classmethod
    def whole(cls, shape: tuple[int, ...]) -> Roi:
        """Return the region that covers an image of shape (ny, nx)."""
        return cls(0, shape[0], 0, shape[1])

    def within(self, shape: tuple[int, ...]) -> Roi:
        """Return the region cut to an image of shape (ny, nx); a region outside becomes the whole image."""
        y1, x1 = min(self.y1, shape[0]), min(self.x1, shape[1])
        return Roi(self.y0, y1, self.x0, x1) if self.y0 < y1 and self.x0 < x1 else Roi.whole(shape)

    def cut(self, frame: NDArray[Any]) -> NDArray[Any]:
        """Return the pixels of a frame inside this region, as a view without copying."""
        return frame[self.y0 : self.y1, self.x0 : self.x1]


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a live stream: its pixels, number, time, stack and metadata.

    Attributes
    ----------
    number
        Counts the frames of a stream from 0; a number that is left out is a missing frame.
    time
        Seconds since 1970 at which the frame was recorded, by the clock of the recording computer.
    data
        Pixels (ny, nx) in the camera's dtype, read-only.
    stack, index
        Name of the frame's stack, '' if unknown, and the frame's place in it.
    pixel_size
        Angstrom, or None.
    meta
        Further metadata: plain values. ``first_row`` is ``top`` if row 0 is shown at the top, as in TIFF.
    chunk
        The frame as a blosc chunk of version 2, if it arrived as one.
    stream
        Name of the camera. Every camera numbers its own frames.
    """

    number: int
    time: float
    data: NDArray[Any]
    stack: str = ""
    index: int = 0
    pixel_size: float | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    chunk: bytes | None = None
    stream: str = ""


@dataclass(frozen=True, slots=True)
class FrameInfo:
    """Facts about a frame beside its pixels, for processor functions with an argument ``info``.

    Attributes
    ----------
    number, time, stack, index, pixel_size, meta
        As in `Frame`.
    roi
        Region of the frame that the processor gets.
    shape
        (ny, nx) of the whole frame.
    corrected
        True if gain, outliers and pattern have been corrected.
    """

    number: int
    time: float
    stack: str
    index: int
    pixel_size: float | None
    meta: Mapping[str, Any]
    roi: Roi
    shape: tuple[int, int]
    corrected: bool = False


Publish = Callable[[Sequence[Frame]], None]


class FrameStream(Protocol):
    """Protocol of sources of live frames: a socket, a folder, a replay of existing stacks.

    Attributes
    ----------
    name
        Name of the source in messages.
    """

    name: str

    def run(self, publish: Publish, stop: Event) -> None:
        """Call `publish` with each frame in order, until no more come or `stop` is set.

        `publish` returns when the frames are safe: on the disk, if they are recorded. It may wait, so that a
        source is never faster than the recording. Processors never make it wait, except while catching up.
        """
        ...
