"""What is said of a stack's electrons: the step `count` of their provenance, and what their frames are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import xxhash

from mrcz_dask.counting.calibration import Calibration
from mrcz_dask.counting.packing import CHARGE_STEPS, Found
from mrcz_dask.counting.params import FindParams
from mrcz_dask.formats import provenance
from mrcz_dask.values.params import InputParams

STEP = "count"
USUAL = InputParams()
_TIME = "acquisition_time"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where frames come from, plain values alone, to be sent to workers and kept in spools.

    Attributes
    ----------
    name, size
        Of the input, without folders; bytes, None for a stream.
    shape
        (ny, nx).
    pixel_size
        Angstrom, or None.
    acquired, acquired_from
        ISO time, and what says so.
    meta
        Of the input.
    provenance
        The steps that made the input.
    """

    name: str
    size: int | None
    shape: tuple[int, int]
    pixel_size: float | None
    acquired: str
    acquired_from: str
    meta: dict[str, Any]
    provenance: tuple[dict[str, Any], ...] = ()

    def counted_meta(self) -> dict[str, Any]:
        """Return the metadata of the outputs: the input's, with the time where that was beside it."""
        if self.acquired_from in ("mdoc", "name"):
            return {_TIME: self.acquired, **self.meta}
        return self.meta


class Summary:
    """Digests and numbers of a stack's electrons, batch by batch in order."""

    def __init__(self) -> None:
        self.events = self.frames = 0
        self._pixels, self._events = xxhash.xxh3_128(), xxhash.xxh3_128()

    def add(self, digests: bytes, found: Found) -> None:
        """Take in frames: the digests of their pixels, and their electrons."""
        self.frames += found.counts.size
        self.events += found.y.size
        self._pixels.update(digests)
        bounds = found.counts.cumsum().tolist()
        for start, stop in zip([0, *bounds[:-1]], bounds, strict=True):  # whatever the size of a batch
            for column in (found.y, found.x, found.charge):
                self._events.update(column[start:stop].astype(column.dtype.newbyteorder("<")).tobytes())
            self._events.update(b"|")

    @property
    def pixels_digest(self) -> str:
        """Return xxh3-128 over the xxh3-128 of all frames."""
        return self._pixels.hexdigest()

    @property
    def events_digest(self) -> str:
        """Return xxh3-128 over the electrons, frame by frame."""
        return self._events.hexdigest()


def about_stack(
    origin: Origin,
    calibration: Calibration,
    params: FindParams,
    summary: Summary,
    *,
    inputs: InputParams = USUAL,
    detector: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
    caveats: Iterable[str] = (),
) -> dict[str, Any]:
    """Return what an event list says of itself: plain values, the provenance among them.

    Parameters
    ----------
    origin
        Of the frames.
    calibration
        With which they were counted.
    params
        As they were asked for.
    summary
        Of all electrons.
    inputs
        How the frames were read; the usual way is not mentioned.
    detector
        Name and digest of the user's function, if there is one.
    more
        Results to be added, such as gaps of a stream.
    caveats
        Texts.
    """
    step = provenance.step(
        STEP,
        parameters=params.to_dict() | parameters_beside(detector, inputs),
        inputs=[_input(origin, summary)],
        results=_results(calibration, summary, own=detector is None) | dict(more or {}),
        caveats=[*caveats, *_caveats(calibration, summary, own=detector is None)],
    )
    made: dict[str, Any] = provenance.plain(
        {
            "shape": [summary.frames, *origin.shape],
            "frames": summary.frames,
            "events": summary.events,
            "digest": summary.events_digest,
            "pixel_size": origin.pixel_size,
            "acquired": origin.acquired,
            "acquired_from": origin.acquired_from,
            "charge_step": calibration.detector.unit / CHARGE_STEPS,
            "meta": origin.counted_meta(),
            "provenance": provenance.append(list(origin.provenance), step),
        }
    )
    return made


def parameters_beside(detector: Mapping[str, str] | None, inputs: InputParams) -> dict[str, Any]:
    """Return what is recorded beside the parameters of counting where it is not the usual."""
    found = {"detector": detector and dict(detector), "input": inputs != USUAL and inputs.to_dict()}
    return {name: value for name, value in found.items() if value}


def _input(origin: Origin, summary: Summary) -> dict[str, Any]:
    size = {} if origin.size is None else {"size": origin.size}
    return {"role": "raw frames", "name": origin.name, **size, "frames_digest": summary.pixels_digest}


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
    """Return the occupancy and what coincidence took of it.

    Parameters
    ----------
    calibration
        With the curve of losses.
    counted
        Electrons per used pixel and raw frame that were counted.
    own
        Whether they were counted in the way that the curve is of.

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
