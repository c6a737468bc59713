"""The verdict on a session: rules, each with its number and its thresholds, in one table."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from mrcz_dask.correction.assess import RAW_SPREAD
from mrcz_dask.report import measures
from mrcz_dask.report.data import SessionData

Level = Literal["good", "look", "act", "unknown"]
LEVELS: tuple[Level, ...] = ("good", "unknown", "look", "act")
WORDS: dict[Level, str] = {"good": "good", "look": "look at this", "act": "act", "unknown": "not known"}


@dataclass(frozen=True, slots=True)
class Rule:
    """One question about a session.

    Attributes
    ----------
    key
        Its name.
    question
        In plain words.
    unit
        Of its number: ``%``, ``times``, ...; how it is written.
    look, act
        Above these numbers: look at this, act; None = that level is never reached.
    advice
        What to do then.
    measure
        Returns the number, or None where it is not known.
    figure
        The figure to look at; empty if there is none.
    words
        Returns what the number comes from; empty if there is nothing to say.
    """

    key: str
    question: str
    unit: str
    look: float | None
    act: float | None
    advice: str
    measure: Callable[[SessionData], float | None]
    figure: str = ""
    words: Callable[[SessionData], str] = lambda data: ""

    def judge(self, data: SessionData) -> Finding:
        """Apply the rule to a session."""
        value = self.measure(data)
        level: Level = "good"
        if value is None or math.isnan(value):
            level = "unknown"
        elif self.act is not None and value > self.act:
            level = "act"
        elif self.look is not None and value > self.look:
            level = "look"
        return Finding(self, value, level, self.words(data))

    def written(self, value: float | None) -> str:
        """Return a number of this rule as people read it."""
        if value is None:
            return "-"
        if self.unit == "standard errors":
            moved = "yes, R fell" if value < 0 else "no, R rose"
            return f"{moved} by {_plain(abs(value))} standard errors"
        return self._number(value)

    def _number(self, value: float) -> str:
        return f"{_plain(100 * value)} %" if self.unit == "%" else f"{_plain(value)} {self.unit}".rstrip()

    @property
    def limits(self) -> str:
        """The thresholds, in words."""
        known = [("look", self.look), ("act", self.act)]
        return ", ".join(f"{name} above {self._number(v)}" for name, v in known if v is not None)


def _plain(value: float) -> str:
    """Return a number with three digits, never as a power of ten unless it is tiny."""
    return f"{value:.0f}" if abs(value) >= 100 and math.isfinite(value) else f"{value:.3g}"


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of a rule for a session: its number, the level, and what the number comes from."""

    rule: Rule
    value: float | None
    level: Level
    words: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        rule = self.rule
        return {
            "rule": rule.key,
            "question": rule.question,
            "level": self.level,
            "value": self.value,
            "words": self.words,
            "unit": rule.unit,
            "look_above": rule.look,
            "act_above": rule.act,
            "advice": rule.advice if self.level in ("look", "act") else "",
        }


def verdict(data: SessionData) -> tuple[Level, tuple[Finding, ...]]:
    """Apply all rules; return the worst level, and the findings, the worst first."""
    findings = sorted((rule.judge(data) for rule in RULES), key=lambda one: -LEVELS.index(one.level))
    known = [one.level for one in findings if one.level != "unknown"]
    return max(known, key=LEVELS.index, default="unknown"), tuple(findings)


