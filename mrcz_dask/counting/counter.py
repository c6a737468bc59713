"""Find the electrons of raw frames, by the package's method or a user's function, and pack them as events."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from mrcz_dask.counting.calibration import Calibration, calibration_once
from mrcz_dask.counting.packing import Triple, pack, quantized
from mrcz_dask.engine.user_script import UserScript
from mrcz_dask.formats.digest import digest_bytes
from mrcz_dask.numerics.arrays import Image
from mrcz_dask.numerics.counting.detector import Detector
from mrcz_dask.numerics.counting.events import EventFinder, FrameEvents
from mrcz_dask.numerics.counting.params import CountingParams
from mrcz_dask.numerics.counting.places import PlaceMap
from mrcz_dask.numerics.kernels import native
from mrcz_dask.values.errors import ParameterError, ProcessorError
from mrcz_dask.values.timing import phase


class Camera:
    """The detector as a user's counting function sees it: pixel noise, used pixels, and the package's own
    method to call.

    Parameters
    ----------
    detector
        Dark, noise and gain.
    params
        Thresholds and methods.
    places
        Map that makes positions within pixels even; None = positions stay as they are found.

    Attributes
    ----------
    shape
        Rows and columns.
    noise
        Typical read noise after gain, ADU: the unit of `standardized`.
    used
        (ny, nx) bool, True where a pixel is used.
    """

    def __init__(self, detector: Detector, params: CountingParams, places: PlaceMap | None = None) -> None:
        self.detector, self.params, self._places = detector, params, places
        self.shape, self.noise, self.used = detector.shape, detector.unit, np.asarray(detector.used)
        self._finders: dict[CountingParams, EventFinder] = {}

    def standardized(self, frame: NDArray[Any]) -> Image:
        """Return a raw frame in units of each pixel's read noise, dark subtracted, (ny, nx) float32; unused
        pixels are 0.
        """
        values = native(frame).astype(np.float32)
        return np.asarray(values * self.detector.inverse - self.detector.offset, np.float32)

    def find(self, frame: NDArray[Any], **changed: Any) -> FrameEvents:
        """Find the electrons of a raw frame with the package's own method.

        Parameters
        ----------
        frame
            Raw frame, (ny, nx).
        **changed
            Fields of `CountingParams` in place of the command's.
        """
        params = CountingParams.from_dict(self.params.to_dict() | changed) if changed else self.params
        if params not in self._finders:
            places = self._places if params.position == self.params.position else None
            self._finders[params] = EventFinder(self.detector, params, places)
        return self._finders[params].find(frame)


DetectorFunction = Callable[[NDArray[Any], Camera], Any]


@dataclass(frozen=True, slots=True)
class DetectorScript(UserScript):
    """A user's function that finds electrons, with the text of its file, to be sent to workers."""

    @classmethod
    def parse(cls, option: str) -> DetectorScript:
        """Read the file that the option ``--detector FILE.py:NAME`` names.

        Raises
        ------
        ParameterError
            If the text has another form, or there is no such file.
        """
        expected = "FILE.py:NAME, such as centroid.py:centroid"
        file, _, name = option.rpartition(":")
        if not file or not name.isidentifier():
            raise ParameterError(f"--detector is {option!r}; expected {expected}")
        return cls.read(option, "--detector", expected)

    def about(self) -> dict[str, str]:
        """Return the function's name and its file's digest, for the provenance."""
        return {"file": Path(self.path).name, "name": self.name, "digest": digest_bytes(self.text.encode())}

    def load(self) -> DetectorFunction:
        """Execute the user's file, and return the function in it.

        Raises
        ------
        ProcessorError
            If it does not run, with its traceback, or if there is no such function.
        """
        try:
            module = self.run(f"counting_detector_{Path(self.path).stem}")
        except (Exception, SystemExit) as error:
            raise self._failure(error) from error
        function = module.__dict__.get(self.name)
        if not callable(function):
            raise ProcessorError(
                f"{self.path}: no function {self.name} in it; expected one of (frame, camera)"
            )
        return function  # type: ignore[no-any-return]

    def find(self, function: DetectorFunction, frame: NDArray[Any], camera: Camera) -> Triple:
        """Call the user's function on a frame, check what it returns, and sort the electrons in raster order.

        Raises
        ------
        ProcessorError
            If the function fails, with its traceback, or returns something else.
        """
        try:
            events = function(frame, camera)
        except (Exception, SystemExit) as error:
            raise self._failure(error) from error
        shape = camera.shape
        try:
            columns = [np.asarray(column, np.float64) for column in tuple(events)[:3]]
        except (TypeError, ValueError):
            columns = []
        sizes = {column.shape for column in columns}
        if len(columns) != 3 or len(sizes) != 1 or columns[0].ndim != 1:
            raise ProcessorError(
                f"{self.path}: {self.name} returned {type(events).__name__} of shapes {sorted(sizes)}; "
                "expected y, x and charge, three arrays of one length"
            )
        y, x, charge = columns
        near = (np.abs(y / shape[0] - 0.5) < 1) & (np.abs(x / shape[1] - 0.5) < 1) & np.isfinite(charge)
        if not near.all():
            k = int(np.flatnonzero(~near)[0])
            raise ProcessorError(
                f"{self.path}: {self.name} returned y, x, charge = {y[k]}, {x[k]}, {charge[k]}; expected "
                f"finite numbers, places within the frame of {shape}"
            )
        order = np.lexsort((np.floor(x), np.floor(y)))
        return y[order], x[order], charge[order]

    def _failure(self, error: BaseException) -> ProcessorError:
        return ProcessorError(f"{self.path}: {self.name} failed\n{self.trace(error)}")


@dataclass(frozen=True, slots=True)
class CountingMethod:
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


def counter_of(method: CountingMethod) -> Counter:
    """Return this thread's `Counter` for a method, made when it is first needed."""
    if getattr(_thread, "method", None) != method:
        calibration = calibration_once(method.calibration, method.digest)
        _thread.counter, _thread.method = Counter(calibration, method.script), method
    return _thread.counter  # type: ignore[no-any-return]
