"""KOMA in Python, over a session's files or over dask arrays: lazily, or as a run that writes files."""

from __future__ import annotations

import html
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.api.settings import CONTRAST, PathLike
from mrcz_dask.correction.plan import Plan, plan_over
from mrcz_dask.correction.run import Outcome
from mrcz_dask.engine.clusters import ClientOptions
from mrcz_dask.gain.options import NO_GAIN, GainOptions
from mrcz_dask.session.entries import Acquired, Discovery, StackEntry
from mrcz_dask.values.checks import checked, expect, in_runs, raise_all, within
from mrcz_dask.values.choices import Rule
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.messages import Listener, silent
from mrcz_dask.values.params import (
    SMOOTH_LIMIT,
    Breaks,
    ContrastParams,
    Form,
    KomaParams,
    Long,
    Method,
    OutlierParams,
    Settings,
)

if TYPE_CHECKING:
    import dask.array as da
    import distributed

    from mrcz_dask.api.lazy import ArrayStack, LazyKoma


LARGEST_DOSE = 1e18  # counts, the largest that outputs may hold


class LazyArrays(Sequence["da.Array"]):
    """Sequence of dask arrays, one for each movie, each built when it is indexed."""

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
    """Plan of KOMA over a session: gives corrected movies as dask arrays, or writes them by `run`.

    Attributes
    ----------
    discovery
        Movies in order of time.
    settings
        Parameters of filter, moving average and outputs.
    gain
        Gain, dark and defects that are applied to the frames first.
    cache
        Folder for the sums and masks of lazy arrays; None = a temporary one.
    arrays
        The movies, if they are arrays and not files.
    """

    discovery: Discovery
    settings: Settings
    gain: GainOptions = NO_GAIN
    cache: PathLike | None = None
    arrays: Sequence[ArrayStack] = field(default=(), repr=False)

    @checked
    def run(
        self,
        output: PathLike | None = None,
        client: ClientOptions | distributed.Client | None = None,
        *,
        overwrite: bool = False,
        report: bool = True,
        listen: Listener = silent,
    ) -> Outcome:
        """Correct and write all movies, as ``mrcz-dask koma`` does: with its lock, log, page and report.

        Outputs that are there and sound are kept; what is missing or has changed is made.

        Parameters
        ----------
        output
            Folder for the outputs; None = ``koma`` in the session's.
        client
            A Dask client, or where tasks run; None = a local cluster.
        overwrite
            Whether outputs of other parameters are replaced.
        report
            Whether ``report.html`` is written.
        listen
            Function that is told what happens.

        Returns
        -------
        Outcome
            Paths of the `outputs`; `skipped` and `failed` movies with the reasons.

        Raises
        ------
        MrczDaskError, OSError
            If nothing can be done at all: another run is at work there, no worker, no space.
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
        options = ClientOptions() if client is None else client
        return run(plan, options, listen, report=report)[0]

    @property
    def corrected(self) -> Sequence[da.Array]:
        """Corrected frames of each movie, (n, ny, nx) float32 counts, one chunk a frame.

        A large constant offset, beside which float32 loses counts, is taken off.
        """
        return LazyArrays(self._lazy.corrected, len(self.discovery.stacks))

    @property
    def masks(self) -> Sequence[da.Array]:
        """Outlier mask of each movie, (ny, nx) bool, True = outlier."""
        return LazyArrays(self._lazy.mask, len(self.discovery.stacks))

    @property
    def references(self) -> Sequence[da.Array]:
        """Reference of each movie that is subtracted from its frames, (ny, nx) float32 counts."""
        return LazyArrays(self._lazy.reference, len(self.discovery.stacks))

    @cached_property
    def _lazy(self) -> LazyKoma:
        import dask

        from mrcz_dask.api.lazy import LazyKoma
        from mrcz_dask.correction.summing import open_store

        temporary, folder = None, self.cache
        if folder is None:
            place = dask.config.get("temporary-directory", None)
            temporary = tempfile.TemporaryDirectory(prefix="koma-", dir=place)
            folder = temporary.name
        out = Path(folder).absolute()
        plan = plan_over(self.discovery, out, self.settings, overwrite=True, gain=self.gain)
        open_store(plan)
        lazy = LazyKoma(plan, self.arrays)
        if temporary is not None:
            weakref.finalize(lazy, temporary.cleanup)  # arrays keep it: see `Graph`
        return lazy

    @property
    def _plan(self) -> Plan:
        """The plan as the command prints it, without a gain, which would be read."""
        return Plan(self.discovery, self.discovery.folder / "koma", self.settings)

    def __str__(self) -> str:
        return str(self._plan)

    def _repr_html_(self) -> str:
        windows = self._plan.windows()
        rows = (
            f"<tr><td>{k}</td><td>{html.escape(stack.name)}</td><td>{stack.acquired.time}</td>"
            f"<td>{in_runs(windows[k]) or 'none'}</td></tr>"
            for k, stack in enumerate(self.discovery.stacks)
        )
        facts = html.escape("; ".join(line for line in str(self._plan).splitlines()[-2:]))
        head = "<tr><th></th><th>stack</th><th>time</th><th>window, if all are usable</th></tr>"
        return f"<p>{facts}</p><table>{head}{''.join(rows)}</table>"


@checked
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
    groups: Sequence[str | None] | None = None,
    smooth_limit: float = SMOOTH_LIMIT,
    trust_reference: bool = False,
    always: bool = False,
    pool: int = 16,
    cache: PathLike | None = None,
) -> KomaPlan:
    """Plan the outlier filter and the knock-out moving average over dask arrays in order of time.

    Parameters
    ----------
    stacks
        Movies (n, ny, nx) in counts, with equal ny and nx, from HyperSpy, LiberTEM, Zarr, HDF5 or Xarray.
    radius
        Movies to either side of a movie whose mean is its reference; the movie itself is left out.
    masks
        Outlier mask of each movie, (ny, nx) bool, True = outlier; None = it is found. With masks or doses
        movies do not show each other's outliers.
    doses
        Dose of each movie in counts per pixel and frame; None = it is found.
    form, rule, method, long, breaks, contrast, smooth_limit, trust_reference, always, pool, cache
        See `Session.koma`.
    groups
        Name of the specimen of each movie, None = it is that of no other: movies that show the same specimen
        do not correct each other.

    Returns
    -------
    KomaPlan
        Lazy arrays `corrected`, `masks` and `references`.

    Raises
    ------
    ParameterError
        If arrays are not (n, ny, nx) with frames of one size, or parameters are out of their ranges.
    """
    from dask.array import asarray

    from mrcz_dask.api.lazy import ArrayStack

    expect("stacks", stacks, Iterable, "a list of arrays (n, ny, nx)")
    stacks = [asarray(stack) for stack in stacks]
    shapes = {stack.shape[1:] for stack in stacks}
    is_counts = all(stack.ndim == 3 and stack.dtype.kind in "biuf" for stack in stacks)
    if not stacks or not is_counts or len(shapes) != 1:
        shown = ", ".join(f"{stack.shape} {stack.dtype}" for stack in stacks)
        raise ParameterError(f"arrays are [{shown}]; expected counts (n, ny, nx), all of one size")
    if groups is not None and len(groups) != len(stacks):
        raise ParameterError(f"{len(groups)} groups for {len(stacks)} movies; expected one for each")
    names = [f"stack-{k:05d}" for k in range(len(stacks))]
    pairs = tuple(
        (name, group) for name, group in zip(names, groups or (), strict=False) if group is not None
    )
    settings = Settings(
        outliers=OutlierParams(rule=rule),
        koma=KomaParams(
            radius=radius,
            method=method,
            form=form,
            breaks=breaks,
            long=long,
            groups=pairs,
            smooth_limit=smooth_limit,
            trust_reference=trust_reference,
            always=always,
            pool=pool if masks is None and doses is None else 0,
        ),
        contrast=ContrastParams(floor=10.0) if contrast is None else contrast,
    )
    framed = [stack.rechunk((1, -1, -1)) for stack in stacks]
    nothing: list[None] = [None] * len(framed)
    masks, doses = nothing if masks is None else masks, nothing if doses is None else doses
    raise_all("koma", chain(_problems("mask", masks, framed), _problems("dose", doses, framed)))
    arrays = [ArrayStack(*parts) for parts in zip(framed, masks, doses, strict=True)]
    entries = []
    for k, (name, stack) in enumerate(zip(names, framed, strict=True)):
        when, size = Acquired(datetime(1970, 1, 1) + timedelta(seconds=k), "name"), int(stack.nbytes)
        entries.append(StackEntry(Path(name), name, stack.shape, stack.dtype, size, 0, name, when))
    return KomaPlan(Discovery(Path.cwd(), tuple(entries)), settings, cache=cache, arrays=arrays)


def _problems(name: str, values: Sequence[Any], stacks: Sequence[da.Array]) -> Iterator[str]:
    """Yield messages about masks, or doses, that do not fit the stacks; None among them is allowed."""
    if len(values) != len(stacks):
        yield f"{len(values)} values of {name}; expected one, or None, for each of {len(stacks)} stacks"
    for k, (value, stack) in enumerate(zip(values, stacks, strict=False)):
        if value is None:
            continue
        if name == "dose":
            yield from within(f"dose {k}", value, 0, LARGEST_DOSE, open_low=True)
        elif np.shape(value) != stack.shape[1:] or np.asarray(value).dtype != np.bool_:
            yield f"mask {k} is {np.shape(value)} {np.asarray(value).dtype}; expected {stack.shape[1:]} bool"
