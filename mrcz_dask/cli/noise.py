"""`mrcz-dask noise`: correlated noise of a session, and what it says about radius and detector."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from mrcz_dask.cli import gain_options as gains
from mrcz_dask.cli import input_options as reading
from mrcz_dask.cli import koma_options as of
from mrcz_dask.cli import where as on
from mrcz_dask.cli.console import print_json, results, say, table, warn
from mrcz_dask.cli.exits import DONE, FAILED, PARTLY
from mrcz_dask.cli.options import Many, grouped, numbers_of
from mrcz_dask.cli.progress import Teller, teller
from mrcz_dask.values.params import KomaParams, OutlierParams, Settings
from mrcz_dask.values.records import only_copies

if TYPE_CHECKING:
    from mrcz_dask.correction.plan import Plan
    from mrcz_dask.engine.clusters import ClientOptions
    from mrcz_dask.noise.report import NoiseReport
    from mrcz_dask.noise.results import NoiseParams, Score

FILES = "Files"
SHOWN = {"raw": "raw", "filter": "filter", "koma": "KOMA", "both": "both"}

Session = Annotated[
    list[Path], typer.Argument(help="Folder with the session's stacks, or stacks.", show_default=False)
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
Only = Annotated[
    Literal["stacks", "dose", "radius"] | None,
    typer.Option(
        help="One part: every stack, sums over dose, or against the radius. Default: all three.",
        show_default=False,
    ),
]
Sample = Annotated[
    int, typer.Option(help="Score so many stacks, evenly spread, against the radius, and not all.")
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
    app.command("noise")(noise)


@grouped(inputs=reading.input_params, gain=gains.applied, running=on.running)
def noise(
    session: Session,
    radius: of.Radius = 12,
    form: of.FormOption = "subtract",
    rule: of.Rule = "fdr",
    method: of.WindowMethod = "fit",
    only: Only = None,
    sample: Sample = 8,
    anchors: Anchors = 12,
    radii: Radii = None,
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
    """Measure correlated noise: of every stack, between sums over dose, and against the radius.

    R of each stack is given raw, after the outlier filter, after KOMA and after both, held out (masks and
    coefficients from every other frame, R over the rest) and in sample, with its standard error. What is
    known is kept in OUT/noise and in the session store, and not computed again.

    Exit code: 0 all done, 3 some stacks could not be, 2 wrong usage, 1 anything else.
    """
    from mrcz_dask.noise.plan import choose, noise_plan
    from mrcz_dask.noise.results import PARTS, NoiseParams

    settings = Settings(
        outliers=OutlierParams(rule=rule),
        koma=KomaParams(radius=radius, method=method, form=form),
        input=inputs(),
    )
    params = NoiseParams((only,) if only else PARTS, sample, anchors, numbers_of(radii, "--radii", int))
    where = running()
    applied = gain()
    tell = teller(log_json=log_json, verbose=verbose, quiet=quiet)
    with tell:
        chosen = choose(session, include, exclude, recursive=recursive)
        plan = noise_plan(chosen, output, settings, gain=applied, listen=tell)
    report = _run(plan, params, where, tell)
    print_json(report.to_dict()) if as_json else _show(report)
    for path in _files(report, csv, plot, overwrite=overwrite):
        if not (as_json or quiet):
            say(str(path))
    if (
        plan.stacks
        and len(report.failures) >= len(plan.stacks)
        and not report.stacks
        and not only_copies(report.failures)
    ):
        raise typer.Exit(FAILED)
    raise typer.Exit(PARTLY if report.not_done else DONE)


def _run(plan: Plan, params: NoiseParams, where: ClientOptions, tell: Teller) -> NoiseReport:
    from mrcz_dask.engine.clusters import open_client, plan_local_workers
    from mrcz_dask.noise.files import keep_report
    from mrcz_dask.noise.plan import noise_need
    from mrcz_dask.noise.run import NoiseRun
    from mrcz_dask.session.output_folder import locked

    for text in plan.discovery.warnings:
        warn(text)
    needed = noise_need(plan)
    plan_local_workers(where, needed)  # too little memory is said before anything is made
    with tell, locked(plan.folder, tell), open_client(where, needed, tell) as client:
        report = NoiseRun(plan, params, client, tell).execute()
        keep_report(report)
    return report


def _files(report: NoiseReport, csv: Path | None, plot: Path | None, *, overwrite: bool) -> Iterator[Path]:
    if csv is not None:
        from mrcz_dask.noise.files import write_csv

        yield from write_csv(report, csv, overwrite=overwrite)
    if plot is not None:
        from mrcz_dask.noise.plots import write_plots

        yield from write_plots(report, plot, overwrite=overwrite)


def _show(report: NoiseReport) -> None:
    if report.stacks:
        results().print(_stacks(report))
        say("")
    if report.over_dose is not None:
        say("r between sums over the dose between them, Eq. 12: r = a dose^b + c")
        for kind, fit in report.over_dose.fits.items():
            say(f"  {kind}: {fit}")
            _say_words(fit.words)
        say("")
    if report.over_radius is not None:
        results().print(_radii(report))
        say("Eq. 13: R = a radius^b + c")
        for variant, fit in report.over_radius.fits.items():
            say(f"  {variant}: {fit}")
            _say_words(fit.words)
        say("")
        choice = report.over_radius.choice
        say(f"use --radius {choice.radius}: {choice.reason}")
    for text in _remarks(report):
        say(text)


def _say_words(words: tuple[str, ...]) -> None:
    for text in words:
        say(f"    {text}")


def _remarks(report: NoiseReport) -> Iterator[str]:
    yield from report.words
    found = report.plan.discovery
    contrast = [line.noise.name for line in report.stacks if not line.usable]
    if contrast:
        yield f"nobody's reference, and not in the means: {', '.join(contrast)}"
    yield from (f"not done: {r.reason}" for r in found.rejected)
    yield from (f"not done: {f.name}: {f.reason}" for f in report.failures)


def _stacks(report: NoiseReport) -> Table:
    columns = [*SHOWN.values(), *(f"{name} " for name in SHOWN.values())]
    made = table("stack", "dose", *columns, right=("dose", *columns))
    made.caption = (
        f"R x 1000 ± standard error, radius {report.plan.settings.koma.radius}: first held out, then in "
        "sample; dose: counts/pixel seen at the middle of the stack"
    )
    made.caption_justify = "left"
    for line in report.stacks:
        scores = [one[kind] for one in (line.noise.held_out, line.noise.in_sample) for kind in SHOWN]
        made.add_row(line.noise.name, f"{line.dose:.0f}", *map(_score, scores))
    means = [report.means[way][kind] for way in ("held_out", "in_sample") for kind in SHOWN]
    made.add_row("mean, and error over stacks", "", *map(_score, means))
    return made


def _radii(report: NoiseReport) -> Table:
    found = report.over_radius
    assert found is not None
    columns = ("1/(2an)", "filter", *found.curves)
    made = table("radius", *columns, right=("radius", *columns))
    made.caption = f"R x 1000, held out, mean of {len(found.stacks)} stacks ± error over these"
    made.caption_justify = "left"
    for k, radius in enumerate(found.radii):
        scores = [found.curves[variant][k] for variant in found.curves]
        filtered = _score(found.alone["filter"])
        made.add_row(str(radius), f"{1e3 * found.law[k]:.2f}", filtered, *map(_score, scores))
    return made


def _score(one: Score) -> str:
    value, error = one[:2]
    if value is None:
        return "-"
    return f"{1e3 * value:.2f}" if error is None else f"{1e3 * value:.2f} ±{1e3 * error:.2f}"
