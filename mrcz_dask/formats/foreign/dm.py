"""Reads DM3 and DM4 files of DigitalMicrograph, with RosettaSciIO."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.costs import check_cost
from mrcz_dask.formats.frames import FirstRow, FrameSource, native
from mrcz_dask.formats.libraries import decoding, library, opening
from mrcz_dask.formats.mrc.layout import Complain
from mrcz_dask.formats.provenance import plain
from mrcz_dask.formats.sidecar import section
from mrcz_dask.formats.source import ByteSource
from mrcz_dask.values.errors import FormatError, HeaderError, TruncatedError
from mrcz_dask.values.params import InputParams
from mrcz_dask.values.timing import phase

_ANGSTROM = {"pm": 0.01, "Å": 1.0, "A": 1.0, "nm": 10.0, "µm": 1e4, "um": 1e4, "μm": 1e4}
_EPOCH, _ZONES = datetime(1601, 1, 1), timedelta(hours=26)  # of Windows' clock; between local time and UTC


def open_dm(source: ByteSource, inside: str, params: InputParams, complain: Complain) -> FrameSource:
    """Open a DM file; raises as `DmReader`."""
    return DmReader(source)


class DmReader(FrameSource):
    """Reads the image or image stack of a DigitalMicrograph file; row 0 at the top, axes (n, y, x).

    Parameters
    ----------
    source
        A file with a path.

    Raises
    ------
    FormatError, TruncatedError
        No DM file, without a stack, or cut off.
    MissingLibraryError
        RosettaSciIO is not installed.
    """

    format = "DM"
    first_row: FirstRow = "top"

    def __init__(self, source: ByteSource) -> None:
        if source.path is None:
            raise FormatError(f"{source.name}: DM files are read from a path; write it to a file first")
        rsciio = library("rsciio.digitalmicrograph", "dm", "DM files")
        self._source, self.name = source, source.name
        with opening(self.name, "a DM3 or DM4 file"):
            images = rsciio.file_reader(str(source.path), lazy=True)
            stacks = [image for image in images if image["data"].ndim in (2, 3)]
            if not stacks:
                shapes = [tuple(image["data"].shape) for image in images]
                raise FormatError(f"{self.name}: has images of {shapes}; expected (n, y, x) or (y, x)")
            image = max(stacks, key=lambda image: (image["data"].ndim, image["data"].size))
            self._data = image["data"] if image["data"].ndim == 3 else image["data"][None]
            self.shape, self.dtype = self._data.shape, native(self.name, self._data.dtype)
            tags = image["original_metadata"].get("ImageList", {}).get("TagGroup0", {}).get("ImageData", {})
            nbytes, stored = self._data[0].nbytes, section(tags, "Data").get("size_bytes")
            if stored not in (None, self._data.nbytes):
                raise HeaderError(
                    f"{self.name}: its tags give the shape {self.shape} of {self.dtype}, {self._data.nbytes} "
                    f"bytes, and {stored} bytes of pixels; expected as many; copy the file again"
                )
            check_cost(self.name, stored=source.size, decoded=self._data.nbytes, at_once=nbytes)
        try:  # the tags say where the last pixel is, and the file may end before
            self._data[-1, -1, -1].compute(scheduler="synchronous")
        except (ValueError, OSError, EOFError) as error:
            raise TruncatedError(
                f"{self.name}: ends at {self._source.size} bytes, before its {self.shape[0]} frames of "
                f"{self.shape[1:]} {self.dtype} do; copy the file again"
            ) from error
        axes = {axis.get("name"): axis for axis in image["axes"]}
        x, y = (_edge(axes.get(name, {})) for name in ("x", "y"))
        self._file_pixel_size = None if x is None or y is None else (x, y, x)
        self._image = image

    @property
    def meta(self) -> dict[str, Any]:
        """Metadata: title, local time, camera, exposure (s), voltage (V), magnification, and input file."""
        tags = self._image["original_metadata"].get("ImageList", {}).get("TagGroup0", {}).get("ImageTags", {})
        bar, microscope = section(tags, "DataBar"), section(tags, "Microscope Info")
        values = {
            "title": self._image["metadata"].get("General", {}).get("title"),
            "datetime": _local_time(bar),
            "camera": bar.get("Device Name"),
            "exposure_s": bar.get("Exposure Time (s)"),
            "voltage_v": microscope.get("Voltage"),
            "indicated_magnification": microscope.get("Indicated Magnification"),
        }
        known = {key: plain(v) for key, v in values.items() if isinstance(v, (str, int, float)) and v}
        return {**known, "input": {"format": self.format, "first_row": self.first_row}}

    def frame(self, i: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return frame `i`, (ny, nx), of a DigitalMicrograph file; see `FrameSource`."""
        i, out = self.place(i, out)
        with decoding(self.name, i), phase("disk", out.nbytes):
            np.copyto(out, self._data[i].compute(scheduler="synchronous"))
        return out

    def close(self) -> None:
        """Close the DigitalMicrograph file."""
        self._source.close()


def _edge(axis: dict[str, Any]) -> float | None:
    """Return the edge of a pixel along an axis in Angstrom, or None."""
    unit = _ANGSTROM.get(str(axis.get("units")).strip())
    if unit is None:
        return None
    edge = float(f"{float(axis['scale']) * unit:.7g}")
    return edge if 0 < edge < np.inf else None


def _local_time(bar: dict[str, Any]) -> str | None:
    """Return the local time of an image in ISO form; None where day and month may be taken for each other.

    The date is a text in the order of the microscope computer's language. The time of its clock, in UTC, says
    which order is meant.
    """
    parser = library("dateutil.parser", "dm", "DM files")
    text = f"{bar.get('Acquisition Date', '')} {bar.get('Acquisition Time', '')}"
    times: set[datetime] = set()
    for dayfirst in (False, True):
        with suppress(ValueError, OverflowError):
            times.add(parser.parse(text, dayfirst=dayfirst).replace(tzinfo=None))
    clock = bar.get("Acquisition Time (OS)")
    if isinstance(clock, (int, float)) and clock > 0:
        utc = _EPOCH + timedelta(microseconds=clock / 10)
        times = {time for time in times if abs(time - utc) < _ZONES}
    return times.pop().isoformat(" ", "seconds") if len(times) == 1 else None
