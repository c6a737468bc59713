"""Options of `mrcz-dask live`: processors, source of frames, page, recording, correction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcz_dask.cli.options.count import ListenGroup, RecordOption
from mrcz_dask.cli.options.declare import OptionGroup, option
from mrcz_dask.cli.options.koma import Radius
from mrcz_dask.values.checks import parse_seconds
from mrcz_dask.values.errors import DamagedError, ParameterError
from mrcz_dask.values.params import KomaParams, Settings

if TYPE_CHECKING:
    from mrcz_dask.gain.options import GainOptions
    from mrcz_dask.live.correction.correct import LiveOptions
    from mrcz_dask.live.launch import Keep
    from mrcz_dask.live.session import LiveParams


class ProcessorGroup(OptionGroup, panel="Processors"):
    """Options of processors, the user's own functions that run on every frame."""

    processor: list[str] | None = option(
        None,
        "File of a processor; repeatable. Each runs in a worker process of its own, and is loaded again when "
        "its file changes.",
        "-p",
        "--processor",
        metavar="FILE.py[:NAME]",
        often=True,
    )
    roi: list[str] | None = option(
        None,
        "Region of interest of all processors, or of the named one; repeatable.",
        metavar="[NAME=]y0:y1,x0:x1",
        often=True,
    )
    values: list[str] | None = option(
        None,
        "First value of a parameter; repeatable.",
        "--set",
        metavar="NAME.PARAMETER=VALUE",
        often=True,
    )
    memory: str = option("2GB", "Memory that a processor may take, such as 2GB.")
    timeout: str = option(
        "30s",
        "Time that a frame may take in a processor before its worker is replaced, such as 30s.",
        numbers=True,
    )

    def params(self, *, every: bool) -> LiveParams:
        """Return region, memory, timeout and pace of the processors as `LiveParams`.

        Parameters
        ----------
        every
            Whether they get every frame, and the source waits.

        Raises
        ------
        ParameterError
            When a region, a size of memory or a time is none.
        """
        from mrcz_dask.engine.memory import parse_memory
        from mrcz_dask.live.frames import Roi
        from mrcz_dask.live.session import LiveParams

        parts = [text.rpartition("=") for text in self.roi or ()]
        regions = {name: Roi.parse(region) for name, _, region in parts}
        seconds = parse_seconds(self.timeout, "--timeout")
        return LiveParams(regions.pop("", None), every, parse_memory(self.memory), seconds, regions)

    def first_values(self) -> dict[str, dict[str, Any]]:
        """Return the values given with --set, by processor and parameter, read as JSON if they are JSON.

        Raises
        ------
        ParameterError
            When one is not NAME.PARAMETER=VALUE.
        """
        from mrcz_dask.formats.metadata import parse_value

        values: dict[str, dict[str, Any]] = {}
        for text in self.values or ():
            place, equals, value = text.partition("=")
            name, dot, parameter = place.rpartition(".")
            if not (equals and dot and name):
                raise ParameterError(
                    f"--set is {text!r}; expected NAME.PARAMETER=VALUE, such as drift.upsampling=20"
                )
            try:
                parsed = parse_value(value, "--set")
            except DamagedError:
                parsed = value
            values.setdefault(name, {})[parameter] = parsed
        return values


class SourceGroup(ListenGroup, panel="Where frames come from"):
    """Options that choose the source of frames: a sender, a replayed stack, or a folder."""

    replay: list[Path] | None = option(
        None, "Stack that is played as if it were recorded now; repeatable.", often=True
    )
    fps: float | None = option(None, "Frames a second of --replay.", unset="as fast as possible")
    loop: bool = option(False, "Begin --replay again at its end.")
    new: bool = option(False, "Leave out stacks that are in the folder at the beginning.")
    catch_up: bool = option(
        False, "Process every frame of a recording, in order, with the parameters of --store.", often=True
    )


class KeptGroup(OptionGroup, panel="What is kept"):
    """Options that say where results of processors and recorded frames are kept."""

    store: Path | None = option(
        None, "Zarr folder for results: frame, time and values of each processor.", often=True
    )
    append: bool = option(False, "Go on in a --store that is there.")
    overwrite: bool = option(False, "Replace a --store that is there.")
    record: RecordOption = None
    record_frames: int = option(1000, "Frames of a recorded stack where the source names none.")

    def keep(self, *, resume: bool) -> Keep:
        """Return the folders for results and frames as `Keep`; with `resume` a recording may be continued."""
        from mrcz_dask.live.launch import Keep

        return Keep(self.store, self.record, self.record_frames, self.append, self.overwrite, resume=resume)


class PageGroup(OptionGroup, panel="Page"):
    """Options of the web page that shows the processors' results."""

    page: str = option(
        "0",
        "Address of the page. 0: any port of this machine that is free; none: no page. Beyond this machine "
        "others see it unencrypted.",
        metavar="[HOST:]PORT",
        often=True,
        numbers=True,
    )
    stay: bool = option(False, "Keep the page when the source has ended, until Ctrl-C.", often=True)


class CorrectionGroup(OptionGroup, panel="Correction"):
    """Options for correcting frames before processors get them."""

    correct: bool = option(
        False,
        "Processors get frames with gain applied, outliers filled, and the pattern of the stacks so far "
        "subtracted.",
        often=True,
    )
    correct_frames: int = option(40, "Frames that count as a stack where the source names none.")
    radius: Radius = 12

    def options(self, gain: GainOptions, *, wait: bool) -> LiveOptions | None:
        """Return the options for correcting live frames as `LiveOptions`; None without --correct.

        Parameters
        ----------
        gain
            Gain, dark and defects.
        wait
            Whether frames are corrected in the same way whenever it is done again.
        """
        from mrcz_dask.live.correction.correct import LiveOptions

        settings = Settings(koma=KomaParams(radius=self.radius))
        options = LiveOptions(settings=settings, gain=gain, frames_per_stack=self.correct_frames, wait=wait)
        return options if self.correct else None
