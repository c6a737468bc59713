"""Options of `mrcz-dask koma`, by the panels of its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

INPUT, METHOD, OUTPUT, WHERE, FOLLOW, TELL = (
    "Session",
    "Method",
    "Output",
    "Running",
    "Following the microscope",
    "Telling",
)

Session = Annotated[Path, typer.Argument(help="Folder with the session's stacks.")]
Radius = Annotated[
    int,
    typer.Option(help="Window radius: so many usable stacks to either side in time.", rich_help_panel=METHOD),
]
RadiusOrAuto = Annotated[
    str,
    typer.Option(
        metavar="N|auto",
        help="Window radius: so many usable stacks to either side in time; auto: the smallest that is as "
        "good as the best, by the noise of a sample of the stacks.",
        rich_help_panel=METHOD,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", help="Folder for the outputs. Default: SESSION/koma.", rich_help_panel=OUTPUT
    ),
]
Write = Annotated[
    Literal["normalized", "recompressed", "references"],
    typer.Option(
        help="Corrected pixels; or the counts, losslessly, with a recipe in the footer; or only the "
        "reference, mask and outlier table of each stack.",
        rich_help_panel=OUTPUT,
    ),
]
Format = Annotated[
    Literal["mrcz", "mrcs", "mrcs.zst", "tiff", "zarr"],
    typer.Option(
        help="Format of the outputs: MRCZ; plain MRC, zstd-compressed MRC or TIFF for other programs, with "
        "a .json beside each; Zarr.",
        rich_help_panel=OUTPUT,
    ),
]
Dtype = Annotated[
    Literal["int16", "float32", "float16"] | None,
    typer.Option(
        help="Pixel type of normalized outputs. Default: int16 in mrcz and zarr, else float32. int16 has "
        "a scale; float16 is MRC mode 12, which python-mrcz and many other programs cannot read.",
        rich_help_panel=OUTPUT,
    ),
]
Step = Annotated[
    float | None,
    typer.Option(
        help="Quantisation step of int16 in counts, a power of two. "
        "Default: 0.0625, or finer where the noise is small.",
        rich_help_panel=OUTPUT,
    ),
]
OutputCodec = Annotated[
    str,
    typer.Option(
        help="NAME[:LEVEL], such as zstd:1, lz4:9, zlib:5, none; auto, auto:fast or auto:small choose "
        "filter and block size from the data; keep (recompressed only) copies the chunks as they are.",
        rich_help_panel=OUTPUT,
    ),
]
FormOption = Annotated[
    Literal["subtract", "subtract-raw", "divide"],
    typer.Option(
        help="Subtract the pattern scaled to the stack's dose, or in counts (additive ones), or divide.",
        rich_help_panel=METHOD,
    ),
]
Rule = Annotated[
    Literal["fdr", "paper"],
    typer.Option(
        help="Outlier threshold: by the share of good pixels masked, or Eq. 5 of the preprint.",
        rich_help_panel=METHOD,
    ),
]
MethodOption = Annotated[
    Literal["fit", "plain", "session"],
    typer.Option(
        help="Regression on a short and a long window, band by band; the plain mean of the window; or each "
        "pixel to the same mean and deviation over the session, to compare with.",
        rich_help_panel=METHOD,
    ),
]
BreaksOption = Annotated[
    Literal["auto", "none"],
    typer.Option(
        "--breaks",
        help="Windows do not cross a lasting change of the dose by more than 20 % or of the pattern (a new "
        "gain reference); or such are not looked for.",
        rich_help_panel=METHOD,
    ),
]
BreakAfter = Annotated[
    str | None,
    typer.Option(
        help="Windows do not cross so long a time without a stack either, such as 6h. Default: any is "
        "crossed.",
        show_default=False,
        rich_help_panel=METHOD,
    ),
]
LongOption = Annotated[
    Literal["before", "around"],
    typer.Option(
        "--long",
        help="Stacks that `fit` uses beside the window: up to 200 before it, or on both sides (removes more, "
        "but results come later).",
        rich_help_panel=METHOD,
    ),
]
WindowMethod = Annotated[
    Literal["fit", "plain"],
    typer.Option(
        help="Regression on a short and a long window, band by band; or the plain mean of the window.",
        rich_help_panel=METHOD,
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option(help="Only stacks that match this pattern; repeatable.", rich_help_panel=INPUT),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        help="No stacks that match this pattern, or are in this list; repeatable.", rich_help_panel=INPUT
    ),
]
Recursive = Annotated[
    bool, typer.Option("--recursive", help="Look into folders below, too.", rich_help_panel=INPUT)
]
OverwriteOption = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Replace outputs that were made with other parameters; what is the same is kept.",
        rich_help_panel=OUTPUT,
    ),
]
FollowOption = Annotated[
    bool,
    typer.Option(
        "--follow",
        help="Go on with the stacks that are recorded meanwhile, to the same bytes as a run over the "
        "finished session; Ctrl-C finishes what is there.",
        rich_help_panel=FOLLOW,
    ),
]
Settle = Annotated[
    str,
    typer.Option(
        help="Take a stack when its size and time have not changed for so long, such as 90s or 2m.",
        rich_help_panel=FOLLOW,
    ),
]
UntilIdle = Annotated[
    str | None,
    typer.Option(
        help="Finish when nothing new has come for so long, such as 30m. Default: not before Ctrl-C.",
        show_default=False,
        rich_help_panel=FOLLOW,
    ),
]
Poll = Annotated[
    str, typer.Option(help="Time between looks at the folder, such as 5s.", rich_help_panel=FOLLOW)
]
Provisional = Annotated[
    bool,
    typer.Option(
        "--provisional",
        help="Write a first result of each stack at once, from the stacks before it; the final one "
        "replaces it.",
        rich_help_panel=FOLLOW,
    ),
]
Page = Annotated[
    str | None,
    typer.Option(
        metavar="[HOST:]PORT",
        help="Serve the page of the session, and its metrics, there; `none`: no page. Default: in the "
        "dashboard of a cluster that is made; with --scheduler on loopback, any port; with --workers 0 none.",
        show_default=False,
        rich_help_panel=WHERE,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Print what would be done and write nothing.", rich_help_panel=WHERE),
]
ProfileOption = Annotated[
    bool,
    typer.Option(
        "--profile",
        help="Say where the time went: a table at the end, OUT/profile.json, and of a cluster Dask's "
        "report, OUT/dask-report.html. The outputs are the same.",
        rich_help_panel=WHERE,
    ),
]
NoReport = Annotated[
    bool,
    typer.Option(
        "--no-report", help="Do not make OUT/report.html, the report of the session.", rich_help_panel=TELL
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.", rich_help_panel=TELL)]
LogJson = Annotated[
    bool,
    typer.Option(
        "--log-json",
        help="Print every event as a line of JSON on standard error, as in OUT/events.jsonl.",
        rich_help_panel=TELL,
    ),
]
Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", help="A line for every stack.", rich_help_panel=TELL)
]
Quiet = Annotated[
    bool,
    typer.Option("-q", "--quiet", help="Only warnings, failures and the result.", rich_help_panel=TELL),
]
