"""Starts a live session from Python, as the command `mrcz-dask live` does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcz_dask.engine.clusters import ClientOptions
from mrcz_dask.live.frames import FrameStream
from mrcz_dask.live.processors.host import Script
from mrcz_dask.live.processors.pool import open_pool
from mrcz_dask.live.processors.results import ResultStore
from mrcz_dask.live.session import LiveParams, LiveSession, names_of
from mrcz_dask.pages.address import PageAddress
from mrcz_dask.values.errors import OutputExistsError, ParameterError
from mrcz_dask.values.messages import Listener, silent

if TYPE_CHECKING:
    from mrcz_dask.live.correction.correct import LiveCorrection, LiveOptions
    from mrcz_dask.live.processors.declare import Value
    from mrcz_dask.live.record.recorder import Recorder

LiveSource = FrameStream | Callable[["Recorder | None"], FrameStream]


@dataclass(frozen=True, slots=True)
class Keep:
    """Options of the files that a live session writes: results of processors and recorded frames.

    Attributes
    ----------
    store
        Zarr folder for results; None = they are only shown.
    record
        Folder for frames; None = they are not recorded.
    frames_per_stack
        Frames of a recorded stack, if the source names no stacks.
    append, overwrite
        Add to a store that exists, or remove it.
    resume
        True if an existing recording may go on, because the source's numbers go on, too.
    """

    store: Path | None = None
    record: Path | None = None
    frames_per_stack: int = 1000
    append: bool = False
    overwrite: bool = False
    resume: bool = False


@contextmanager
def start(
    source: LiveSource,
    processors: Sequence[str | Path],
    *,
    keep: Keep | None = None,
    params: LiveParams | None = None,
    values: Mapping[str, Mapping[str, Value]] | None = None,
    correct: LiveOptions | None = None,
    where: ClientOptions | None = None,
    page: PageAddress | None = None,
    listen: Listener = silent,
) -> Iterator[LiveSession]:
    """Start a live session (source, recording, processors, page) in a ``with`` block,
    at whose end it is closed.

    Parameters
    ----------
    source
        Source of the frames: a `Replay`, a `Folder`, a `Listen`; or a function that makes one, given the
        recorder.
    processors
        ``FILE.py`` or ``FILE.py:NAME`` each.
    keep
        Files that the session leaves.
    params
        Parameters of the session.
    values
        Parameters of processors at the beginning, by the processor's name.
    correct
        Correction of the frames that processors get; None = they are not corrected.
    where
        Cluster of the processors; None = a local one, with a worker for each.
    page
        Address of the page; None = no page.
    listen
        Gets messages.

    Raises
    ------
    ParameterError, FormatError
        A processor's file, a gain, dark or list of defects cannot be read, or options contradict each other.
    OutputExistsError
        Results or a recording exist.
    SessionError
        The page's address is taken, or the scheduler does not answer.
    """
    keep, params, values = keep or Keep(), params or LiveParams(), values or {}
    scripts = [Script.parse(str(processor)) for processor in processors]
    if not scripts and keep.record is None:
        raise ParameterError("nothing to do: give --processor FILE.py, or --record FOLDER, or both")
    names = names_of(scripts)
    unknown = sorted({*values, *params.rois} - set(names))
    if unknown:
        raise ParameterError(f"no processor is called {', '.join(unknown)}; there are {', '.join(names)}")
    with ExitStack() as stack:
        recorder: Recorder | None = None
        if keep.record is not None:
            from mrcz_dask.live.record.recorder import Recorder

            if not keep.resume and keep.record.exists() and any(keep.record.iterdir()):
                raise OutputExistsError(
                    f"{keep.record}: the folder is not empty, and its frames would be mixed with new ones; "
                    "choose another --record"
                )
            frames = keep.frames_per_stack
            recorder = stack.enter_context(Recorder(keep.record, frames_per_stack=frames, listen=listen))
        stream = source(recorder) if callable(source) else source
        correction = None if correct is None else stack.enter_context(_correction(correct, listen))
        store = None
        if keep.store is not None:
            append = keep.append or params.every
            store = ResultStore(keep.store, append=append, overwrite=keep.overwrite)
        pool = stack.enter_context(open_pool(where or ClientOptions(), len(scripts), params.memory, listen))
        parts: Any = {"store": store, "recording": recorder, "correction": correction, "values": values}
        session = LiveSession(stream, scripts, pool, listen, params, **parts)
        session.start()
        stack.callback(session.close)
        if page is not None:
            from mrcz_dask.live.page.page import served_live

            stack.enter_context(served_live(session, page, keep.store, listen))
        yield session


def _correction(options: LiveOptions, listen: Listener) -> LiveCorrection:
    from mrcz_dask.formats.defects import read_defects
    from mrcz_dask.formats.gains import read_reference
    from mrcz_dask.gain.options import GainOptions
    from mrcz_dask.live.correction.correct import LiveCorrection

    # read here, an error comes before the night begins, not with its first frame
    gain = options.gain or GainOptions()
    if gain.gain is not None:
        read_reference(gain.gain, "gain")
    if gain.dark is not None:
        read_reference(gain.dark, "dark")
    if gain.defects is not None:
        read_defects(gain.defects, None)
    return LiveCorrection(options, listen)
