"""A live session from its parts: what `mrcz-dask live` does, for Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mrcz_dask.engine.clusters import ClientOptions
from mrcz_dask.live.frames import FrameStream
from mrcz_dask.live.processors.loading import Script
from mrcz_dask.live.processors.results import ResultStore
from mrcz_dask.live.session import LiveParams, Session, names_of, running
from mrcz_dask.values.errors import OutputExistsError, ParameterError
from mrcz_dask.values.messages import Listener, silent

if TYPE_CHECKING:
    from mrcz_dask.live.correction.correct import LiveCorrection, LiveOptions
    from mrcz_dask.live.processors.declare import Value
    from mrcz_dask.live.processors.pool import Pool
    from mrcz_dask.live.record.recorder import Recorder

LOOPBACK = "127.0.0.1"
Source = FrameStream | Callable[["Recorder | None"], FrameStream]


@dataclass(frozen=True, slots=True)
class Keep:
    """What is kept of a session.

    Attributes
    ----------
    store
        Zarr folder for results; None = they are shown alone.
    record
        Folder for frames; None = they are not recorded.
    frames_per_stack
        So many frames make a recorded stack where the source names none.
    append, overwrite
        Go on in a store that is there, or remove it.
    resume
        Whether a recording that is there may go on: the source's numbers go on, too.
    """

    store: Path | None = None
    record: Path | None = None
    frames_per_stack: int = 1000
    append: bool = False
    overwrite: bool = False
    resume: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """Where the page is.

    Attributes
    ----------
    host, port
        Address; port 0 = any that is free, None = no page.
    """

    host: str = LOOPBACK
    port: int | None = 0


@contextmanager
def start(
    source: Source,
    processors: Sequence[str | Path],
    *,
    keep: Keep | None = None,
    params: LiveParams | None = None,
    values: Mapping[str, Mapping[str, Value]] | None = None,
    correct: LiveOptions | None = None,
    where: ClientOptions | None = None,
    page: Shown | None = None,
    listen: Listener = silent,
) -> Iterator[Session]:
    """Give a live session that has begun; it ends with the block.

    Parameters
    ----------
    source
        Where frames come from: a `Replay`, a `Folder`, a `Listen`; or what makes one, given the recorder.
    processors
        ``FILE.py`` or ``FILE.py:NAME`` each.
    keep
        What is kept.
    params
        How it runs.
    values
        Parameters of processors at the beginning, by their names.
    correct
        How frames are corrected before processors get them; None = not at all.
    where
        On which cluster; None = a local one, a worker for each processor.
    page
        Where the page is; None = there is none.
    listen
        Is told what happens.

    Raises
    ------
    ParameterError, FormatError
        A processor's file, a gain, dark or list of defects cannot be read, or options do not go together.
    OutputExistsError
        Results or a recording are there.
    SessionError
        The page's address or the scheduler is not to be had.
    """
    keep, params = keep or Keep(), params or LiveParams()
    scripts = [Script.parse(str(one)) for one in processors]
    if not scripts and keep.record is None:
        raise ParameterError("nothing to do: give --processor FILE.py, or --record FOLDER, or both")
    _known({*(values or {}), *params.rois}, names_of(scripts))
    with ExitStack() as opened:
        recorder = _recorder(keep, listen, opened)
        stream = source(recorder) if callable(source) else source
        correction = None if correct is None else opened.enter_context(_correction(correct, listen))
        store = _store(keep, params)

        def make(pool: Pool) -> Session:
            return Session(
                stream,
                scripts,
                pool,
                listen,
                params,
                store=store,
                recording=recorder,
                correction=correction,
                values=values,
            )

        session = opened.enter_context(
            running(make, where or ClientOptions(), len(scripts), params.memory, listen)
        )
        if page is not None and page.port is not None:
            from mrcz_dask.live.page.serving import served_live

            opened.enter_context(served_live(session, page.host, page.port, keep.store, listen))
        yield session


def _known(named: set[str], names: Sequence[str]) -> None:
    unknown = sorted(named - set(names))
    if unknown:
        raise ParameterError(f"no processor is called {', '.join(unknown)}; there are {', '.join(names)}")


def _store(keep: Keep, params: LiveParams) -> ResultStore | None:
    if keep.store is None:
        return None
    return ResultStore(keep.store, append=keep.append or params.every, overwrite=keep.overwrite)


def _recorder(keep: Keep, listen: Listener, opened: ExitStack) -> Recorder | None:
    if keep.record is None:
        return None
    from mrcz_dask.live.record.recorder import Recorder

    there = keep.record.exists() and any(keep.record.iterdir())
    if there and not keep.resume:
        raise OutputExistsError(
            f"{keep.record}: there is a recording or something else in it, and frames of a replay or a "
            "folder would be taken for those that are there; choose another --record"
        )
    made = Recorder(keep.record, frames_per_stack=keep.frames_per_stack, listen=listen)
    opened.callback(made.close)
    return made


def _correction(options: LiveOptions, listen: Listener) -> LiveCorrection:
    from mrcz_dask.formats.defects import read_defects
    from mrcz_dask.formats.gains import read_reference
    from mrcz_dask.gain.options import GainOptions
    from mrcz_dask.live.correction.correct import LiveCorrection

    asked = options.gain or GainOptions()
    for what, path in (("gain", asked.gain), ("dark", asked.dark)):
        if path is not None:
            read_reference(path, what)  # an error before the night begins, not with its first frame
    if asked.defects is not None:
        read_defects(asked.defects, None)
    return LiveCorrection(options, listen)
