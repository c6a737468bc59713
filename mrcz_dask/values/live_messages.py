"""Messages of a live session."""

from __future__ import annotations

from dataclasses import dataclass

from mrcz_dask.values.messages import Message


@dataclass(frozen=True, slots=True)
class LiveStarted(Message):
    """A live session begins."""

    source: str
    processors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProcessorLoaded(Message):
    """A processor's file was loaded, for the `version`-th time."""

    name: str
    file: str
    digest: str
    version: int


@dataclass(frozen=True, slots=True)
class ProcessorFailed(Message):
    """A processor raised on a frame (-1: while it was loaded), with its traceback."""

    name: str
    frame: int
    trace: str


@dataclass(frozen=True, slots=True)
class ProcessorRestarted(Message):
    """A processor's worker was lost or given up at a frame; another one takes its place."""

    name: str
    frame: int
    reason: str


@dataclass(frozen=True, slots=True)
class FramesMissing(Message):
    """Frames are missing: `count` frames before this one never came."""

    frame: int
    count: int


@dataclass(frozen=True, slots=True)
class SourceEnded(Message):
    """The source has no more frames; `error` says why if it failed."""

    source: str
    frames: int
    error: str
