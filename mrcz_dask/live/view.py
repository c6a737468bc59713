"""What a page or a terminal may see of a live session, and what it may ask of it: no page is known here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from mrcz_dask.live.frames import Roi
from mrcz_dask.live.processors.declare import Spec, Value

Status = Literal["starting", "waiting", "running", "paused", "failed", "restarting", "ended"]


@dataclass(frozen=True, slots=True)
class SourceState:
    """How the source stands.

    Attributes
    ----------
    name
        Of the source.
    number
        Of the newest frame; -1 before the first one.
    received
        Frames that came, and
    recorded
        of these, how many are in the recording; None = nothing is recorded.
    missing
        Numbers that were skipped by the source: gaps.
    rate
        Frames a second, over the last seconds.
    shape, dtype, pixel_size
        Of the newest frame.
    roi
        Region of interest of all processors; None = the whole frame, or they have different ones.
    paused
        Whether all processors wait.
    ended
        Whether the source has no more frames.
    error
        Why it ended, '' if it did not fail.
    """

    name: str
    number: int = -1
    received: int = 0
    recorded: int | None = None
    missing: int = 0
    rate: float = 0.0
    shape: tuple[int, int] | None = None
    dtype: str = ""
    pixel_size: float | None = None
    roi: Roi | None = None
    paused: bool = False
    ended: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class PanelState:
    """How one processor stands.

    Attributes
    ----------
    name
        Of the processor in this session (two of one name get numbers).
    file
        Name of its file.
    spec
        What it says of itself; None before it was loaded.
    values
        Its parameters as they are.
    status
        ``failed``: its last frame or load raised, or its worker was lost; it goes on with the next frame.
    trace
        The traceback of the last failure, '' after a good frame.
    load_error
        Why the edited file was not taken; the old version goes on.
    version
        How often the file was loaded.
    processed, skipped, failed, restarts
        Frames done; frames that came meanwhile and were not looked at; frames that raised or lost the worker;
        workers that were replaced.
    rate
        Frames a second, over the last seconds.
    lag
        Seconds from a frame's arrival to its result, of the last one.
    behind
        Frames between the newest one of the source and the last one done.
    number
        Of the last frame done; -1 before.
    roi
        Region of interest; None = the whole frame.
    """

    name: str
    file: str
    spec: Spec | None = None
    values: dict[str, Value] | None = None
    status: Status = "starting"
    trace: str = ""
    load_error: str = ""
    version: int = 0
    processed: int = 0
    skipped: int = 0
    failed: int = 0
    restarts: int = 0
    rate: float = 0.0
    lag: float = 0.0
    behind: int = 0
    number: int = -1
    roi: Roi | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What a processor returned for a frame.

    Attributes
    ----------
    number, time
        Of the frame.
    values
        By output: a float, a profile (places (n,), values (n,)) both float64, or an image (y, x) float32.
    """

    number: int
    time: float
    values: dict[str, Any]


class LiveView(Protocol):
    """A live session as a page sees it; every method may be called from any thread and returns at once."""

    def source(self) -> SourceState:
        """Return how the source stands."""
        ...

    def newest(self) -> tuple[int, NDArray[Any]] | None:
        """Return number and pixels, (ny, nx), of the newest frame, read-only; None before the first."""
        ...

    def panels(self) -> Sequence[PanelState]:
        """Return how every processor stands, in the order in which they were given."""
        ...

    def results(self, panel: str, since: int) -> tuple[int, Sequence[Result]]:
        """Return the place behind the last result, and the results from place `since` on that are kept.

        Places count results from 0 for each panel, and begin again after a reset with a place below `since`.
        """
        ...

    def set_roi(self, roi: Roi | None, panel: str | None = None) -> None:
        """Let one processor, or all, look at a region from the next frame on; None = the whole frame."""
        ...

    def set_value(self, panel: str, parameter: str, value: Value) -> None:
        """Set a parameter from the next frame on; ParameterError if it cannot have that value."""
        ...

    def pause(self, paused: bool, panel: str | None = None) -> None:
        """Let one processor, or all, wait or go on; what comes meanwhile counts as skipped."""
        ...

    def reset(self, panel: str) -> None:
        """Begin with a new state and forget the results that are shown; the store keeps them."""
        ...
