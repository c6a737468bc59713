"""What is known of a detector before its electrons are counted, decided once and kept beside the outputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from mrcz_dask.formats.atomic import AtomicFolder
from mrcz_dask.formats.digest import digest_array, digest_bytes
from mrcz_dask.formats.provenance import canonical, plain
from mrcz_dask.numerics.counting.coincidence import LossCurve
from mrcz_dask.numerics.counting.detector import Detector
from mrcz_dask.numerics.counting.params import CountingParams
from mrcz_dask.numerics.counting.places import PlaceMap
from mrcz_dask.values.errors import DamagedError, FormatError

NAME = "calibration.zarr"
VERSION = 1
_MARK = "mrcz_dask_calibration"
_IMAGES = ("dark", "noise", "gain", "used")
_ROWS = 1 << 22

Image = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Calibration:
    """A detector, and how its electrons are counted.

    Attributes
    ----------
    dark, noise, gain
        (ny, nx) float32, as `Detector` has them.
    used
        (ny, nx) bool, False where a pixel is not used.
    params
        Charge, width, thresholds and methods.
    places
        What makes places within pixels even; None = nothing.
    loss
        What is lost to coincidence; None = not known.
    about
        Where all this came from, plain values: for the provenance.
    """

    dark: Image
    noise: Image
    gain: Image
    used: NDArray[np.bool_]
    params: CountingParams
    places: PlaceMap | None = None
    loss: LossCurve | None = None
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Return rows and columns."""
        return self.dark.shape[0], self.dark.shape[1]

    @cached_property
    def detector(self) -> Detector:
        """Return the detector."""
        return Detector(self.dark, self.noise, self.gain, ~self.used)

    @cached_property
    def digest(self) -> str:
        """Return a digest of all that decides about events."""
        images = [digest_array(getattr(self, name).astype(np.float32)) for name in _IMAGES]
        return digest_bytes(canonical([images, self._numbers()]))

    def _numbers(self) -> dict[str, Any]:
        places = None if self.places is None else [one.tolist() for one in self.places]
        loss = None if self.loss is None else self.loss._asdict()
        found: dict[str, Any] = plain({"params": self.params.to_dict(), "places": places, "loss": loss})
        return found

    def save(self, path: Path) -> None:
        """Write a Zarr group; it appears whole, or not at all.

        Raises
        ------
        SpaceError
            The folder cannot take it.
        """
        folder = AtomicFolder(path)
        try:
            said: Any = {
                _MARK: VERSION,
                "digest": self.digest,
                "about": plain(self.about),
                **self._numbers(),
            }
            group = zarr.open_group(folder.place, mode="w", attributes=said)
            rows = max(1, min(self.shape[0], _ROWS // self.shape[1]))
            for name in _IMAGES:
                values = getattr(self, name)
                codec = BloscCodec(cname="zstd", clevel=1, shuffle="shuffle")
                group.create_array(name, data=values, chunks=(rows, self.shape[1]), compressors=codec)
            folder.commit()
        finally:
            folder.discard()

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Read what `save` wrote.

        Raises
        ------
        FormatError
            It is none, or of another layout.
        DamagedError
            It is not what was written.
        """
        try:
            group = zarr.open_group(path, mode="r")
            said: dict[str, Any] = dict(group.attrs)
            if said.get(_MARK) != VERSION:
                raise FormatError(
                    f"{path}: calibration version {said.get(_MARK)!r}; expected {VERSION}; count again with "
                    "--overwrite"
                )
            images: Any = [np.asarray(group[name][:]) for name in _IMAGES]  # type: ignore[index]
        except (OSError, KeyError) as error:
            raise FormatError(
                f"{path}: no calibration ({error}); expected a folder {NAME} that `count` wrote"
            ) from error
        made = cls(*images, **_said(said))
        if made.digest != said.get("digest"):
            raise DamagedError(f"{path}: digest {made.digest}, expected {said.get('digest')}; count it anew")
        return made


def _said(said: dict[str, Any]) -> dict[str, Any]:
    places, loss = said["places"], said["loss"]
    return {
        "params": CountingParams.from_dict(said["params"]),
        "places": None if places is None else PlaceMap(*(np.array(one) for one in places)),
        "loss": None
        if loss is None
        else LossCurve(loss["false"], tuple(loss["coefficients"]), loss["highest"]),
        "about": said["about"],
    }


@lru_cache(maxsize=2)
def kept_calibration(path: str, digest: str) -> Calibration:
    """Return a calibration, read once in each process.

    Raises
    ------
    DamagedError
        Another one is there.
    """
    found = Calibration.load(Path(path))
    if found.digest != digest:
        raise DamagedError(
            f"{path}: digest {found.digest}, expected {digest}; it was replaced while electrons were counted"
        )
    return found
