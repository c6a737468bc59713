"""`mrcz-dask assess`: says of a session whether KOMA helps or harms, and what to run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from mrcz_dask.cli.console import DONE, FAILED, PARTLY, print_json, results, say, table, warn
from mrcz_dask.cli.options.declare import OptionGroup, command, option
from mrcz_dask.cli.options.koma import MethodGroup, Radius
from mrcz_dask.cli.options.running import RunningGroup
from mrcz_dask.cli.options.shared import (
    GainGroup,
    InputGroup,
    Many,
    MessageGroup,
    SelectionGroup,
    numbers_of,
    texts_of,
)
from mrcz_dask.cli.progress import message_display
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.params import Settings
from mrcz_dask.values.records import only_copies

if TYPE_CHECKING:
    from mrcz_dask.assess.assessment import Assessment, ByMethod, OverRadius
    from mrcz_dask.assess.params import AssessParams
    from mrcz_dask.assess.results import Score
    from mrcz_dask.assess.verdict import Verdict
    from mrcz_dask.correction.plan import Plan

KINDS = {"raw": "raw", "filter": "filter", "koma": "KOMA", "both": "both"}


class PartsGroup(OptionGroup, panel="Parts"):
    """Options that choose the parts of an assessment, and the number of stacks for each."""

    only: Many = option(
        None,
        "Parts: pattern (verdict), radius, stacks (R of every stack), dose (sums of stacks over the dose "
        "between them), methods.",
        often=True,
        unset="pattern and radius, and methods if methods are named",
    )
    methods: Many = option(
        None,
        "Compare these methods: some of raw, outliers, plain, fit, session, with commas between them.",
        often=True,
        unset="all, if that part is chosen",
    )
    radii: Many = option(
        None,
        "Radii that are compared, such as 3,6,12.",
        often=True,
        unset="1 to 48, as many as fit, and --radius",
    )
    sample: int = option(
        8, "Number of stacks, evenly spread, that are scored against the radius and by method."
    )
    stacks: int = option(
        100, "At most so many stacks are looked at, from the middle of the session; 0: all.", often=True
    )
    anchors: int = option(12, "Number of stacks whose sums are compared with others at growing distance.")

    def params(self) -> AssessParams:
        """Return the chosen parts, methods, radii and numbers of stacks as `AssessParams`.

        Raises
        ------
        ParameterError
            When a part, a method or a number is none.
        """
        from mrcz_dask.assess.params import METHODS, USUAL_PARTS, AssessParams

        default = USUAL_PARTS if self.methods is None else (*USUAL_PARTS, "methods")
        parts = default if self.only is None else texts_of(self.only)
        methods = METHODS if self.methods is None else texts_of(self.methods)
        radii = numbers_of(self.radii, "--radii", int)
        return AssessParams(parts, methods, self.sample, self.anchors, self.stacks, radii)


class FilesGroup(OptionGroup, panel="Files"):
    """Options that name the folders for session store, tables (CSV) and figures (PNG, SVG)."""

    output: Path | None = option(
        None,
        "Output folder of `koma`, whose session store is used, or made.",
        "-o",
        "--output",
        often=True,
        unset="SESSION/koma",
    )
    csv: Path | None = option(None, "Folder for the tables.", often=True)
    plot: Path | None = option(None, "Folder for the figures, PNG and SVG.", often=True)
    overwrite: bool = option(False, "Replace tables and figures that differ.", often=True)


@command(settings=True, leave_out=("radius", "breaks", "break_after"))
def assess(
    session: Annotated[
        list[Path], typer.Argument(help="Folder with the session's stacks, or stacks.", show_default=False)
    ],
    *,
    radius: Radius = 12,
    method: MethodGroup,
    parts: PartsGroup,
    files: FilesGroup,
    selection: SelectionGroup,
    inputs: InputGroup,
    gain: GainGroup,
    running: RunningGroup,
    messages: MessageGroup,
) -> None:
    """Say whether a session has a pattern, what it costs, whether KOMA helps or harms, and what to run.

    It looks at 100 stacks from the middle of the session, and writes no movie. With --only also R of every
    stack, raw and corrected; correlation between stacks over dose; R against the radius, and by method.

    Held out: masks and coefficients come from every other frame, the score from the rest. Results are kept
    in OUT/assess and in the session store, and not computed again.

    Exit code: 0 all done, 3 some stacks could not be, 2 wrong usage, 1 anything else.
    """
    from mrcz_dask.api.assess import run_assessment
    from mrcz_dask.assess.plan import assess_plan

    if method.method == "session":
        raise ParameterError("--method is session; expected fit or plain, or session in --methods")
    settings = Settings(
        outliers=method.outliers(),
        koma=replace(method.params(), radius=radius),
        input=inputs.params(),
    )
    params, client_options, gain_options = parts.params(), running.client_options(), gain.params()
    listen = message_display(messages)
    with listen:
        plan = assess_plan(
            session,
            files.output,
            settings,
            **vars(selection),
            gain=gain_options,
            listen=listen,
        )
    for text in plan.discovery.warnings:
        warn(text)
    with listen:
        assessment = run_assessment(plan, params, client_options, listen)
    print_json(assessment.to_dict()) if messages.as_json else _show(assessment)
    for path in _write(assessment, files):
        if not (messages.as_json or messages.quiet):
            say(str(path))
    failures = assessment.failures
    if len(failures) >= len(assessment.plan.stacks) and not assessment.stacks and not only_copies(failures):
        raise typer.Exit(FAILED)
    raise typer.Exit(PARTLY if assessment.not_done else DONE)


def _write(assessment: Assessment, files: FilesGroup) -> list[Path]:
    paths: list[Path] = []
    if files.csv is not None:
        from mrcz_dask.assess.files import write_csv

        paths += write_csv(assessment, files.csv, overwrite=files.overwrite)
    if files.plot is not None:
        from mrcz_dask.assess.plots import write_plots

        paths += write_plots(assessment, files.plot, overwrite=files.overwrite)
    return paths


def _show(assessment: Assessment) -> None:
    if assessment.stacks:
        results().print(_stacks(assessment))
        say("")
    if assessment.over_dose is not None:
        _say_fits("r between sums over the dose between them, Eq. 12: r = a dose^b + c", assessment.over_dose)
        say("")
    if assessment.over_radius is not None:
        results().print(_radii(assessment.over_radius))
        _say_fits("Eq. 13: R = a radius^b + c", assessment.over_radius)
        choice = assessment.over_radius.choice
        say("")
        say(f"use --radius {choice.radius}: {choice.reason}")
    if assessment.by_method is not None:
        if assessment.over_radius is not None:
            say("")
        results().print(_methods(assessment.by_method, assessment.plan.settings.koma.radius))
    for text in _remarks(assessment):
        say(text)
    if assessment.verdict is not None:
        _show_verdict(assessment.verdict, assessment.plan)


def _show_verdict(verdict: Verdict, plan: Plan) -> None:
    from mrcz_dask.correction.verdict import percent
    from mrcz_dask.numerics.reference.evidence import SCALES, SURE

    say("")
    if verdict.evidence is not None:
        evidence = verdict.evidence
        columns = ("scale", "of the mean", "standard errors", "taken off")
        caption = f"{evidence.stacks} stacks; of the mean: standard deviation of the pattern over the mean"
        shown = table(*columns, right=columns[1:], caption=caption)
        for name, pattern, removed in zip(SCALES, evidence.pattern, evidence.removed, strict=True):
            off = f"{removed.value / pattern.value:.0%}" if pattern.z > SURE else "-"
            shown.add_row(name, f"{percent(pattern.value):.3f} %", f"{pattern.z:.1f}", off)
        results().print(shown)
    for text in verdict.sentences():
        say(text)
    say("")
    say(verdict.advice)
    elsewhere = plan.folder != plan.discovery.folder / "koma" and verdict.command.startswith(
        "mrcz-dask koma "
    )
    say(f"  {verdict.command}{f' -o {shlex.quote(str(plan.folder))}' if elsewhere else ''}")


def _say_fits(equation: str, part: Any) -> None:
    say(equation)
    for name, fit in part.fits.items():
        say(f"  {name}: {fit}")
        for text in fit.words:
            say(f"    {text}")


def _remarks(assessment: Assessment) -> Iterator[str]:
    yield from assessment.words
    contrast = [line.noise.name for line in assessment.stacks if not line.usable]
    if contrast:
        yield f"they correct no other stack, and are not in the means: {', '.join(contrast)}"
    yield from (f"not done: {file.reason}" for file in assessment.plan.discovery.rejected)
    yield from (f"not done: {failure.name}: {failure.reason}" for failure in assessment.failures)


def _stacks(assessment: Assessment) -> Table:
    columns = [*KINDS.values(), *(f"{name} " for name in KINDS.values())]
    caption = (
        f"R x 1000 ± standard error, radius {assessment.plan.settings.koma.radius}: first held out, then in "
        "sample; dose: counts/pixel seen at the middle of the stack"
    )
    shown = table("stack", "dose", *columns, right=("dose", *columns), caption=caption)
    for line in assessment.stacks:
        scores = [noise[kind] for noise in (line.noise.held_out, line.noise.in_sample) for kind in KINDS]
        shown.add_row(line.noise.name, f"{line.dose:.0f}", *map(_score, scores))
    means = [assessment.means[way][kind] for way in ("held_out", "in_sample") for kind in KINDS]
    shown.add_row("mean, and error over stacks", "", *map(_score, means))
    return shown


def _radii(over_radius: OverRadius) -> Table:
    columns = ("1/(2an)", "filter", *over_radius.curves)
    caption = f"R x 1000, held out, mean of {len(over_radius.stacks)} stacks ± error over these"
    shown = table("radius", *columns, right=("radius", *columns), caption=caption)
    filtered = _score(over_radius.alone["filter"])
    for k, radius in enumerate(over_radius.radii):
        scores = [_score(curve[k]) for curve in over_radius.curves.values()]
        shown.add_row(str(radius), f"{1e3 * over_radius.law[k]:.2f}", filtered, *scores)
    return shown


def _methods(by_method: ByMethod, radius: int) -> Table:
    names = tuple(by_method.means)
    caption = (
        f"R x 1000 ± standard error, held out, radius {radius}; last rows: mean over stacks ± error over "
        "these, and how far a method is above the filter alone"
    )
    shown = table("stack", *names, right=names, caption=caption)
    for stack in by_method.stacks:
        shown.add_row(stack.name, *(_score(stack.scores[name]) for name in names))
    shown.add_row("mean", *(_score(by_method.means[name]) for name in names))
    shown.add_row("above outliers", *(_score(by_method.means[name][2:]) for name in names))
    return shown


def _score(score: Score) -> str:
    value, error = score[:2]
    if value is None:
        return "-"
    return f"{1e3 * value:.2f}" if error is None else f"{1e3 * value:.2f} ±{1e3 * error:.2f}"
