"""The session as a Dask collection: stacks in order of time, and KOMA over them, lazily or as a whole."""

from __future__ import annotations

import html
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.api.settings import koma_params, write_params
from mrcz_dask.engine.where import Where
from mrcz_dask.runs.discovery import discover
from mrcz_dask.runs.entries import Discovery, StackEntry
from mrcz_dask.runs.gain_options import GainOptions
from mrcz_dask.runs.koma import Outcome
from mrcz_dask.runs.opening import open_stack
from mrcz_dask.runs.plan import NO_GAIN, Plan, plan_over, ranges
from mrcz_dask.runs.store import SessionStore
from mrcz_dask.runs.times import Acquired
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.events import Listener, silent
from mrcz_dask.values.params import (
    Breaks,
    ContrastParams,
    Form,
    InputParams,
    Long,
    Method,
    OutlierParams,
    OutputDtype,
    OutputFormat,
    Rule,
    Settings,
    WriteMode,
)

if TYPE_CHECKING:
    import dask.array as da
    import distributed

    from mrcz_dask.api.lazy import ArrayStack, LazyKoma
    from mrcz_dask.runs.counting import CountOutcome

PathLike = str | os.PathLike[str]
CONTRAST = ContrastParams()


@dataclass(frozen=True, slots=True)
class Stack:
    """A movie of a session.

    Attributes
    ----------
    entry
        What its header and the texts beside it say.
    inputs
        How it is read.
    """

    entry: StackEntry
    inputs: InputParams

    @property
    def name(self) -> str:
        """Its path relative to the session's folder."""
        return self.entry.name

    @property
    def path(self) -> Path:
        """Its path."""
        return self.entry.path

    @property
    def acquired(self) -> Acquired:
        """When it was taken, and what says so."""
        return self.entry.acquired

    @property
    def frames(self) -> da.Array:
        """Its frames, a dask array (n, ny, nx) of one chunk a frame, in counts."""
        return open_stack(self.path, params=self.inputs)


@dataclass(frozen=True, slots=True)
class Session:
    """The movies of a session in order of time.

    Attributes
    ----------
    discovery
        The stacks, and the files that were left out with the reasons.
    inputs
        How files are read that do not say it.
    """

    discovery: Discovery
    inputs: InputParams

    @property
    def stacks(self) -> tuple[Stack, ...]:
        """The movies in order of time."""
        return tuple(Stack(entry, self.inputs) for entry in self.discovery.stacks)

    def __len__(self) -> int:
        return len(self.discovery.stacks)

    def __str__(self) -> str:
        return str(self.discovery)

    def koma(
        self,
        radius: int = 12,
        *,
        write: WriteMode = "normalized",
        format: OutputFormat = "mrcz",
        dtype: OutputDtype | None = None,
        step: float | None = None,
        codec: str = "auto",
        form: Form = "subtract",
        rule: Rule = "fdr",
        method: Method = "fit",
        long: Long = "before",
        breaks: Breaks = "auto",
        break_after: str | None = None,
        contrast: ContrastParams | None = CONTRAST,
        gain: PathLike | None = None,
        gain_divide: bool = False,
        gain_rotate: int = 0,
        gain_flip: int = 0,
        gain_orient: str = "given",
        gain_gamma: str | None = None,
        gain_force: bool = False,
        frame_time: float | None = None,
        dark: PathLike | None = None,
        defects: PathLike | None = None,
        cache: PathLike | None = None,
    ) -> KomaPlan:
        """Plan the outlier filter and the knock-out moving average over the session; no frame is read.

        Parameters
        ----------
        radius
            Stacks to either side whose mean is the reference of a stack, which is itself left out.
        write, format, dtype, step, codec, form, rule, method, long, breaks, break_after
            As the options of ``mrcz-dask koma``.
        contrast
            How stacks with carbon or thick ice are kept out of windows; None = they are not looked for.
        gain, gain_divide, gain_rotate, gain_flip, gain_orient, gain_gamma, gain_force
            As the options of ``mrcz-dask koma``.
        frame_time, dark, defects
            As the options of ``mrcz-dask koma``.
        cache
            Folder for the sums and masks of lazy arrays, which all workers see; None = a temporary one.

        Returns
        -------
        KomaPlan
            Lazy arrays, and `run`.

        Raises
        ------
        ParameterError
            For parameters out of their ranges, or that do not go together.
        """
        asked = {"gain": gain, "dark": dark, "defects": defects}
        paths = {name: None if path is None else os.fspath(path) for name, path in asked.items()}
        options = GainOptions(
            gain=paths["gain"],
            dark=paths["dark"],
            defects=paths["defects"],
            divide=gain_divide,
            rotate=gain_rotate,
            flip=gain_flip,
            auto=gain_orient == "auto",
            gamma=gain_gamma,
            force=gain_force,
            frame_time=frame_time,
        )
        settings = Settings(
            outliers=OutlierParams(rule=rule),
            koma=koma_params(radius, method, form, breaks, break_after, long),
            contrast=ContrastParams(floor=10.0) if contrast is None else contrast,
            write=write_params(write, format, codec, dtype, step),
            input=self.inputs,
        )
        return KomaPlan(self.discovery, settings, options, cache)

    def count(
        self,
        output: PathLike,
        *,
        client: Where | distributed.Client | None = None,
        listen: Listener = silent,
        **options: Any,
    ) -> CountOutcome:
        """Count the electrons of raw frames; see `mrcz_dask.count`."""
        from mrcz_dask.runs.counting.counting import count

        paths = [stack.path for stack in self.stacks]
        return count(*paths, output=Path(output), where=client or Where(), listen=listen, **options)


