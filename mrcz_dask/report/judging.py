"""A question that judges a session by a number with two limits, and its answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from mrcz_dask.numerics.reference.evidence import Mean
from mrcz_dask.report.data import SessionData

SURE = 2  # standard errors

Measure = Callable[["SessionData"], float | Mean | None]
DataText = Callable[["SessionData"], str]
Level = Literal["good", "look", "act", "unknown"]
About = Literal["run", "camera"]
LEVELS: tuple[Level, ...] = ("good", "unknown", "look", "act")
WORDS: dict[Level, str] = {"good": "good", "look": "look at this", "act": "act", "unknown": "not known"}


@dataclass(frozen=True, slots=True)
class Question:
    """Record of one question about a session, the function whose number answers it, and that number's limits.

    Attributes
    ----------
    key
        Its name.
    text
        The question in plain words.
    unit
        Unit of the number, such as ``%`` or ``times``.
    look, act
        Above these numbers: look at this, act; None = that level is never reached.
    advice
        Advice at that level.
    measure
        Returns the number, if need be with its error, or None where it is not known.
    figure
        The figure to look at; empty if there is none.
    words
        Returns what the number comes from; empty if there is nothing to say.
    about
        Whether it judges the run or the camera.
    """

    key: str
    text: str
    unit: str
    look: float | None
    act: float | None
    advice: str
    measure: Measure
    figure: str = ""
    words: DataText = lambda data: ""
    about: About = "run"

    def judge(self, data: SessionData) -> Answer:
        """Measure a session; return the number and its level: good, look, act, or unknown.

        A number with an error is above a limit if it is by more than two errors.
        """
        found = self.measure(data)
        value, error = (found.value, found.error) if isinstance(found, Mean) else (found, None)
        level: Level = "good"
        if value is None or math.isnan(value):
            level = "unknown"
        elif self.act is not None and value - SURE * (error or 0) > self.act:
            level = "act"
        elif self.look is not None and value - SURE * (error or 0) > self.look:
            level = "look"
        return Answer(self, value, level, self.words(data), error)

    def written(self, value: float | None, error: float | None = None) -> str:
        """Return the number as text with its unit."""
        if value is None:
            return "-"
        if self.unit == "standard errors":
            moved = "yes, R fell" if value < 0 else "no, R rose"
            return moved if abs(value) > SURE else "no change beyond chance"
        if error is not None:
            return f"{_plain(value)} ± {_plain(error)} {self.unit}"
        return self._number(value)

    def _number(self, value: float) -> str:
        return f"{_plain(100 * value)} %" if self.unit == "%" else f"{_plain(value)} {self.unit}".rstrip()

    @property
    def limits(self) -> str:
        """Text of the limits, such as "look above 0.2 %, act above 0.5 %"."""
        known = [("look", self.look), ("act", self.act)]
        return ", ".join(f"{name} above {self._number(v)}" for name, v in known if v is not None)


def _plain(value: float) -> str:
    """Return a number with three digits, never as a power of ten unless it is tiny."""
    return f"{value:.0f}" if abs(value) >= 100 and math.isfinite(value) else f"{value:.3g}"


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer to one question about a session: the number, its level, and words that explain it."""

    question: Question
    value: float | None
    level: Level
    words: str = ""
    error: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return question, answer, limits and advice as a dict for JSON."""
        question = self.question
        return {
            "rule": question.key,
            "question": question.text,
            "level": self.level,
            "value": self.value,
            "error": self.error,
            "about": question.about,
            "words": self.words,
            "unit": question.unit,
            "look_above": question.look,
            "act_above": question.act,
            "advice": question.advice if self.level in ("look", "act") else "",
        }


QUESTIONS: list[Question] = []


def question(
    text: str,
    limits: tuple[str, float | None, float | None],
    advice: str,
    figure: str = "",
    words: DataText = lambda data: "",
    about: About = "run",
) -> Callable[[Measure], Measure]:
    """Return a decorator that adds a question, whose number the decorated function measures.

    limits are the unit, and the numbers above which to look and to act.
    """

    def add(measure: Measure) -> Measure:
        """Add the question with this function as its measure."""
        QUESTIONS.append(Question(measure.__name__, text, *limits, advice, measure, figure, words, about))
        return measure

    return add
