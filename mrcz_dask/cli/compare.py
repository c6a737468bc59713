"""`mrcz-dask compare`: methods beside each other on some stacks of a session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mrcz_dask.cli import gain_options as gains
from mrcz_dask.cli import input_options as reading
from mrcz_dask.cli import koma_options as of
from mrcz_dask.cli import where as on
from mrcz_dask.cli.console import print_json, results, say, table, warn
from mrcz_dask.cli.exits import DONE, PARTLY
from mrcz_dask.cli.noise import Csv, Output, Overwrite, Plot, Session
from mrcz_dask.cli.options import grouped
from mrcz_dask.cli.progress import Teller, teller
from mrcz_dask.values.params import KomaParams, OutlierParams, Settings

if TYPE_CHECKING:
    from mrcz_dask.correction.plan import Plan
    from mrcz_dask.engine.clusters import ClientOptions
    from mrcz_dask.noise.compare import Comparison
    from mrcz_dask.noise.compare_tasks import CompareParams
    from mrcz_dask.noise.results import Score

Methods = Annotated[
    str, typer.Option(help="Some of raw, outliers, plain, fit, session, with commas between them.")
]
Stacks = Annotated[int, typer.Option(help="Score so many stacks, evenly spread over the session.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare")(compare)


@grouped(inputs=reading.input_params, gain=gains.applied, running=on.running)
def compare(
    session: Session,
    methods: Methods = "raw,outliers,plain,fit,session",
    stacks: Stacks = 12,
    radius: of.Radius = 12,
    form: of.FormOption = "subtract",
    rule: of.Rule = "fdr",
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
    """Compare methods by held-out correlated noise on some stacks of a session; no stack is written.

    Masks and coefficients come from every other frame, R from the rest. Differences to the filter alone are
    taken stack by stack. What is known is kept in OUT/noise and in the session store, and not computed again.

    Exit code: 0 all done, 3 some stacks could not be, 2 wrong usage, 1 anything else.
    """
    from mrcz_dask.noise.compare_tasks import CompareParams
    from mrcz_dask.noise.plan import choose, noise_plan

    params = CompareParams(tuple(name.strip() for name in methods.split(",") if name.strip()), stacks)
    settings = Settings(
        outliers=OutlierParams(rule=rule),
        koma=KomaParams(radius=radius, form=form, long=long),
        input=inputs(),
    )
    where = running()
    applied = gain()
    tell = teller(log_json=log_json, verbose=verbose, quiet=quiet)
    with tell:
        chosen = choose(session, include, exclude, recursive=recursive)
        plan = noise_plan(chosen, output, settings, gain=applied, listen=tell)
    found = _run(plan, params, where, tell)
    print_json(found.to_dict()) if as_json else _show(found)
    for path in _files(found, csv, plot, overwrite=overwrite):
        if not (as_json or quiet):
            say(str(path))
    raise typer.Exit(PARTLY if found.not_done else DONE)


def _run(plan: Plan, params: CompareParams, where: ClientOptions, tell: Teller) -> Comparison:
    from mrcz_dask.engine.clusters import open_client, plan_local_workers
    from mrcz_dask.noise.compare import CompareRun, keep_comparison
    from mrcz_dask.noise.plan import noise_need
    from mrcz_dask.session.output_folder import locked

    for text in plan.discovery.warnings:
        warn(text)
    needed = noise_need(plan)
    plan_local_workers(where, needed)  # too little memory is said before anything is made
    with tell, locked(plan.folder, tell), open_client(where, needed, tell) as client:
        found = CompareRun(plan, params, client, tell).execute()
        keep_comparison(found)
    return found


def _files(found: Comparison, csv: Path | None, plot: Path | None, *, overwrite: bool) -> Iterator[Path]:
    if csv is not None:
        from mrcz_dask.noise.compare import write_table

        yield from write_table(found, csv, overwrite=overwrite)
    if plot is not None:
        from mrcz_dask.noise.compare_plots import write_figure

        yield from write_figure(found, plot, overwrite=overwrite)


def _show(found: Comparison) -> None:
    results().print(_table(found))
    left_out = [f"not done: {r.reason}" for r in found.plan.discovery.rejected]
    for text in (*left_out, *(f"not done: {f.name}: {f.reason}" for f in found.failures)):
        say(text)


def _table(found: Comparison) -> Table:
    names = found.params.methods
    made = table("stack", *names, right=names)
    made.caption = (
        f"R x 1000 ± standard error, held out, radius {found.plan.settings.koma.radius}; last rows: mean "
        "over stacks ± error over these, and what a method is above the filter alone"
    )
    made.caption_justify = "left"
    for one in found.stacks:
        made.add_row(one.name, *(_score(one.scores[name]) for name in names))
    made.add_row("mean", *(_score(found.means[name]) for name in names))
    made.add_row("above outliers", *(_score(found.means[name][2:]) for name in names))
    return made


def _score(one: Score) -> str:
    value, error = one[:2]
    if value is None:
        return "-"
    return f"{1e3 * value:.2f}" if error is None else f"{1e3 * value:.2f} ±{1e3 * error:.2f}"
