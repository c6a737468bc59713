"""Options of `mrcz-dask count`, some of which `mrcz-dask events` and `live` share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from mrcz_dask.cli.options.declare import OptionGroup, info, option
from mrcz_dask.cli.options.shared import CodecOption, OutputFolder, Overwrite
from mrcz_dask.formats.libraries import install
from mrcz_dask.numerics.counting.params import Clusters, Position
from mrcz_dask.values.errors import MissingLibraryError

if TYPE_CHECKING:
    from mrcz_dask.counting import FindParams, FractionParams
    from mrcz_dask.live.transport.listen import Listen

DetectorFile = Annotated[
    str | None,
    info(
        "Your own function of (frame, camera) that returns y, x and charge, instead of --method; four are in "
        "workflows/counting of the source.",
        "--detector",
        metavar="FILE.py:NAME",
    ),
]
RecordOption = Annotated[Path | None, info("Folder in which every frame is kept, as MRCZ.", often=True)]


class FindingGroup(OptionGroup, panel="Finding electrons"):
    """Options that say how electrons are found in a raw frame: thresholds, charge, calibration."""

    method: Position = option(
        "fitted",
        "Position of an electron: of a fitted cloud of charge, of its center of mass, or of its largest "
        "pixel.",
        often=True,
    )
    clusters: Clusters = option(
        "maxima",
        "maxima: electrons that overlap are separated; components: pixels above the threshold that touch "
        "are one electron (not with --method fitted).",
    )
    detector: DetectorFile = None
    sigma: float = option(4.1, "Smallest significance of an electron, read noises.", often=True)
    charge: float = option(0.0, "Charge of an electron, read noises; 0: measured in the frames.")
    width: float = option(0.0, "Relative width of the charge; 0: measured in the frames.")
    sharing: float = option(0.4, "Standard deviation of a cloud of charge, pixels.")
    xray: float = option(0.0, "Read noises above which a pixel is an X-ray; 0: 3.5 times the charge.")
    sample: int = option(96, "Frames in which dark, noise and charge are measured.")
    calibration: Path | None = option(
        None,
        "Calibration of an earlier run of this detector, or the output folder it is in.",
        often=True,
        unset="that in the output folder, else a new one from the frames",
    )

    def params(self) -> FindParams:
        """Return the options for finding electrons as `FindParams`.

        Raises
        ------
        ParameterError
            When a value is out of its range.
        """
        from mrcz_dask.counting import FindParams

        numbers = (self.sigma, self.charge, self.width, self.sharing, self.xray, self.sample)
        return FindParams(self.method, self.clusters, *numbers)


class FractionGroup(OptionGroup, panel="Output"):
    """Options of counted frames: number of raw frames in each, upsampling, codec."""

    upsampling: Literal["1", "2", "4"] = option("1", "Sub-pixels along each edge of a pixel.", often=True)
    fraction: int = option(
        40, "Raw frames summed to one counted frame; the last few are spread evenly.", metavar="N", often=True
    )
    codec: CodecOption = "auto"

    def params(self) -> FractionParams:
        """Return the options of counted frames as `FractionParams`.

        Raises
        ------
        ParameterError
            When a value is out of its range.
        """
        from mrcz_dask.counting import FractionParams

        return FractionParams(int(self.upsampling), self.fraction, self.codec)


class CountedGroup(FractionGroup):
    """Options of the files that `count` writes: output folder, event lists, counted frames."""

    output: OutputFolder = Path("counted")
    events: bool = option(False, "Write event lists, for `mrcz-dask events to-stack`.", often=True)
    overwrite: Overwrite = False


class ListenGroup(OptionGroup, panel="Frames from a sender"):
    """Options for taking frames that another program, the sender, pushes over the network."""

    listen: str | None = option(
        None,
        "Take frames that a FrameSender pushes to this address, such as tcp://127.0.0.1:5577 (extra live).",
        often=True,
    )
    token: str = option("", "Password of the senders.", envvar="MRCZ_DASK_TOKEN")
    until_closed: bool = option(False, "End when the last sender closes.")

    def listener(self, **options: Any) -> Listen:
        """Open the address of --listen, and return the source of the frames that arrive there.

        Parameters
        ----------
        **options
            More of `live.listen.Listen`.

        Raises
        ------
        MissingLibraryError
            When the extra live is not installed.
        """
        try:
            from mrcz_dask.live.transport.listen import Listen
        except ImportError as error:
            raise MissingLibraryError(
                f"--listen needs {error.name}, which is not installed; install it: {install('live')}"
            ) from error
        return Listen(f"{self.listen}", token=self.token, until_closed=self.until_closed, **options)


class StreamGroup(ListenGroup):
    """Options for counting frames that a sender pushes: frames per stack, recording, backlog."""

    record: RecordOption = None
    stack_frames: int = option(1000, "Raw frames of a stack where the sender names none.")
    backlog: int = option(
        4, "Tasks that may wait or run, for each slot of the workers; then the sender waits.", metavar="N"
    )
    zero_below: float | None = option(
        None,
        "LOSSY: pixels below this number of read noises are sent to workers as 0.",
        unset="nothing is lost",
    )
