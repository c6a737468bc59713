"""`mrcz-dask live`: a user's own Python on every frame as it is recorded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mrcz_dask.api.settings import gain_options
from mrcz_dask.cli import gain_options as gains
from mrcz_dask.cli import input_options as reading
from mrcz_dask.cli import koma_options as of
from mrcz_dask.cli import live_options as of_live
from mrcz_dask.cli import where as on
from mrcz_dask.cli.console import results, say, table, warn
from mrcz_dask.cli.exits import DONE, PARTLY
from mrcz_dask.cli.progress import teller
from mrcz_dask.formats.libraries import install
from mrcz_dask.values.durations import parse_seconds
from mrcz_dask.values.errors import MissingLibraryError, ParameterError
from mrcz_dask.values.params import KomaParams, Settings

if TYPE_CHECKING:
    from mrcz_dask.gain.options import GainOptions
    from mrcz_dask.live.correction.correct import LiveOptions
    from mrcz_dask.live.launch import Source
    from mrcz_dask.live.session import Session
    from mrcz_dask.values.messages import Listener

_COLUMNS = ("processor", "done", "skipped", "failed", "restarts", "lag, s")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("live")(live)


def live(
    source: of_live.Folder = None,
    processor: of_live.Processors = None,
    roi: of_live.RoiOption = None,
    values: of_live.Set = None,
    replay: of_live.ReplayOption = None,
    fps: of_live.Fps = None,
    loop: of_live.Loop = False,
    listen: of_live.ListenOption = None,
    token: of_live.Token = "",
    until_closed: of_live.UntilClosed = False,
    new: of_live.New = False,
    settle: of_live.Settle = "5s",
    until_idle: of_live.UntilIdle = None,
    catch_up: of_live.CatchUp = False,
    store: of_live.Store = None,
    append: of_live.Append = False,
    overwrite: of_live.Overwrite = False,
    record: of_live.Record = None,
    record_frames: of_live.RecordFrames = 1000,
    port: of_live.Port = 0,
    host: of_live.Host = "127.0.0.1",
    no_page: of_live.NoPage = False,
    stay: of_live.Stay = False,
    correct: of_live.Correct = False,
    correct_frames: of_live.CorrectFrames = 40,
    radius: of.Radius = 12,
    gain: gains.GainFile = None,
    gain_divide: gains.GainDivide = False,
    gain_rotate: gains.GainRotate = 0,
    gain_flip: gains.GainFlip = 0,
    gain_gamma: gains.GainGamma = None,
    frame_time: gains.FrameTime = None,
    dark: gains.Dark = None,
    defects: gains.Defects = None,
    mode0: reading.Mode0 = "auto",
    four_bit: reading.FourBit = "auto",
    eer_frames: reading.EerFrames = 40,
    eer_upsampling: reading.EerUpsampling = "1",
    memory: of_live.Memory = "2GB",
    timeout: of_live.Timeout = "30s",
    dashboard_address: on.DashboardAddress = None,
    scheduler: on.Scheduler = None,
    tls_ca: on.TlsCa = None,
    tls_cert: on.TlsCert = None,
    tls_key: on.TlsKey = None,
    log_json: of.LogJson = False,
    verbose: of.Verbose = False,
    quiet: of.Quiet = False,
) -> None:
    """Run your own Python on every frame as it is recorded, and look at what it says.

    A processor is a function of a frame under @processor(...) that returns a number, a line or an image; see
    workflows/live. What one of them does - take long, raise, hang, exit, eat memory - concerns no other, nor
    the recording. A processor that is too slow takes the newest frame each time; --catch-up does the others.
    Ctrl-C ends in order.

    Exit code: 0 all done, 3 the source failed or a processor did on some frames, 2 wrong usage, 1 anything
    else.
    """
    from mrcz_dask.cli.interrupts import stopped_by_interrupt
    from mrcz_dask.engine.clusters import ClientOptions
    from mrcz_dask.engine.memory import parse_memory
    from mrcz_dask.live.frames import Roi
    from mrcz_dask.live.launch import Keep, Shown, start
    from mrcz_dask.live.session import LiveParams
    from mrcz_dask.live.transport.folder import Folder
    from mrcz_dask.live.transport.replay import Replay

    inputs = reading.input_params(mode0, four_bit, eer_frames, eer_upsampling)
    tell = teller(log_json=log_json, verbose=verbose, quiet=quiet)
    asked = gain_options(
        gain,
        dark,
        defects,
        divide=gain_divide,
        rotate=gain_rotate,
        flip=gain_flip,
        orient="given",
        gamma=gain_gamma,
        frame_time=frame_time,
    )
    said = {"--settle": settle, "--until-idle": until_idle, "--timeout": timeout}
    seconds = {name: parse_seconds(text, name) for name, text in said.items() if text is not None}
    rois = {name: Roi.parse(text) for name, _, text in (one.rpartition("=") for one in roi or [])}
    params = LiveParams(rois.pop("", None), catch_up, parse_memory(memory), seconds["--timeout"], rois)
    if catch_up:
        made = _recording(source, store, record, replay or listen)
    elif replay:
        made = Replay(*replay, fps=fps, loop=loop, inputs=inputs)
    elif listen is not None:
        made = _listener(listen, token, tell, until_closed=until_closed)
    else:
        idle = seconds.get("--until-idle")
        made = Folder(_folder(source), tell, settle=seconds["--settle"], idle=idle, new=new, inputs=inputs)
    _one_source({"SOURCE": source, "--replay": replay, "--listen": listen})
    with (
        tell,
        stopped_by_interrupt() as stop,
        start(
            made,
            processor or [],
            keep=Keep(store, record, record_frames, append, overwrite, resume=listen is not None),
            params=params,
            values=_values(values or []),
            correct=_correction(asked, radius, correct_frames, wait=store is not None) if correct else None,
            where=ClientOptions(
                scheduler=scheduler, tls=on.tls_files(tls_ca, tls_cert, tls_key), dashboard=dashboard_address
            ),
            page=None if no_page or catch_up else Shown(host, port),
            listen=tell,
        ) as session,
    ):
        session.wait(stop)
        if stay and not stop.is_set():
            stop.wait()
    _show(session)
    failed = session.source().error or any(
        one.failed or one.trace or one.load_error for one in session.panels()
    )
    raise typer.Exit(PARTLY if failed else DONE)


def _one_source(given: dict[str, Any]) -> None:
    named = [name for name, value in given.items() if value]
    if len(named) > 1:
        raise ParameterError(f"{' and '.join(named)} each name a source; give one of them")


def _folder(source: Path | None) -> Path:
    if source is None:
        raise ParameterError(
            "no source; give a folder that is followed, --replay STACK or --listen tcp://..."
        )
    return source


def _listener(address: str, token: str, tell: Listener, *, until_closed: bool) -> Source:
    """Return what listens, from where the recording ends."""
    try:
        from mrcz_dask.live.transport.listen import Listen
    except ImportError as error:
        raise MissingLibraryError(
            f"--listen needs {error.name}, which is not installed; install it: {install('live')}"
        ) from error
    return lambda recorder: Listen(
        address,
        next_number=None if recorder is None else recorder.next_number,
        token=token,
        until_closed=until_closed,
        listen=tell,
    )


def _recording(folder: Path | None, store: Path | None, record: Path | None, other: object) -> Source:
    """Return the frames of a recording, for `--catch-up`."""
    from mrcz_dask.live.transport.replay import Recorded

    if folder is None or store is None or record is not None or other:
        raise ParameterError(
            "--catch-up takes the folder of a recording as SOURCE and the --store of its results, and "
            "none of --record, --replay and --listen"
        )
    return Recorded(folder)


def _correction(gain: GainOptions, radius: int, frames: int, *, wait: bool) -> LiveOptions:
    """Return how frames are corrected; with `wait` the same way whenever it is done again."""
    from mrcz_dask.live.correction.correct import LiveOptions

    settings = Settings(koma=KomaParams(radius=radius))
    return LiveOptions(settings=settings, gain=gain, frames_per_stack=frames, wait=wait)


def _values(said: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return parameters by processor, of ``NAME.PARAMETER=VALUE``: a value of JSON, else a text."""
    found: dict[str, dict[str, Any]] = {}
    for one in said:
        place, equals, text = one.partition("=")
        name, dot, parameter = place.rpartition(".")
        if not (equals and dot and name):
            raise ParameterError(
                f"--set is {one!r}; expected NAME.PARAMETER=VALUE, such as drift.upsampling=20"
            )
        found.setdefault(name, {})[parameter] = _value(text)
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _show(session: Session) -> None:
    source = session.source()
    shown = table(*_COLUMNS, right=_COLUMNS[1:])
    for one in session.panels():
        numbers = (one.processed, one.skipped, one.failed, one.restarts)
        shown.add_row(one.name, *map(str, numbers), f"{one.lag:.3f}")
    if session.panels():
        results().print(shown)
    kept = "" if source.recorded is None else f", {source.recorded} recorded"
    say(f"{source.received} frames{kept}, {source.missing} missing, from {source.name}")
    if source.error:
        warn(f"the source ended: {source.error}")
