"""Record of how an image moves with the drift inside stacks, which the specimen does and detectors do not."""

from __future__ import annotations

from dataclasses import dataclass

from mrcz_dask.values.records import Record

MOVING_Z, MOVING_SHARE = 4.0, 0.15


@dataclass(frozen=True, slots=True)
class Movement(Record):
    """Record of how an image moves with the drift inside stacks, summed over stacks.

    Attributes
    ----------
    explained
        Product of what the drift does to the image with the difference of early and late frames.
    power, variance
        What `explained` is if all of the image moves, and its variance by chance.
    """

    explained: float = 0.0
    power: float = 0.0
    variance: float = 0.0

    def with_(self, other: Movement) -> Movement:
        """Return the sum with the movement in another stack."""
        return Movement(*(getattr(self, f) + getattr(other, f) for f in ("explained", "power", "variance")))

    @property
    def share(self) -> float:
        """Share of the image that moves with the specimen; 0 where nothing can be said."""
        return self.explained / self.power if self.power > 0 and self.variance > 0 else 0.0

    @property
    def z(self) -> float:
        """Standard errors of the share from 0."""
        return self.explained / self.variance**0.5 if self.power > 0 and self.variance > 0 else 0.0

    @property
    def seen(self) -> bool:
        """Whether the image is seen to move with the specimen."""
        return self.z > MOVING_Z and self.share > MOVING_SHARE
