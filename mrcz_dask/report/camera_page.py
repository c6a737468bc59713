"""Builds the web page about a camera over several sessions, in the style of the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mrcz_dask.formats.atomic import write_atomic
from mrcz_dask.numerics.session.control_chart import FEWEST, JUMP, LIMIT, SLACK
from mrcz_dask.pages.template import Markup, element, html_page, joined
from mrcz_dask.report.camera import CameraData, CameraSession
from mrcz_dask.report.camera_alarms import DUE, NEEDED, QUANTITIES, Alarm, Judgement, percent
from mrcz_dask.report.data import Column, FigureData
from mrcz_dask.report.judging import LEVELS, WORDS, Level
from mrcz_dask.report.page import POLICY, STYLE, figure_element, long_table, section
from mrcz_dask.version import __version__

SECTIONS = {
    "alarms": "Alarms",
    "charts": "Over time",
    "sessions": "The sessions",
    "left-out": "Left out",
    "how": "How it is judged",
}
HOW = (
    "Each number is compared with the sessions before: usual is their median. An alarm is raised where one "
    f"session is {JUMP:g} standard deviations from it, or where several add up to {LIMIT:g} beyond {SLACK:g} "
    f"each, which finds slow growth. The first {FEWEST} sessions have no alarm. {FEWEST} sessions in a row "
    "with an alarm are the new usual. A new gain reference begins the chart of the pattern anew.",
    "If sessions scatter by chance alone, fewer than one in 1000 has a false alarm in a number. Sessions "
    "that differ in other ways, such as each user's own dose, have more.",
    "A new gain reference is due if the pattern has an alarm since the last one, and lowers the DQE by "
    f"{100 * DUE:g} % or more where it is not taken off.",
)


def _charted(key: str, label: str) -> list[tuple[str, str, str]]:
    """Return the series of a quantity: column, label and role of the usual values, all, and the alarms."""
    return [(f"{key}_usual", "usual", "usual"), (key, label, "value"), (f"{key}_alarm", "alarm", "alarm")]


# Key, title, caption and panels of each figure.
FIGURES = (
    (
        "pixels",
        "Lasting hot and dead pixels",
        "Pixels that are outliers in at least half of a session's stacks. A slow rise of hot pixels is a "
        "detector that ages with dose; warming it up (annealing) brings it down. Dotted lines: a new gain "
        "reference.",
        (("hot pixels", _charted("hot", "hot")), ("dead pixels", _charted("dead", "dead"))),
    ),
    (
        "turnover",
        "Hot pixels that appear and go, against the session before",
        "Where more appear than go the number grows. Many of both in one session: something happened to the "
        "camera, or the dose was another one.",
        (("hot pixels", [*_charted("hot_births", "appear"), ("hot_deaths", "go", "other")]),),
    ),
    (
        "pattern",
        "The fixed pattern that the gain reference leaves",
        "Above: its size in columns, rows and pixels, before KOMA takes it off. Growth since the last new "
        "gain reference (dotted line) says that the next one is due. Below: how much of the pattern of the "
        f"first {FEWEST} sessions with this gain reference is still there; above 100 % it is stronger.",
        (
            ("% of the mean", _charted("pattern", "pattern")),
            ("still there, %", [("likeness", "still there", "value")]),
        ),
    ),
    (
        "dose",
        "Dose and bad lines",
        "Counts per pixel and frame, the median over stacks; and the number of rows and columns that read "
        "too much or too little in at least half of them.",
        (
            ("counts / pixel / frame", _charted("dose", "dose")),
            ("bad lines", [("lines", "rows and columns", "value")]),
        ),
    ),
)


def write_camera_page(data: CameraData, found: Judgement, path: Path) -> None:
    """Write the page about a camera; an older one is replaced.

    Raises
    ------
    SpaceError
        When it cannot be written there.
    """
    write_atomic(path, camera_page(data, found).encode("utf-8", "backslashreplace"))


def camera_page(data: CameraData, found: Judgement) -> str:
    """Build the page about a camera as one HTML text with its figures inside."""
    sessions = data.sessions
    title = f"Camera: {len(sessions)} session{'s' if len(sessions) > 1 else ''}"
    (ny, nx), first, last = data.shape, _day(sessions[0]), _day(sessions[-1])
    numbers = (
        element("div", element("dt", label), element("dd", number)) for number, label in _numbers(found, data)
    )
    links = (element("li", element("a", name, href=f"#{key}")) for key, name in SECTIONS.items())
    header = element(
        "header",
        element("h1", title),
        element("p", found.sentence, class_="verdict"),
        element("p", *_lights(found, sessions), class_="lights"),
        element("p", f"{ny} x {nx} pixels, {first} to {last}.", class_="quiet"),
        element("dl", *numbers, class_="numbers"),
    )
    left = [(one.name, one.reason) for one in data.left_out]
    sections: dict[str, Sequence[object]] = {
        "alarms": [_alarms(found, sessions)],
        "charts": [figure_element(figure) for figure in camera_figures(data, found)],
        "sessions": [_table(sessions, found.alarms)],
        "left-out": [long_table(("folder", "reason"), left, "Folders that are not on this page") or "None."],
        "how": [element("p", text) for text in HOW],
    }
    body = [
        header,
        element("nav", element("ul", *links), aria_label="Sections"),
        element("main", *(section(key, SECTIONS[key], *parts) for key, parts in sections.items())),
        element("footer", element("p", f"mrcz-dask {__version__}.", class_="quiet")),
    ]
    policy = element("meta", http_equiv="Content-Security-Policy", content=POLICY)
    return html_page(title, joined(body), STYLE, policy)


def _numbers(found: Judgement, data: CameraData) -> Iterator[tuple[str, str]]:
    """Yield the three numbers that matter most, each with the words below it."""
    gain, last = found.gain, data.sessions[-1]
    at_least = "" if gain.seen else "at least "
    age = f"{gain.days:.0f} days" if gain.days >= 1 else f"{gain.sessions}"
    yield age, f"age of the gain reference: {at_least}{gain.sessions} sessions"
    if gain.now is not None:
        cost = "" if gain.lost is None else f"; lowers the DQE by {100 * gain.lost:.2g} % if it is left"
        yield f"{percent(gain.now):.2g} %", f"of the mean: the fixed pattern{cost}"
    yield str(last.hot), f"lasting hot pixels; {data.sessions[0].hot} in the first session"


def _lights(found: Judgement, sessions: Sequence[CameraSession]) -> Iterator[object]:
    """Yield the two lights: of the gain reference, and of everything else."""
    levels: dict[str, list[Level]] = {"Gain reference": [], "Pixels, lines, dose": []}
    for one in found.alarms:
        levels["Gain reference" if one.quantity == "pattern" else "Pixels, lines, dose"].append(
            _level(one, found, sessions)
        )
    for (name, some), known in zip(levels.items(), (found.gain.sessions, len(sessions)), strict=True):
        nothing: Level = "good" if known >= NEEDED else "unknown"
        level = max(some, key=LEVELS.index, default=nothing)
        level = nothing if level == "unknown" else level
        yield element("a", f"{name}: {WORDS[level]}", href="#alarms", class_=f"level level-{level}")
        yield " "


def _level(alarm: Alarm, found: Judgement, sessions: Sequence[CameraSession]) -> Level:
    """Return how much an alarm matters now: one of the last sessions is to be looked at."""
    if alarm.quantity == "pattern" and alarm.first < found.gain.first:
        return "unknown"
    if alarm.quantity == "pattern" and found.gain.due:
        return "act"
    return "look" if alarm.last >= len(sessions) - FEWEST else "unknown"


def _alarms(found: Judgement, sessions: Sequence[CameraSession]) -> Markup:
    if not found.alarms:
        few = len(sessions) < NEEDED
        return element("p", f"None is possible: it takes {NEEDED} sessions." if few else "None.")
    items = []
    for one in found.alarms:
        level = _level(one, found, sessions)
        word = "before" if level == "unknown" else WORDS[level]
        badge = element("span", word, class_=f"level level-{level}")
        until = "" if one.first == one.last else f" to {_day(sessions[one.last])}"
        when = element("span", f"{_day(sessions[one.first])}{until}", class_="number")
        name = Path(sessions[one.first].session).name
        words = element("p", when, f" ({name}): {one.title.lower()} {one.text}")
        items.append(element("li", badge, element("div", words, element("p", one.advice)), class_="is-look"))
    return element("ul", *items, class_="findings")


def _day(session: CameraSession) -> str:
    return f"{session.began:%Y-%m-%d}"


def _table(sessions: Sequence[CameraSession], alarms: Sequence[Alarm]) -> Markup:
    rows = []
    for k, s in enumerate(sessions):
        moved = ("-" if v is None else v for v in (s.hot_births, s.hot_deaths))
        pattern = "-" if s.pattern is None else f"{percent(s.pattern.value):.2f}"
        cost = "-" if s.lost is None else f"{100 * s.lost:.2f}"
        remarks = [f"new gain reference: {s.new_gain}"] if s.new_gain else []
        remarks += [f"alarm: {one.title.lower()}" for one in alarms if one.first <= k <= one.last]
        row = (f"{s.began:%Y-%m-%d %H:%M}", s.session, s.stacks, f"{s.dose:.3g}", s.hot, *moved, s.dead)
        rows.append((*row, len(s.lines), pattern, cost, "; ".join(remarks)))
    pixels = ("hot", "new", "gone", "dead", "lines")
    header = ("begun", "session", "stacks", "dose", *pixels, "pattern, %", "DQE, -%", "")
    return long_table(header, rows[::-1], "All sessions, the newest first")


def camera_figures(data: CameraData, found: Judgement) -> Iterator[FigureData]:
    """Yield the figures of a camera over time, as data."""
    sessions = data.sessions
    days = [(s.began - sessions[0].began).total_seconds() / 86400 for s in sessions]
    along = "days" if all(s.timed for s in sessions) and days[-1] > 0 else "session"
    axes: dict[str, Column] = {
        "session": list(range(1, len(sessions) + 1)),
        "name": [s.folder for s in sessions],
        "days": days,
    }
    gains = {f"{_day(s)}: {s.new_gain}": axes[along][k] for k, s in enumerate(sessions) if s.new_gain}
    columns: dict[str, Column] = {
        "hot_deaths": [s.hot_deaths for s in sessions],
        "likeness": [None if s.likeness is None else 100 * s.likeness.value for s in sessions],
        "lines": [len(s.lines) for s in sessions],
    }
    for one in QUANTITIES:
        values = [None if (v := one.number(s)) is None else one.back(one.scale(v)) for s in sessions]
        usual = [None if u is None else one.back(u) for u in found.charts[one.key].usual]
        spans = [(a.first, a.last) for a in found.alarms if a.quantity == one.key]
        bad = [any(first <= k <= last for first, last in spans) for k in range(len(sessions))]
        columns |= {one.key: values, f"{one.key}_usual": usual}
        columns[f"{one.key}_alarm"] = [v if is_bad else None for v, is_bad in zip(values, bad, strict=True)]
    for key, title, caption, panels in FIGURES:
        shown = {name: columns[name] for _, series in panels for name, _, _ in series}
        notes = {"along": along, "breaks": gains, "panels": panels}
        yield FigureData(f"sessions.{key}", title, caption, "", axes | shown, notes)
