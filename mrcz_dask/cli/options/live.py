"""Options of `mrcz-dask live`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mrcz_dask.cli.options.count import ListenGroup, Record
from mrcz_dask.cli.options.declare import OptionGroup, option
from mrcz_dask.cli.options.koma import Radius

if TYPE_CHECKING:
    from mrcz_dask.live.frames import Roi


class ProcessorGroup(OptionGroup, panel="Processors"):
    """Your own functions of a frame."""

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

    def regions(self) -> dict[str, Roi]:
        """Return the regions of interest by processor; that of all of them has no name.

        Raises
        ------
        ParameterError
            When one is no region.
        """
        from mrcz_dask.live.frames import Roi

        parts = [text.rpartition("=") for text in self.roi or ()]
        return {name: Roi.parse(region) for name, _, region in parts}


class SourceGroup(ListenGroup, panel="Where frames come from"):
    """Where frames come from."""

    replay: list[Path] | None = option(
        None, "Stack that is played as if it were recorded now; repeatable.", often=True
    )
    fps: float | None = option(None, "Frames a second of --replay.", unset="as fast as possible")
    loop: bool = option(False, "Begin --replay again at its end.")
    new: bool = option(False, "Leave out what is in the folder at the beginning.")
    catch_up: bool = option(
        False, "Process every frame of a recording, in order, with the parameters of --store.", often=True
    )


class KeptGroup(OptionGroup, panel="What is kept"):
    """Results and frames that are kept."""

    store: Path | None = option(
        None, "Zarr folder for results: frame, time and values of each processor.", often=True
    )
    append: bool = option(False, "Go on in a --store that is there.")
    overwrite: bool = option(False, "Replace a --store that is there.")
    record: Record = None
    record_frames: int = option(1000, "Frames of a recorded stack where the source names none.")


class PageGroup(OptionGroup, panel="Page"):
    """The page that shows results."""

    port: int = option(0, "Port of the page; 0: any that is free.", often=True)
    host: str = option("127.0.0.1", "Address at which the page listens; others see it unencrypted.")
    page: bool = option(True, "Serve the page.")
    stay: bool = option(False, "Keep the page when the source has ended, until Ctrl-C.", often=True)


class CorrectionGroup(OptionGroup, panel="Correction"):
    """Frames corrected before processors see them."""

    correct: bool = option(
        False,
        "Processors get frames with gain applied, outliers filled, and the pattern of the stacks so far "
        "subtracted.",
        often=True,
    )
    correct_frames: int = option(40, "Frames that count as a stack where the source names none.")
    radius: Radius = 12
