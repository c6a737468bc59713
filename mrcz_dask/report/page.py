"""Builds the report's web page: one HTML file that needs no network, for screen, phone and print."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from mrcz_dask.correction.verdict import fall, with_error
from mrcz_dask.numerics.outliers.weights import is_masked
from mrcz_dask.pages.template import (
    LEVELS,
    NIGHT,
    Markup,
    data_uri,
    element,
    embedded,
    html_page,
    joined,
    png,
    table,
    variables,
)
from mrcz_dask.report.commands import koma_command, other_commands, unnamed_settings
from mrcz_dask.report.data import KINDS, LEAVE_OUT, FigureData, SessionData, StackData, StackSample
from mrcz_dask.report.drawing import drawn, is_grouped, threshold_at
from mrcz_dask.report.figures import figures
from mrcz_dask.report.judging import WORDS, About, Answer
from mrcz_dask.report.pictures import histogram
from mrcz_dask.report.questions import answers, light
from mrcz_dask.session.thumbnails import in_grays
from mrcz_dask.values.texts import duration, readable, some

MOST_ROWS = 200
# Tables with more rows are shown when asked for.
OPEN_ROWS = 20
GROUPED = (
    " There are many stacks: lines are medians of neighbors, and the shaded area lies between their extremes."
)
# Sections and the figures in them, by what is before the full stop of their keys.
SECTIONS = (
    ("camera", "The camera", ("timeline", "turnover", "survival", "places", "lines")),
    ("outliers", "The outlier filter", ("histogram", "patch", "thresholds")),
    ("pattern", "The pattern and the noise", ("bands", "specimen", "noise")),
    ("stacks", "The stacks", ("dose", "contrast")),
    ("speed", "Speed", ("speed",)),
)
BUYS = (
    "What this buys: a DQE that is lower by 1 % is like 1 % fewer electrons. In simulated sessions with a "
    "pattern of 3 %, at 0.5 electrons per pixel and frame, the error of RELION's shifts fell from 1.64 to "
    "0.59 pixels."
)
# Bins of a histogram in the page; the files of `--figures` and `--json` have all.
MOST_BINS = 256
DIGITS = 5
_HERE = Path(__file__).parent
STYLE = (_HERE / "report.css").read_text("utf-8") + "".join(
    f".level-{name} {{ color: {text}; background: {ground}; }}\n" for name, (text, ground) in LEVELS.items()
)
DARK = f":root {{ color-scheme: dark; {variables(NIGHT)} }}"
STYLE += f"@media screen and (prefers-color-scheme: dark) {{ {DARK} }}\n"
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def page(data: SessionData) -> str:
    """Build the report of a session as one HTML text with its figures inside.

    Parameters
    ----------
    data
        The session, from `gather`.
    """
    found = answers(data)
    drawings = {figure.key: figure for figure in figures(data)}
    title = f"Report: {PurePath(data.session).name or data.session}"
    facts = joined(element("dt", name) + element("dd", text) for name, text in _facts(data))
    body = [
        _header(data, title, found),
        element(
            "main",
            *([figure_element(drawings["picture"], "h2")] if "picture" in drawings else []),
            section("run", "The run", _questions(found["run"], drawings)),
            *_sections(data, drawings, _questions(found["camera"], drawings)),
            _not_done(data),
            section("what", "What was done", element("dl", facts)),
            _do_it_again(data),
        ),
        element("footer", element("p", f"mrcz-dask {data.version}, {data.platform}.", class_="quiet")),
        element("script", Markup((_HERE / "chooser.js").read_text("utf-8"))),
    ]
    policy = element("meta", http_equiv="Content-Security-Policy", content=POLICY)
    return html_page(title, joined(body), STYLE, policy)


def _header(data: SessionData, title: str, found: Mapping[About, Sequence[Answer]]) -> Markup:
    lights = []
    for about, given in found.items():
        name, level = about.capitalize(), light(given)
        badge = element("a", f"{name}: {WORDS[level]}", href=f"#{about}", class_=f"level level-{level}")
        lights += [badge, " "]
    when = f"{data.runs[-1].ended:.16}".replace("T", " ")
    numbers = (
        element("div", element("dt", label), element("dd", number)) for number, label in _numbers(data)
    )
    sections = [("run", "The run"), *((key, name) for key, name, _ in SECTIONS)]
    sections += [("not-done", "Not done"), ("what", "What was done"), ("again", "Do it again")]
    links = (element("li", element("a", name, href=f"#{key}")) for key, name in sections)
    header = element(
        "header",
        element("h1", title),
        element("p", data.verdict or "What KOMA gained was not measured.", class_="verdict"),
        element("p", *lights, f"{data.running} {when} UTC", class_="lights"),
        element("dl", *numbers, class_="numbers"),
        element("p", BUYS, class_="quiet") if data.evidence is not None and data.evidence.has_pattern else "",
    )
    return header + element("nav", element("ul", *links), aria_label="Sections")


def _numbers(data: SessionData) -> Iterator[tuple[str, str]]:
    """Yield the three numbers that matter most, each with the words below it."""
    evidence = data.evidence
    steps = {"KOMA": ("filtered", "corrected"), "the outlier filter": ("raw", "filtered")}
    falls = {name: fall(data.noise_pairs(*kinds)) for name, kinds in steps.items()}
    helped = evidence is None or evidence.has_pattern
    name = "KOMA" if helped and falls["KOMA"] and falls["KOMA"].value > 0 else "the outlier filter"
    if share := falls[name]:
        yield with_error(share), f"less correlated noise by {name}, held out"
    before = after = None
    if evidence is not None and evidence.has_pattern:
        before, after = (evidence.derating(power) for power in (evidence.fine, evidence.after))
    if before is not None and after is not None:
        shares = f"{100 * before.value:.2g} → {100 * after.value:.2g} %"
        yield shares, "of the DQE is lost to the pattern, before and after KOMA"
    elif data.masks:
        filled = [mask.n_hot + mask.n_dead for _, mask in data.masks]
        yield f"{sum(filled) / len(filled):.0f}", "hot and dead pixels filled in a stack, on average"
    done = sum(s.state == "done" for s in data.stacks)
    left = f"; leave out {len(data.leave_out)}" if data.leave_out else ""
    yield f"{done} of {len(data.stacks) + len(data.rejected)}", f"stacks done{left}"


def section(key: str, title: str, *children: object) -> Markup:
    """Return a section with its heading, to which links lead by its key."""
    return element("section", element("h2", title, id=key), *children, aria_labelledby=key)


def _questions(found: Sequence[Answer], drawings: Mapping[str, FigureData]) -> Markup:
    items = []
    for answer in found:
        question, level = answer.question, answer.level
        number = element("span", question.written(answer.value, answer.error), class_="number")
        words = f" ({answer.words})" if answer.words else ""
        advice = [element("p", question.advice)] if level in ("look", "act") else []
        exact = question.unit == "standard errors" and answer.value is not None
        limits = f"{answer.value:.3g} standard errors; {question.limits}" if exact else question.limits
        tip = element("span", "?", element("span", limits, class_="tip-text"), class_="tip", tabindex=0)
        link = (
            element("a", "figure", href=f"#figure-{question.figure}") if question.figure in drawings else ""
        )
        text = element("div", element("p", f"{question.text} ", number, words, " ", tip, " ", link), *advice)
        badge = element("span", WORDS[level], class_=f"level level-{level}")
        items.append(element("li", badge, text, class_=f"is-{level}"))
    return element("ul", *items, class_="findings")


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


def _sections(data: SessionData, drawings: Mapping[str, FigureData], camera: Markup) -> Iterator[Markup]:
    more = {"outliers": chooser, "stacks": _stacks, "speed": _runs}
    for key, title, kinds in SECTIONS:
        shown = [
            figure_element(figure) for kind in kinds for figure in drawings.values() if figure.kind == kind
        ]
        extra = more[key](data) if key in more else Markup()
        nothing = element("p", "Nothing is known of this.") if not shown and not extra else ""
        yield section(key, title, *([camera] if key == "camera" else []), *shown, extra, nothing)


def figure_element(figure: FigureData, heading: str = "h3") -> Markup:
    """Draw a figure, and return it with title and caption."""
    image = element("img", src=data_uri("image/svg+xml", drawn(figure, "svg")["svg"]), alt=figure.alt)
    paper = ""
    if figure.paper:
        paper = element("span", f" the preprint's {figure.paper}", class_="quiet paper")
    return element(
        "figure",
        element(heading, figure.title, paper),
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


def _stacks(data: SessionData) -> Markup:
    """Return the table of all stacks, those that the next program should leave out, and those of contrast."""
    rows = []
    for stack in data.stacks:
        mask = stack.mask
        counts = ("-", "-", "-") if mask is None else (f"{mask.dose:.3g}", mask.n_hot, mask.n_dead)
        noise = (stack.noise.get(kind) for kind in KINDS[:3])
        shown = ("-" if value is None else f"{1000 * value:.2f}" for value in noise)
        remark = f"leave out: {stack.no_use}" if stack.no_use else "high contrast" * stack.high_contrast
        rows.append((stack.number, stack.name, *counts, *shown, remark))
    header = ("", "stack", "dose", "hot", "dead", "R x 1000 raw", "filter", "koma", "")
    leave = [element("p", "None.")]
    if data.leave_out:
        again = shlex.join(["mrcz-dask", "koma", data.session, "--exclude", f"{data.folder}/{LEAVE_OUT}"])
        grep = f"grep -vwFf {shlex.quote(f'{data.folder}/{LEAVE_OUT}')} movies.star > kept.star"
        leave = [
            element("p", f"Their names are in {LEAVE_OUT}, for KOMA, and for any table of movies:"),
            element("pre", f"{again}\n{grep}"),
            table(("stack", "reason"), list(data.leave_out.items())[:MOST_ROWS], "Stacks to leave out"),
        ]
    title = element("h3", "Stacks to leave out in the next program")
    return joined((title, *leave, long_table(header, rows, "All stacks"), _contrast(data)))


def _contrast(data: SessionData) -> Markup:
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
    caveats: dict[str, list[tuple[str, str]]] = {}
    for stack in data.stacks:
        for text in stack.caveats:  # those that differ in their numbers are one
            caveats.setdefault(re.sub(r"[\d.e-]+", "0", text), []).append((stack.name, text))
    once = [(len(many), many[0][1], some(name for name, _ in many)) for many in caveats.values()]
    parts: list[object] = [
        long_table(("file", "", "reason"), files, "Files that were not processed"),
        long_table(("stacks", "caveat (of the first), and what to do", "names"), once, "Caveats"),
    ]
    for title, texts in (("Warnings", data.warnings), ("What could not be read", data.problems)):
        parts.append(long_table((title.lower(),), [(text,) for text in texts], title))
    return section("not-done", "Not done, left out, caveats", *(parts if any(parts) else ["Nothing."]))


def long_table(header: Sequence[str], rows: Sequence[Sequence[object]], name: str) -> Markup:
    """Return a table with its heading, folded up if it is long; nothing without rows."""
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
    return section("again", "Do it again", *parts)
