"""Ways to find electrons: the package's own, and a user's function from a Python file."""

from __future__ import annotations

import linecache
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.counting.packing import Triple
from mrcz_dask.formats.digest import digest_bytes
from mrcz_dask.numerics.counting.detector import Detector
from mrcz_dask.numerics.counting.events import EventFinder, Events
from mrcz_dask.numerics.counting.params import CountingParams
from mrcz_dask.numerics.counting.places import PlaceMap
from mrcz_dask.numerics.kernels import native
from mrcz_dask.values.errors import ParameterError, ProcessorError

Image = NDArray[np.float32]


class Camera:
    """What a user's function knows of the detector; each thread has its own.

    Parameters
    ----------
    detector
        Dark, noise and gain.
    params
        Thresholds and methods.
    places
        What makes places within pixels even; None = nothing.

    Attributes
    ----------
    detector, params
        As given.
    """

    def __init__(self, detector: Detector, params: CountingParams, places: PlaceMap | None = None) -> None:
        self.detector, self.params, self._places = detector, params, places
        self._finders: dict[CountingParams, EventFinder] = {}

    @property
    def shape(self) -> tuple[int, int]:
        """Return rows and columns."""
        return self.detector.shape

    @property
    def noise(self) -> float:
        """Return the typical read noise after gain, ADU: the unit of `standardised`."""
        return self.detector.unit

    @cached_property
    def used(self) -> NDArray[np.bool_]:
        """Return (ny, nx), True where a pixel is used."""
        return np.asarray(self.detector.used)

    def standardised(self, frame: NDArray[Any]) -> Image:
        """Return a raw frame in its pixels' read noises, (ny, nx) float32; pixels that are not used are 0."""
        values = native(frame).astype(np.float32)
        return np.asarray(values * self.detector.inverse - self.detector.offset, np.float32)

    def find(self, frame: NDArray[Any], **changed: Any) -> Events:
        """Return the electrons of a raw frame as the package finds them.

        Parameters
        ----------
        frame
            (ny, nx) raw.
        **changed
            Fields of `CountingParams` that are to be others than those of the command.
        """
        params = CountingParams.from_dict(self.params.to_dict() | changed) if changed else self.params
        if params not in self._finders:
            own = self._places if params.position == self.params.position else None
            self._finders[params] = EventFinder(self.detector, params, own)
        return self._finders[params].find(frame)


Finding = Callable[[NDArray[Any], Camera], Any]


@dataclass(frozen=True, slots=True)
class DetectorScript:
    """A user's function as its file was read.

    Attributes
    ----------
    path
        Of the file, absolute, for tracebacks and messages.
    name
        Of the function in it.
    text
        What is in it.
    """

    path: str
    name: str
    text: str

    @classmethod
    def parse(cls, said: str) -> DetectorScript:
        """Read the file of ``FILE.py:NAME``.

        Raises
        ------
        ParameterError
            It is not of that form, or there is no such file.
        """
        file, _, name = said.rpartition(":")
        expected = "expected FILE.py:NAME, such as centroid.py:centroid"
        if not file or not name.isidentifier():
            raise ParameterError(f"--detector is {said!r}; {expected}")
        try:
            return cls(str(Path(file).absolute()), name, Path(file).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise ParameterError(f"--detector {said}: cannot be read ({why}); {expected}") from error

    def about(self) -> dict[str, str]:
        """Return name and digest as provenance keeps them."""
        return {"file": Path(self.path).name, "name": self.name, "digest": digest_bytes(self.text.encode())}

    def load(self) -> Finding:
        """Run the file and return the function.

        Raises
        ------
        ProcessorError
            It does not run, with its traceback, or there is no such function.
        """
        module = ModuleType(f"counting_detector_{Path(self.path).stem}")
        module.__file__ = self.path
        sys.modules[module.__name__] = module
        # tracebacks show the text that ran, not what is in the file by then
        linecache.cache[self.path] = (len(self.text), None, self.text.splitlines(True), self.path)
        try:
            exec(compile(self.text, self.path, "exec"), module.__dict__)
        except (Exception, SystemExit) as error:
            raise ProcessorError(self._trace(error)) from error
        found = module.__dict__.get(self.name)
        if not callable(found):
            raise ProcessorError(
                f"{self.path}: no function {self.name} in it; expected one of (frame, camera)"
            )
        return found  # type: ignore[no-any-return]

    def find(self, function: Finding, frame: NDArray[Any], camera: Camera) -> Triple:
        """Return y, x in pixels and charge in ADU of a frame's electrons, (n,) each, in raster order.

        Raises
        ------
        ProcessorError
            The function fails, with its traceback, or returns something else.
        """
        try:
            found = function(frame, camera)
        except (Exception, SystemExit) as error:
            raise ProcessorError(self._trace(error)) from error
        return self._checked(found, camera.shape)

    def _checked(self, found: Any, shape: tuple[int, int]) -> Triple:
        try:
            columns = [np.asarray(one, np.float64) for one in tuple(found)[:3]]
        except (TypeError, ValueError):
            columns = []
        sizes = {one.shape for one in columns}
        if len(columns) != 3 or len(sizes) != 1 or columns[0].ndim != 1:
            raise ProcessorError(
                f"{self.path}: {self.name} returned {type(found).__name__} of shapes {sorted(sizes)}; "
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

    def _trace(self, error: BaseException) -> str:
        """Return a traceback from the user's file on."""
        steps = traceback.extract_tb(error.__traceback__)
        first = next((k for k, step in enumerate(steps) if step.filename == self.path), len(steps))
        shown = traceback.format_list(steps[first:])
        head = [f"{self.path}: {self.name} failed\n"]
        return "".join([*head, *shown, *traceback.format_exception_only(error)]).rstrip()