def open_session(
    folder: PathLike | Sequence[PathLike],
    *,
    output: PathLike | None = None,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    recursive: bool = False,
    inputs: InputParams | None = None,
) -> Session:
    """Find the movies of a session and put them in order of time; only headers are read.

    Parameters
    ----------
    folder
        The session's folder, or paths of movies in one folder.
    output, include, exclude, recursive, inputs
        See ``mrcz-dask koma --help``: where outputs go, patterns of names, folders below, and how files are
        read that do not say it.

    Returns
    -------
    Session
        Its stacks, and what can be done with them.

    Raises
    ------
    SessionError
        If there is no such folder or no movie in it.
    """
    read = inputs or InputParams()
    if not isinstance(folder, (str, os.PathLike)):
        paths = [Path(one).absolute() for one in folder]
        parents = {path.parent for path in paths}
        if len(parents) != 1:
            raise ParameterError(
                f"{len(paths)} paths in {len(parents)} folders; expected movies of one folder; open a folder "
                "with recursive=True for a tree"
            )
        folder, include = parents.pop(), [path.name for path in paths]
    found = discover(
        folder, output=output, include=include, exclude=exclude, recursive=recursive, inputs=read
    )
    return Session(found, read)


class Lazily(Sequence["da.Array"]):
    """Lazy arrays, one for each stack, made when they are asked for."""

    def __init__(self, make: Callable[[int], da.Array], length: int) -> None:
        self._make, self._length = make, length

    @overload
    def __getitem__(self, i: int) -> da.Array: ...
    @overload
    def __getitem__(self, i: slice) -> list[da.Array]: ...
    def __getitem__(self, i: int | slice) -> da.Array | list[da.Array]:
        chosen = range(self._length)[i]
        return self._make(chosen) if isinstance(chosen, int) else [self._make(k) for k in chosen]

    def __len__(self) -> int:
        return self._length


