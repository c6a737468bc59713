"""`mrcz-dask gain`: estimates a gain reference, finds its orientation, and fits its exponent."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrcz_dask.cli.console import DONE, PARTLY, print_json, results, say, table, warn
from mrcz_dask.cli.options.declare import command, info
from mrcz_dask.cli.options.shared import GAIN, AsJson, GainGroup, InputGroup, Overwrite, SessionFolder
from mrcz_dask.cli.progress import Bars
from mrcz_dask.values.errors import OutputExistsError, ParameterError, PlaceError, SessionError

if TYPE_CHECKING:
    from mrcz_dask.gain.gamma_fit import GammaFit
    from mrcz_dask.numerics.gain.orientation import OrientationScore
    from mrcz_dask.session.entries import StackEntry
    from mrcz_dask.values.params import InputParams

Stacks = Annotated[int, info("Largest number of stacks, evenly spaced over the session.", often=True)]


@command()
def estimate(
    session: SessionFolder,
    output: Annotated[Path, info("Name of the new .mrc file.", "-o", "--output", often=True)],
    stacks: Stacks = 200,
    *,
    inputs: InputGroup,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Estimate a gain reference from the stacks of a session without carbon or ice; 0 marks defects.

    It contains everything that is constant through the session, so uneven illumination too.
    """
    from mrcz_dask.formats.gains import write_reference
    from mrcz_dask.gain.pattern import session_pattern

    _check_output(output, overwrite)
    params = inputs.params()
    chosen = _evenly_spaced(session, stacks, params)
    with Bars() as bars:
        session_sum = session_pattern([entry.path for entry in chosen], inputs=params, listen=bars)
    pattern = session_sum.pattern
    write_reference(output, pattern.gain())
    defects = int((~pattern.good).sum())
    if as_json:
        print_json(
            {
                "output": str(output),
                "stacks": len(session_sum.used),
                "left_out": session_sum.left_out,
                "counts_per_pixel": round(pattern.counts, 2),
                "counting_error": round(pattern.counting_error, 5),
                "defects": defects,
            }
        )
        return
    say(
        f"{output}: of {len(session_sum.used)} stacks, {round(pattern.counts, 2)} counts per pixel: counting "
        f"alone makes an error of {pattern.counting_error:.2%}; {defects} defects (0)"
    )
    for name, reason in session_sum.left_out.items():
        say(f"left out: {name}: {reason}")


