"""Data of a report, read from session store, log and footers; the movies are not read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.places import stem_of
from mrcz_dask.numerics.outliers.kept_fit import KeptFit
from mrcz_dask.numerics.outliers.population import Lifetime, OutlierPlaces, Survival, Turnover
from mrcz_dask.numerics.reference.evidence import SessionEvidence, StackEvidence, session_evidence
from mrcz_dask.report.progress import RunTimes
from mrcz_dask.values.records import Break, Record, is_too_quiet

LEAVE_OUT = "leave-out.txt"  # names of the stacks to leave out, beside the report
KINDS = ("raw", "filtered", "corrected", "raw_in_sample", "corrected_in_sample")


@dataclass(frozen=True, slots=True)
class Band(Record):
    """Record of the fit in one band of a stack's pattern: its coefficients, and the share they explain."""

    band: str
    modes: int
    coefficients: tuple[float, ...]
    explained: float
    used: bool


@dataclass(frozen=True, slots=True)
class MaskFacts(Record):
    """Record of a stack's sum and outlier mask: dose, numbers of outliers, thresholds, quality of the fit.

    Attributes
    ----------
    shape, dtype
        (n, ny, nx) and type of the pixels.
    dose
        Counts per pixel and frame.
    n_masked, n_hot, n_dead, n_neighbourly
        Outlier pixels.
    t_dark, t_hot
        Thresholds in sigma; None where off.
    mu, sigma
        Center and width of the sum's good pixels, counts; None where not fitted.
    misfit
        Largest difference between the cumulative histogram and the fitted one.
    status, illumination
        Status of the mask, and whether uneven illumination was taken out.
    spread
        Relative spread of the sum beyond counting; None where not known.
    gamma
        Exponent of its gain; 1 without one.
    """

    shape: tuple[int, int, int]
    dtype: str
    dose: float
    n_masked: int
    n_hot: int
    n_dead: int
    n_neighbourly: int
    t_dark: float | None
    t_hot: float | None
    mu: float | None
    sigma: float | None
    misfit: float | None
    status: str
    illumination: bool
    spread: float | None
    gamma: float

    @property
    def pixels(self) -> int:
        """Number of pixels in a frame of the stack."""
        return self.shape[1] * self.shape[2]

    @property
    def sound(self) -> bool:
        """True if the mask can be trusted, so that the stack was corrected with it."""
        return self.status in ("ok", "sparse")


@dataclass(frozen=True, slots=True)
class StackData:
    """Record of everything that a report shows about one stack, but for its images.

    Attributes
    ----------
    number
        In order of acquisition, from 1.
    name, stem, output
        Name of the stack, stem of its outputs, and name of its output.
    acquired, acquired_from, hours
        When it was taken, what says so, and hours since the first stack.
    state, reason
        ``done``, ``failed``, ...; why not, or why once more.
    mask
        Measures of its sum; None if it did not get so far.
    turnover
        Outliers that appeared and went since the stack before.
    usable, score
        Whether it may be a reference, and its contrast score.
    noise
        Correlated noise, see `StackResult`; None where it was not measured.
    caveats
        Doubts that a person should know.
    evidence
        Measures of its pattern, see `StackResult`; empty if there are none.
    bands
        Fit of its pattern by bands, from the footer; empty if nothing was fitted.
    breaks
        Breaks of the session that cut its windows.
    agrees
        Whether the footer of its output and the session store say the same; None where one is missing.
    bytes_in, bytes_out
        Sizes of its files.
    """

    number: int
    name: str
    stem: str
    output: str
    acquired: datetime
    acquired_from: str
    hours: float
    state: str
    reason: str
    mask: MaskFacts | None
    turnover: Turnover
    usable: bool | None
    score: float | None
    noise: Mapping[str, float | None]
    caveats: tuple[str, ...]
    evidence: Mapping[str, Any]
    bands: tuple[Band, ...]
    breaks: tuple[Break, ...]
    agrees: bool | None
    bytes_in: int
    bytes_out: int

    @property
    def high_contrast(self) -> bool:
        """True if the stack was left out of windows because of carbon or thick ice."""
        return self.usable is False and self.score is not None and (self.mask is None or self.mask.sound)

    @property
    def no_use(self) -> str:
        """Reason why the next program should leave the stack out; empty if it should not."""
        if self.state == "failed":
            return "not done"
        if self.mask is not None and not self.mask.sound:
            return f"not corrected: outlier mask {self.mask.status}"
        return "part of its specimen was taken off" if is_too_quiet(self.caveats) else ""

    @property
    def outlier_share(self) -> float | None:
        """Share of the frame's pixels that are hot or dead, from 0 to 1; None without a sound mask."""
        mask = self.mask
        return (mask.n_hot + mask.n_dead) / mask.pixels if mask is not None and mask.sound else None


