"""The pass before the first: what a detector's dark, noise and charge are, from a sample of the frames.

Dark and noise are found in bands of rows, each a task of its own, so that no process holds the sample; the
bands overlap by more than a cloud of charge reaches. What belongs to all pixels together is found when they
are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.counting.calibration import Calibration
from mrcz_dask.counting.comparing import compare_with_frames
from mrcz_dask.counting.params import FEWEST, FindParams
from mrcz_dask.engine.client import Client
from mrcz_dask.engine.loop import Task, carry_out
from mrcz_dask.formats.sources import open_source
from mrcz_dask.gain.check import accepted
from mrcz_dask.gain.prepared import PreparedGain
from mrcz_dask.numerics.counting.charges import true_spectrum
from mrcz_dask.numerics.counting.coincidence import loss_curve
from mrcz_dask.numerics.counting.detector import Detector
from mrcz_dask.numerics.counting.events import EventFinder
from mrcz_dask.numerics.counting.noise import (
    charge_spectrum,
    classes,
    dark_statistics,
    detector_from,
    estimate_detector,
)
from mrcz_dask.numerics.counting.params import CountingParams
from mrcz_dask.numerics.counting.places import LEAST, PlaceMap, learn_places
from mrcz_dask.session.entries import StackEntry
from mrcz_dask.values import messages
from mrcz_dask.values.errors import SessionError
from mrcz_dask.values.params import InputParams

PHASE = "detector"
OVERLAP = 8
BAND_PIXELS = 1 << 25  # of all frames of a band
COMPARED_PIXELS = 1 << 28  # of all frames that gain and dark are compared with
FEWEST_CHARGES = 500
CLOUD_NOISE = 1.75  # of a fitted charge, in read noises
SPECTRUM = 200_000
ASSUMED = 10.0
BEYOND = 1e6
MOST_OCCUPIED = 0.1  # of frames that are simulated

Floats = NDArray[np.float64]
Frames = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class BandTask:
    """Rows start <= y < stop of some frames, from which dark and noise are to be found.

    Attributes
    ----------
    frames
        Path of the stack and number of each.
    inputs
        How stacks are read.
    rows, inner
        The rows that are read, and those that are kept of them.
    is_dark
        Whether there are no electrons in the frames.
    sharing
        Of the cloud of charge.
    """

    frames: Frames
    inputs: InputParams
    rows: tuple[int, int]
    inner: tuple[int, int]
    is_dark: bool
    sharing: float

    @property
    def name(self) -> str:
        """Of the first stack."""
        return Path(self.frames[0][0]).name

    @property
    def places(self) -> tuple[str, ...]:
        """Files that must be there."""
        return tuple(sorted({path for path, _ in self.frames}))


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """Dark and noise of some rows, float32."""

    dark: NDArray[np.float32]
    noise: NDArray[np.float32]


def find_band(task: BandTask) -> Band | str:
    """Return dark and noise of a band of rows, or the path of the stack that cannot be read."""
    rows = slice(*task.rows)
    found = []
    for path in dict.fromkeys(path for path, _ in task.frames):
        try:
            with open_source(path, task.inputs) as source:
                found += [source.physical(k)[rows].copy() for one, k in task.frames if one == path]
        except (ValueError, OSError):
            return path
    frames = np.stack(found)
    keep = slice(task.inner[0] - task.rows[0], task.inner[1] - task.rows[0])
    if task.is_dark:
        dark, noise = dark_statistics(frames)
    else:
        assumed = CountingParams(charge=ASSUMED, xray=BEYOND, sharing=task.sharing)
        detector = estimate_detector(frames, assumed)
        dark, noise = detector.dark, np.where(detector.used, detector.noise, np.nan)
    return Band(dark[keep].astype(np.float32), noise[keep].astype(np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """What is known of the detector before it is looked at, in the frames' orientation.

    Attributes
    ----------
    dark
        (ny, nx) ADU; None = from frames.
    gain
        (ny, nx) relative gain by which charge is divided; None = 1.
    bad
        (ny, nx) True = not used; None = none.
    dark_stack
        A stack of frames without electrons; None = there is none.
    about
        Names and digests of all that, plain values.
    prepared
        The references as they were turned and fitted, to be compared with the frames; None = there are none.
    force
        Use them even if the frames show that they are wrong.
    """

    dark: NDArray[np.float32] | None = None
    gain: NDArray[np.float32] | None = None
    bad: NDArray[np.bool_] | None = None
    dark_stack: Path | None = None
    about: dict[str, Any] = field(default_factory=dict)
    prepared: PreparedGain | None = None
    force: bool = False

    @property
    def caveats(self) -> tuple[str, ...]:
        """What a person should know of the references."""
        return () if self.prepared is None else self.prepared.caveats


class Survey:
    """Finds out about a detector.

    Parameters
    ----------
    stacks
        With frames of one size, in order; the first ones are looked at.
    params
        What is asked for.
    inputs
        How stacks are read.
    given
        What is known.
    client
        Where the bands are found.
    listen
        Is told what happens.
    """

    def __init__(
        self,
        stacks: Sequence[StackEntry],
        params: FindParams,
        inputs: InputParams,
        given: Given,
        client: Client,
        listen: messages.Listener = messages.silent,
    ) -> None:
        self._stacks, self._params, self._inputs, self._given = list(stacks), params, inputs, given
        self._client, self._listen = client, listen
        self._shape = (stacks[0].shape[1], stacks[0].shape[2])

    def calibration(self) -> Calibration:
        """Return what is known of the detector then.

        Raises
        ------
        SessionError
            There are too few frames that can be read.
        ParameterError
            Gain or dark are worse than none in every orientation.
        """
        dark, noise = self._dark_and_noise()
        fewest = 1 if self._given.dark_stack else FEWEST
        sample = sample_of(self._stacks, self._params.sample, fewest)
        detector = self._detector(dark, noise)
        said = self._compared(detector)
        frames = self._some_frames(sample)
        params, charges = self._charge(detector, frames)
        places = _places(detector, params, frames)
        integer = self._stacks[0].dtype.kind in "iu"
        curve = loss_curve(params, detector.unit if integer else 0.0)
        about = {
            **self._given.about,
            "noise_from": "dark frames" if self._given.dark_stack else "frames",
            "sample": [{"name": e.name, "frames": n} for e, n in _counted(self._stacks, sample)],
            "charge_from": charges,
            **said,
        }
        dark32, noise32, gain32 = (
            one.astype(np.float32) for one in (detector.dark, detector.noise, detector.gain)
        )
        used = np.asarray(detector.used)
        return Calibration(dark32, noise32, gain32, used, params, places, curve, about)

    def _compared(self, detector: Detector) -> dict[str, Any]:
        """Return what the frames say against gain and dark, for the record."""
        given, asked = self._given, self._params
        if not {"gain", "dark"} & given.about.keys():
            return {"caveats": list(given.caveats)} if given.caveats else {}
        number = max(FEWEST, COMPARED_PIXELS // (self._shape[0] * self._shape[1]))
        frames = sample_of(self._stacks, number, 1)
        charge = asked.charge or ASSUMED
        found = compare_with_frames(
            detector, given.prepared, given.about, frames, self._inputs, asked.sigma, charge
        )
        told = [*given.caveats, *accepted(found, force=given.force)]
        forced = {"forced": True} if any(one.worse for one in found) else {}
        return forced | ({"caveats": told} if told else {})

    def _dark_and_noise(self) -> tuple[Floats, Floats]:
        """Return dark and noise, without the stacks that cannot be read."""
        while True:
            tasks = self._tasks()
            self._listen(messages.PhaseStarted(PHASE, len(tasks), 0))
            found: dict[tuple[int, int], Band] = {}
            unread: set[str] = set()
            for task, made in carry_out(
                self._client, [Task("find-noise", PHASE, find_band, task, k) for k, task in enumerate(tasks)]
            ):
                if isinstance(made, str):
                    unread.add(made)
                elif isinstance(made, Band):
                    found[task.inner] = made
                else:
                    raise SessionError(f"the detector's noise: {made.reason}")
                self._listen(messages.StackDone(PHASE, task.name, 0))
            self._listen(messages.PhaseFinished(PHASE))
            if not unread:
                bands = [found[task.inner] for task in tasks]
                dark, noise = (
                    np.concatenate([getattr(one, name) for one in bands]).astype(np.float64)
                    for name in ("dark", "noise")
                )
                return dark, noise
            self._leave_out(unread)

    def _leave_out(self, paths: set[str]) -> None:
        if self._given.dark_stack is not None and str(self._given.dark_stack) in paths:
            raise SessionError(
                f"--dark {self._given.dark_stack}: cannot be read; give another stack of dark frames"
            )
        self._stacks = [one for one in self._stacks if str(one.path) not in paths]

    def _tasks(self) -> list[BandTask]:
        dark = self._given.dark_stack
        if dark is None:
            frames = sample_of(self._stacks, self._params.sample)
        else:
            with open_source(dark, self._inputs) as source:
                frames = tuple((str(dark), k) for k in range(min(len(source), 10 * self._params.sample)))
        ny, nx = self._shape
        height = max(64, BAND_PIXELS // (nx * len(frames)))
        edges = [(y, min(y + height, ny)) for y in range(0, ny, height)]
        if len(edges) > 1 and edges[-1][1] - edges[-1][0] < OVERLAP:
            edges[-2:] = [(edges[-2][0], ny)]
        return [
            BandTask(
                frames,
                self._inputs,
                (max(0, a - OVERLAP), min(ny, b + OVERLAP)),
                (a, b),
                dark is not None,
                self._params.sharing,
            )
            for a, b in edges
        ]

    def _detector(self, dark: Floats, noise: Floats) -> Detector:
        """Return the detector with one noise for all quiet pixels, and what was given of it."""
        unknown = ~np.isfinite(noise)
        typical = float(np.median(noise[~unknown])) if not unknown.all() else np.nan
        if not typical > 0:
            raise SessionError("the detector: no pixel has any noise; expected raw frames, not counted ones")
        noise = np.where(unknown, 0.0, noise)
        bad = unknown | (classes(np.where(unknown, typical, noise)) == 2)
        if self._given.bad is not None:
            bad |= self._given.bad
        own = dark if self._given.dark is None else self._given.dark.astype(np.float64)
        gain = None if self._given.gain is None else self._given.gain.astype(np.float64)
        made = detector_from(own, np.where(unknown, typical, noise), gain)
        return Detector(own, made.noise, gain, bad)

    def _some_frames(self, sample: Frames) -> list[NDArray[Any]]:
        """Return frames for the spectrum: as many as some 200 000 electrons at 1 % take, at most 32."""
        number = int(np.clip(SPECTRUM / (0.01 * self._shape[0] * self._shape[1]), 4, 32))
        chosen = sample[:: max(1, len(sample) // number)][:number]
        found = []
        for path, k in chosen:
            with suppress(ValueError, OSError), open_source(path, self._inputs) as source:
                found.append(source.physical(k))
        if not found:
            raise SessionError(
                "the detector's charge: no frame of the first stacks can be read; leave them out"
            )
        return found

    def _charge(self, detector: Detector, frames: list[NDArray[Any]]) -> tuple[CountingParams, str]:
        """Return the parameters of counting, and where the charge came from."""
        asked = self._params
        usual = CountingParams()
        if asked.charge and asked.width:
            return asked.counting(asked.charge, asked.width), "given"
        charge, width = asked.charge or ASSUMED, asked.width or usual.width
        for turn in range(2):
            limit = BEYOND if turn == 0 else 3.5 * charge
            look = CountingParams(
                sigma=asked.sigma, charge=charge, width=width, sharing=asked.sharing, xray=limit
            )
            finder = EventFinder(detector, look)
            charges = np.concatenate([finder.find(one).charge for one in frames]) / detector.unit
            if charges.size < FEWEST_CHARGES:
                return asked.counting(charge, width), "given" if asked.charge else "assumed"
            found = charge_spectrum(charges, CLOUD_NOISE)
            if turn:
                occupancy = charges.size / (len(frames) * frames[0].size)
                quantum = detector.unit if self._stacks[0].dtype.kind in "iu" else 0.0
                found = true_spectrum(found, look, min(occupancy, MOST_OCCUPIED), CLOUD_NOISE, quantum)
            charge = asked.charge or float(np.clip(found.charge, 1, 1e4))
            width = asked.width or float(np.clip(found.width, 0, 1))
        return asked.counting(charge, width), "frames"


def _places(detector: Detector, params: CountingParams, frames: list[NDArray[Any]]) -> PlaceMap | None:
    """Return what makes places even; None with too few electrons, and where nothing is to be made even."""
    if params.position == "maximum" or params.clusters == "components":
        return None
    finder = EventFinder(detector, params)
    found = np.concatenate([finder.places_within(one) for one in frames])
    return learn_places(found) if found.size >= 10 * LEAST else None


def sample_of(stacks: Sequence[StackEntry], number: int, fewest: int = FEWEST) -> Frames:
    """Return frames of the first stacks, spread evenly over each.

    Raises
    ------
    SessionError
        There are too few.
    """
    found: list[tuple[str, int]] = []
    for one in stacks:
        wanted, n = number - len(found), one.shape[0]
        found += [(str(one.path), k * n // min(wanted, n)) for k in range(min(wanted, n))]
        if len(found) == number:
            break
    if len(found) < fewest:
        raise SessionError(
            f"{len(found)} raw frames that can be read; expected at least {fewest} to find the detector's "
            "noise; give more frames, or --calibration of an earlier run"
        )
    return tuple(found)


def _counted(stacks: Sequence[StackEntry], sample: Frames) -> list[tuple[StackEntry, int]]:
    numbers = {str(one.path): 0 for one in stacks}
    for path, _ in sample:
        numbers[path] = numbers.get(path, 0) + 1
    return [(one, numbers[str(one.path)]) for one in stacks if numbers[str(one.path)]]
