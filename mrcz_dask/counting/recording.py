"""Describe a counted stack for its files: provenance (the step `count`), metadata and results."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import xxhash

from mrcz_dask.counting.calibration import Calibration
from mrcz_dask.counting.packing import CHARGE_STEPS, EventArrays
from mrcz_dask.counting.params import FindParams
from mrcz_dask.formats import provenance
from mrcz_dask.values.params import USUAL_INPUT, InputParams

STEP = "count"


@dataclass(frozen=True, slots=True)
class Origin:
    """Origin of raw frames: name, size, metadata and provenance of the input file, as plain values.

    Attributes
    ----------
    name, size
        Name of the input without folders, and its bytes; None for a stream.
    shape
        (ny, nx) of the frames.
    pixel_size
        Angstrom, or None.
    acquired, acquired_from
        Acquisition time in ISO format, and where it was found.
    meta
        Metadata of the input.
    provenance
        Steps that made the input.
    """

    name: str
    size: int | None
    shape: tuple[int, int]
    pixel_size: float | None
    acquired: str
    acquired_from: str
    meta: dict[str, Any]
    provenance: tuple[dict[str, Any], ...] = ()


class Summary:
    """Accumulates, batch by batch, the number of a stack's events and digests of frames and events."""

    def __init__(self) -> None:
        self.events = self.frames = 0
        self._pixels, self._events = xxhash.xxh3_128(), xxhash.xxh3_128()

    def add(self, digests: bytes, events: EventArrays) -> None:
        """Add a batch: the digests of its frames' pixels, and its events."""
        self.frames += events.counts.size
        self.events += events.y.size
        self._pixels.update(digests)
        bounds = events.counts.cumsum().tolist()
        for start, stop in zip([0, *bounds[:-1]], bounds, strict=True):  # whatever the size of a batch
            for column in (events.y, events.x, events.charge):
                self._events.update(column[start:stop].astype(column.dtype.newbyteorder("<")).tobytes())
            self._events.update(b"|")

    @property
    def pixels_digest(self) -> str:
        """Digest of all raw pixels, made of the digests of the frames, by which an input is recognized."""
        return self._pixels.hexdigest()

    @property
    def events_digest(self) -> str:
        """Digest of all events, frame by frame."""
        return self._events.hexdigest()


def about_stack(
    origin: Origin,
    calibration: Calibration,
    params: FindParams,
    summary: Summary,
    *,
    inputs: InputParams = USUAL_INPUT,
    detector: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
    caveats: Iterable[str] = (),
) -> dict[str, Any]:
    """Describe a counted stack in plain values, with provenance and results, for its output files.

    Parameters
    ----------
    origin
        Origin of the frames.
    calibration
        Calibration with which they were counted.
    params
        Parameters as the user gave them.
    summary
        Sums of all events.
    inputs
        How the frames were read; recorded if it is not the usual way.
    detector
        Name and digest of the user's function, if there is one.
    more
        More results, such as gaps of a stream.
    caveats
        Caveats of the caller.
    """
    meta = origin.meta
    if origin.acquired_from in ("mdoc", "name"):  # the outputs have neither
        meta = {"acquisition_time": origin.acquired, **meta}
    size = {} if origin.size is None else {"size": origin.size}
    own = detector is None
    step = provenance.step(
        STEP,
        parameters=params.to_dict() | parameters_beside(detector, inputs),
        inputs=[{"role": "raw frames", "name": origin.name, **size, "frames_digest": summary.pixels_digest}],
        results=_results(calibration, summary, own=own) | dict(more or {}),
        caveats=[*caveats, *_caveats(calibration, summary, own=own)],
    )
    about: dict[str, Any] = provenance.plain(
        {
            "shape": [summary.frames, *origin.shape],
            "frames": summary.frames,
            "events": summary.events,
            "digest": summary.events_digest,
            "pixel_size": origin.pixel_size,
            "acquired": origin.acquired,
            "acquired_from": origin.acquired_from,
            "charge_step": calibration.detector.unit / CHARGE_STEPS,
            "meta": meta,
            "provenance": provenance.append(list(origin.provenance), step),
        }
    )
    return about


def parameters_beside(detector: Mapping[str, str] | None, inputs: InputParams) -> dict[str, Any]:
    """Return the parameters that provenance records only when they are used: a user's function, unusual ways
    to read files.
    """
    unusual = {"detector": detector and dict(detector), "input": inputs != USUAL_INPUT and inputs.to_dict()}
    return {name: value for name, value in unusual.items() if value}


def _results(calibration: Calibration, summary: Summary, *, own: bool) -> dict[str, Any]:
    params, unit = calibration.params, calibration.detector.unit
    used = int(calibration.used.sum())
    return {
        "calibration": calibration.digest,
        "detector": calibration.about,
        "pixels_not_used": calibration.used.size - used,
        "read_noise": unit,
        "threshold": params.sigma * unit,
        "xray_limit": params.xray_limit * unit,
        "charge": params.charge * unit,
        "counting": params.to_dict(),
        "events": summary.events,
        "coincidence": coincidence(calibration, summary.events / (summary.frames * used), own=own),
    }


def coincidence(calibration: Calibration, counted: float, *, own: bool = True) -> dict[str, float | None]:
    """Compute the true occupancy from the counted one, and the share of electrons lost to coincidence.

    Parameters
    ----------
    calibration
        Calibration with the curve of losses.
    counted
        Electrons per used pixel and raw frame that were counted.
    own
        Whether the package's own method counted them, to which the curve belongs.

    Returns
    -------
    dict
        ``counted``, ``true`` (electrons per pixel and raw frame), ``loss`` (share), ``factor`` by which a
        counted dose is multiplied; None where it is not known.
    """
    curve = calibration.loss if own else None
    true = math.nan if curve is None or counted <= 0 else curve.true(counted)
    if curve is None or not true > 0:
        return {"counted": counted, "true": None, "loss": None, "factor": None}
    return {"counted": counted, "true": true, "loss": curve.loss(true), "factor": true / counted}


def _caveats(calibration: Calibration, summary: Summary, *, own: bool) -> Iterable[str]:
    share = summary.events / (summary.frames * int(calibration.used.sum()))
    if not own:
        yield "coincidence loss: not estimated for a detector function of one's own"
    elif summary.events and coincidence(calibration, share)["true"] is None:
        yield "coincidence loss: more electrons per frame than the curve holds for, or as few as noise gives"
    if calibration.about.get("charge_from") == "assumed":
        yield "charge: too few electrons in the sample to find it; an assumed one was used (--charge)"