@dataclass(frozen=True, slots=True, eq=False)
class StackSample:
    """Histogram, enlarged patch and thumbnails of one stack, which the report draws.

    Attributes
    ----------
    fit
        The histogram of its sum with the fit.
    patch, weight, corner
        (2, y, x) float32 counts per frame before and after, (y, x) uint8 in 255ths, and where it begins.
    thumbnails, grays
        (3, y, x) uint8, before, after and the pattern; the counts per frame that are 0 and 255, and the share
        of the mean from 0 to 255 in the third.
    """

    fit: KeptFit | None = None
    patch: NDArray[np.float32] | None = None
    weight: NDArray[np.uint8] | None = None
    corner: tuple[int, int] = (0, 0)
    thumbnails: NDArray[np.uint8] | None = None
    grays: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class LeftOut(Record):
    """Record of a file that was not processed, with the reason; `rejected` if it should have been a stack."""

    name: str
    reason: str
    rejected: bool


@dataclass(frozen=True, slots=True)
class Health:
    """Record of the detector's outliers over the session: where on the chip they are, and how long they last.

    Attributes
    ----------
    hot, dead
        Where outliers are; None where the store has no masks.
    survival, lifetime
        How long hot pixels live, in stacks.
    """

    hot: OutlierPlaces | None
    dead: OutlierPlaces | None
    survival: tuple[Survival, ...]
    lifetime: Lifetime | None


@dataclass(frozen=True, slots=True, eq=False)
class SessionData:
    """Record of everything that a report shows about a session.

    Attributes
    ----------
    folder, session
        Folders of the outputs and of the inputs, as the last run named them.
    version, platform
        Version of the program in the last run, and its platform.
    settings
        Settings of the last run, by groups.
    gain
        Gain, dark and defects that were applied to the frames, from the store; None = none.
    running
        ``finished``, ``stopped``, ``lost``, ``running``, and `error`, what stopped it.
    stacks
        In order of acquisition.
    left_out, warnings
        Files that are no stacks; what the last run warned of.
    runs
        All runs over this folder.
    health
        Health of the detector.
    samples
        By number of the stack, of a sample; one of them, from the middle of the session, has thumbnails.
        `high_contrast` has those of the stacks left out of windows.
    shared
        Mean over the stacks from which smooth structure was not taken off: coarse image of this structure,
        (by, bx), relative to the mean; None if there are none.
    verdict
        Sentence on what the run gained or lost, as `koma` and `status` print it; None = nothing was measured.
    problems
        Errors from files that could not be read.
    """

    folder: str
    session: str
    version: str
    platform: str
    settings: Mapping[str, Any]
    gain: Mapping[str, Any] | None
    running: str
    error: str | None
    stacks: tuple[StackData, ...]
    left_out: tuple[LeftOut, ...]
    warnings: tuple[str, ...]
    runs: tuple[RunTimes, ...]
    health: Health
    samples: Mapping[int, StackSample]
    high_contrast: Mapping[int, StackSample]
    shared: NDArray[np.float64] | None
    verdict: str | None
    problems: tuple[str, ...]

    @property
    def masks(self) -> list[tuple[StackData, MaskFacts]]:
        """The stacks that were summed, each with the record of its outlier mask."""
        return [(s, s.mask) for s in self.stacks if s.mask is not None]

    @property
    def evidence(self) -> SessionEvidence | None:
        """Evidence of the pattern, from stacks that are references and not too quiet; None without any."""
        usable = [s for s in self.stacks if s.usable and s.evidence and not is_too_quiet(s.caveats)]
        return session_evidence([StackEvidence.from_dict(dict(s.evidence)) for s in usable])

    def noise_pairs(self, before: str, after: str) -> list[tuple[float, float]]:
        """Return held-out R before and after a step, of stacks that are references and not too quiet."""
        stacks = [s for s in self.stacks if s.usable and not is_too_quiet(s.caveats)]
        pairs = [(s.noise.get(before), s.noise.get(after)) for s in stacks]
        return [(b, a) for b, a in pairs if b is not None and a is not None]

    @property
    def leave_out(self) -> dict[str, str]:
        """Stems of the stacks that the next program should leave out, each with the reason."""
        stacks = {stem_of(PurePath(s.name).name): s.no_use for s in self.stacks if s.no_use}
        return stacks | {stem_of(PurePath(file.name).name): "damaged" for file in self.rejected}

    @property
    def failed(self) -> list[StackData]:
        """The stacks that could not be processed."""
        return [s for s in self.stacks if s.state == "failed"]

    @property
    def rejected(self) -> list[LeftOut]:
        """The files that should have been stacks but cannot be used, such as damaged ones."""
        return [f for f in self.left_out if f.rejected]

    @property
    def breaks(self) -> dict[str, Break]:
        """The breaks of the session, each by the name of the first stack after it."""
        return {item.first: item for s in self.stacks for item in s.breaks}

    @property
    def timed(self) -> bool:
        """True if acquisition times are known and differ, so that figures can use hours as their axis."""
        known = all(s.acquired_from != "mtime" for s in self.stacks)
        return known and bool(self.stacks) and self.stacks[-1].hours > 0


