"""Small immutable records of results, which workers return and the session store keeps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

# Counts of the sum: what windows weigh stacks with is rounded to 2**-20.
SMALLEST_MEAN = 2.0**-10
QUIET = "quieter than counting allows"  # caveats of stacks whose own data were taken off begin so
COPY, UNTOUCHED = "holds the same data as", "no pattern was taken off"  # in caveats of such stacks
NO_PATTERN = "no pattern that is worth a correction"  # a caveat begins so
SMOOTH_KEPT = "smooth structure was not taken off"  # a caveat begins so, as the next one
GROUP = "not corrected by stacks that show its specimen:"  # a caveat begins so
COPIES = "copies"  # phase of stacks that were not corrected, as most around them hold the same data


class Record:
    """Base class of records: converts their fields to dictionaries of plain values for JSON, and back."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dictionary of plain values for JSON; tuples become lists."""
        return {k: _listed(v) for k, v in asdict(self).items()}  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Make the record again from the dictionary of `to_dict`; unknown keys are ignored."""
        known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
        return cls(**{k: _frozen(v) for k, v in values.items() if k in known})


def _listed(value: Any) -> Any:
    return [_listed(v) for v in value] if isinstance(value, tuple) else value


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value


@dataclass(frozen=True, slots=True)
class StackRecord(Record):
    """Record of one stack after its frames were summed: statistics, dose, outliers, checksums.

    Attributes
    ----------
    name, stem
        Relative to the session, and the name of its outputs.
    shape
        (n, ny, nx).
    dtype
        Type of its pixels, e.g. ``uint8``.
    size, mtime_ns
        Size and modification time of its file, bytes and nanoseconds, by which changes are seen.
    digest
        xxh3-128 over shape, dtype and pixels.
    chunks
        xxh3-128 over its frames' bytes as they are stored.
    exponent
        The stored sums are integers times 2**-exponent counts.
    low, high, average, rms
        True statistics over all frames, counts.
    mean
        Mean of the sum over unmasked pixels, counts; the dose per frame is mean / n.
    mean_even
        The same of the sum over frames 0, 2, 4, ...; None where these made no mask.
    status
        Status of the outlier mask: ok, sparse, implausible, degenerate.
    outliers, outliers_even
        Summaries of the masks of all frames, and of frames 0, 2, 4, ...
    grid_means, grid_pixels
        Block means of the sum and the pixels in each block, row by row; empty without a sound mask.
    caveats
        Doubts that a person should know.
    gamma
        The exponent that its gain got; 1 without a gain.
    sketch
        Sketch of its sum, see `numerics.session.sketch`, in base 64.
    made_with
        Digest of the parameters and the version that made it.
    blank
        Numbers of its blank frames, which are in neither the dose nor the mean.
    brightest
        The largest mean of a frame over all its pixels, before the gain, counts.
    noise
        Standard deviation of a pixel from frame to frame, counts; None = not known.
    offset
        Counts that are taken off every pixel as it is read: float32 cannot hold counts beside it.
    frames, grain
        Digests by which copies of the same data are found, see `numerics.session.fingerprint`.
    scene
        Rough structure by which stacks of the same specimen are found, see `numerics.session.specimens`.
    """

    name: str
    stem: str
    shape: tuple[int, int, int]
    dtype: str
    size: int
    mtime_ns: int
    digest: str
    chunks: str
    exponent: int
    low: float
    high: float
    average: float
    rms: float
    mean: float
    mean_even: float | None
    status: str
    outliers: dict[str, Any]
    outliers_even: dict[str, Any] | None
    grid_means: tuple[tuple[float, ...], ...]
    grid_pixels: tuple[tuple[int, ...], ...]
    caveats: tuple[str, ...]
    gamma: float
    sketch: str
    made_with: str
    blank: tuple[int, ...] = ()
    brightest: float = 0.0
    noise: float | None = None
    offset: int = 0
    frames: str = ""
    grain: str = ""
    scene: str = ""

    @property
    def sound(self) -> bool:
        """True if the stack's outlier mask can be used."""
        return self.status in ("ok", "sparse")

    @property
    def has_dose(self) -> bool:
        """True if the stack's mean counts are large enough to scale a reference to its dose."""
        return self.mean >= SMALLEST_MEAN

    @property
    def dose(self) -> float:
        """Dose of the stack in counts per pixel and frame, over unmasked
        pixels of frames that are not blank.
        """
        return self.mean / self.exposed()

    @property
    def fit(self) -> dict[str, float | None]:
        """Results of the outlier filter's histogram fit: thresholds, center, width, misfit;
        None = off or unknown.
        """
        names = ("t_dark", "t_hot", "mu", "sigma", "misfit")
        values = {name: math.nan if (v := self.outliers[name]) is None else float(v) for name in names}
        return {name: value if math.isfinite(value) else None for name, value in values.items()}

    def exposed(self, every: int = 1) -> int:
        """Return how many of the frames 0, `every`, 2 `every`, ... are not blank; at least 1."""
        blank = sum(k % every == 0 for k in self.blank)
        return max(1, -(-self.shape[0] // every) - blank)


@dataclass(frozen=True, slots=True)
class Break(Record):
    """Record of a change of the detector before the stack `first`, such as a new gain reference,
    and its reason.
    """

    first: str
    reason: str

    def __str__(self) -> str:
        return (
            f"At {self.first} the session breaks: {self.reason}. Stacks before and after it are not used to "
            "correct each other."
        )


@dataclass(frozen=True, slots=True)
class Summed(Record):
    """Summary of a stack after its frames were summed (dose, outliers, thresholds), for messages and pages.

    Attributes
    ----------
    dose
        Counts per pixel and frame, over unmasked pixels.
    hot, dead, neighbourly
        Numbers of outlier pixels.
    t_dark, t_hot
        Thresholds of the sum, in sigma from its center; None where off.
    mu, sigma, misfit
        Center, width and misfit of the fit to the histogram of the sum, counts.
    status
        Status of the outlier mask.
    kept
        True if it comes from an earlier run.
    """

    dose: float
    hot: int
    dead: int
    neighbourly: int
    t_dark: float | None
    t_hot: float | None
    mu: float | None
    sigma: float | None
    misfit: float | None
    status: str
    kept: bool = False

    @classmethod
    def of(cls, record: StackRecord, *, kept: bool) -> Summed:
        """Return the summary of a stack's record; `kept` if an earlier run made it."""
        mask = record.outliers
        return cls(
            dose=record.dose,
            hot=int(mask["n_hot"]),
            dead=int(mask["n_dead"]),
            neighbourly=int(mask["n_neighbourly"]),
            status=record.status,
            kept=kept,
            **record.fit,
        )


@dataclass(frozen=True, slots=True)
class Failure(Record):
    """Record of a stack that failed in a phase, with the reason;
    `usage_error` if the user's options caused it.
    """

    name: str
    phase: str
    reason: str
    usage_error: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class DamagedSum(Failure):
    """Failure of a stack because the sum of the stack `stem` is damaged in the session store."""

    stem: str = ""


def is_too_quiet(caveats: Sequence[str]) -> bool:
    """Return True if a caveat says that a corrected stack has less noise than counting allows."""
    return any(text.startswith(QUIET) for text in caveats)


def only_copies(failures: Sequence[Failure]) -> bool:
    """Return True if stacks failed, and all of them only because they are copies of others."""
    return bool(failures) and all(failure.phase == COPIES for failure in failures)


@dataclass(frozen=True, slots=True)
class Written(Record):
    """Record of the output files of one stack: names, sizes, digests; see `StackResult`."""

    name: str
    output: str
    bytes_out: int
    digest: str
    files: tuple[tuple[str, str], ...]
    kept: bool = False


@dataclass(frozen=True, slots=True)
class StackResult(Record):
    """Record of one stack after its correction: output file, noise, caveats.

    Attributes
    ----------
    name, output
        Relative to the session, and to the output folder.
    bytes_in, bytes_out
        Sizes of the input and of what was written, bytes.
    hot, dead
        Numbers of outlier pixels.
    usable, score
        Whether it may be a reference for others, and its contrast score (None where not judged).
    noise
        Correlated noise: ``raw``, ``filtered``, ``corrected`` held out (odd frames), and ``raw_in_sample``,
        ``corrected_in_sample``; None where there are too few frames.
    caveats
        Doubts that a person should know.
    digest, mtime_ns
        xxh3-128 of the output's bytes, and its modification time in nanoseconds since 1970.
    key
        Digest of all that the output depends on.
    provisional
        Its window was not complete; a later result takes its place.
    kept
        The output was there already, sound, from the same inputs and parameters.
    files
        Names, relative to the output folder, of all files of the output, and the SHA-256 of each.
    evidence
        How much of the pattern it had and has, see `numerics.reference.evidence.StackEvidence`; empty where
        that was not measured.
    """

    name: str
    output: str
    bytes_in: int
    bytes_out: int
    hot: int
    dead: int
    usable: bool
    score: float | None
    noise: dict[str, float | None]
    caveats: tuple[str, ...]
    digest: str
    mtime_ns: int = field(compare=False)
    key: str
    provisional: bool = False
    kept: bool = False
    files: tuple[tuple[str, str], ...] = ()
    evidence: dict[str, Any] = field(default_factory=dict)

    @property
    def remark(self) -> str:
        """Short remark on a stack for tables, such as ``too quiet`` or ``copy``; '' for an ordinary one."""
        if self.too_quiet:
            return "too quiet"
        if self.kept:
            return "kept"
        if any(text.startswith(COPY) for text in self.caveats):
            return "copy"
        if any(text.startswith(NO_PATTERN) for text in self.caveats):
            return "no pattern"
        if any(UNTOUCHED in text for text in self.caveats):
            return "pattern kept"
        if any(text.startswith(SMOOTH_KEPT) for text in self.caveats):
            return "smooth part kept"
        if self.usable:
            return ""
        return "not a neighbor" if self.score is None else "high contrast"

    @property
    def too_quiet(self) -> bool:
        """True if the correction subtracted the stack's own data: its low noise is a fault, not a success."""
        return is_too_quiet(self.caveats)


def mean_noise(results: Iterable[StackResult]) -> dict[str, float | None]:
    """Return R as recorded, filtered and corrected: means over usable stacks that are not too quiet."""
    ordinary = [r for r in results if r.usable and not r.too_quiet]
    means: dict[str, float | None] = {}
    for kind in ("raw", "filtered", "corrected"):
        known = [value for r in ordinary if (value := r.noise[kind]) is not None]
        means[kind] = math.fsum(known) / len(known) if known else None
    return means
