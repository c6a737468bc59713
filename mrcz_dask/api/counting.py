"""Counting of electrons from Python in one call."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mrcz_dask.api.settings import PathLike, gain_options
from mrcz_dask.counting.counting import count as count_stacks
from mrcz_dask.counting.params import FindParams, FractionParams
from mrcz_dask.counting.run import CountOutcome
from mrcz_dask.engine.clusters import ClientOptions
from mrcz_dask.values.messages import Listener, silent
from mrcz_dask.values.params import InputParams

if TYPE_CHECKING:
    import distributed

    from mrcz_dask.numerics.counting.params import Position

Clusters = Literal["maxima", "components"]


def count(
    *paths: PathLike,
    output: PathLike,
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
    """Count the electrons of raw frames, and write counted stacks, as ``mrcz-dask count`` does.

    Parameters
    ----------
    *paths
        Stacks of raw frames, or folders with stacks.
    output
        Folder for counted stacks, event lists and the detector's calibration.
    method
        Place of an electron: of a ``fitted`` cloud of charge, its ``centroid``, or the ``maximum`` pixel.
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
        How files are read that do not say it themselves.
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
    return count_stacks(
        *map(Path, paths),
        output=Path(output),
        where=client or ClientOptions(),
        listen=listen,
        find=FindParams(method, clusters, sigma, charge, width, sharing, xray, sample),
        fractions=FractionParams(upsampling, fraction, codec),
        inputs=inputs,
        events=events,
        gain=gain_options(
            gain, dark, defects, divide=gain_divide, rotate=gain_rotate, flip=gain_flip, force=gain_force
        ),
        calibration=None if calibration is None else Path(calibration),
        detector=detector,
        overwrite=overwrite,
    )
