"""Builds the report's web page: one HTML file that needs no network, for screen, phone and print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from mrcz_dask.numerics.outliers.weights import is_masked
from mrcz_dask.pages.template import (
    LEVELS,
    Markup,
    data_uri,
    element,
    embedded,
    html_page,
    joined,
    png,
    table,
)
from mrcz_dask.report.commands import koma_command, other_commands, unnamed_settings
from mrcz_dask.report.data import FigureData, SessionData, StackData, StackSample
from mrcz_dask.report.drawing import drawn, is_grouped, threshold_at
from mrcz_dask.report.figures import figures, histogram
from mrcz_dask.report.questions import WORDS, Answer, Level, verdict
from mrcz_dask.session.thumbnails import in_grays
from mrcz_dask.values.texts import duration, readable

MOST_ROWS = 200
# Tables with more rows are shown when asked for.
OPEN_ROWS = 20
GROUPED = (
    " There are many stacks: lines are medians of neighbors, and the shaded area lies between their extremes."
)
# Sections and the figures in them, by what is before the full stop of their keys.
SECTIONS = (
    ("detector", "The detector", ("timeline", "turnover", "survival", "places", "lines")),
    ("outliers", "The outlier filter", ("histogram", "patch", "thresholds")),
    ("pattern", "The pattern and the noise", ("bands", "specimen", "noise")),
    ("stacks", "The stacks", ("dose", "contrast")),
    ("speed", "Speed", ("speed",)),
)
# Bins of a histogram in the page; the files of `--figures` and `--json` have all.
MOST_BINS = 256
DIGITS = 5
_HERE = Path(__file__).parent
STYLE = (_HERE / "report.css").read_text("utf-8") + "".join(
    f".level-{name} {{ color: {text}; background: {ground}; }}\n" for name, (text, ground) in LEVELS.items()
)
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def page(data: SessionData) -> str:
    """Build the report of a session as one HTML text with its figures inside.

    Parameters
    ----------
    data
        The session, from `gather`.
    """
    level, findings = verdict(data)
    drawings = {figure.key: figure for figure in figures(data)}
    title = f"Report: {PurePath(data.session).name or data.session}"
    facts = joined(element("dt", name) + element("dd", text) for name, text in _facts(data))
    body = [
        _header(data, title, level),
        element(
            "main",
            _verdict(findings, drawings),
            _section("what", "What was done", element("dl", facts)),
            *_sections(data, drawings),
            _not_done(data),
            _do_it_again(data),
        ),
        element("footer", element("p", f"mrcz-dask {data.version}, {data.platform}.", class_="quiet")),
        element("script", Markup((_HERE / "chooser.js").read_text("utf-8"))),
    ]
    policy = element("meta", http_equiv="Content-Security-Policy", content=POLICY)
    return html_page(title, joined(body), STYLE, policy)


def _header(data: SessionData, title: str, level: Level) -> Markup:
    done = sum(s.state == "done" for s in data.stacks)
    when = f"{data.runs[-1].ended:.16}".replace("T", " ")
    count = len(data.rejected)
    refused = f", {count} file{'s' * (count > 1)} refused" if count else ""
    text = f"{done} of {len(data.stacks)} stacks done{refused}; {when} UTC."
    badge = element("span", WORDS[level], class_=f"level level-{level} overall")
    verdict_line = [] if data.verdict is None else [element("p", element("strong", data.verdict))]
    sections = [
        ("verdict", "Verdict"),
        ("what", "What was done"),
        *((key, name) for key, name, _ in SECTIONS),
    ]
    sections += [("not-done", "Not done"), ("again", "Do it again")]
    links = (element("li", element("a", name, href=f"#{key}")) for key, name in sections)
    return joined(
        [
            element("header", element("h1", title), element("p", badge, text), *verdict_line),
            element("nav", element("ul", *links), aria_label="Sections"),
        ]
    )


def _section(key: str, title: str, *children: object) -> Markup:
    return element("section", element("h2", title, id=key), *children, aria_labelledby=key)


def _verdict(findings: Sequence[Answer], drawings: Mapping[str, FigureData]) -> Markup:
    items = []
    for finding in findings:
        question, level = finding.question, finding.level
        number = element("span", question.written(finding.value), class_="number")
        words = f" ({finding.words})" if finding.words else ""
        advice = [element("p", question.advice)] if level in ("look", "act") else []
        link = (
            element("a", "figure", href=f"#figure-{question.figure}") if question.figure in drawings else ""
        )
        text = element(
            "div",
            element("p", f"{question.text} ", number, words),
            *advice,
            element("p", f"{question.limits}. ".capitalize(), link, class_="quiet"),
        )
        badge = element("span", WORDS[level], class_=f"level level-{level}")
        items.append(element("li", badge, text, class_=f"is-{level}"))
    hint = element("p", "Wide figures and tables can be moved sideways.", class_="quiet on-phones")
    return _section("verdict", "Verdict", element("ul", *items, class_="findings"), hint)


def _facts(data: SessionData) -> Iterator[tuple[str, object]]:
    settings, masks = data.settings, [mask for _, mask in data.masks]
    koma, write = settings["koma"], settings["write"]
    yield "Session", data.session
    yield "Outputs", data.folder
    if masks:
        n, ny, nx = masks[0].shape
        yield "Stacks", f"{len(data.stacks)}, of {n} frames of {ny} x {nx} pixels, {masks[0].dtype}"
    if data.stacks:
        first, last = (data.stacks[k].acquired for k in (0, -1))
        sources = ", ".join(sorted({s.acquired_from for s in data.stacks if s.acquired_from})) or "unknown"
        yield "Recorded", f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} (times from: {sources})"
    yield "Outlier filter", f"rule {settings['outliers']['rule']}"
    yield "Correction", f"KOMA, radius {koma['radius']}, method {koma['method']}, form {koma['form']}"
    yield "Gain reference", _gain(data)
    yield from (("Break", f"before {item.first}: {item.reason}") for item in data.breaks.values())
    kind = f", {write['dtype']}" if write["write"] == "normalized" else ""
    yield "Written", f"{write['write']} as {write['format']}{kind}, codec {write['codec']}"
    size_in, size_out = (sum(getattr(s, name) for s in data.stacks) for name in ("bytes_in", "bytes_out"))
    yield "Data", f"{readable(size_in)} in, {readable(size_out)} out"
    yield "Program", f"mrcz-dask {data.version}; {data.platform}"


def _gain(data: SessionData) -> str:
    if data.gain is None:
        return "none applied"
    names = [f"{key} {data.gain[key]['name']}" for key in ("gain", "dark", "defects") if key in data.gain]
    gammas = sorted({mask.gamma for _, mask in data.masks})
    if not gammas:
        return ", ".join(names)
    power = f"{gammas[0]:.3f}" if len(gammas) == 1 else f"{gammas[0]:.3f} to {gammas[-1]:.3f}"
    return f"{', '.join(names)}; gamma {power}"


def _sections(data: SessionData, drawings: Mapping[str, FigureData]) -> Iterator[Markup]:
    more = {"outliers": chooser, "stacks": _left_out, "speed": _runs}
    for key, title, kinds in SECTIONS:
        shown = [_figure(figure) for kind in kinds for figure in drawings.values() if figure.kind == kind]
        extra = more[key](data) if key in more else Markup()
        nothing = element("p", "Nothing is known of this.") if not shown and not extra else ""
        yield _section(key, title, *shown, extra, nothing)


def _figure(figure: FigureData) -> Markup:
    image = element("img", src=data_uri("image/svg+xml", drawn(figure, "svg")["svg"]), alt=figure.alt)
    paper = ""
    if figure.paper:
        paper = element("span", f" the preprint's {figure.paper}", class_="quiet paper")
    return element(
        "figure",
        element("h3", figure.title, paper),
        element("div", image, class_="scroll", tabindex=0, role="region", aria_label=figure.title),
        element("figcaption", figure.caption, GROUPED if is_grouped(figure) else ""),
        id=f"figure-{figure.key}",
    )


def chooser(data: SessionData) -> Markup:
    """Return the HTML in which a reader selects a stack to see its histogram; it needs scripts."""
    stacks = [s for s in data.stacks if s.number in data.samples and data.samples[s.number].fit is not None]
    if not stacks:
        return Markup()
    total = len(data.masks)
    which = (
        "all of them" if len(stacks) == total else f"{len(stacks)} of {total}, evenly spread, and the worst"
    )
    return element(
        "div",
        element("label", f"Any stack ({which})", for_="stack"),
        element("select", id="stack"),
        element("p", class_="said quiet", aria_live="polite"),
        element("div", class_="drawing scroll", tabindex=0, role="region", aria_label="histogram"),
        element("div", class_="patches"),
        id="chooser",
        class_="chooser",
        hidden=True,
    ) + embedded("looks", [_values(s, data.samples[s.number]) for s in stacks])


def _values(stack: StackData, look: StackSample) -> dict[str, Any]:
    figure, mask = histogram(stack, look, "any"), stack.mask
    assert mask is not None
    every = -(-len(figure.columns["edge"]) // MOST_BINS)
    thinned = {
        name: [None if v is None else float(f"{v:.{DIGITS}g}") for v in figure.columns[name][::every]]
        for name in ("edge", "pixels", "model", "residual", "weight")
    }
    patch = None
    if look.patch is not None and look.weight is not None:
        images, _ = in_grays(look.patch[0], look.patch[1])
        patch = {
            "before": png(images[0]),
            "after": png(images[1]),
            "marks": np.argwhere(is_masked(look.weight)).tolist(),
            "size": list(look.weight.shape),
        }
    return {
        "name": stack.name,
        "label": f"{stack.number}: {stack.name}",
        "said": f"{mask.n_hot} hot, {mask.n_dead} dead pixels; dose {mask.dose:.4g}; mask {mask.status}.",
        "histogram": thinned,
        "dark_at": threshold_at(figure, "t_dark"),
        "hot_at": threshold_at(figure, "t_hot"),
        "patch": patch,
    }


def _left_out(data: SessionData) -> Markup:
    contrast = {s.number: s for s in data.stacks if s.high_contrast}
    title = element("h3", "Stacks left out of windows")
    if not contrast:
        return title + element("p", "None: no stack has high contrast.")
    items = []
    for number, look in data.high_contrast.items():
        if look.thumbnails is not None:
            stack = contrast[number]
            words = f"{number}: {stack.name}, score {stack.score or 0:.3f}"
            image = element("img", src=png(look.thumbnails[0]), alt=f"Mean image of stack {words}")
            items.append(element("li", image, element("span", words)))
    some = f", the first {len(items)} shown" if len(items) < len(contrast) else ""
    words = f"{len(contrast)} of {len(data.stacks)}; highest contrast first{some}."
    return title + element("p", words) + element("ul", *items, class_="thumbnails")


def _runs(data: SessionData) -> Markup:
    rows = []
    for run in data.runs:
        phases = "; ".join(
            f"{p.phase}: {p.stacks} stacks, {readable(p.bytes)} in {duration(p.seconds)}"
            for p in run.passes
            if p.stacks
        )
        began = run.began[:16].replace("T", " ")
        rows.append(
            (began, duration(run.seconds), run.how, run.done, run.kept, run.failed, phases or "-", run.where)
        )
    header = ("began (UTC)", "took", "ended", "done", "of them kept", "not done", "phases", "on")
    name = "Runs over this folder"
    return element("h3", name) + table(header, rows[-MOST_ROWS:], name)


def _not_done(data: SessionData) -> Markup:
    files = [(s.name, "failed", s.reason) for s in data.failed]
    files += [(file.name, "refused", file.reason) for file in data.rejected]
    files += [(file.name, "left out", file.reason) for file in data.left_out if not file.rejected]
    caveats = [(s.number, s.name, "; ".join(s.caveats)) for s in data.stacks if s.caveats]
    parts: list[object] = [
        _long_table(("file", "", "reason"), files, "Files that were not processed"),
        _long_table(("stack", "name", "caveats"), caveats, "Stacks with caveats"),
    ]
    for title, texts in (("Warnings", data.warnings), ("What could not be read", data.problems)):
        parts.append(_long_table((title.lower(),), [(text,) for text in texts], title))
    return _section("not-done", "Not done, left out, caveats", *(parts if any(parts) else ["Nothing."]))


def _long_table(header: Sequence[str], rows: Sequence[Sequence[object]], name: str) -> Markup:
    if not rows:
        return Markup()
    more = f" (the first {MOST_ROWS} of {len(rows)})" if len(rows) > MOST_ROWS else ""
    shown = table(header, rows[:MOST_ROWS], name)
    if len(rows) > OPEN_ROWS:
        shown = element("details", element("summary", f"{len(rows)} rows"), shown)
    return element("h3", name + more) + shown


def _do_it_again(data: SessionData) -> Markup:
    parts: list[object] = [element("h3", "This run again"), element("pre", koma_command(data))]
    extra = unnamed_settings(data)
    if extra:
        values = ", ".join(f"{name} = {value}" for name, value in extra.items())
        parts.append(element("p", f"Given in a program or a file, not by an option: {values}."))
    for title, command in other_commands(data):
        parts += [element("h3", title), element("pre", command)]
    groups = data.settings.items()
    rows = [(f"{group}.{name}", value) for group, values in groups for name, value in values.items()]
    settings = table(("setting", "value"), rows, "Settings")
    parts.append(element("details", element("summary", "All settings"), settings))
    return _section("again", "Do it again", *parts)
