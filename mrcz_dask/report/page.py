"""The page of a report: one file that needs no network, legible on a phone and in print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath

from mrcz_dask.monitor.words import duration
from mrcz_dask.pages.markup import Markup, data_uri, element, joined, png, table
from mrcz_dask.pages.template import html_page
from mrcz_dask.report.chooser import chooser
from mrcz_dask.report.commands import koma_command, other_commands, unnamed_settings
from mrcz_dask.report.data import SessionData, StackData
from mrcz_dask.report.drawing import drawn, is_grouped
from mrcz_dask.report.pictures import figures
from mrcz_dask.report.rules import WORDS, Finding, Level, verdict
from mrcz_dask.report.tables import FigureData
from mrcz_dask.report.template import SCRIPT, STYLE
from mrcz_dask.values.sizes import readable

MOST_ROWS = 200
# Tables with more rows are shown when asked for.
OPEN_ROWS = 20
GROUPED = (
    " There are many stacks: lines are medians of neighbours, and what is shaded lies between their extremes."
)
# Sections and the figures in them, by what is before the full stop of their keys.
SECTIONS = (
    ("detector", "The detector", ("timeline", "turnover", "survival", "places", "lines")),
    ("outliers", "The outlier filter", ("histogram", "patch", "thresholds")),
    ("pattern", "The pattern and the noise", ("bands", "noise")),
    ("stacks", "The stacks", ("dose", "contrast")),
    ("speed", "Speed", ("speed",)),
)
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def page(data: SessionData) -> str:
    """Return the report of a session as HTML.

    Parameters
    ----------
    data
        As `gather` found it.
    """
    level, findings = verdict(data)
    made = {one.key: one for one in figures(data)}
    body = [
        _header(data, level),
        _contents(),
        element(
            "main",
            _verdict(findings, made),
            _what(data),
            *_sections(data, made),
            _failures(data),
            _again(data),
        ),
        element("footer", element("p", f"mrcz-dask {data.version}, {data.platform}.", class_="quiet")),
        element("script", Markup(SCRIPT)),
    ]
    policy = element("meta", http_equiv="Content-Security-Policy", content=POLICY)
    return html_page(f"Report: {_name(data)}", joined(body), STYLE, policy)


def _name(data: SessionData) -> str:
    return PurePath(data.session).name or data.session


def _badge(level: Level, *, overall: bool = False) -> Markup:
    return element("span", WORDS[level], class_=f"level level-{level}" + (" overall" if overall else ""))


def _header(data: SessionData, level: Level) -> Markup:
    done = sum(s.state == "done" for s in data.stacks)
    last = data.runs[-1]
    when = f"{last.ended:.16}".replace("T", " ")
    count = len(data.rejected)
    refused = f", {count} file{'s' * (count > 1)} refused" if count else ""
    return element(
        "header",
        element("h1", f"Report: {_name(data)}"),
        element(
            "p",
            _badge(level, overall=True),
            f"{done} of {len(data.stacks)} stacks done{refused}; {when} UTC.",
        ),
    )


def _contents() -> Markup:
    names = [("verdict", "Verdict"), ("what", "What was done"), *((key, title) for key, title, _ in SECTIONS)]
    names += [("not-done", "Not done"), ("again", "Do it again")]
    links = (element("li", element("a", title, href=f"#{key}")) for key, title in names)
    return element("nav", element("ul", *links), aria_label="Sections")


def _section(key: str, title: str, *children: object) -> Markup:
    return element("section", element("h2", title, id=key), *children, aria_labelledby=key)


def _verdict(findings: Sequence[Finding], made: Mapping[str, FigureData]) -> Markup:
    told = element("ul", *(_finding(one, made) for one in findings), class_="findings")
    wide = element("p", "Wide figures and tables can be moved sideways.", class_="quiet on-phones")
    return _section("verdict", "Verdict", told, wide)


def _finding(one: Finding, made: Mapping[str, FigureData]) -> Markup:
    rule = one.rule
    words = f" ({one.words})" if one.words else ""
    number = element("span", rule.written(one.value), class_="number")
    said: list[object] = [element("p", f"{rule.question} ", number, words)]
    if one.level in ("look", "act"):
        said.append(element("p", rule.advice))
    link = element("a", "figure", href=f"#figure-{rule.figure}") if rule.figure in made else ""
    said.append(element("p", f"{rule.limits}. ".capitalize(), link, class_="quiet"))
    return element("li", _badge(one.level), element("div", *said), class_=f"is-{one.level}")


def _what(data: SessionData) -> Markup:
    pairs = joined(element("dt", name) + element("dd", text) for name, text in _facts(data))
    return _section("what", "What was done", element("dl", pairs))


def _facts(data: SessionData) -> Iterator[tuple[str, object]]:
    settings = data.settings
    koma, write = settings["koma"], settings["write"]
    yield "Session", data.session
    yield "Outputs", data.folder
    yield from _stack_facts(data)
    yield "Outlier filter", f"rule {settings['outliers']['rule']}"
    yield "Correction", f"KOMA, radius {koma['radius']}, method {koma['method']}, form {koma['form']}"
    yield "Gain reference", _gain(data)
    yield from (("Break", f"before {one.first}: {one.reason}") for one in data.breaks.values())
    kind = f", {write['dtype']}" if write["write"] == "normalized" else ""
    yield "Written", f"{write['write']} as {write['format']}{kind}, codec {write['codec']}"
    size_in, size_out = (sum(getattr(s, name) for s in data.stacks) for name in ("bytes_in", "bytes_out"))
    yield "Data", f"{readable(size_in)} in, {readable(size_out)} out"
    yield "Program", f"mrcz-dask {data.version}; {data.platform}"


def _stack_facts(data: SessionData) -> Iterator[tuple[str, object]]:
    masks = [m for _, m in data.masks]
    if masks:
        n, ny, nx = masks[0].shape
        yield "Stacks", f"{len(data.stacks)}, of {n} frames of {ny} x {nx} pixels, {masks[0].dtype}"
    if data.stacks:
        first, last = data.stacks[0].acquired, data.stacks[-1].acquired
        sources = ", ".join(sorted({s.acquired_from for s in data.stacks if s.acquired_from}))
        yield (
            "Recorded",
            f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} (times from: {sources or 'unknown'})",
        )


def _gain(data: SessionData) -> str:
    if data.gain is None:
        return "none applied"
    names = [f"{key} {data.gain[key]['name']}" for key in ("gain", "dark", "defects") if key in data.gain]
    gammas = sorted({m.gamma for _, m in data.masks})
    if not gammas:
        return ", ".join(names)
    power = f"{gammas[0]:.3f}" if len(gammas) == 1 else f"{gammas[0]:.3f} to {gammas[-1]:.3f}"
    return f"{', '.join(names)}; gamma {power}"


def _sections(data: SessionData, made: Mapping[str, FigureData]) -> Iterator[Markup]:
    more = {"outliers": chooser, "stacks": _left_out, "speed": _runs}
    for key, title, kinds in SECTIONS:
        shown = [_figure(made[name]) for kind in kinds for name in made if name.partition(".")[0] == kind]
        extra = more[key](data) if key in more else Markup()
        nothing = element("p", "Nothing is known of this.") if not shown and not extra else ""
        yield _section(key, title, *shown, extra, nothing)


def _figure(one: FigureData) -> Markup:
    image = element("img", src=data_uri("image/svg+xml", drawn(one, "svg")["svg"]), alt=one.alt)
    paper = element("span", f" the preprint's {one.paper}", class_="quiet paper") if one.paper else ""
    return element(
        "figure",
        element("h3", one.title, paper),
        element("div", image, class_="scroll", tabindex=0, role="region", aria_label=one.title),
        element("figcaption", one.caption, GROUPED if is_grouped(one) else ""),
        id=f"figure-{one.key}",
    )


def _left_out(data: SessionData) -> Markup:
    out = [s for s in data.stacks if s.high_contrast]
    title = element("h3", "Stacks left out of windows")
    if not out:
        return title + element("p", "None: no stack has high contrast.")
    by_number = {s.number: s for s in out}
    shown = [(by_number[k], look) for k, look in data.high_contrast.items() if look.thumbnails is not None]
    items = [_thumbnail(one, png(look.thumbnails[0])) for one, look in shown if look.thumbnails is not None]
    words = f"{len(out)} of {len(data.stacks)}; highest contrast first" + (
        f", the first {len(items)} shown." if len(items) < len(out) else "."
    )
    return title + element("p", words) + element("ul", *items, class_="thumbnails")


def _thumbnail(one: StackData, source: str) -> Markup:
    words = f"{one.number}: {one.name}, score {one.score or 0:.3f}"
    return element(
        "li", element("img", src=source, alt=f"Mean image of stack {words}"), element("span", words)
    )


def _runs(data: SessionData) -> Markup:
    rows = []
    for run in data.runs:
        passes = "; ".join(
            f"{p.phase}: {p.stacks} stacks, {readable(p.bytes)} in {duration(p.seconds)}"
            for p in run.passes
            if p.stacks
        )
        began = run.began[:16].replace("T", " ")
        rows.append(
            (began, duration(run.seconds), run.how, run.done, run.kept, run.failed, passes or "-", run.where)
        )
    header = ("began (UTC)", "took", "ended", "done", "of them kept", "not done", "passes", "on")
    name = "Runs over this folder"
    return element("h3", name) + table(header, rows[-MOST_ROWS:], name)


def _failures(data: SessionData) -> Markup:
    rows = [(s.name, "failed", s.reason) for s in data.failed]
    rows += [(f.name, "refused", f.reason) for f in data.rejected]
    rows += [(f.name, "left out", f.reason) for f in data.left_out if not f.rejected]
    parts: list[object] = [_some(("file", "", "reason"), rows, "Files that were not processed")]
    caveats = [(s.number, s.name, "; ".join(s.caveats)) for s in data.stacks if s.caveats]
    parts.append(_some(("stack", "name", "caveats"), caveats, "Stacks with caveats"))
    for title, texts in (("Warnings", data.warnings), ("What could not be read", data.problems)):
        parts.append(_some((title.lower(),), [(text,) for text in texts], title))
    told = any(isinstance(part, Markup) and part for part in parts)
    return _section("not-done", "Not done, left out, caveats", *(parts if told else ["Nothing."]))


def _some(header: Sequence[str], rows: Sequence[Sequence[object]], name: str) -> Markup:
    if not rows:
        return Markup()
    more = f" (the first {MOST_ROWS} of {len(rows)})" if len(rows) > MOST_ROWS else ""
    shown = table(header, rows[:MOST_ROWS], name)
    if len(rows) > OPEN_ROWS:
        shown = element("details", element("summary", f"{len(rows)} rows"), shown)
    return element("h3", name + more) + shown


def _again(data: SessionData) -> Markup:
    parts: list[object] = [
        element("h3", "This run again"),
        element("pre", koma_command(data)),
    ]
    extra = unnamed_settings(data)
    if extra:
        given = ", ".join(f"{name} = {value}" for name, value in extra.items())
        parts.append(element("p", f"Given in a program, without an option: {given}."))
    for title, command in other_commands(data):
        parts += [element("h3", title), element("pre", command)]
    rows = [(f"{group}.{name}", value) for group, one in data.settings.items() for name, value in one.items()]
    parts.append(
        element("details", element("summary", "All settings"), table(("setting", "value"), rows, "Settings"))
    )
    return _section("again", "Do it again", *parts)
