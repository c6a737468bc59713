"""Parameter classes: immutable, and checked when they are made."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import cache
from itertools import chain
from numbers import Real
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from mrcz_dask.values.checks import one_of, raise_all, whole, within
from mrcz_dask.values.choices import Rule
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.records import Record

Method = Literal["fit", "plain", "session"]
Form = Literal["subtract", "subtract-raw", "divide"]
Breaks = Literal["auto", "none"]
Long = Literal["before", "around"]
Groups = Literal["auto", "none"] | tuple[tuple[str, str], ...]
WriteMode = Literal["auto", "normalized", "recompressed", "references"]
OutputFormat = Literal["mrcz", "mrcs", "mrcs.zst", "tiff", "zarr"]
# Deviations of 2000 stacks are known to 1.6 %; tasks and footers name every member.
SESSION_REACH = 1000
OutputDtype = Literal["int16", "float32", "float16", "counts"]
Mode0 = Literal["auto", "signed", "unsigned"]
FourBit = Literal["auto", "packed", "plain"]


class Parameters(Record):
    """Base class of immutable parameter sets; a wrong value raises one error that names all problems."""

    _title = "parameters"

    def __post_init__(self) -> None:
        kind: Any = type(self)
        choices = (one_of(name, getattr(self, name), known) for name, known in _choices(kind).items())
        raise_all(self._title, chain(*choices, self._problems()))

    def _problems(self) -> Iterator[str]:
        """Yield problems beyond values that are none of a field's choices."""
        return iter(())

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Make the parameters again from the dictionary of `to_dict`; an unknown key is a ParameterError."""
        known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
        unknown = sorted(set(values) - known)
        if unknown:
            raise ParameterError(f"{cls.__name__}: unknown {unknown}; known are {sorted(known)}")
        return super().from_dict(values)


@cache
def _choices(kind: type[Any]) -> dict[str, tuple[object, ...]]:
    """Return the values that fields may have which are a Literal or a bool."""
    hints = {f.name: get_type_hints(kind)[f.name] for f in fields(kind)}
    literals = {name: get_args(hint) for name, hint in hints.items() if get_origin(hint) is Literal}
    return literals | {name: (True, False) for name, hint in hints.items() if hint is bool}


@dataclass(frozen=True, slots=True)
class InputParams(Parameters):
    """Options of reading files whose headers leave something open: sign of MRC pixels, packed TIFF,
    EER frames.

    Attributes
    ----------
    mode0
        Pixels of MRC modes 0 and 1 (8 and 16 bits): ``signed``, ``unsigned``, or ``auto``: IMOD's flag (of
        bytes), else unsigned where the header's maximum is, else as their histogram looks.
    four_bit
        8-bit TIFF: ``packed`` holds two pixels in each byte, the first in the low nibble; ``plain`` one;
        ``auto``: packed where the size is half of a super-resolution frame of K2 or K3, as in IMOD.
    eer_frames
        Raw frames of an EER file that are summed to one frame. What is left over is spread evenly over the
        frames, so that none is lost.
    eer_upsampling
        1 for the pixels of the sensor, 2 or 4 for so many sub-pixels along each edge.
    """

    _title = "input parameters"
    mode0: Mode0 = "auto"
    four_bit: FourBit = "auto"
    eer_frames: int = 40
    eer_upsampling: int = 1

    def _problems(self) -> Iterator[str]:
        yield from whole("eer_frames", self.eer_frames, 1, 65_535, unit=" raw frames")
        yield from one_of("eer_upsampling", self.eer_upsampling, (1, 2, 4))


USUAL_INPUT = InputParams()


@dataclass(frozen=True, slots=True)
class GainParams(Parameters):
    """Parameters of the gain correction: each frame becomes (frame - dark) * gain ** gamma;
    defects are masked.

    Attributes
    ----------
    gain
        Digest of gain, dark and defects in the frames' orientation, as the session store has them; empty =
        nothing is applied.
    gamma
        The exponent, or a1, b1, a2, a3 of Eq. 11 with the lowest and highest dose rate that they are of.
    subpixels
        Pixels of a frame in one of the sensor, for the dose rate.
    frame_time
        Seconds per frame; None = as the .mdoc of each stack says.
    """

    _title = "gain parameters"
    gain: str = ""
    gamma: tuple[float, ...] = (1.0,)
    subpixels: int = 1
    frame_time: float | None = None

    def _problems(self) -> Iterator[str]:
        if not (isinstance(self.gain, str) and (self.gain == "" or self.gain.isalnum())):
            yield f"gain is {self.gain!r}; expected a digest, or nothing"
        gamma: Any = self.gamma
        numbers = isinstance(gamma, tuple) and all(isinstance(v, Real) and math.isfinite(v) for v in gamma)
        if not (numbers and len(self.gamma) in (1, 6)):
            yield f"gamma is {self.gamma!r}; expected a tuple: an exponent, or a1, b1, a2, a3, low and high"
        yield from one_of("subpixels", self.subpixels, (1, 4, 16))
        if self.frame_time is not None:
            yield from within("frame_time", self.frame_time, 0, 1e3, open_low=True, unit=" s")

    @property
    def by_rate(self) -> bool:
        """True if gamma, the exponent of the gain, depends on the dose rate."""
        return len(self.gamma) > 1


@dataclass(frozen=True, slots=True)
class OutlierParams(Parameters):
    """Parameters of the outlier filter, which masks hot and dead pixels in the sum of each stack.

    Attributes
    ----------
    rule
        ``fdr`` (threshold where a stated share of what is masked is good pixels) or ``paper`` (Eq. 5 of the
        preprint, bioRxiv 116533). A sparse sum has a threshold of its own, whatever the rule is.
    tail_fdr
        For ``fdr``: the share of good pixels among those beyond the threshold, 0..1.
    max_sigma
        Half width of the histogram, in robust standard deviations of the sum.
    lim
        A tail begins where the probit residual exceeds this, in sigma (Eq. 5).
    k, rho
        Steepness of the weight, and the factor that moves its thresholds inward (Eq. 6).
    radius
        Chebyshev distance in pixels within which two outliers are *neighbourly*.
    fit
        ``probit`` (closed form) or ``l1`` (the preprint's minimum of absolute deviations of the CDF).
    fallback
        Dark and hot thresholds in sigma for a tail that is there but cannot be fitted.
    illumination
        Follow an uneven illumination (a carbon edge, thick ice) with a block mean.
    lines
        Mask rows and columns, or parts of them, that read too much or too little.
    """

    _title = "outlier parameters"
    rule: Rule = "fdr"
    tail_fdr: float = 0.1
    max_sigma: float = 8.0
    lim: float = 0.5
    k: float = 6.0
    rho: float = 0.95
    radius: int = 2
    fit: Literal["probit", "l1"] = "probit"
    fallback: tuple[float, float] = (-4.0, 3.25)
    illumination: bool = True
    lines: bool = True

    def _problems(self) -> Iterator[str]:
        yield from within("tail_fdr", self.tail_fdr, 0, 1, open_low=True)
        yield from within("max_sigma", self.max_sigma, 4, 64)
        yield from within("lim", self.lim, 0, 8, open_low=True)
        yield from within("k", self.k, 0, 1e3, open_low=True)
        yield from within("rho", self.rho, 0, 1, open_low=True)
        yield from whole("radius", self.radius, 1, 64)
        pair: Any = self.fallback
        two = isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(v, Real) for v in pair)
        if not (two and pair[0] < 0 < pair[1]):
            yield f"fallback is {self.fallback!r}; expected (dark, hot) with dark < 0 < hot, in sigma"


@dataclass(frozen=True, slots=True)
class ContrastParams(Parameters):
    """Parameters for finding high-contrast stacks (carbon, thick ice), which must not correct others.

    Attributes
    ----------
    blocks
        The sum is averaged on a grid of `blocks` x `blocks`.
    floor
        A score (relative standard deviation beyond Poisson) up to this is never high contrast.
    factor
        Above the floor, high contrast begins at this many times the lower quartile of the scores.
    history
        At most so many stacks, up to the one `radius` later, decide about a stack.
    """

    _title = "contrast parameters"
    blocks: int = 16
    floor: float = 0.04
    factor: float = 2.0
    history: int = 200

    def _problems(self) -> Iterator[str]:
        yield from whole("blocks", self.blocks, 2, 256)
        yield from within("floor", self.floor, 0, 10)
        yield from within("factor", self.factor, 1, 100)
        yield from whole("history", self.history, 3, 100_000)


SMOOTH_LIMIT = 0.02  # simulated detectors show up to 0.013


@dataclass(frozen=True, slots=True)
class KomaParams(Parameters):
    """Parameters of the knock-out moving average (KOMA), which estimates the
    fixed pattern from neighbors in time.

    Attributes
    ----------
    radius
        Window radius a: 2a usable neighbors in time, the stack itself left out.
    method
        ``fit`` (regression on a short and a long window, band by band), ``plain`` (the preprint's) or
        ``session`` (each pixel to the same mean and deviation over the whole session, Afanasyev et al. 2015).
    form
        ``subtract`` (scaled to the stack's dose), ``subtract-raw`` (in counts) or ``divide``.
    long_window
        For ``fit``: at most so many usable stacks in the long window.
    long
        For ``fit``: the long window ends with the short one's last stack (``before``), or has as many stacks
        to either side (``around``), which removes more and has to wait for them. Stacks with `radius` or more
        of the same specimen near them, as in tilt series, have it ``around`` always.
    min_modes
        For ``fit``: fewest modes (degrees of freedom) of a band, so that the specimen is not fitted away.
    dose_spread
        Warn when the doses in a window spread by more than this share.
    breaks
        ``auto``: windows do not cross a lasting change of the dose or of the pattern (a new gain reference);
        ``none``: such are not looked for.
    break_dose
        The dose must change by more than this share.
    break_after
        Hours without a stack that windows do not cross either; None = they cross any pause.
    groups
        Stacks that show the same specimen and must not correct each other: ``auto`` finds them from .mdoc
        files and names, ``none`` does not, and pairs of a pattern of names and a group name them. All three
        ask the pixels as well.
    smooth_limit
        Largest smooth structure (standard deviation over the mean) of a reference that is taken for the
        detector's. Simulated detectors show up to .013; frames without a gain may have four times this.
    trust_reference
        Whether references are taken for the detector's alone: nothing of the specimen is looked for in them,
        and pixels are not asked which stacks show the same.
    always
        Whether the pattern is taken off where it is too small to matter.
    pool
        Stacks on each side whose sums show pixels that stay hot or dead; 0 = the sum of a stack alone shows
        outliers. At most radius + 4, or radius without `breaks`: then no result waits for them.
    """

    _title = "KOMA parameters"
    radius: int = 12
    method: Method = "fit"
    form: Form = "subtract"
    long_window: int = 200
    long: Long = "before"
    min_modes: int = 200
    dose_spread: float = 0.2
    breaks: Breaks = "auto"
    break_dose: float = 0.2
    break_after: float | None = None
    groups: Groups = "auto"
    smooth_limit: float = SMOOTH_LIMIT
    trust_reference: bool = False
    always: bool = False
    pool: int = 16

    @property
    def reach(self) -> int:
        """Return how many usable stacks on each side are in the short window; ``session``:
        all of the session.
        """
        return SESSION_REACH if self.method == "session" else self.radius

    @property
    def pooled(self) -> int:
        """Return how many stacks on each side show outliers that persist; so few that no result waits."""
        return min(self.pool, self.radius + (4 if self.breaks == "auto" else 0))

    def _problems(self) -> Iterator[str]:
        yield from whole("radius", self.radius, 1, 100_000, unit=" stacks")
        if self.method == "session" and self.form != "subtract":
            yield f"form is {self.form!r} with method session, which scales and subtracts; expected subtract"
        yield from whole("long_window", self.long_window, 1, 1_000_000, unit=" stacks")
        yield from whole("pool", self.pool, 0, 64, unit=" stacks")
        yield from whole("min_modes", self.min_modes, 2, 1_000_000_000)
        yield from within("dose_spread", self.dose_spread, 0, 1e6, open_low=True)
        yield from within("break_dose", self.break_dose, 0, 1e6, open_low=True)
        yield from within("smooth_limit", self.smooth_limit, 0, 1e6)
        pairs: Any = self.groups
        if pairs not in ("auto", "none") and not (
            isinstance(pairs, tuple)
            and all(
                isinstance(p, tuple) and len(p) == 2 and all(isinstance(t, str) for t in p) for p in pairs
            )
        ):
            yield f"groups is {pairs!r}; expected auto, none, or pairs of a pattern of names and a group"
        if self.break_after is not None:
            yield from within("break_after", self.break_after, 0, 1e6, open_low=True, unit=" hours")


@dataclass(frozen=True, slots=True)
class WriteParams(Parameters):
    """Options of the output files: their pixels, format and compression.

    Attributes
    ----------
    write
        ``normalized`` pixels, ``recompressed`` counts with a recipe, or only the ``references``. ``auto``:
        a plan chooses references for events (EER), whose times and sub-pixels movies would lose.
    dtype
        For ``normalized``: ``int16`` with a recorded scale, ``float32``, ``float16``, or whole ``counts``,
        rounded up or down at random, in the narrowest type of integers that holds them.
    step
        For int16: the quantization step in counts; a power of two. It is coarsened where the range asks for
        it, up to a quarter of the noise of a frame; the usual one is finer where the noise is small.
    codec
        ``auto`` or NAME[:LEVEL], as `mrcz_dask.write` takes it.
    format
        Format of the files: ``mrcz``, ``mrcs``, ``mrcs.zst``, ``tiff`` or ``zarr``; references are plain MRC.
    """

    _title = "output parameters"
    write: WriteMode = "normalized"
    dtype: OutputDtype = "int16"
    step: float = 1 / 16
    codec: str = "auto"
    format: OutputFormat = "mrcz"

    def _problems(self) -> Iterator[str]:
        if self.format != "mrcz" and self.write == "references":
            yield f"format is {self.format} with references, which are plain MRC; expected mrcz"
        if self.format not in ("mrcz", "zarr") and self.dtype == "float16":
            yield f"dtype is float16, which no program reads of {self.format}; expected float32 or int16"
        wrong = list(within("step", self.step, 2.0**-20, 2.0**20, unit=" counts"))
        yield from wrong
        if not wrong and math.frexp(self.step)[0] != 0.5:
            yield f"step is {self.step!r}; expected a power of two such as 0.0625"
        if not (isinstance(self.codec, str) and self.codec):
            yield f"codec is {self.codec!r}; expected auto or NAME[:LEVEL]"


@dataclass(frozen=True, slots=True)
class Settings:
    """All parameters that change the outputs of a run; equal settings and inputs give equal files."""

    outliers: OutlierParams = field(default_factory=OutlierParams)
    contrast: ContrastParams = field(default_factory=ContrastParams)
    koma: KomaParams = field(default_factory=KomaParams)
    write: WriteParams = field(default_factory=WriteParams)
    input: InputParams = field(default_factory=InputParams)
    gain: GainParams = field(default_factory=GainParams)

    def __post_init__(self) -> None:
        if self.koma.method == "session" and self.write.write == "references":
            raise ParameterError(
                "method session has a factor of each pixel beside its reference, and references have no "
                "place for it; expected to write normalized or recompressed"
            )
        if self.write.dtype == "counts" and self.koma.form != "divide":
            raise ParameterError(
                f"--dtype counts with --form {self.koma.form}, which makes counts below 0; add --form divide"
            )

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return the parameter groups as dictionaries of plain values, for JSON."""
        return {f.name: getattr(self, f.name).to_dict() for f in fields(self)}

    @classmethod
    def from_dict(cls, values: dict[str, dict[str, Any]]) -> Self:
        """Make the settings again from `to_dict`; an unknown or missing group is a ParameterError."""
        known = {f.name for f in fields(cls)}
        unknown, missing = sorted(set(values) - known), sorted(known - set(values))
        if unknown or missing:
            raise ParameterError(f"settings: unknown {unknown}, missing {missing}; known are {sorted(known)}")
        groups = {f.name: f.default_factory.from_dict(values[f.name]) for f in fields(cls)}  # type: ignore[union-attr]
        return cls(**groups)