@dataclass(frozen=True, eq=False)
class KomaPlan:
    """What KOMA would do with a session; nothing is computed.

    Attributes
    ----------
    discovery
        The stacks in order of time.
    settings
        Parameters.
    gain
        What is applied to the frames first.
    cache
        Folder for the sums and masks of lazy arrays; None = a temporary one.
    arrays
        The stacks, where they are arrays and not files.
    """

    discovery: Discovery
    settings: Settings
    gain: GainOptions = NO_GAIN
    cache: PathLike | None = None
    arrays: Sequence[ArrayStack] = field(default=(), repr=False)

    def run(
        self,
        output: PathLike | None = None,
        client: Where | distributed.Client | None = None,
        *,
        overwrite: bool = False,
        report: bool = True,
        listen: Listener = silent,
    ) -> Outcome:
        """Correct and write all stacks, as ``mrcz-dask koma`` does: lock, resume, log, page, report.

        Parameters
        ----------
        output
            Folder for the outputs; None = ``koma`` in the session's.
        client
            A Dask client, or where tasks are to run; None = a local cluster, as the command has it.
        overwrite
            Whether outputs of other parameters are replaced.
        report
            Whether ``report.html`` is written.
        listen
            Is told what happens.

        Returns
        -------
        Outcome
            `outputs`, `skipped` and `failed`.

        Raises
        ------
        MrczDaskError, OSError
            When nothing can be done at all.
        """
        from mrcz_dask.api.run import run

        if self.arrays:
            raise ParameterError(
                "these stacks are arrays, not files, and have no provenance; compute `corrected`, and "
                "write it with mrcz_dask.write"
            )
        out = (Path(output) if output is not None else self.discovery.folder / "koma").absolute()
        plan = plan_over(
            self.discovery, out, self.settings, overwrite=overwrite, gain=self.gain, listen=listen
        )
        return run(plan, client or Where(), listen, report=report)[0]

    @property
    def corrected(self) -> Sequence[da.Array]:
        """Of each stack its corrected frames, (n, ny, nx) float32 counts, a chunk a frame.

        A large constant offset, beside which float32 loses counts, is taken off.
        """
        return Lazily(self._lazy.corrected, len(self.discovery.stacks))

    @property
    def masks(self) -> Sequence[da.Array]:
        """Of each stack its outlier mask, (ny, nx) bool, True = outlier."""
        return Lazily(self._lazy.mask, len(self.discovery.stacks))

    @property
    def references(self) -> Sequence[da.Array]:
        """Of each stack what is subtracted from its frames, (ny, nx) float32 counts."""
        return Lazily(self._lazy.reference, len(self.discovery.stacks))

    @cached_property
    def _lazy(self) -> LazyKoma:
        from mrcz_dask.api.lazy import LazyKoma

        plan = plan_over(self.discovery, self._folder, self.settings, overwrite=True, gain=self.gain)
        plan.folder.mkdir(parents=True, exist_ok=True)
        store = SessionStore(plan.store)
        store.create()
        if plan.gain is not None:
            store.put_gain(plan.gain.params.gain, plan.gain.gain, plan.gain.about)
        return LazyKoma(plan, self.arrays)

    @cached_property
    def _folder(self) -> Path:
        if self.cache is not None:
            return Path(self.cache).absolute()
        import dask

        folder = tempfile.TemporaryDirectory(prefix="koma-", dir=dask.config.get("temporary-directory", None))
        weakref.finalize(self, folder.cleanup)
        return Path(folder.name)

    @property
    def _plan(self) -> Plan:
        """The plan as the command prints it, without a gain, which would be read."""
        return Plan(self.discovery, self.discovery.folder / "koma", self.settings)

    def __str__(self) -> str:
        return str(self._plan)

    def _repr_html_(self) -> str:
        rows = (
            f"<tr><td>{k}</td><td>{html.escape(stack.name)}</td><td>{stack.acquired.time}</td>"
            f"<td>{html.escape(ranges(self._plan.window(k)))}</td></tr>"
            for k, stack in enumerate(self.discovery.stacks)
        )
        facts = html.escape("; ".join(line for line in str(self._plan).splitlines()[-2:]))
        head = "<tr><th></th><th>stack</th><th>time</th><th>window, if all are usable</th></tr>"
        return f"<p>{facts}</p><table>{head}{''.join(rows)}</table>"


def _entries(arrays: Sequence[da.Array]) -> Iterator[StackEntry]:
    for k, one in enumerate(arrays):
        name = f"stack-{k:05d}"
        when = Acquired(datetime(1970, 1, 1) + timedelta(seconds=k), "name")
        yield StackEntry(Path(name), name, one.shape, one.dtype, int(one.nbytes), 0, name, when)


def koma(
    stacks: Sequence[da.Array],
    radius: int = 12,
    *,
    masks: Sequence[NDArray[np.bool_] | None] | None = None,
    doses: Sequence[float | None] | None = None,
    form: Form = "subtract",
    rule: Rule = "fdr",
    method: Method = "fit",
    long: Long = "before",
    breaks: Breaks = "auto",
    contrast: ContrastParams | None = CONTRAST,
    cache: PathLike | None = None,
) -> KomaPlan:
    """Plan the outlier filter and the knock-out moving average over dask arrays in order of time.

    Parameters
    ----------
    stacks
        (n, ny, nx) each, counts, of equal ny and nx; from HyperSpy, LiberTEM, Zarr, HDF5, Xarray.
    radius
        Stacks to either side whose mean is the reference of a stack, which is itself left out.
    masks
        Of each stack (ny, nx) bool, True = outlier, or None: it is found.
    doses
        Of each stack counts per pixel and frame, or None: it is found.
    form, rule, method, long, breaks, contrast, cache
        See `Session.koma`.

    Returns
    -------
    KomaPlan
        With lazy `corrected`, `masks` and `references`.

    Raises
    ------
    ParameterError
        For arrays that are no stacks of one frame size, or parameters out of their ranges.
    """
    from mrcz_dask.api.lazy import ArrayStack

    shapes = {one.shape[1:] for one in stacks}
    if not stacks or any(one.ndim != 3 for one in stacks) or len(shapes) != 1:
        raise ParameterError(
            f"arrays of shapes {[one.shape for one in stacks]}; expected (n, ny, nx), with the same ny and nx"
        )
    settings = Settings(
        outliers=OutlierParams(rule=rule),
        koma=koma_params(radius, method, form, breaks, None, long),
        contrast=ContrastParams(floor=10.0) if contrast is None else contrast,
    )
    framed = [one.rechunk((1, -1, -1)) for one in stacks]
    nothing: list[None] = [None] * len(framed)
    made = zip(framed, masks or nothing, doses or nothing, strict=True)
    return KomaPlan(
        Discovery(Path.cwd(), tuple(_entries(framed))),
        settings,
        cache=cache,
        arrays=[ArrayStack(*one) for one in made],
    )
