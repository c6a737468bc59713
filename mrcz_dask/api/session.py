"""Sessions in Python: the movies of a folder in order of time, as dask arrays, with `koma` and `count`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mrcz_dask.api.counting import count
from mrcz_dask.api.koma import KomaPlan
from mrcz_dask.api.settings import CONTRAST, PathLike, koma_params, path_text, write_params
from mrcz_dask.correction.opening import open_stack
from mrcz_dask.engine.clusters import ClientOptions
from mrcz_dask.gain.options import GainOptions
from mrcz_dask.session.discovery import discover
from mrcz_dask.session.entries import Acquired, Discovery, StackEntry
from mrcz_dask.values.checks import checked, expect
from mrcz_dask.values.choices import Rule
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.messages import Listener, silent
from mrcz_dask.values.params import (
    SMOOTH_LIMIT,
    Breaks,
    ContrastParams,
    Form,
    InputParams,
    Long,
    Method,
    OutlierParams,
    OutputDtype,
    OutputFormat,
    Settings,
    WriteMode,
)

if TYPE_CHECKING:
    import dask.array as da
    import distributed

    from mrcz_dask.assess.assessment import Assessment


@dataclass(frozen=True, slots=True)
class Stack:
    """One movie of a session, with its file, its time, and its frames as a dask array.

    Attributes
    ----------
    entry
        Facts about the movie from its header and .mdoc.
    inputs
        How the file is read where its header leaves something open.
    """

    entry: StackEntry
    inputs: InputParams

    @property
    def name(self) -> str:
        """Path of the movie's file, relative to the session's folder."""
        return self.entry.name

    @property
    def path(self) -> Path:
        """Path of the movie's file."""
        return self.entry.path

    @property
    def acquired(self) -> Acquired:
        """Time of acquisition, and its source, such as the .mdoc."""
        return self.entry.acquired

    @property
    def frames(self) -> da.Array:
        """Frames of the movie as a dask array (n, ny, nx) in counts, one chunk a frame."""
        return open_stack(self.path, params=self.inputs)


