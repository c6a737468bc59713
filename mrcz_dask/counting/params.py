"""Parameters of electron counting, as users give them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mrcz_dask.formats.compression.codecs import check_codec
from mrcz_dask.numerics.counting.params import Clusters, CountingParams, Position
from mrcz_dask.values.checks import one_of, whole, within
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.params import Parameters

LONGEST = 1_000_000
FEWEST = 32


@dataclass(frozen=True, slots=True)
class FractionParams(Parameters):
    """Parameters of counted stacks: upsampling, raw frames summed to one fraction, compression.

    Attributes
    ----------
    upsampling
        Sub-pixels along each edge of a pixel: 1, 2 or 4.
    fraction
        Raw frames that are summed to one counted frame. Frames that are left over are spread evenly over the
        counted ones; a shorter stack becomes one frame.
    codec
        Compression of the counted stacks, as `mrcz_dask.write` takes it.
    """

    _title = "fractions"
    upsampling: int = 1
    fraction: int = 40
    codec: str = "auto"

    def _problems(self) -> Iterator[str]:
        yield from one_of("upsampling", self.upsampling, (1, 2, 4))
        yield from whole("fraction", self.fraction, 1, LONGEST, unit=" raw frames")
        try:
            check_codec(self.codec)
        except ParameterError as error:
            yield str(error)

    def bounds(self, raw: int) -> tuple[int, ...]:
        """Divide `raw` frames into fractions: return the frame at which each begins, then `raw`."""
        count = max(1, raw // self.fraction)
        return tuple(k * raw // count for k in range(count + 1))


@dataclass(frozen=True, slots=True)
class FindParams(Parameters):
    """Parameters for finding electrons in raw frames, as users give them.

    Attributes
    ----------
    method
        Position of an electron: of a ``fitted`` cloud of charge, its ``centroid``, or the ``maximum`` pixel.
    clusters
        ``maxima`` or ``components``, see `CountingParams`.
    sigma
        Smallest significance of an electron, in read noises.
    charge, width
        Most probable charge in read noises, and scale of its distribution relative to it; 0 = from the data.
    sharing
        Standard deviation of the cloud of charge, pixels.
    xray
        A pixel above this is an X-ray, in read noises; 0 = 3.5 times the charge.
    sample
        Number of frames in which the detector's dark, noise and charge are found.
    """

    _title = "counting"
    method: Position = "fitted"
    clusters: Clusters = "maxima"
    sigma: float = CountingParams().sigma
    charge: float = 0.0
    width: float = 0.0
    sharing: float = CountingParams().sharing
    xray: float = 0.0
    sample: int = 96

    def __post_init__(self) -> None:
        Parameters.__post_init__(self)
        self.counting(self.charge or 10.0, self.width or CountingParams().width)

    def _problems(self) -> Iterator[str]:
        yield from whole("sample", self.sample, FEWEST, 10_000, unit=" frames")
        for name in ("charge", "width"):
            yield from within(name, getattr(self, name), 0, 1e4)

    def counting(self, charge: float, width: float) -> CountingParams:
        """Return the full parameters of counting: these, and the charge and width that calibration found."""
        return CountingParams(
            sigma=self.sigma,
            charge=charge,
            width=width,
            sharing=self.sharing,
            xray=self.xray,
            clusters=self.clusters,
            position=self.method,
        )
