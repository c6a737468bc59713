"""Options of `mrcz-dask koma`, some of which other commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from mrcz_dask.api.settings import koma_params, write_params
from mrcz_dask.cli.options.declare import OptionGroup, info, option
from mrcz_dask.values.checks import parse_seconds
from mrcz_dask.values.choices import Rule
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.params import (
    SMOOTH_LIMIT,
    Breaks,
    Form,
    KomaParams,
    Long,
    Method,
    OutlierParams,
    OutputDtype,
    OutputFormat,
    WriteMode,
    WriteParams,
)

if TYPE_CHECKING:
    from mrcz_dask.correction.follow import FollowParams

AUTO = "auto"
RADIUS = "Window radius: number of usable stacks on either side in time that correct a stack."
Radius = Annotated[int, info(RADIUS, often=True, rich_help_panel="Method")]
RuleOption = Annotated[
    Rule,
    info(
        "Threshold of outliers. fdr: about 10 % of the pixels it masks are good ones; paper: Eq. 5 of the "
        "preprint."
    ),
]
DryRun = Annotated[bool, info("Print what would be done, and write nothing.", often=True)]


class MethodGroup(OptionGroup, panel="Method"):
    """Options of the method: outlier rule, radius, windows, and how the pattern is removed."""

    radius: str | None = option(
        None,
        f"{RADIUS} auto: the smallest radius that is as good as the best, by the noise of some stacks.",
        metavar="N|auto",
        often=True,
        numbers=True,
        unset=f"auto; {KomaParams().radius} with --follow",
    )
    form: Form = option(
        "subtract",
        "subtract: the pattern scaled to the dose of the stack; subtract-raw: the pattern in counts; divide: "
        "by the pattern.",
    )
    rule: RuleOption = "fdr"
    method: Method = option(
        "fit",
        "fit: regression on a short and a long window, band by band; plain: mean of the window; session: "
        "each pixel gets the same mean and deviation over the session, for comparison.",
    )
    long: Long = option(
        "before",
        "Stacks that `fit` uses beside the window: up to 200 before it, or around it, on both sides (removes "
        "more, but results come later).",
    )
    breaks: Breaks = option(
        "auto",
        "auto: windows do not cross a lasting change of the pattern (a new gain reference), or of the dose "
        "by more than 20 %; none: they do.",
    )
    break_after: str | None = option(
        None, "Windows do not cross a pause that is longer, such as 6h.", unset="they cross all", numbers=True
    )
    groups: str = option(
        "auto",
        "Stacks that show the same specimen do not correct each other. auto: tilt series, places and holes, "
        "from .mdoc files and names; none: not from these; or a file of lines PATTERN GROUP. The pixels are "
        "asked as well.",
        metavar="auto|none|FILE",
    )
    smooth_limit: float = option(
        SMOOTH_LIMIT,
        "Smooth structure of a reference above this share of the mean stays in the frames: it is the "
        "specimen's, such as the edge of a hole. Frames without a gain may have 4 times the limit.",
    )
    trust_reference: bool = option(
        False,
        "All that neighbors share is the detector's: take it off, even where it looks like the specimen. "
        "The pixels are not asked which stacks show the same.",
    )
    always: bool = option(
        False,
        "Take the pattern off even where it is too small to matter. Else such stacks are only filtered.",
    )
    pool: int = option(
        16,
        "Stacks on each side whose sums help to find pixels that stay hot or dead; at most radius + 4 "
        "are taken. 0: none.",
    )

    def outliers(self) -> OutlierParams:
        """Return the options of the outlier filter as `OutlierParams`."""
        return OutlierParams(rule=self.rule)

    def params(self) -> KomaParams:
        """Return the options of KOMA as `KomaParams`; ``--radius auto`` gives the default radius for now.

        Raises
        ------
        ParameterError
            When a value is out of its range.
        """
        usual = self.radius is None or self.radius == AUTO
        if not usual and not str(self.radius).isdecimal():
            raise ParameterError(f"--radius is {self.radius!r}; expected a number of stacks, or auto")
        radius = KomaParams().radius if usual else int(str(self.radius))
        values = {name: value for name, value in vars(self).items() if name != "rule"}
        return koma_params(**values | {"radius": radius})


class FormatGroup(OptionGroup, panel="Output"):
    """Options of the outputs' file format and codec."""

    format: OutputFormat = option(
        "mrcz",
        "Format of the outputs. mrcs (plain MRC), mrcs.zst and tiff are for other programs, with a .json "
        "beside each.",
        often=True,
    )
    codec: str = option(
        "auto",
        "NAME[:LEVEL], such as zstd:1, lz4:9, zlib:5, none (mrcz, zarr); zstd:3 (mrcs.zst); deflate:6, lzw "
        "(tiff). auto, auto:fast, auto:small: chosen from the data. For counts as they are, also keep (mrcz; "
        "copies the chunks) and uint4 (mrcs; two pixels of 0..15 in a byte).",
    )


