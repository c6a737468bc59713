"""Find the electrons of raw frames and pack them as events; called on workers and in live runs."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from mrcz_dask.counting.calibration import Calibration, calibration_once
from mrcz_dask.counting.detectors import Camera, DetectorScript
from mrcz_dask.counting.packing import Triple, pack, quantized
from mrcz_dask.numerics.counting.events import EventFinder
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.timing import phase


@dataclass(frozen=True, slots=True)
class Method:
    """The way electrons are found: path of the calibration, and the user's function if there is one; small,
    to be sent to workers.

    Attributes
    ----------
    calibration, digest
        Path and digest of the calibration.
    script
        The user's function; None = the package's.
    """

    calibration: str
    digest: str
    script: DetectorScript | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """The events of consecutive frames as packed bytes, with digests of the frames' pixels.

    Attributes
    ----------
    first
        Number of the first frame in its stack.
    packed
        Events, from `packing.pack`.
    frames
        xxh3-128 of each frame's pixels, 16 bytes each.
    """

    first: int
    packed: bytes
    frames: bytes


class Counter:
    """Finds the electrons of raw frames with a calibration; each thread needs its own (working arrays).

    Parameters
    ----------
    calibration
        Calibration of the detector.
    script
        A user's function; None = the package's own.

    Raises
    ------
    ProcessorError
        If the user's file does not run.
    """

    def __init__(self, calibration: Calibration, script: DetectorScript | None = None) -> None:
        self.calibration, self._script = calibration, script
        parts = calibration.detector, calibration.params, calibration.places
        if script is None:
            self._finder = EventFinder(*parts)
        else:
            self._camera, self._function = Camera(*parts), script.load()

    def find(self, frame: NDArray[Any]) -> Triple:
        """Find the electrons of one raw frame (ny, nx): return y and x in pixels, and charge in ADU."""
        shape = self.calibration.shape
        if frame.shape != shape:
            raise ParameterError(
                f"frames are {frame.shape}; expected {shape}, as the detector's calibration; count it apart"
            )
        if self._script is not None:
            return self._script.find(self._function, frame, self._camera)
        events = self._finder.find(frame)
        return events.y, events.x, events.charge

    def batch(self, first: int, frames: Iterable[NDArray[Any]]) -> Batch:
        """Find the electrons of consecutive frames, and return them as packed events."""
        triples, digests = [], []
        for frame in frames:
            items = np.ascontiguousarray(frame, frame.dtype.newbyteorder("<"))
            digests.append(xxhash.xxh3_128_digest(items.view(np.uint8).data))
            with phase("apply"):
                triples.append(self.find(frame))
        events = quantized(triples, self.calibration.shape, self.calibration.detector.unit)
        return Batch(first, pack(events), b"".join(digests))


_thread = threading.local()


def counter_of(method: Method) -> Counter:
    """Return this thread's `Counter` for a method, made when it is first needed."""
    if getattr(_thread, "method", None) != method:
        calibration = calibration_once(method.calibration, method.digest)
        _thread.counter, _thread.method = Counter(calibration, method.script), method
    return _thread.counter  # type: ignore[no-any-return]
