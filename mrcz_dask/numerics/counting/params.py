"""Parameters of counting: thresholds and methods by which electrons are found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mrcz_dask.values.checks import within
from mrcz_dask.values.params import Parameters

Clusters = Literal["maxima", "components"]
Position = Literal["fitted", "centroid", "maximum"]


@dataclass(frozen=True, slots=True)
class CountingParams(Parameters):
    """Parameters by which electrons are found; lengths in pixels, charges and noise in read noises.

    Attributes
    ----------
    sigma
        Smallest significance of an electron. With ``maxima`` it is that of its fitted cloud of charge, with
        ``components`` that of each of its pixels.
    charge
        Most probable charge of an electron.
    width
        Scale of the charge's Moyal distribution, relative to the most probable charge.
    sharing
        Standard deviation of the cloud of charge.
    xray
        A pixel above this is an X-ray and not counted; 0 = 3.5 times the most probable charge.
    clusters
        ``maxima``: local maxima of the smoothed frame, overlapping electrons fitted together;
        ``components``: pixels above the threshold that touch, 8 neighbors, are one electron.
    position
        Impact by a ``fitted`` cloud (maxima only), the ``centroid``, or the ``maximum`` pixel's middle.
    """

    _title = "counting parameters"
    sigma: float = 4.1
    charge: float = 10.0
    width: float = 0.12
    sharing: float = 0.4
    xray: float = 0.0
    clusters: Clusters = "maxima"
    position: Position = "fitted"

    def _problems(self) -> Iterator[str]:
        yield from within("sigma", self.sigma, 2, 20, unit=" read noises")
        yield from within("charge", self.charge, 1, 1e4, unit=" read noises")
        yield from within("width", self.width, 0, 1)
        yield from within("sharing", self.sharing, 0.2, 0.8, unit=" pixels")
        yield from within("xray", self.xray, 0, 1e6, unit=" read noises")
        if self.clusters == "components" and self.position == "fitted":
            yield "position is 'fitted'; expected 'centroid' or 'maximum' with clusters 'components'"

    @property
    def xray_limit(self) -> float:
        """Value of a pixel, in read noises, above which it is taken for an X-ray and not an electron."""
        return self.xray or 3.5 * self.charge
