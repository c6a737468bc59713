"""`mrcz-dask count`: electrons of raw frames, from files or as they come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mrcz_dask.api.settings import gain_options
from mrcz_dask.cli import count_options as of
from mrcz_dask.cli import gain_options as gains
from mrcz_dask.cli import input_options as reading
from mrcz_dask.cli import koma_options as of_koma
from mrcz_dask.cli import live_options as of_live
from mrcz_dask.cli import where as on
from mrcz_dask.cli.console import print_json, results, say, table
from mrcz_dask.cli.exits import DONE, FAILED, PARTLY
from mrcz_dask.cli.options import AsJson, Overwrite, grouped
from mrcz_dask.cli.progress import Teller, teller
from mrcz_dask.formats.libraries import install
from mrcz_dask.values.errors import MissingLibraryError, ParameterError
from mrcz_dask.values.messages import Noted
from mrcz_dask.values.sizes import readable

if TYPE_CHECKING:
    from mrcz_dask.counting import CountOutcome
    from mrcz_dask.counting.tasks import Counted
    from mrcz_dask.engine.clusters import ClientOptions
    from mrcz_dask.live.counting.run import StreamOptions

_NUMBERS = ("frames", "electrons", "occupancy", "lost", "dose", "corrected", "out")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("count")(count)


@grouped(running=on.running)
def count(
    raw: of.Raw = None,
    output: of.Output = Path("counted"),
    method: of.Method = "fitted",
    clusters: of.Clusters = "maxima",
    detector: of.DetectorFile = None,
    sigma: of.Sigma = 4.1,
    charge: of.Charge = 0.0,
    width: of.Width = 0.0,
    sharing: of.Sharing = 0.4,
    xray: of.Xray = 0.0,
    sample: of.Sample = 96,
    calibration: of.CalibrationOption = None,
    upsampling: of.Upsampling = "1",
    fraction: of.Fraction = 40,
    events: of.EventLists = False,
    codec: of.Codec = "auto",
    exclude: of_koma.Exclude = None,
    overwrite: Overwrite = False,
    *,
    gain: gains.GainFile = None,
    gain_divide: gains.GainDivide = False,
    gain_rotate: gains.GainRotate = 0,
    gain_flip: gains.GainFlip = 0,
    gain_force: gains.GainForce = False,
    dark: gains.Dark = None,
    defects: gains.Defects = None,
    listen: of.ListenOption = None,
    token: of_live.Token = "",
    until_closed: of_live.UntilClosed = False,
    record: of_live.Record = None,
    stack_frames: of.StackFrames = 1000,
    backlog: of.Backlog = 4,
    zero_below: of.ZeroBelow = None,
    mode0: reading.Mode0 = "auto",
    four_bit: reading.FourBit = "auto",
    running: on.Running,
    dry_run: of_koma.DryRun = False,
    as_json: AsJson = False,
    log_json: of_koma.LogJson = False,
    verbose: of_koma.Verbose = False,
    quiet: of_koma.Quiet = False,
) -> None:
    """Count the electrons of raw frames of a linear detector: counted stacks, and lists of all electrons.

    Dark, noise and the charge of an electron are found in the frames, unless they are given, and kept in
    -o/calibration.zarr. --dark may be a stack of dark frames: then noise is from there, too. What coincidence
    loses is estimated and recorded with the dose that corrects it.

    Exit code: 0 all done, 3 some stacks could not be counted, 2 wrong usage, 1 anything else.
    """
    from mrcz_dask.counting import FindParams, FractionParams, count_plan
    from mrcz_dask.counting.counting import carry_out

    find = FindParams(method, clusters, sigma, charge, width, sharing, xray, sample)
    fractions = FractionParams(int(upsampling), fraction, codec)
    where = running()
    asked = gain_options(
        gain,
        dark,
        defects,
        divide=gain_divide,
        rotate=gain_rotate,
        flip=gain_flip,
        orient="given",
        gamma=None,
        frame_time=None,
        force=gain_force,
    )
    tell = teller(log_json=log_json, verbose=verbose, quiet=quiet)
    if listen is not None:
        if raw or asked.asked or dry_run or calibration is None:
            raise ParameterError(
                "--listen counts frames that come: it needs --calibration of an earlier run of this "
                "detector, and takes no RAW, --dark, --gain, --defects and --dry-run"
            )
        stream = _stream(
            output,
            calibration,
            find=find,
            fractions=fractions,
            events=events,
            detector=detector,
            stack_frames=stack_frames,
            backlog=backlog,
            zero_below=zero_below,
            record=record,
        )
        counted = _listen(listen, token, stream, where, tell, until_closed=until_closed)
        print_json([asdict(one) for one in counted]) if as_json else _show(counted)
        raise typer.Exit(DONE)
    if not raw:
        raise ParameterError("nothing to count; give RAW stacks, folders with stacks, or --listen tcp://...")
    plan = count_plan(
        raw,
        output,
        find,
        fractions,
        inputs=reading.input_params(mode0, four_bit),
        exclude=exclude,
        events=events,
        gain=asked,
        calibration=calibration,
        detector=detector,
        overwrite=overwrite,
    )
    if dry_run:
        on.show_plan(plan, where, as_json=as_json)
        raise typer.Exit(PARTLY if plan.bad else DONE)
    with tell:
        outcome = carry_out(plan, where, tell)
    print_json(outcome.to_dict()) if as_json else _show_outcome(outcome)
    raise typer.Exit(FAILED if not outcome.results else DONE if outcome.complete else PARTLY)


def _stream(output: Path, calibration: Path, **options: Any) -> StreamOptions:
    from mrcz_dask.counting.plan import calibration_path
    from mrcz_dask.live.counting.run import StreamOptions

    return StreamOptions(output, calibration_path(calibration), **options)


def _listen(
    address: str,
    token: str,
    options: StreamOptions,
    where: ClientOptions,
    tell: Teller,
    *,
    until_closed: bool,
) -> list[Counted]:
    """Count frames that are pushed, until Ctrl-C or the last sender closes."""
    from mrcz_dask.cli.interrupts import stopped_by_interrupt
    from mrcz_dask.live.counting.run import CountStream, count_stream

    try:
        from mrcz_dask.live.transport.listen import Listen
    except ImportError as error:
        raise MissingLibraryError(
            f"--listen needs {error.name}, which is not installed; install it: {install('live')}"
        ) from error

    def source(counting: CountStream) -> Listen:
        made = Listen(
            address,
            next_number=counting.next_number,
            safe=counting.safe_number,
            token=token,
            until_closed=until_closed,
            listen=tell,
        )
        tell(Noted(f"frames are taken at {made.address}"))
        return made

    with tell, stopped_by_interrupt() as stop:
        done = count_stream(source, options, where, stop, tell)
    say(f"{done.received} frames, {done.missing} missing")
    return done.results


def _show_outcome(outcome: CountOutcome) -> None:
    _show(outcome.results)
    params, unit = outcome.calibration.params, outcome.calibration.detector.unit
    say(
        f"read noise {unit:.4g} ADU, charge {params.charge:.3g} read noises, threshold {params.sigma:g} "
        "read noises; "
        f"{int((~outcome.calibration.used).sum())} pixels not used"
    )
    kept = sum(one.kept for one in outcome.results)
    before = f" ({kept} kept from before)" if kept else ""
    for one in outcome.plan.bad:
        say(f"not done: {one.reason}")
    not_done = len(outcome.failures) + len(outcome.plan.bad)
    say(f"{len(outcome.results)} stacks counted{before}, {not_done} not, in {outcome.plan.folder}")


def _show(counted: Sequence[Counted]) -> None:
    shown = table("stack", *_NUMBERS, right=_NUMBERS)
    for one in counted:
        lost, dose = one.coincidence["loss"], one.corrected_dose
        shown.add_row(
            one.name,
            str(one.frames),
            str(one.events),
            f"{one.coincidence['counted']:.4f}",
            "?" if lost is None else f"{lost:.1%}",
            f"{one.dose:.4g}",
            "?" if dose is None else f"{dose:.4g}",
            readable(one.bytes_out),
        )
    if counted:
        results().print(shown)
        say("occupancy: counted electrons/pixel/raw frame; dose: electrons/pixel of the stack")