@dataclass(frozen=True, slots=True)
class Session:
    """The movies of a session in order of time; `koma` corrects them, and `count` counts electrons.

    Attributes
    ----------
    discovery
        The movies, and the files that were left out with the reasons.
    inputs
        How files are read whose headers leave something open.
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

    @checked
    def koma(
        self,
        radius: int = 12,
        *,
        write: WriteMode = "auto",
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
        groups: PathLike = "auto",
        smooth_limit: float = SMOOTH_LIMIT,
        trust_reference: bool = False,
        always: bool = False,
        pool: int = 16,
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
            Movies to either side of a movie whose mean is its reference; the movie itself is left out.
        write
            ``normalized`` writes corrected pixels, ``recompressed`` the counts with a recipe in the footer,
            ``references`` only reference, mask and outlier table; ``auto``: references of EER, else
            normalized.
        format
            Format of the outputs: ``mrcz``, ``mrcs``, ``mrcs.zst``, ``tiff`` or ``zarr``.
        dtype
            Type of normalized pixels; None = int16 in mrcz and zarr, else float32. Whole ``counts`` need the
            form ``divide``.
        step
            Quantization step of int16 in counts, a power of two; None = from the noise, at most 1/16.
        codec
            Compression, such as ``zstd:1``; ``auto`` chooses it from the data.
        form
            ``subtract`` scales the pattern to the dose, ``subtract-raw`` does not, ``divide`` divides.
        rule
            Threshold of outliers: by the share of good pixels masked (``fdr``), or that of the preprint
            (``paper``).
        method
            ``fit`` subtracts as much of the reference as is found in the movie, band by band; ``plain`` all
            of it; ``session`` brings each pixel to the same mean and deviation over the session.
        long
            For ``fit``: up to 200 more movies ``before`` the last one of the window, or ``around`` it.
        breaks
            ``auto`` ends windows at lasting changes of the dose or the pattern; ``none`` does not.
        break_after
            Pause that ends windows, too, such as ``6h``; None = no pause does.
        groups
            Movies that show the same specimen do not correct each other: ``auto`` finds tilt series, places
            and holes from .mdoc files and names, ``none`` does not; or a file with lines of a pattern of
            names and a group. The pixels are asked as well.
        smooth_limit, trust_reference
            Largest smooth structure of a reference that is taken for the detector's, see `KomaParams`;
            whether the specimen is not looked for in references at all.
        always
            Take the pattern off also where it is too small to matter.
        pool
            Movies on each side that help to find pixels that stay hot or dead; 0 = a movie's own sum does.
        contrast
            Limits for carbon and thick ice, which are nobody's reference; None = they are not looked for.
        gain, gain_divide, gain_rotate, gain_flip
            Gain reference; whether frames are divided by it; quarter turns; 1 upside down, 2 left to right.
        gain_orient
            ``given``, or ``auto``: found on the first movies.
        gain_gamma
            Exponent of the gain: a number, ``auto``, or a curve ``a1,b1,a2,a3``; None = 1.
        gain_force
            Whether a gain or dark is applied that makes the pattern worse.
        frame_time
            Seconds per frame, for `gain_gamma`; None = from each .mdoc.
        dark
            Dark image, counts per frame, subtracted before the gain.
        defects
            List or map of bad pixels, which are masked and filled.
        cache
            Folder for the sums and masks of lazy arrays, which all workers see; None = a temporary one.

        Returns
        -------
        KomaPlan
            Lazy arrays, and `run`, which writes all outputs.

        Raises
        ------
        ParameterError
            If parameters are out of their ranges, or do not go together.
        """
        options = GainOptions(
            gain=path_text(gain),
            divide=gain_divide,
            rotate=gain_rotate,
            flip=gain_flip,
            auto=gain_orient == "auto",
            dark=path_text(dark),
            gamma=gain_gamma,
            defects=path_text(defects),
            frame_time=frame_time,
            force=gain_force,
        )
        settings = Settings(
            outliers=OutlierParams(rule=rule),
            koma=koma_params(
                groups,
                break_after,
                radius=radius,
                method=method,
                form=form,
                breaks=breaks,
                long=long,
                smooth_limit=smooth_limit,
                trust_reference=trust_reference,
                always=always,
                pool=pool,
            ),
            contrast=ContrastParams(floor=10.0) if contrast is None else contrast,
            write=write_params(write, format, codec, dtype, step),
            input=self.inputs,
        )
        return KomaPlan(self.discovery, settings, options, cache)

    @checked
    def assess(
        self,
        output: PathLike | None = None,
        client: ClientOptions | distributed.Client | None = None,
        *,
        radius: int = 12,
        parts: Sequence[str] = ("pattern", "radius"),
        stacks: int = 100,
        gain: PathLike | None = None,
        groups: PathLike = "auto",
        listen: Listener = silent,
    ) -> Assessment:
        """Say whether the session has a pattern, what it costs, whether KOMA helps or harms, and what to run.

        Parameters
        ----------
        output
            Output folder of `koma`, whose session store is used or made; None = ``koma`` in the session's.
        client
            A Dask client, or where tasks run; None = a local cluster.
        radius
            Movies to either side of a movie, as in `koma`.
        parts
            Some of ``pattern`` (the verdict), ``radius``, ``stacks``, ``dose``, ``methods``.
        stacks
            At most so many movies are looked at, from the middle of the session; 0 = all.
        gain
            Gain reference, as in `koma`.
        groups
            Movies that show the same specimen, as in `koma`.
        listen
            Function that is told what happens.

        Returns
        -------
        Assessment
            Its `verdict` holds the pattern by scale, what harms, and the command to run.

        Raises
        ------
        MrczDaskError, OSError
            If nothing can be done at all: another run is at work there, no worker, no space.
        """
        from mrcz_dask.api.assess import run_assessment
        from mrcz_dask.assess.params import AssessParams
        from mrcz_dask.assess.plan import plan_with_room

        out = (Path(output) if output is not None else self.discovery.folder / "koma").absolute()
        settings = Settings(koma=koma_params(groups, radius=radius), input=self.inputs)
        options = GainOptions(gain=path_text(gain))
        plan = plan_with_room(self.discovery, out, settings, options, listen)
        params = AssessParams(tuple(parts), stacks=stacks)
        return run_assessment(plan, params, ClientOptions() if client is None else client, listen)

    count = count


@checked
def open_session(
    folder: PathLike | Iterable[PathLike],
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
    output
        Folder for outputs, which is not searched; None = ``koma`` in the session's.
    include, exclude
        Patterns of the names of movies to take, and to leave out, such as ``*_0.mrcz``.
    recursive
        Whether folders below are searched, too.
    inputs
        How files are read whose headers leave something open.

    Returns
    -------
    Session
        The movies, and `koma` and `count` over them.

    Raises
    ------
    SessionError
        If the folder is not there, or holds no movie.
    ParameterError
        If paths are given that are in several folders.
    """
    read = inputs or InputParams()
    expect("inputs", read, InputParams, "InputParams")
    if not isinstance(folder, (str, os.PathLike)):
        paths = []
        for path in folder:
            expect("path of a stack", path, (str, os.PathLike), "text or a path")
            paths.append(Path(path).absolute())
        parents = {path.parent for path in paths}
        if len(parents) != 1:
            raise ParameterError(
                f"{len(paths)} paths in {len(parents)} folders; expected movies of one folder; open a folder "
                "with recursive=True for a tree"
            )
        folder, include = parents.pop(), [path.name for path in paths]
    discovery = discover(
        folder, output=output, include=include, exclude=exclude, recursive=recursive, inputs=read
    )
    return Session(discovery, read)
