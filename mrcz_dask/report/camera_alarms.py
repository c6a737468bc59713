"""Judges a camera over several sessions: what leaves its usual range, and whether a new gain is due."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from mrcz_dask.numerics.reference.evidence import NEGLIGIBLE
from mrcz_dask.numerics.session.control_chart import FEWEST, Chart, control_chart
from mrcz_dask.report.camera import CameraData, CameraSession

DUE = 0.01  # share by which the pattern lowers the DQE, from which on a new gain reference is worth its time
LAST = 3  # sessions whose median is the size of the pattern now
NEEDED = FEWEST + 1  # sessions, the first of which can have an alarm

Number = Callable[[CameraSession], float | None]


@dataclass(frozen=True, slots=True)
class Quantity:
    """Record of a number of each session that has a control chart.

    Attributes
    ----------
    key, title
        Its name, for data and for people.
    number
        Returns it for a session; None where it is not known.
    scale, back
        Turn it into a number that scatters as much whether it is small or large, and back.
    least
        The smallest scatter that is believed, on that scale.
    falls
        Whether a fall is an alarm, too.
    since_gain
        Whether a new gain reference begins a new chart.
    unit
        Of the number in texts.
    advice
        Advice with an alarm.
    """

    key: str
    title: str
    number: Number
    scale: Callable[[float], float]
    back: Callable[[float], float]
    least: float
    advice: str
    unit: str = ""
    falls: bool = False
    since_gain: bool = False


def percent(power: float) -> float:
    """Return the size of a pattern in % of the mean; negative where chance made its variance so."""
    return math.copysign(100 * math.sqrt(abs(power)), power)


def _counted(key: str, title: str, number: Number, least: float, advice: str) -> Quantity:
    """Return a quantity that is counted: its root scatters by 1/2, if things come by chance (Anscombe)."""
    return Quantity(
        key, title, number, lambda n: math.sqrt(n + 3 / 8), lambda root: root**2 - 3 / 8, least, advice
    )


QUANTITIES = (
    # pixels that last are the same ones each night: twice the scatter of counting leaves room for wandering
    _counted("hot", "Lasting hot pixels", lambda s: s.hot, 1.0,
             "The detector ages, or got warmer: plan to anneal it, and look at the next session."),
    _counted("dead", "Lasting dead pixels", lambda s: s.dead, 1.0,
             "Put them into a list of defects (koma --defects); if they stay, have the camera looked at."),
    _counted("hot_births", "New hot pixels", lambda s: s.hot_births, 0.5,
             "Find out what happened since the session before: temperature, a restart, beam on it."),
    Quantity("pattern", "Fixed pattern", lambda s: None if s.pattern is None else s.pattern.value,
             lambda power: power, percent, NEGLIGIBLE**2, "Record a new gain reference.", "% of the mean",
             since_gain=True),
    Quantity("dose", "Dose", lambda s: s.dose if s.dose > 0 else None, math.log, math.exp, 0.01,
             "Look whether it was meant: magnification, spot size, aperture, gun.",
             "counts per pixel and frame", falls=True),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Alarm:
    """Record of an alarm: what left its usual range, in which session, and what to do.

    Attributes
    ----------
    quantity, title
        What it is about.
    first, last
        Indices of the first and the last session with it.
    value, usual
        The number in the last of these sessions, and the median before the first; None for a line.
    text
        Sentence that says it.
    advice
        What to do.
    """

    quantity: str
    title: str
    first: int
    last: int
    value: float | None
    usual: float | None
    text: str
    advice: str


@dataclass(frozen=True, slots=True)
class GainAge:
    """Record of the age of a gain reference, and whether a new one is due.

    Attributes
    ----------
    first
        Index of its first session, 0 if that is not known.
    seen
        True if a session showed that it is new.
    sessions, days
        Sessions with it, and days from the first to the last of them.
    then, now
        Variance of the pattern in its first and in its last sessions, relative to the squared mean, medians;
        None = not measured.
    lost
        Share by which the pattern lowers the DQE now, where it is not taken off.
    due
        True if a new one is due.
    """

    first: int
    seen: bool
    sessions: int
    days: float
    then: float | None
    now: float | None
    lost: float | None
    due: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """Record of what is to be said about a camera: alarms, the newest first, its charts, and its gain."""

    alarms: tuple[Alarm, ...]
    charts: dict[str, Chart]
    gain: GainAge
    sentence: str


def judge(data: CameraData) -> Judgement:
    """Judge a camera: make the chart of each quantity, and say what is due."""
    sessions = data.sessions
    gains = [k for k, s in enumerate(sessions) if s.new_gain]
    charts, alarms = {}, _lines(sessions)
    for quantity in QUANTITIES:
        scaled = [None if (v := quantity.number(s)) is None else quantity.scale(v) for s in sessions]
        errors = [s.pattern.error if s.pattern else 0.0 for s in sessions] if quantity.since_gain else ()
        chart = control_chart(scaled, quantity.least, gains if quantity.since_gain else (), errors)
        charts[quantity.key] = chart
        for one in chart.excursions:
            if one.rises or quantity.falls:
                value, usual = quantity.back(scaled[one.last] or 0.0), quantity.back(one.usual)
                how = "rose" if one.rises else "fell"
                slowly = "" if one.sudden else " slowly"
                unit = quantity.unit and f" {quantity.unit}"
                text = f"{how}{slowly} from {_short(usual)} to {_short(value)}{unit}."
                alarms.append(
                    Alarm(
                        quantity.key, quantity.title, one.first, one.last, value, usual, text, quantity.advice
                    )
                )
    alarms.sort(key=lambda alarm: (-alarm.first, alarm.title))
    gain = _gain(sessions, charts["pattern"])
    return Judgement(tuple(alarms), charts, gain, _sentence(sessions, gain, alarms))


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _lines(sessions: Sequence[CameraSession]) -> list[Alarm]:
    """Return an alarm for each session with bad lines that no session before had; it lasts while they do."""
    alarms, known = [], {*sessions[0].lines}
    for k, session in enumerate(sessions[1:], 1):
        new = [line for line in session.lines if line not in known]
        known.update(new)
        if new:
            last = max(i for i, later in enumerate(sessions) if {*new} & {*later.lines})
            text = f"new: {', '.join(new[:6])}{f' and {len(new) - 6} more' if len(new) > 6 else ''}."
            advice = "Put them into a list of defects (koma --defects), and have the camera looked at."
            alarms.append(Alarm("lines", "Bad lines", k, last, None, None, text, advice))
    return alarms


def _gain(sessions: Sequence[CameraSession], chart: Chart) -> GainAge:
    """Return the age of the gain reference, and whether a new one is due."""
    first = max((k for k, s in enumerate(sessions) if s.new_gain), default=0)
    own = sessions[first:]
    powers = [s.pattern.value for s in own if s.pattern is not None]
    losses = [s.lost for s in own if s.lost is not None]
    lost = statistics.median(losses[-LAST:]) if losses else None
    grown = any(one.rises and one.first >= first for one in chart.excursions)
    return GainAge(
        first=first,
        seen=bool(sessions[first].new_gain),
        sessions=len(own),
        days=(own[-1].began - own[0].began).total_seconds() / 86400,
        then=statistics.median(powers[:FEWEST]) if powers else None,
        now=statistics.median(powers[-LAST:]) if powers else None,
        lost=lost,
        due=grown and lost is not None and lost >= DUE,
    )


def _sentence(sessions: Sequence[CameraSession], gain: GainAge, alarms: Sequence[Alarm]) -> str:
    """Return what is due in a sentence or two."""
    if gain.due and gain.then is not None and gain.now is not None and gain.lost is not None:
        due = (
            f"A new gain reference is due: the fixed pattern grew from {percent(gain.then):.2g} to "
            f"{percent(gain.now):.2g} % of the mean, and lowers the DQE by {100 * gain.lost:.2g} % where "
            "KOMA does not take it off."
        )
    elif gain.sessions < NEEDED:
        since = "of the newest gain reference" if gain.seen else "in all"
        due = f"Nothing can be due yet: there {_are(gain.sessions)} {since}, and growth shows after {NEEDED}."
    else:
        due = "Nothing is due."
    new = [one for one in alarms if one.last >= len(sessions) - FEWEST and one.quantity != "pattern"]
    titles = dict.fromkeys(one.title.lower() for one in new)
    return f"{due} Look at {' and '.join(titles)}." if titles else due


def _are(number: int) -> str:
    return "is one session" if number == 1 else f"are {number} sessions"


def camera_values(data: CameraData, found: Judgement) -> dict[str, object]:
    """Return everything that the page about a camera shows as a dict for JSON."""
    names = {k: s.folder for k, s in enumerate(data.sessions)}
    return {
        "sentence": found.sentence,
        "shape": list(data.shape),
        "gain": {**asdict(found.gain), "folder": names[found.gain.first]},
        "alarms": [{**asdict(one), "folder": names[one.first]} for one in found.alarms],
        "sessions": [
            {**asdict(s), "began": s.began.isoformat(), "lost": s.lost, "usual": _usual(found, k)}
            for k, s in enumerate(data.sessions)
        ],
        "left_out": [one.to_dict() for one in data.left_out],
    }


def _usual(found: Judgement, k: int) -> dict[str, float | None]:
    """Return what was usual before a session, by quantity."""
    return {
        one.key: None if (usual := found.charts[one.key].usual[k]) is None else one.back(usual)
        for one in QUANTITIES
    }
