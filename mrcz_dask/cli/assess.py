"""`mrcz-dask assess`: correlated noise of a session, and what it says about radius, method and detector."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from mrcz_dask.cli import gain_options as gains
from mrcz_dask.cli import input_options as reading
from mrcz_dask.cli import koma_options as of
from mrcz_dask.cli import where as on
from mrcz_dask.cli.console import print_json, results, say, table, warn
from mrcz_dask.cli.exits import DONE, FAILED, PARTLY
from mrcz_dask.cli.options import Many, grouped, numbers_of, texts_of
from mrcz_dask.cli.progress import teller
from mrcz_dask.values.params import KomaParams, OutlierParams, Settings
from mrcz_dask.values.records import only_copies

if TYPE_CHECKING:
    from mrcz_dask.assess.assessment import Assessment, ByMethod, OverRadius
    from mrcz_dask.assess.results import Score

FILES = "Files"
KINDS = {"raw": "raw", "filter": "filter", "koma": "KOMA", "both": "both"}

Session = Annotated[
    list[Path], typer.Argument(help="Folder with the session's stacks, or stacks.", show_default=False)
]
Only = Annotated[
    Many,
    typer.Option(
        help="Some parts: stacks (every stack), dose (sums of stacks over the dose between them), radius, "
        "methods. Default: the first three, and methods with --methods.",
        show_default=False,
    ),
]
Methods = Annotated[
    Many,
    typer.Option(
        help="Compare these methods: some of raw, outliers, plain, fit, session, with commas between them. "
        "With --only methods the default is all.",
        show_default=False,
    ),
]
Sample = Annotated[
    int, typer.Option(help="Score so many stacks, evenly spread, against the radius and by method.")
]
Radii = Annotated[
    Many,
    typer.Option(
        help="Radii that are compared, such as 3,6,12. Default: 1 to 48, as many as fit, and --radius.",
        show_default=False,
    ),
]
Anchors = Annotated[
    int, typer.Option(help="Compare the sums of so many stacks with others at growing distance.")
]
Output = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        help="Output folder of `koma`, whose session store is used, or made. Default: SESSION/koma.",
        rich_help_panel=FILES,
    ),
]
Csv = Annotated[Path | None, typer.Option("--csv", help="Folder for the tables.", rich_help_panel=FILES)]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", help="Folder for the figures, PNG and SVG.", rich_help_panel=FILES),
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace tables and figures that differ.", rich_help_panel=FILES),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("assess")(assess)


@grouped(inputs=reading.input_params, gain=gains.applied, running=on.running)
def assess(
    session: Session,
    only: Only = None,
    methods: Methods = None,
    sample: Sample = 8,
    radii: Radii = None,
    anchors: Anchors = 12,
    radius: of.Radius = 12,
    form: of.FormOption = "subtract",
    rule: of.Rule = "fdr",
    method: of.WindowMethod = "fit",
    long: of.LongOption = "before",
    output: Output = None,
    csv: Csv = None,
    plot: Plot = None,
    overwrite: Overwrite = False,
    include: of.Include = None,
    exclude: of.Exclude = None,
    recursive: of.Recursive = False,
    *,
    inputs: reading.Inputs,
    gain: gains.Gain,
    running: on.Running,
    as_json: of.JsonOption = False,
    log_json: of.LogJson = False,
    verbose: of.Verbose = False,
    quiet: of.Quiet = False,
) -> None:
    """Measure how much correlated noise a session has, and how much of it the corrections remove.

    Three parts: R of every stack, raw, after the outlier filter, after KOMA and after both; correlation
    between stacks over dose; R against the radius. With --methods also R by method. No stack is written.

    Held out: masks and coefficients come from every other frame, R from the rest. Results are kept in
    OUT/assess and in the session store, and not computed again.

    Exit code: 0 all done, 3 some stacks could not be, 2 wrong usage, 1 anything else.
    """
    from mrcz_dask.assess.files import write_json
    from mrcz_dask.assess.plan import assess_memory, assess_plan
    from mrcz_dask.assess.results import METHODS, PARTS, AssessParams
    from mrcz_dask.assess.run import assess as assess_session
    from mrcz_dask.engine.clusters import open_client, plan_local_workers
    from mrcz_dask.session.output_folder import locked

    settings = Settings(
        outliers=OutlierParams(rule=rule),
        koma=KomaParams(radius=radius, method=method, form=form, long=long),
        input=inputs(),
    )
    parts = texts_of(only) if only is not None else PARTS if methods is not None else PARTS[:3]
    chosen = texts_of(methods) if methods is not None else METHODS
    params = AssessParams(parts, chosen, sample, anchors, numbers_of(radii, "--radii", int))
    where = running()
    applied = gain()
    listen = teller(log_json=log_json, verbose=verbose, quiet=quiet)
    with listen:
        plan = assess_plan(
            session,
            output,
            settings,
            include=include,
            exclude=exclude,
            recursive=recursive,
            gain=applied,
            listen=listen,
        )
    for text in plan.discovery.warnings:
        warn(text)
    memory = assess_memory(plan)
    plan_local_workers(where, memory)  # too little memory is said before anything is made
    with listen, locked(plan.folder, listen), open_client(where, memory, listen) as client:
        assessment = assess_session(plan, params, client, listen)
        write_json(assessment)
    print_json(assessment.to_dict()) if as_json else _show(assessment)
    for path in _write(assessment, csv, plot, overwrite=overwrite):
        if not (as_json or quiet):
            say(str(path))
    failures = assessment.failures
    if len(failures) >= len(plan.stacks) and not assessment.stacks and not only_copies(failures):
        raise typer.Exit(FAILED)
    raise typer.Exit(PARTLY if assessment.not_done else DONE)


def _write(assessment: Assessment, csv: Path | None, plot: Path | None, *, overwrite: bool) -> list[Path]:
    paths: list[Path] = []
    if csv is not None:
        from mrcz_dask.assess.files import write_csv

        paths += write_csv(assessment, csv, overwrite=overwrite)
    if plot is not None:
        from mrcz_dask.assess.plots import write_plots

        paths += write_plots(assessment, plot, overwrite=overwrite)
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
        say(f"\nuse --radius {choice.radius}: {choice.reason}")
    if assessment.by_method is not None:
        if assessment.over_radius is not None:
            say("")
        results().print(_methods(assessment.by_method, assessment.plan.settings.koma.radius))
    for text in _remarks(assessment):
        say(text)


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
        yield f"nobody's reference, and not in the means: {', '.join(contrast)}"
    yield from (f"not done: {file.reason}" for file in assessment.plan.discovery.rejected)
    yield from (f"not done: {failure.name}: {failure.reason}" for failure in assessment.failures)


def _stacks(assessment: Assessment) -> Table:
    columns = [*KINDS.values(), *(f"{name} " for name in KINDS.values())]
    shown = table("stack", "dose", *columns, right=("dose", *columns))
    shown.caption = (
        f"R x 1000 ± standard error, radius {assessment.plan.settings.koma.radius}: first held out, then in "
        "sample; dose: counts/pixel seen at the middle of the stack"
    )
    shown.caption_justify = "left"
    for line in assessment.stacks:
        scores = [noise[kind] for noise in (line.noise.held_out, line.noise.in_sample) for kind in KINDS]
        shown.add_row(line.noise.name, f"{line.dose:.0f}", *map(_score, scores))
    means = [assessment.means[way][kind] for way in ("held_out", "in_sample") for kind in KINDS]
    shown.add_row("mean, and error over stacks", "", *map(_score, means))
    return shown


def _radii(over_radius: OverRadius) -> Table:
    columns = ("1/(2an)", "filter", *over_radius.curves)
    shown = table("radius", *columns, right=("radius", *columns))
    shown.caption = f"R x 1000, held out, mean of {len(over_radius.stacks)} stacks ± error over these"
    shown.caption_justify = "left"
    filtered = _score(over_radius.alone["filter"])
    for k, radius in enumerate(over_radius.radii):
        scores = [_score(curve[k]) for curve in over_radius.curves.values()]
        shown.add_row(str(radius), f"{1e3 * over_radius.law[k]:.2f}", filtered, *scores)
    return shown


def _methods(by_method: ByMethod, radius: int) -> Table:
    names = tuple(by_method.means)
    shown = table("stack", *names, right=names)
    shown.caption = (
        f"R x 1000 ± standard error, held out, radius {radius}; last rows: mean over stacks ± error over "
        "these, and how far a method is above the filter alone"
    )
    shown.caption_justify = "left"
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
