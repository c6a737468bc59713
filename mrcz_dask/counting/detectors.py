"""Let a user's own Python function find electrons in place of the package's method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.counting.packing import Triple
from mrcz_dask.engine.user_script import UserScript
from mrcz_dask.formats.digest import digest_bytes
from mrcz_dask.numerics.counting.detector import Detector
from mrcz_dask.numerics.counting.events import EventFinder, Events
from mrcz_dask.numerics.counting.params import CountingParams
from mrcz_dask.numerics.counting.places import PlaceMap
from mrcz_dask.numerics.kernels import native
from mrcz_dask.values.errors import ParameterError, ProcessorError

Image = NDArray[np.float32]


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

    def find(self, frame: NDArray[Any], **changed: Any) -> Events:
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
