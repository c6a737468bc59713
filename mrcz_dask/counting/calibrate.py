"""Calibrate a detector for counting from some of its frames: dark, read noise, charge of an electron.

Dark and noise are found in bands of rows, each a task of its own, so that no process holds the sample; the
bands overlap by more than a cloud of charge reaches. The charge is found in whole frames afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
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
from mrcz_dask.numerics.arrays import Floats, Image
from mrcz_dask.numerics.counting.coincidence import loss_curve, true_spectrum
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
from mrcz_dask.values.records import Failure

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

SampleFrames = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, eq=False)
class CountingReferences:
    """Gain, dark and defects that the user gave for counting, turned to fit the frames.

    Attributes
    ----------
    about
        Names and digests, plain values.
    prepared
        The references as they were turned and fitted; None = there are none.
    dark_stack
        A stack of frames without electrons; None = there is none.
    force
        Whether they are used even if the frames show that they are wrong.
    """

    about: dict[str, Any]
    prepared: PreparedGain | None = None
    dark_stack: Path | None = None
    force: bool = False

    @property
    def caveats(self) -> tuple[str, ...]:
        """Doubts about the references, for the user."""
        return () if self.prepared is None else self.prepared.caveats


def calibrate(
    stacks: Sequence[StackEntry],
    params: FindParams,
    inputs: InputParams,
    references: CountingReferences,
    client: Client,
    listen: messages.Listener = messages.silent,
) -> Calibration:
    """Calibrate a detector from a session's first frames: dark, read noise, electron charge, losses.

    Parameters
    ----------
    stacks
        Stacks with frames of one size, in order.
    params
        Parameters that the user gave.
    inputs
        How stacks are read.
    references
        Gain, dark and defects.
    client
        Client on which bands of rows are worked on.
    listen
        Listener that hears of the progress.

    Raises
    ------
    SessionError
        If too few frames can be read.
    ParameterError
        If gain or dark are worse than none in every orientation.
    """
    dark, noise, stacks = _find_noise(stacks, params, inputs, references.dark_stack, client, listen)
    sample = sample_of(stacks, params.sample, 1 if references.dark_stack else FEWEST)
    detector = _detector(dark, noise, references)
    comparison = _compare(detector, references, stacks, params, inputs)
    frames = _some_frames(sample, inputs, dark.shape)
    quantum = detector.unit if stacks[0].dtype.kind in "iu" else 0.0
    counting, charge_from = _charge(detector, frames, params, quantum)
    counts = Counter(path for path, _ in sample)
    about = {
        **references.about,
        "noise_from": "dark frames" if references.dark_stack else "frames",
        "sample": [
            {"name": stack.name, "frames": counts[str(stack.path)]}
            for stack in stacks
            if str(stack.path) in counts
        ],
        "charge_from": charge_from,
        **comparison,
    }
    return Calibration(
        detector.dark.astype(np.float32),
        detector.noise.astype(np.float32),
        detector.gain.astype(np.float32),
        np.asarray(detector.used),
        counting,
        _position_map(detector, counting, frames),
        loss_curve(counting, quantum),
        about,
    )


@dataclass(frozen=True, slots=True)
class BandTask:
    """Task: measure dark and read noise in a band of rows of some frames.

    Attributes
    ----------
    frames
        Path of the stack and number of each frame.
    inputs
        How stacks are read.
    rows, inner
        First row and row behind the last of those that are read, and of those that are kept of them.
    is_dark
        Whether there are no electrons in the frames.
    sharing
        Standard deviation of the cloud of charge, pixels.
    """

    frames: SampleFrames
    inputs: InputParams
    rows: tuple[int, int]
    inner: tuple[int, int]
    is_dark: bool
    sharing: float

    @property
    def name(self) -> str:
        """Name of the first stack, for messages."""
        return Path(self.frames[0][0]).name

    @property
    def places(self) -> tuple[str, ...]:
        """Paths of the stacks that the task reads."""
        return tuple(sorted({path for path, _ in self.frames}))


def find_band(task: BandTask) -> tuple[Image, Image] | str:
    """Measure dark and read noise of each pixel in a band of rows; return them, or the path of a stack that
    cannot be read.
    """
    rows = slice(*task.rows)
    bands = []
    for path in dict.fromkeys(path for path, _ in task.frames):
        try:
            with open_source(path, task.inputs) as source:
                bands += [source.physical(k)[rows].copy() for stack, k in task.frames if stack == path]
        except (ValueError, OSError):
            return path
    frames = np.stack(bands)
    if task.is_dark:
        dark, noise = dark_statistics(frames)
    else:
        assumed = CountingParams(charge=ASSUMED, xray=BEYOND, sharing=task.sharing)
        detector = estimate_detector(frames, assumed)
        dark, noise = detector.dark, np.where(detector.used, detector.noise, np.nan)
    keep = slice(task.inner[0] - task.rows[0], task.inner[1] - task.rows[0])
    return dark[keep].astype(np.float32), noise[keep].astype(np.float32)


def _find_noise(
    stacks: Sequence[StackEntry],
    params: FindParams,
    inputs: InputParams,
    dark_stack: Path | None,
    client: Client,
    listen: messages.Listener,
) -> tuple[Floats, Floats, Sequence[StackEntry]]:
    """Return dark and noise of each pixel, and the stacks without those that cannot be read."""
    shape = stacks[0].shape[1], stacks[0].shape[2]
    while True:
        if dark_stack is None:
            frames = sample_of(stacks, params.sample)
        else:
            with open_source(dark_stack, inputs) as source:
                frames = tuple((str(dark_stack), k) for k in range(min(len(source), 10 * params.sample)))
        tasks = [
            BandTask(frames, inputs, rows, inner, dark_stack is not None, params.sharing)
            for rows, inner in _bands(shape, len(frames))
        ]
        listen(messages.PhaseStarted(PHASE, len(tasks), 0))
        images: dict[BandTask, tuple[Image, Image]] = {}
        unread: set[str] = set()
        todo = [Task("find-noise", PHASE, find_band, task, k) for k, task in enumerate(tasks)]
        for task, result in carry_out(client, todo):
            if isinstance(result, Failure):
                raise SessionError(f"the detector's noise: {result.reason}")
            if isinstance(result, str):
                unread.add(result)
            else:
                images[task] = result
            listen(messages.StackDone(PHASE, task.name, 0))
        listen(messages.PhaseFinished(PHASE))
        if not unread:
            dark, noise = (np.concatenate([images[task][k] for task in tasks]) for k in range(2))
            return dark.astype(np.float64), noise.astype(np.float64), stacks
        if str(dark_stack) in unread:
            raise SessionError(f"--dark {dark_stack}: cannot be read; give another stack of dark frames")
        stacks = [stack for stack in stacks if str(stack.path) not in unread]


def _bands(shape: tuple[int, int], frames: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return the rows that each band reads, and those that it keeps of them."""
    ny, nx = shape
    height = max(64, BAND_PIXELS // (nx * frames))
    edges = [(y, min(y + height, ny)) for y in range(0, ny, height)]
    if len(edges) > 1 and edges[-1][1] - edges[-1][0] < OVERLAP:
        edges[-2:] = [(edges[-2][0], ny)]
    return [((max(0, a - OVERLAP), min(ny, b + OVERLAP)), (a, b)) for a, b in edges]


def _detector(dark: Floats, noise: Floats, references: CountingReferences) -> Detector:
    """Return the detector, with one noise for all quiet pixels, and with the references that were given."""
    unknown = ~np.isfinite(noise)
    typical = float(np.median(noise[~unknown])) if not unknown.all() else np.nan
    if not typical > 0:
        raise SessionError("the detector: no pixel has any noise; expected raw frames, not counted ones")
    bad = unknown | (classes(np.where(unknown, typical, noise)) == 2)
    gain = None
    if references.prepared is not None:
        applied = references.prepared.gain
        bad |= applied.bad
        if applied.dark is not None:
            dark = applied.dark.astype(np.float64)
        if "gain" in references.about:
            gain = (1 / applied.image).astype(np.float32).astype(np.float64)
    quiet = detector_from(dark, np.where(unknown, typical, noise))
    return Detector(dark, quiet.noise, gain, bad)


def _compare(
    detector: Detector,
    references: CountingReferences,
    stacks: Sequence[StackEntry],
    params: FindParams,
    inputs: InputParams,
) -> dict[str, Any]:
    """Compare gain and dark with the frames; return the caveats for the record."""
    caveats, forced = list(references.caveats), False
    if {"gain", "dark"} & references.about.keys():
        number = max(FEWEST, COMPARED_PIXELS // detector.dark.size)
        frames = sample_of(stacks, number, 1)
        charge = params.charge or ASSUMED
        findings = compare_with_frames(
            detector, references.prepared, references.about, frames, inputs, params.sigma, charge
        )
        caveats += accepted(findings, force=references.force)
        forced = any(finding.worse for finding in findings)
    return ({"forced": True} if forced else {}) | ({"caveats": caveats} if caveats else {})


def _some_frames(sample: SampleFrames, inputs: InputParams, shape: tuple[int, ...]) -> list[NDArray[Any]]:
    """Read frames for the spectrum: as many as hold some 200 000 electrons at 1 % occupancy, at most 32."""
    number = int(np.clip(SPECTRUM / (0.01 * shape[0] * shape[1]), 4, 32))
    frames = []
    for path, k in sample[:: max(1, len(sample) // number)][:number]:
        with suppress(ValueError, OSError), open_source(path, inputs) as source:
            frames.append(source.physical(k))
    if not frames:
        raise SessionError("the detector's charge: no frame of the first stacks can be read; leave them out")
    return frames


def _charge(
    detector: Detector, frames: list[NDArray[Any]], params: FindParams, quantum: float
) -> tuple[CountingParams, str]:
    """Return the parameters of counting, and the origin of the charge."""
    if params.charge and params.width:
        return params.counting(params.charge, params.width), "given"
    charge, width = params.charge or ASSUMED, params.width or CountingParams().width
    for turn in range(2):
        xray = BEYOND if turn == 0 else 3.5 * charge
        counting = CountingParams(
            sigma=params.sigma, charge=charge, width=width, sharing=params.sharing, xray=xray
        )
        finder = EventFinder(detector, counting)
        charges = np.concatenate([finder.find(frame).charge for frame in frames]) / detector.unit
        if charges.size < FEWEST_CHARGES:
            return params.counting(charge, width), "given" if params.charge else "assumed"
        spectrum = charge_spectrum(charges, CLOUD_NOISE)
        if turn:
            occupancy = charges.size / (len(frames) * frames[0].size)
            occupancy = min(occupancy, MOST_OCCUPIED)
            spectrum = true_spectrum(spectrum, counting, occupancy, CLOUD_NOISE, quantum)
        charge = params.charge or float(np.clip(spectrum.charge, 1, 1e4))
        width = params.width or float(np.clip(spectrum.width, 0, 1))
    return params.counting(charge, width), "frames"


def _position_map(detector: Detector, params: CountingParams, frames: list[NDArray[Any]]) -> PlaceMap | None:
    """Return the map that makes positions even; None if the method needs none, or electrons are too few."""
    if params.position == "maximum" or params.clusters == "components":
        return None
    finder = EventFinder(detector, params)
    places = np.concatenate([finder.places_within(frame) for frame in frames])
    return learn_places(places) if places.size >= 10 * LEAST else None


def sample_of(stacks: Sequence[StackEntry], number: int, fewest: int = FEWEST) -> SampleFrames:
    """Choose the frames for the calibration: from the first stacks, spread evenly over each.

    Raises
    ------
    SessionError
        If there are too few.
    """
    frames: list[tuple[str, int]] = []
    for stack in stacks:
        n = stack.shape[0]
        missing = min(number - len(frames), n)
        frames += [(str(stack.path), k * n // missing) for k in range(missing)]
        if len(frames) == number:
            break
    if len(frames) < fewest:
        raise SessionError(
            f"{len(frames)} raw frames that can be read; expected at least {fewest} to find the detector's "
            "noise; give more frames, or --calibration of an earlier run"
        )
    return tuple(frames)
