"""Questions that judge a session, such as "is the number of hot pixels rising?", for the report's lights."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

from mrcz_dask.correction.judged_stacks import RAW_SPREAD
from mrcz_dask.correction.verdict import loss
from mrcz_dask.numerics.reference.evidence import RARE, Mean
from mrcz_dask.report.data import SessionData
from mrcz_dask.report.judging import LEVELS, QUESTIONS, About, Answer, Level, question
from mrcz_dask.values.records import is_too_quiet

# Stacks that a trend needs at least; share of them at each end; stacks of a running median; pairs of noise.
FEWEST, END_SHARE, NEIGHBORS, FEWEST_PAIRS = 6, 10, 5, 3
HOURS = 1.0  # that a rate needs at least


def answers(data: SessionData) -> dict[About, tuple[Answer, ...]]:
    """Answer all questions about a session, about the run and about its camera; the worst come first."""
    found = sorted((q.judge(data) for q in QUESTIONS), key=lambda answer: -LEVELS.index(answer.level))
    return {about: tuple(a for a in found if a.question.about == about) for about in ("run", "camera")}


def light(found: Iterable[Answer]) -> Level:
    """Return the worst level of some answers; those that are not known count for nothing."""
    known = [answer.level for answer in found if answer.level != "unknown"]
    return max(known, key=LEVELS.index, default="unknown")


@question(
    "How many pixels are outliers at the end?",
    ("%", 0.01, 0.05),
    "0.5 % is typical. Far more: anneal the detector, or take a new gain reference.",
    "timeline",
    about="camera",
)
def outlier_share(data: SessionData) -> float | None:
    """Return the share of pixels that are hot or dead in the last stacks (their median), from 0 to 1."""
    shares = [s.outlier_share for s in data.stacks if s.outlier_share is not None]
    return statistics.median(shares[-max(FEWEST // 2, len(shares) // END_SHARE) :]) if shares else None


def _hot_ends(data: SessionData) -> tuple[float, float] | None:
    """Return median hot pixels of the first and of the last tenth of the stacks, of three or more each."""
    values = [s.mask.n_hot for s in data.stacks if s.outlier_share is not None and s.mask is not None]
    if len(values) < FEWEST:
        return None
    count = max(FEWEST // 2, len(values) // END_SHARE)
    return statistics.median(values[:count]), statistics.median(values[-count:])


def hot_words(data: SessionData) -> str:
    """Return the text "from ... to ...": numbers of hot pixels in the first and the last stacks."""
    ends = _hot_ends(data)
    return "" if ends is None else f"from {ends[0]:.0f} to {ends[1]:.0f}"


@question(
    "Is the number of hot pixels rising?",
    ("times", 1.5, None),
    "The detector ages while it is used: plan to anneal it, and compare with the next session.",
    "timeline",
    hot_words,
    "camera",
)
def hot_growth(data: SessionData) -> float | None:
    """Return the number of hot pixels in the last stacks, divided by that in the first."""
    ends = _hot_ends(data)
    return None if ends is None else ends[1] / max(ends[0], 1.0)


@question(
    "How many hot pixels are added in an hour, for each million pixels?",
    ("per hour", 200, None),
    "Find out what changed: temperature, dose rate, beam on the detector.",
    "turnover",
    lambda data: "" if data.timed and data.stacks[-1].hours >= HOURS else "this needs times over an hour",
    "camera",
)
def births_per_hour(data: SessionData) -> Mean | None:
    """Return how many hot pixels are added in an hour, net of those that vanish, per million pixels.

    The error is from the scatter over stacks. None where stacks have no times, or span less than an hour.
    """
    moved = [s for s in data.stacks if s.turnover.hot_births is not None and s.mask is not None]
    if not data.timed or len(moved) < FEWEST:
        return None
    net = [(s.turnover.hot_births or 0) - (s.turnover.hot_deaths or 0) for s in moved]
    first = next(s for s in data.stacks if s.outlier_share is not None)
    hours, pixels = moved[-1].hours - first.hours, moved[0].mask.pixels if moved[0].mask else 0
    if hours < HOURS or not pixels:
        return None
    per_hour = 1e6 / pixels / hours
    return Mean(sum(net) * per_hour, math.sqrt(len(net)) * statistics.stdev(net) * per_hour)


@question(
    "Do columns, rows or corners stand out?",
    ("", 0, 20),
    "Put bad lines into a list of defects (koma --defects); many of them: have the camera looked at.",
    "lines",
    about="camera",
)
def standing_out(data: SessionData) -> float | None:
    """Return the number of detector columns, rows and corners that have far more outliers than others."""
    kinds = [p for p in (data.health.hot, data.health.dead) if p is not None]
    return float(len({(o.what, o.place) for p in kinds for o in p.standing_out()})) if kinds else None


def noise_words(data: SessionData, before: str, after: str) -> str:
    """Return a text on the mean of held-out R before and after a step of the correction."""
    means = [statistics.fmean(values) for values in zip(*data.noise_pairs(before, after), strict=True)]
    if not means or means[0] <= 0:
        return ""
    was, now = means
    return f"R x 1000: {1000 * was:.2f} before, {1000 * now:.2f} after"


def noise_rise(data: SessionData, before: str, after: str) -> float | None:
    """Return the mean change of held-out R in a step, in standard errors; negative if R fell."""
    steps = [a - b for b, a in data.noise_pairs(before, after)]
    if len(steps) < FEWEST_PAIRS:
        return None
    error = statistics.stdev(steps) / math.sqrt(len(steps))
    mean = statistics.fmean(steps)
    return mean / error if error > 0 else math.copysign(math.inf, mean) if mean else 0.0


@question(
    "Did the outlier filter help?",
    ("standard errors", 2, 5),
    "It should lower it. Look at histograms and patches; another rule (--rule) may suit.",
    "noise",
    lambda data: noise_words(data, "raw", "filtered"),
)
def filter_raised_noise(data: SessionData) -> float | None:
    """Return the change of held-out R by the outlier filter, in standard errors; negative if R fell."""
    return noise_rise(data, "raw", "filtered")


@question(
    "Did the pattern correction help?",
    ("standard errors", 2, 5),
    "Use the outlier filter alone, or a larger --radius; measure with mrcz-dask assess.",
    "noise",
    lambda data: noise_words(data, "filtered", "corrected"),
)
def correction_raised_noise(data: SessionData) -> float | None:
    """Return the change of held-out R by the pattern correction, in standard errors; negative if R fell."""
    return noise_rise(data, "filtered", "corrected")


@question(
    "Was some of the specimen taken off?",
    ("%", None, RARE),
    "Lower noise is no improvement then. Run again without --trust-reference and --always, or say with "
    "--groups which stacks show the same specimen.",
    "noise",
    lambda data: "" if data.evidence is None or not data.evidence.harms else loss(data.evidence),
)
def specimen_lost(data: SessionData) -> float | None:
    """Return the share of what was taken off that moves with the specimen, or of stacks that lost some.

    None where movement cannot be told.
    """
    evidence = data.evidence
    if evidence is None or not (evidence.harms or evidence.movement_can_be_told or not evidence.has_pattern):
        return None
    return evidence.lost


@question(
    "How many stacks are quieter than counting allows?",
    ("stacks", None, 0),
    "Their own data are in their references, and specimen was taken off: do not use them. Look for "
    "copies in the session, leave them out (--exclude), and run again.",
    "noise",
)
def too_quiet(data: SessionData) -> float:
    """Return the number of corrected stacks that have less noise than counting allows."""
    return float(sum(is_too_quiet(s.caveats) for s in data.stacks))


@question(
    "How many stacks have carbon edges or thick ice?",
    ("%", 0.1, 0.3),
    "They are corrected, but are no reference. Look at them: they may be no data to keep.",
    "contrast",
    lambda data: f"{sum(s.high_contrast for s in data.stacks)} of {len(data.stacks)}",
)
def high_contrast(data: SessionData) -> float | None:
    """Return the share of stacks that are left out of windows because of carbon or thick ice."""
    judged = [s for s in data.stacks if s.score is not None]
    return sum(s.high_contrast for s in judged) / len(judged) if judged else None


@question(
    "How far did the dose move?",
    ("%", 0.2, 0.5),
    "A reference is less good at another dose. Look for a moved beam, or split the session there.",
    "dose",
)
def dose_drift(data: SessionData) -> float | None:
    """Return the range of the dose through the session (running median of five), relative to its median."""
    doses = [s.mask.dose for s in data.stacks if s.mask is not None and s.mask.sound and not s.high_contrast]
    if len(doses) < NEIGHBORS:
        return None
    running = [statistics.median(doses[k : k + NEIGHBORS]) for k in range(len(doses) - NEIGHBORS + 1)]
    middle = statistics.median(doses)
    return (max(running) - min(running)) / middle if middle > 0 else None


@question(
    "Does the session break into parts?",
    ("", 0, None),
    "A new gain reference, another dose or a long pause: windows do not reach across. Was it meant?",
    "dose",
    lambda data: "; ".join(f"before {b.first}: {b.reason}" for b in data.breaks.values()),
)
def breaks(data: SessionData) -> float | None:
    """Return the number of breaks of the session, which windows do not cross."""
    return float(len(data.breaks)) if data.stacks else None


@question(
    "How many stacks have no outlier mask that can be used?",
    ("%", 0, 0.05),
    "They are written without a correction: saturated, empty, or far too many outliers. Look at each.",
    "thresholds",
)
def unsound_masks(data: SessionData) -> float | None:
    """Return the share of stacks whose outlier mask could not be used."""
    masks = [m for _, m in data.masks]
    return sum(not m.sound for m in masks) / len(masks) if masks else None


@question(
    "How far are histograms from what counting gives?",
    ("", 0.015, 0.05),
    "Uneven light, a wrong gain reference, or pixels that are no counts.",
    "thresholds",
)
def misfit(data: SessionData) -> float | None:
    """Return the median over stacks of the largest difference between histogram and fit."""
    known = [m.misfit for _, m in data.masks if m.misfit is not None]
    return statistics.median(known) if known else None


@question(
    "Do frames look gain-corrected: do pixels vary little beyond counting noise?",
    ("%", 0.1, RAW_SPREAD),
    "Frames look raw: apply the gain reference (koma --gain FILE). If one was applied it may be turned, "
    "flipped or of another day: mrcz-dask gain orient tells.",
    "histogram.first",
    lambda data: f"{'no' if data.gain is None else 'a'} gain reference was applied",
)
def gain(data: SessionData) -> float | None:
    """Return the median spread of the sums' pixels beyond counting noise; it is large without a gain."""
    known = [m.spread for _, m in data.masks if m.spread is not None]
    return statistics.median(known) if known else None


@question(
    "How many files could not be done?",
    ("%", 0, 0.05),
    "Each is named below with its reason. Copy them again from the camera while they are there.",
    words=lambda data: f"{len(data.failed) + len(data.rejected)} of {len(data.stacks) + len(data.rejected)}",
)
def not_done(data: SessionData) -> float | None:
    """Return the share of files that should have been stacks but were not processed."""
    wrong = len(data.failed) + len(data.rejected)
    total = len(data.stacks) + len(data.rejected)
    return wrong / total if total else None


@question(
    "Did the run end early?",
    ("", None, 0),
    "Give the same command again: it goes on where it was.",
    words=lambda data: data.error or data.running,
)
def unended(data: SessionData) -> float | None:
    """Return 1 if the last run was stopped or lost before its end, else 0."""
    return float(data.running not in ("finished", "running"))


@question(
    "How many output files disagree with the records of the run?",
    ("outputs", None, 0),
    "Files were replaced or mixed: mrcz-dask verify, then run again.",
)
def disagreement(data: SessionData) -> float | None:
    """Return the number of outputs whose footer differs from the session store in mask or input."""
    known = [s.agrees for s in data.stacks if s.agrees is not None]
    return float(known.count(False)) if known else None
