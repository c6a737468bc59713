"""A frame on its way from a source to processors, and the region of it that they look at."""

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
    """A region of interest: rows y0 <= y < y1 and columns x0 <= x < x1, pixels.

    Raises
    ------
    ParameterError
        There is no pixel in it.
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
        """Return the region of ``y0:y1,x0:x1``.

        Raises
        ------
        ParameterError
            It is none.
        """
        found = _ROI.fullmatch(text.replace(" ", ""))
        if found is None:
            raise ParameterError(f"--roi is {text!r}; expected y0:y1,x0:x1, such as 100:400,0:512")
        return cls(*map(int, found.groups()))

    def of(self, shape: tuple[int, ...]) -> Roi:
        """Return the part of this region that is in an image; all of the image if there is none."""
        y1, x1 = min(self.y1, shape[0]), min(self.x1, shape[1])
        return Roi(self.y0, y1, self.x0, x1) if self.y0 < y1 and self.x0 < x1 else whole(shape)

    def cut(self, frame: NDArray[Any]) -> NDArray[Any]:
        """Return this region of a frame, a view."""
        return frame[self.y0 : self.y1, self.x0 : self.x1]


def whole(shape: tuple[int, ...]) -> Roi:
    """Return the region that is all of an image, (ny, nx)."""
    return Roi(0, shape[0], 0, shape[1])


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a live stream.

    Attributes
    ----------
    number
        Of the frame in its stream, from 0; numbers grow, and one that is missing is a gap.
    time
        When it was recorded, seconds since 1970, by the clock of whoever recorded it.
    data
        (ny, nx), in the camera's dtype, not to be changed.
    stack, index
        The stack that it belongs to, '' if unknown, and which of its frames it is.
    pixel_size
        In Angstrom, or None.
    meta
        What else is known: plain values.
    chunk
        The frame as a blosc chunk of version 2, if it came as one.
    stream
        Name of the camera that it comes from, if a source has several; numbers count for each.
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
    """What a processor that takes ``info`` is told of a frame.

    Attributes
    ----------
    number, time, stack, index, pixel_size, meta
        As in `Frame`.
    roi
        What was cut out.
    shape
        (ny, nx) of the whole frame.
    corrected
        Whether gain, outliers and pattern were taken off.
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


def info_of(frame: Frame, roi: Roi) -> FrameInfo:
    """Return what a processor is told of a frame."""
    shape = (frame.data.shape[0], frame.data.shape[1])
    corrected = "since" in frame.meta.get("correction", {})
    return FrameInfo(
        frame.number,
        frame.time,
        frame.stack,
        frame.index,
        frame.pixel_size,
        frame.meta,
        roi,
        shape,
        corrected,
    )


Publish = Callable[[Sequence[Frame]], None]


class FrameStream(Protocol):
    """Where frames come from.

    Attributes
    ----------
    name
        What messages call it.
    """

    name: str

    def run(self, publish: Publish, stop: Event) -> None:
        """Hand frames on, in order, until there are no more or `stop` is set.

        `publish` returns when the frames are safe: recorded, if they are to be. It may wait, so that a source
        is never faster than the recording; processors never make it wait.
        """
        ...