def _evenly_spaced(session: Path, stacks: int, inputs: InputParams) -> list[StackEntry]:
    from mrcz_dask.session.discovery import discover

    if stacks < 1:
        raise ParameterError(f"--stacks is {stacks}; expected at least 1")
    entries = discover(session, inputs=inputs).stacks
    count = min(stacks, len(entries))
    return [entries[k * len(entries) // count] for k in range(count)]


def _check_output(output: Path, overwrite: bool) -> None:
    if output.exists() and not overwrite:
        raise OutputExistsError(f"{output} is there; use --overwrite to replace it, or give another name")
    if not output.absolute().parent.is_dir():
        raise PlaceError(f"--output is {output}; its folder is not there; make it first")
    if output.suffix.lower() != ".mrc":
        raise ParameterError(f"--output is {output}; expected a name that ends in .mrc")


@command()
def orient(
    session: SessionFolder,
    gain: Annotated[Path, GAIN],
    stacks: Stacks = 20,
    output: Annotated[
        Path | None,
        info("Write the turned gain, as a multiplier, to this .mrc file.", "-o", "--output", often=True),
    ] = None,
    *,
    inputs: InputGroup,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Score the 16 orientations of a gain, and print the options that other programs need.

    Exit code: 0 decided, 1 not.
    """
    from mrcz_dask.formats.gains import read_reference, write_reference
    from mrcz_dask.gain.check import option_lines, program_flags
    from mrcz_dask.gain.pattern import session_pattern
    from mrcz_dask.gain.prepared import turned_by, turned_multiplier
    from mrcz_dask.numerics.gain.orientation import score_orientations

    if output is not None:
        _check_output(output, overwrite)
    reference, params = read_reference(gain), inputs.params()
    chosen = _evenly_spaced(session, stacks, params)
    with Bars() as bars:
        pattern = session_pattern([entry.path for entry in chosen], inputs=params, listen=bars).pattern
    try:
        turned = turned_by(reference, pattern)
    except SessionError:
        scores = score_orientations(pattern.response, pattern.good, reference.image)
        print_json(_scores(scores)) if as_json else _show_scores(scores)
        raise
    flags = program_flags(turned.orientation, turned.sense, reference, chosen[0].format)
    if output is not None:
        write_reference(output, turned_multiplier(reference, turned))
    if as_json:
        print_json({**turned.to_dict(), **asdict(flags), "scores": _scores(turned.scores)})
        return
    _show_scores(turned.scores)
    say(
        f"--gain-rotate {turned.orientation.turns} --gain-flip {int(turned.orientation.flip)}"
        f"{' --gain-divide' if turned.sense == 'divide' else ''}"
    )
    for line in option_lines(flags):
        say(line)


def _show_scores(scores: tuple[OrientationScore, ...]) -> None:
    rows = table("rotate", "flip", "sense", "sigma", "correlation", right=("sigma", "correlation"))
    for s in scores:
        numbers = (f"{s.z:.1f}", f"{s.correlation:.4f}") if s.fits else ("does not fit", "")
        rows.add_row(str(s.orientation.turns), str(int(s.orientation.flip)), s.sense, *numbers)
    results().print(rows)


def _scores(scores: tuple[OrientationScore, ...]) -> list[dict[str, Any]]:
    return [
        {
            "rotate": s.orientation.turns,
            "flip": int(s.orientation.flip),
            "sense": s.sense,
            "sigma": s.z,
            "correlation": s.correlation,
        }
        for s in scores
    ]


@command(leave_out=("gain_gamma", "frame_time", "defects"))
def fit_gamma(
    flats: Annotated[list[Path], typer.Argument(help="Stacks without specimen.", show_default=False)],
    *,
    gain: GainGroup,
    frame_time: Annotated[
        list[float] | None,
        info("Seconds per frame, once or for each flat.", unset="ExposureTime of the .mdoc", often=True),
    ] = None,
    side: Annotated[int, info("Side of the squares that are averaged, pixels.", often=True)] = 16,
    plot: Annotated[
        Path | None,
        info("Draw gammas, curve, and a flat before and after: .png, .svg or .pdf.", often=True),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the gain's exponent at each flat's dose rate, and fit a curve (Eq. 11) for --gain-gamma.

    Exit code: 0 fitted, 3 too few dose rates for the curve.
    """
    from mrcz_dask.gain.gamma_fit import fit_gamma as fit

    if gain.gain is None:
        raise ParameterError("no gain reference; give --gain")
    with Bars() as bars:
        gamma_fit = fit(flats, gain.params(), frame_time or (), side, bars)
    print_json(gamma_fit.to_dict()) if as_json else _show_fit(gamma_fit)
    if plot is not None:
        _draw(gamma_fit, plot)
    if gamma_fit.curve is None:
        warn("fewer than four dose rates: no curve")
    raise typer.Exit(PARTLY if gamma_fit.curve is None else DONE)


def _show_fit(fit: GammaFit) -> None:
    columns = ("e-/pix/s", "gamma", "curve", "uneven, %", "with gamma")
    rows = table("flat", *columns, right=columns)
    for flat in fit.to_dict()["flats"]:
        curve = "" if flat["curve"] is None else f"{flat['curve']:.4f}"
        uneven = [f"{100 * flat[f'uneven_{when}']:.2f}" for when in ("before", "after")]
        rows.add_row(flat["name"], f"{flat['dose_rate']:.3f}", f"{flat['gamma']:.4f}", curve, *uneven)
    results().print(rows)
    if fit.curve is not None:
        c = fit.curve
        say("--gain-gamma " + ",".join(f"{n:.6g}" for n in (c.a1, c.b1, c.a2, c.a3, c.low, c.high)))


def _draw(fit: GammaFit, path: Path) -> None:
    """Draw gamma over dose rate, and the flat that gamma changes most, before and after."""
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.6), layout="constrained")
    axes, *panels = figure.subplots(1, 3)
    gammas = [flat.gamma for flat in fit.flats]
    axes.plot([flat.rate for flat in fit.flats], gammas, "o", color="#0072B2", label="flats")
    if fit.curve is not None:
        rates = np.geomspace(fit.curve.low, fit.curve.high, 100)
        axes.plot(rates, [fit.curve.at(rate) for rate in rates], color="#D55E00", label="Eq. 11")
    axes.set(xlabel="dose rate (e-/pixel/s)", ylabel="gamma")
    axes.legend()
    flat = max(fit.flats, key=lambda flat: abs(flat.gamma - 1))
    largest = 300 * max(flat.uneven)
    images = zip(panels, (flat.before, flat.after), (1.0, flat.gamma), flat.uneven, strict=True)
    for panel, image, gamma, uneven in images:
        drawn = panel.imshow(100 * image, cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="none")
        panel.set(title=f"gamma {gamma:.3g}: uneven by {100 * uneven:.2f} %", xticks=[], yticks=[])
    figure.colorbar(drawn, ax=panels, label="above the mean, %")
    panels[0].set_ylabel(f"{flat.name}, {flat.rate:.3g} e-/pixel/s")
    figure.savefig(path, dpi=150)