class TargetGroup(OptionGroup, panel="Output"):
    """Options that name the output folder and what is written: pixels, counts or references."""

    output: Path | None = option(
        None, "Folder for the outputs.", "-o", "--output", often=True, unset="SESSION/koma"
    )
    write: WriteMode = option(
        "auto",
        "normalized: corrected pixels; recompressed: the counts without loss, and a recipe in the footer; "
        "references: only pattern, mask and outlier table of each stack; auto: references of EER, else "
        "normalized.",
        often=True,
    )


class OutputGroup(FormatGroup, TargetGroup):
    """Options of the outputs: folder, what is written, format, pixel type, overwriting."""

    dtype: OutputDtype | None = option(
        None,
        "Pixel type of normalized outputs. int16 has a scale; counts are whole, rounded up or down at random "
        "(add --form divide), for small files; float16 is MRC mode 12, which few programs read.",
        often=True,
        unset="int16 in mrcz and zarr, else float32",
    )
    step: float | None = option(
        None,
        "Quantization step of int16 in counts, a power of two.",
        unset="0.0625, or finer where the noise is small",
    )
    overwrite: bool = option(
        False,
        "Replace outputs that were made with other parameters; the same ones are kept.",
        often=True,
    )

    def params(self) -> WriteParams:
        """Return the options of the outputs as `WriteParams`.

        Raises
        ------
        ParameterError
            When pixel type, step and format do not go together.
        """
        return write_params(self.write, self.format, self.codec, self.dtype, self.step)


class SettleGroup(OptionGroup, panel="While recording"):
    """Options that say after how long without change a file, or the session, is complete."""

    settle: str = option(
        "60s",
        "Take a stack when its size and time have not changed for this long, such as 90s or 2m.",
        numbers=True,
    )
    until_idle: str | None = option(
        None,
        "Finish when nothing new has come for this long, such as 30m.",
        unset="not before Ctrl-C",
        numbers=True,
    )

    def seconds(self) -> tuple[float, float | None]:
        """Return the seconds without change after which a file, and the session, is complete (or None)."""
        idle = None if self.until_idle is None else parse_seconds(self.until_idle, "--until-idle")
        return parse_seconds(self.settle, "--settle"), idle


class FollowGroup(SettleGroup):
    """Options for correcting stacks that are recorded while the command runs."""

    follow: bool = option(
        False,
        "Go on with stacks that are recorded meanwhile, to the same bytes as a run over the finished "
        "session. Ctrl-C finishes what is there.",
        often=True,
    )
    poll: str = option("5s", "Time between looks at the folder, such as 5s.", numbers=True)
    provisional: bool = option(
        False,
        "Write a first result of each stack at once, from the stacks before it; the final one replaces it.",
    )

    def params(self) -> FollowParams:
        """Return the options for following a folder as `FollowParams`.

        Raises
        ------
        ParameterError
            When a time is none.
        """
        from mrcz_dask.correction.follow import FollowParams

        settle, idle = self.seconds()
        return FollowParams(settle, parse_seconds(self.poll, "--poll"), idle, self.provisional)


class RunGroup(OptionGroup, panel="Running"):
    """Options for a dry run, the page, the timing report, and the report of a session."""

    dry_run: DryRun = False
    page: str | None = option(
        None,
        "Serve the page and the metrics of the session there; none: no page.",
        metavar="[HOST:]PORT",
        unset="in the dashboard of a cluster that the command starts; with --scheduler on this machine, any "
        "port; with --workers 0 none",
        numbers=True,
    )
    profile: bool = option(
        False,
        "Print where the time went, and write OUT/profile.json, and OUT/dask-report.html of a cluster. The "
        "outputs are the same.",
    )
    report: bool = option(True, "Make OUT/report.html, the report of the session, and OUT/leave-out.txt.")