def worst(stacks: Sequence[StackData]) -> StackData | None:
    """Return the stack whose histogram is furthest from its fit; None if no histogram was fitted."""
    fitted = [s for s in stacks if s.mask is not None and s.mask.misfit is not None]
    return max(fitted, key=lambda s: (s.mask and s.mask.misfit) or 0.0, default=None)


def sample(stacks: Sequence[StackData], most: int) -> list[StackData]:
    """Choose at most `most` stacks whose histograms a report shows: evenly spread ones, and the worst one."""
    chosen = [s for s in stacks if s.mask is not None]
    if len(chosen) > most:
        places = np.linspace(0, len(chosen) - 1, most - 1).round().astype(int)
        known = {s.number: s for s in (*(chosen[k] for k in places), worst(chosen)) if s is not None}
        chosen = [known[number] for number in sorted(known)]
    return chosen


Column = Sequence[Any]


@dataclass(frozen=True, slots=True, eq=False)
class FigureData:
    """Record of one figure before it is drawn: title, caption and columns of numbers.

    Attributes
    ----------
    key
        Its name, as of files; what is before a full stop says how it is drawn.
    title
        Title of the figure.
    caption
        Explanation: what to look for.
    paper
        The figure of McLeod et al. 2017 (bioRxiv 116533) that it answers, or empty.
    columns
        Its data; all of one length, None where nothing is known.
    notes
        Numbers that are drawn besides, by name.
    """

    key: str
    title: str
    caption: str
    paper: str
    columns: Mapping[str, Column]
    notes: Mapping[str, Any]

    @property
    def alt(self) -> str:
        """Text that describes the figure to a person who cannot see it."""
        return f"{self.title}. {self.caption}"

    @property
    def kind(self) -> str:
        """Kind of the figure, such as ``histogram``, by which the drawing function is chosen."""
        return self.key.partition(".")[0]

    def to_dict(self) -> dict[str, Any]:
        """Return the figure's texts and columns as a dict for JSON."""
        return {
            **{name: getattr(self, name) for name in ("key", "title", "caption", "paper")},
            "columns": {name: list(values) for name, values in self.columns.items()},
            "notes": dict(self.notes),
        }
