"""Reads EER, the electron events of Falcon cameras, as frames of counts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.costs import check_cost
from mrcz_dask.formats.foreign.tiff import LARGEST_PIXEL, TiffPages, TiffReader
from mrcz_dask.formats.frames import FirstRow, FrameSource
from mrcz_dask.formats.libraries import decoding, opening
from mrcz_dask.formats.mrc.layout import Complain
from mrcz_dask.formats.sidecar import read_sidecar
from mrcz_dask.formats.source import ByteSource
from mrcz_dask.values.errors import FormatError, HeaderError
from mrcz_dask.values.params import InputParams
from mrcz_dask.values.timing import phase

COMPRESSIONS = (65000, 65001, 65002)
# Of compression 65002: bits of a run, and of a position within the pixel along x and y.
_SIZES = {65007: 7, 65008: 2, 65009: 2}
_FRAMES = "numberOfFrames"
_PIXEL, _METER = "sensorPixelSize.width", 1e10
_STEPS = {1: 0, 2: 1, 4: 2}


def first_events(pages: TiffPages) -> int | None:
    """Return the first page with electron events: 0, or 1 if an image of all events comes before."""
    few = range(min(2, pages.count))
    return next((k for k in few if pages.page(k).compression in COMPRESSIONS), None)


def open_tiff(source: ByteSource, inside: str, params: InputParams, complain: Complain) -> FrameSource:
    """Open a TIFF file, or an EER file, which is a TIFF file with pages of electron events.

    Raises
    ------
    FormatError, TruncatedError, DamagedError, FooterError, MissingLibraryError
        As `TiffReader` and `EerReader`.
    """
    with opening(source.name, "a TIFF file"):  # tags may have values of any type
        pages = TiffPages(source)
        if first_events(pages) is not None:
            return EerReader(pages, params)
        payload = None if source.beside is None else read_sidecar(source.beside)
        return TiffReader(pages, params, payload)


class EerReader(FrameSource):
    """Reads an EER file of a Falcon camera as frames of counts, each the sum of raw frames; row 0 at the top.

    Parameters
    ----------
    pages
        Pages of the file.
    params
        How many raw frames are summed to one (`eer_frames`), and the sub-pixels (`eer_upsampling`).

    Attributes
    ----------
    bounds
        Frame k is the sum of the raw frames from ``bounds[k]`` up to, and without, ``bounds[k + 1]``.

    Raises
    ------
    FormatError
        No electron events, or fewer raw frames than make one frame.
    """

    format = "EER"
    first_row: FirstRow = "top"

    def __init__(self, pages: TiffPages, params: InputParams) -> None:
        self._pages, self.name, self._params = pages, pages.name, params
        start = first_events(pages)
        if start is None:
            raise FormatError(f"{self.name}: no page of electron events; expected an EER file")
        self._start, self._first = start, pages.page(start)
        self._raw = (*self._first.shape, self._first.compression)
        raw_frames = pages.count - start
        count = raw_frames // params.eer_frames
        if not count:
            raise HeaderError(
                f"{self.name}: has {raw_frames} raw frames, fewer than one frame of {params.eer_frames}; "
                f"take --eer-frames {max(1, raw_frames // 2)} or fewer"
            )
        # what is left over is spread evenly
        self.bounds = tuple(k * raw_frames // count for k in range(count + 1))
        ny, nx = (edge * params.eer_upsampling for edge in self._first.shape)
        self.shape = (len(self.bounds) - 1, ny, nx)
        size, decoded = pages.source.size, raw_frames * ny * nx // params.eer_upsampling**2
        check_cost(self.name, stored=size, decoded=decoded, at_once=2 * ny * nx, parts=pages.count)
        self.dtype = np.dtype(np.uint8 if max(np.diff(self.bounds)) < 256 else np.uint16)
        with decoding(self.name, len(self) - 1):
            self._strips(pages.count - 1)
        tags = pages.first.eer_tags or self._first.eer_tags or {}
        tags = {key: str(value) if isinstance(value, datetime) else value for key, value in tags.items()}
        stated = tags.get(_FRAMES)
        if isinstance(stated, int) and stated != raw_frames:
            self.notes = (f"has {raw_frames} raw frames, and the camera's metadata say {stated}",)
        edge = tags.get(_PIXEL)
        if tags.get(f"{_PIXEL}.unit") == "m" and isinstance(edge, (int, float)):
            edge = float(f"{edge * _METER / params.eer_upsampling:.7g}")
            self._file_pixel_size = (edge, edge, edge) if 0 < edge <= LARGEST_PIXEL else None
        read = {
            "format": self.format,
            "codec": self.codec,
            "first_row": self.first_row,
            "raw_frames": raw_frames,
            "raw_frames_per_frame": sorted({int(n) for n in np.diff(self.bounds)}),
            "upsampling": params.eer_upsampling,
        }
        self._file_meta = {**({"eer": tags} if tags else {}), "input": read}

    @property
    def codec(self) -> str:
        """Name of the compression of the electron events, such as ``eer-65001``."""
        return f"eer-{int(self._first.compression)}"

    def frame(self, i: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return frame `i`, (ny, nx): electron counts, summed over its raw frames; see `FrameSource`."""
        i, out = self.place(i, out)
        out[:] = 0
        with decoding(self.name, i):
            for k in range(self.bounds[i], self.bounds[i + 1]):
                events = self._events(self._start + k)
                with phase("decode"):
                    np.add(out, events, out=out)
        return out

    def _events(self, page_number: int) -> NDArray[np.uint8]:
        page, raw = self._strips(page_number)
        sizes = [int(page.tags.valueof(tag, usual)) for tag, usual in _SIZES.items()]
        if page.compression == COMPRESSIONS[2]:
            runs, across, along = sizes
        else:
            runs, across, along = 8 if page.compression == COMPRESSIONS[0] else 7, 2, 2
        import imagecodecs

        with phase("decode", self.shape[1] * self.shape[2]):
            even, steps = raw + b"\0" * (len(raw) % 2), _STEPS[self._params.eer_upsampling]
            events = imagecodecs.eer_decode(even, self.shape[1:], runs, across, along, superres=steps)
        return events.view(np.uint8)

    def _strips(self, page_number: int) -> tuple[Any, bytes]:
        page = self._pages.page(page_number)
        if (*page.shape, page.compression) != self._raw:
            raise FormatError(
                f"page {page_number} is {page.shape} with compression {int(page.compression)}; expected "
                f"{self._raw[:2]} with {int(self._raw[2])}, as the first one of events"
            )
        parts = (self._pages.source.read_at(*place) for place in self._pages.segments(page))
        return page, b"".join(parts)

    def close(self) -> None:
        """Close the file; a stream that the caller opened stays open."""
        self._pages.close()