RULES: tuple[Rule, ...] = (
    Rule(
        "outlier_share",
        "How many pixels are outliers at the end?",
        "%",
        0.01,
        0.05,
        "0.5 % is typical. Far more: anneal the detector, or take a new gain reference.",
        measures.outlier_share,
        "timeline",
    ),
    Rule(
        "hot_growth",
        "Is the number of hot pixels rising?",
        "times",
        1.5,
        3.0,
        "The detector ages while it is used: plan to anneal it, and compare with the next session.",
        measures.hot_growth,
        "timeline",
        measures.hot_words,
    ),
    Rule(
        "births_per_hour",
        "How many hot pixels are added in an hour, for each million pixels?",
        "per hour",
        200,
        2000,
        "Find out what changed: temperature, dose rate, beam on the detector.",
        measures.births_per_hour,
        "turnover",
    ),
    Rule(
        "standing_out",
        "Do columns, rows or corners stand out?",
        "",
        0,
        20,
        "Put bad lines into a list of defects (koma --defects); many of them: have the camera looked at.",
        measures.standing_out,
        "lines",
    ),
    Rule(
        "filter_raised_noise",
        "Did the outlier filter help?",
        "standard errors",
        2,
        5,
        "It should lower it. Look at histograms and patches; another rule (--rule) may suit.",
        lambda data: measures.noise_rise(data, "raw", "filtered"),
        "noise",
        lambda data: measures.noise_words(data, "raw", "filtered"),
    ),
    Rule(
        "correction_raised_noise",
        "Did the pattern correction help?",
        "standard errors",
        2,
        5,
        "Use the outlier filter alone, or a larger --radius; measure with mrcz-dask assess.",
        lambda data: measures.noise_rise(data, "filtered", "corrected"),
        "noise",
        lambda data: measures.noise_words(data, "filtered", "corrected"),
    ),
    Rule(
        "too_quiet",
        "How many stacks are quieter than counting allows?",
        "stacks",
        None,
        0,
        "Their own data are in their references, and specimen was taken off: do not use them. Look for "
        "copies in the session, leave them out (--exclude), and run again.",
        measures.too_quiet,
        "noise",
    ),
    Rule(
        "high_contrast",
        "How many stacks have carbon edges or thick ice?",
        "%",
        0.1,
        0.3,
        "They are corrected, but are no reference. Look at them: they may be no data to keep.",
        measures.high_contrast,
        "contrast",
        lambda data: f"{sum(s.high_contrast for s in data.stacks)} of {len(data.stacks)}",
    ),
    Rule(
        "dose_drift",
        "How far did the dose move?",
        "%",
        0.2,
        0.5,
        "A reference is less good at another dose. Look for a moved beam, or split the session there.",
        measures.dose_drift,
        "dose",
    ),
    Rule(
        "breaks",
        "Does the session break into parts?",
        "",
        0,
        None,
        "A new gain reference, another dose or a long pause: windows do not reach across. Was it meant?",
        measures.breaks,
        "dose",
        lambda data: "; ".join(f"before {b.first}: {b.reason}" for b in data.breaks.values()),
    ),
    Rule(
        "unsound_masks",
        "How many stacks have no outlier mask that can be used?",
        "%",
        0,
        0.05,
        "They are written without a correction: saturated, empty, or far too many outliers. Look at each.",
        measures.unsound_masks,
        "thresholds",
    ),
    Rule(
        "misfit",
        "How far are histograms from what counting gives?",
        "",
        0.015,
        0.05,
        "Uneven light, a wrong gain reference, or pixels that are no counts.",
        measures.misfit,
        "thresholds",
    ),
    Rule(
        "gain",
        "Do frames look gain-corrected: do pixels vary little beyond counting noise?",
        "%",
        0.1,
        RAW_SPREAD,
        "Frames look raw: apply the gain reference (koma --gain FILE). If one was applied it may be turned, "
        "flipped or of another day: mrcz-dask gain orient tells.",
        measures.beyond_counting,
        "histogram.first",
        lambda data: f"{'no' if data.gain is None else 'a'} gain reference was applied",
    ),
    Rule(
        "not_done",
        "How many files could not be done?",
        "%",
        0,
        0.05,
        "Each is named below with its reason. Copy them again from the camera while they are there.",
        measures.not_done,
        words=lambda data: (
            f"{len(data.failed) + len(data.rejected)} of {len(data.stacks) + len(data.rejected)}"
        ),
    ),
    Rule(
        "unended",
        "Did the run end early?",
        "",
        None,
        0,
        "Give the same command again: it goes on where it was.",
        measures.unended,
        words=lambda data: data.error or data.running,
    ),
    Rule(
        "disagreement",
        "How many output files disagree with the records of the run?",
        "outputs",
        None,
        0,
        "Files were replaced or mixed: mrcz-dask verify, then run again.",
        measures.disagreement,
    ),
)
