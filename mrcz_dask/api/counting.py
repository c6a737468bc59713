"""Counts electrons of raw frames in one call from Python; also a method of `Session`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from mrcz_dask.api.settings import PathLike, path_text
from mrcz_dask.counting.params import FindParams, FractionParams
from mrcz_dask.counting.plan import count_plan
from mrcz_dask.counting.run import CountOutcome, run_plan
from mrcz_dask.engine.clusters import ClientOptions
from mrcz_dask.gain.options import GainOptions
from mrcz_dask.session.entries import Discovery
from mrcz_dask.values.checks import checked
from mrcz_dask.values.errors import ParameterTypeError
from mrcz_dask.values.messages import Listener, silent
from mrcz_dask.values.params import InputParams

if TYPE_CHECKING:
    import distributed

    from mrcz_dask.numerics.counting.params import Clusters, Position


@runtime_checkable
class RawSession(Protocol):
    """Protocol of the two properties of a `Session` that `count` uses."""

    @property
    def discovery(self) -> Discovery:
        """What was found in the folder: stacks in order of time, and files that were skipped or rejected."""
        ...

    @property
    def inputs(self) -> InputParams:
        """Options for files whose headers leave something open."""
        ...


@checked
def count(
    *paths: PathLike | RawSession,
    output: PathLike | None = None,
    method: Position = "fitted",
    clusters: Clusters = "maxima",
    detector: str | None = None,
    sigma: float = 4.1,
    charge: float = 0.0,
    width: float = 0.0,
    sharing: float = 0.4,
    xray: float = 0.0,
    sample: int = 96,
    calibration: PathLike | None = None,
    upsampling: int = 1,
    fraction: int = 40,
    events: bool = False,
    codec: str = "auto",
    gain: PathLike | None = None,
    gain_divide: bool = False,
    gain_rotate: int = 0,
    gain_flip: int = 0,
    gain_force: bool = False,
    dark: PathLike | None = None,
    defects: PathLike | None = None,
    inputs: InputParams | None = None,
    overwrite: bool = False,
    client: ClientOptions | distributed.Client | None = None,
    listen: Listener = silent,
) -> CountOutcome:
    """Count the electrons of raw frames and write counted stacks, as ``mrcz-dask count`` does.

    As a method, ``session.count(output)`` counts the stacks of the session.

    Parameters
    ----------
    *paths
        Stacks of raw frames, or folders with stacks.
    output
        Folder for counted stacks, event lists and the detector's calibration.
    method
        Position of an electron: of a ``fitted`` cloud of charge, its ``centroid``, or the ``maximum`` pixel.
    clusters
        ``maxima`` separates electrons that overlap; ``components`` takes pixels that touch for one electron.
    detector
        ``FILE.py:NAME`` of your own function, used in place of `method`.
    sigma
        Smallest significance of an electron, read noises.
    charge, width
        Charge of an electron in read noises, and its relative width; 0 = found in the frames.
    sharing
        Standard deviation of a cloud of charge, pixels.
    xray
        Pixels above this are X-rays, read noises; 0 = 3.5 times the charge.
    sample
        Number of frames in which dark, noise and charge are found.
    calibration
        Calibration of an earlier run, or its folder; None = the one in `output`, else a new one.
    upsampling
        1, 2 or 4 sub-pixels along each edge of a pixel.
    fraction
        Raw frames that are summed to one counted frame.
    events
        Whether event lists are written, too.
    codec
        Compression of the counted stacks, such as ``zstd:1``.
    gain, gain_divide, gain_rotate, gain_flip
        Gain reference; whether frames are divided by it; quarter turns; 1 upside down, 2 left to right.
    gain_force
        Whether a gain or dark is used that the frames show to be wrong in every orientation.
    dark
        Dark image, or a stack of at least 8 dark frames: then the noise is found in it, too.
    defects
        List or map of bad pixels.
    inputs
        How files are read whose headers leave something open.
    overwrite
        Whether outputs of other parameters are replaced.
    client
        A Dask client, or where tasks run; None = a local cluster.
    listen
        Function that is told what happens.

    Returns
    -------
    CountOutcome
        `results` and `failures`; a bad stack is a failure and does not stop the others.

    Raises
    ------
    MrczDaskError, OSError
        If nothing can be done at all: no stack, no detector, no output folder.
    """
    sessions = [path for path in paths if not isinstance(path, (str, os.PathLike))]
    stacks = [Path(path) for path in paths if isinstance(path, (str, os.PathLike))]
    if sessions:
        output = stacks.pop() if output is None and stacks else output
        if stacks or len(sessions) > 1:
            raise ParameterTypeError("count() takes paths of stacks, or one session and its output folder")
        inputs = inputs or sessions[0].inputs
        stacks = [stack.path for stack in sessions[0].discovery.stacks]
    if output is None:
        raise ParameterTypeError("count() needs an output folder")
    images: dict[str, Any] = {"gain": path_text(gain), "dark": path_text(dark), "defects": path_text(defects)}
    turned: dict[str, Any] = {"divide": gain_divide, "rotate": gain_rotate, "flip": gain_flip}
    plan = count_plan(
        stacks,
        Path(output),
        FindParams(method, clusters, sigma, charge, width, sharing, xray, sample),
        FractionParams(upsampling, fraction, codec),
        inputs=inputs,
        events=events,
        gain=GainOptions(**images, **turned, force=gain_force),
        calibration=None if calibration is None else Path(calibration),
        detector=detector,
        overwrite=overwrite,
    )
    return run_plan(plan, ClientOptions() if client is None else client, listen)
