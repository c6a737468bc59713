"""The calibration of a detector (dark, read noise, electron charge), kept beside the outputs."""

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
from mrcz_dask.formats.digest import digest_array, digest_bytes, digests_below, problems_below
from mrcz_dask.formats.metadata import ZARR_FILE, group_attributes, open_whole, reading, sealed_values
from mrcz_dask.formats.provenance import canonical, plain
from mrcz_dask.numerics.arrays import Image
from mrcz_dask.numerics.counting.coincidence import LossCurve
from mrcz_dask.numerics.counting.detector import Detector
from mrcz_dask.numerics.counting.params import CountingParams
from mrcz_dask.numerics.counting.places import PlaceMap
from mrcz_dask.values.errors import DamagedError, FormatError, MrczDaskError

NAME = "calibration.zarr"
VERSION = 1
_MARK = "mrcz_dask_calibration"
_IMAGES = ("dark", "noise", "gain", "used")
_ROWS = 1 << 22


@dataclass(frozen=True, eq=False)
class Calibration:
    """All that counting must know about a detector: images of its pixels, parameters of its electrons.

    Attributes
    ----------
    dark, noise, gain
        (ny, nx) float32: dark and read noise in ADU, and relative gain by which charge is divided.
    used
        (ny, nx) bool, False where a pixel is not used.
    params
        Charge, width, thresholds and methods.
    places
        Map that makes positions within pixels even; None = positions stay as they are found.
    loss
        Curve of the loss to coincidence; None = not known.
    about
        Origin of all this, plain values for the provenance.
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
        """Rows and columns of the detector."""
        return self.dark.shape[0], self.dark.shape[1]

    @cached_property
    def detector(self) -> Detector:
        """The detector's pixels, as the functions that find electrons take them."""
        return Detector(self.dark, self.noise, self.gain, ~self.used)

    @cached_property
    def digest(self) -> str:
        """Digest of images and parameters; outputs counted with another calibration record another one."""
        images = [digest_array(getattr(self, name).astype(np.float32)) for name in _IMAGES]
        return digest_bytes(canonical([images, self._numbers()]))

    def _numbers(self) -> dict[str, Any]:
        places = None if self.places is None else [array.tolist() for array in self.places]
        loss = None if self.loss is None else self.loss._asdict()
        numbers: dict[str, Any] = plain({"params": self.params.to_dict(), "places": places, "loss": loss})
        return numbers

    def save(self, path: Path) -> None:
        """Write the calibration as a Zarr group; it appears whole, or not at all.

        Raises
        ------
        SpaceError
            If the folder is full or cannot be written.
        """
        folder = AtomicFolder(path)
        try:
            group = zarr.create_group(folder.place)
            rows = max(1, min(self.shape[0], _ROWS // self.shape[1]))
            for name in _IMAGES:
                codec = BloscCodec(cname="zstd", clevel=1, shuffle="shuffle")
                chunks = rows, self.shape[1]
                group.create_array(name, data=getattr(self, name), chunks=chunks, compressors=codec)
            head = {_MARK: VERSION, "digest": self.digest, "about": plain(self.about)}
            files = {"files": digests_below(folder.place, ZARR_FILE)}
            group.attrs.put(sealed_values({**head, **files, **self._numbers()}))
            folder.commit()
        finally:
            folder.discard()

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Read a calibration that `save` wrote, and check its digest.

        Raises
        ------
        FormatError
            If it is no calibration, or one of another layout.
        DamagedError
            If it is not what was written.
        """
        remedy = f"give a folder {NAME} that `count` wrote, or count again with --overwrite"
        if not path.is_dir():
            raise FormatError(f"{path}: expected a Zarr group with a calibration, found none; {remedy}")
        stored = group_attributes(path, remedy)
        if stored.get(_MARK) != VERSION:
            raise FormatError(
                f"{path}: calibration version {stored.get(_MARK)!r}; expected {VERSION}; count again "
                "with --overwrite"
            )
        with reading(str(path), "a calibration", remedy):
            dark, noise, gain, used = (np.asarray(open_whole(path / name, remedy)[:]) for name in _IMAGES)
            places, loss = stored["places"], stored["loss"]
            calibration = cls(
                dark,
                noise,
                gain,
                used,
                params=CountingParams.from_dict(stored["params"]),
                places=None if places is None else PlaceMap(*map(np.array, places)),
                loss=loss and LossCurve(**loss | {"coefficients": tuple(loss["coefficients"])}),
                about=stored["about"],
            )
            digest, actual = stored["digest"], calibration.digest
        if actual != digest:
            raise DamagedError(f"{path}: digest {actual}, expected {digest}; count again with --overwrite")
        return calibration


def calibration_problems(path: Path) -> list[str]:
    """Verify a calibration, and return its problems as text; empty if it is sound."""
    try:
        Calibration.load(path)
        files = group_attributes(path).get("files")  # None in calibrations of older versions
        return [] if files is None else problems_below(path, files, ZARR_FILE)
    except (MrczDaskError, OSError) as error:
        return [str(error)]


def calibration_path(path: Path) -> Path:
    """Return the absolute path of a calibration; the user may name the folder that holds it."""
    return (path / NAME if (path / NAME).exists() else path).absolute()


@lru_cache(maxsize=2)
def calibration_once(path: str, digest: str) -> Calibration:
    """Load a calibration in a worker, once in each process, and check that it is the one with this digest.

    Raises
    ------
    DamagedError
        If another one is there.
    """
    calibration = Calibration.load(Path(path))
    if calibration.digest != digest:
        raise DamagedError(
            f"{path}: digest {calibration.digest}, expected {digest}; it was replaced while electrons were "
            "counted"
        )
    return calibration
