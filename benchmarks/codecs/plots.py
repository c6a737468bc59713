"""The benchmark's results as plots, PNG and SVG; without pyplot, so that no display is looked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.codecs.results import BenchReport, FileRow, MetadataRow
from benchmarks.codecs.tables import block_name
from mrcz_dask.assess.plots import COLORS, LINE, legend_below, rendered

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
WRITE, READ = COLORS[0], COLORS[4]
_SHANNON = {"color": LINE, "linestyle": "--", "label": "Shannon limit"}
Value = Callable[[FileRow], float]
Styles = dict[str, dict[str, Any]]


def plots(report: BenchReport) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of the plots: table1, dose, level, settings (threads and blocks), metadata."""
    return rendered(_figures(report))


def _figures(report: BenchReport) -> Iterator[tuple[str, Figure]]:
    if report.table1:
        yield "table1", table1_figure(report.table1)
    if report.dose:
        yield "dose", dose_figure(report.dose)
    if report.level:
        yield "level", level_figure(report.level)
    if len({(row.threads, row.block_size) for row in report.dose}) > 1:
        yield "settings", settings_figure(report.dose)
    if report.metadata:
        yield "metadata", metadata_figure(report.metadata)


def table1_figure(rows: Sequence[FileRow]) -> Figure:
    """Draw size and speed of every compressor."""
    figure = Figure(figsize=(9, 1.6 + 0.36 * len(rows)), layout="constrained")
    size, speed = figure.subplots(1, 2, sharey=True)
    places = range(len(rows))
    bars = size.barh(places, [_bits(row) for row in rows], color=COLORS[2])
    if rows[0].limit is not None:
        size.axvline(8 * rows[0].limit / rows[0].pixels, **_SHANNON)
        size.bar_label(bars, [f"{_over(row):.2f} x limit" for row in rows], padding=3, fontsize=8)
        size.set_xlim(0, 1.25 * max(_bits(row) for row in rows))
    size.set(xlabel="size, bits per pixel", yticks=list(places), yticklabels=[row.compressor for row in rows])
    size.invert_yaxis()
    _pairs(speed, [_rate(row, "write") for row in rows], [_rate(row, "read") for row in rows])
    speed.set(xlabel="MB/s of pixels in memory", xscale="log")
    figure.suptitle(f"Table 1: {rows[0].dose:.3g} e⁻/pixel/frame, {rows[0].threads} threads")
    legend_below(figure, size, speed)
    return figure


def dose_figure(rows: Sequence[FileRow]) -> Figure:
    """Draw sizes and speeds over the dose, with the most threads and the first block size."""
    threads = max(row.threads for row in rows)
    chosen = [row for row in _of_first_blocks(rows) if row.threads == threads]
    styles = _styles(rows)
    figure = Figure(figsize=(9, 6.4), layout="constrained")
    (bits, over), (write, read) = figure.subplots(2, 2, sharex=True)
    for axes, value in ((bits, _bits), (over, _over), (write, _write), (read, _read)):
        _lines(axes, chosen, styles, lambda row: row.dose, value)
    limits = sorted({(row.dose, 8 * row.limit / row.pixels) for row in chosen if row.limit is not None})
    bits.plot([dose for dose, _ in limits], [limit for _, limit in limits], **_SHANNON)
    over.axhline(1, **_SHANNON)
    _dose_axes((write, read), sorted({row.dose for row in chosen}))
    for axes, label in ((bits, "bits per pixel"), (over, "size / Shannon limit")):
        axes.set_ylabel(label)
    for axes, label in ((write, "write"), (read, "read")):
        axes.set(ylabel=f"{label}, MB/s of pixels in memory", ylim=(0, None))
    figure.suptitle(f"Fig. 2a: {threads} threads, {_blocks(chosen)}")
    legend_below(figure, bits)
    return figure


def level_figure(rows: Sequence[FileRow]) -> Figure:
    """Draw sizes and speeds of each codec over its level."""
    kinds: dict[str, list[FileRow]] = {}
    for row in rows:
        name, _, filter = row.compressor.split(":")
        kinds.setdefault(f"{name}, {filter} shuffle" if filter != "none" else name, []).append(row)
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    panels = figure.subplots(1, 3)
    for (name, ours), color, marker in zip(kinds.items(), cycle(COLORS), cycle(MARKERS), strict=False):
        for axes, value in zip(panels, (_bits, _write, _read), strict=True):
            axes.plot(
                [_level(row) for row in ours],
                [value(row) for row in ours],
                color=color,
                marker=marker,
                markersize=5,
                label=name,
            )
    if rows[0].limit is not None:
        panels[0].axhline(8 * rows[0].limit / rows[0].pixels, **_SHANNON)
    for axes, label in zip(panels, ("bits per pixel", "write, MB/s", "read, MB/s"), strict=True):
        axes.set(xlabel="level", ylabel=label, xticks=sorted({_level(row) for row in rows}))
    for axes in panels[1:]:
        axes.set_yscale("log")
    where = f"{rows[0].dose:.3g} e⁻/pixel/frame, {rows[0].threads} threads, {_blocks(rows)}"
    figure.suptitle(f"Fig. 2b: {where}")
    legend_below(figure, panels[0])
    return figure


def _level(row: FileRow) -> int:
    return int(row.compressor.split(":")[1])


def settings_figure(rows: Sequence[FileRow]) -> Figure:
    """Draw what threads and block sizes do, at the dose nearest to 1."""
    dose = min((row.dose for row in rows), key=lambda one: abs(one - 1))
    here = [row for row in rows if row.dose == dose]
    figure = Figure(figsize=(9, 6.4), layout="constrained")
    upper, lower = figure.subplots(2, 2)
    _over_threads(upper, here, _styles(rows))
    _over_blocks(lower, here, _styles(rows))
    figure.suptitle(f"Fig. 2: threads and blocks at {dose:.3g} e⁻/pixel/frame")
    legend_below(figure, upper[0])
    return figure


def _over_threads(panels: Sequence[Axes], here: Sequence[FileRow], styles: Styles) -> None:
    chosen = _of_first_blocks(here)
    for axes, value, label in zip(panels, (_write, _read), ("write", "read"), strict=True):
        _lines(axes, chosen, styles, lambda row: row.threads, value)
        axes.set(xlabel=f"threads ({_blocks(chosen)})", ylabel=f"{label}, MB/s", ylim=(0, None))
        axes.set_xticks(sorted({row.threads for row in here}))


def _over_blocks(panels: Sequence[Axes], here: Sequence[FileRow], styles: Styles) -> None:
    threads = max(row.threads for row in here)
    chosen = [row for row in here if row.threads == threads and not _is_auto(row)]
    blocks = sorted({row.block_size for row in chosen}, key=lambda size: (size == 0, size))
    for axes, value, label in zip(
        panels, (_write, _over), ("write, MB/s", "size / Shannon limit"), strict=True
    ):
        _lines(axes, chosen, styles, lambda row: blocks.index(row.block_size), value)
        axes.set(xlabel=f"block size ({threads} threads)", ylabel=label)
        axes.set_xticks(range(len(blocks)), [block_name(size) for size in blocks])
    panels[0].set_ylim(0, None)


def metadata_figure(rows: Sequence[MetadataRow]) -> Figure:
    """Draw size and speed of every way to serialize metadata."""
    figure = Figure(figsize=(9, 1.6 + 0.36 * len(rows)), layout="constrained")
    size, speed = figure.subplots(1, 2, sharey=True)
    places = range(len(rows))
    bars = size.barh(places, [row.size / 1e6 for row in rows], color=COLORS[2])
    size.bar_label(bars, [f"{row.size / 1e6:.1f}" for row in rows], padding=3, fontsize=8)
    size.set_xlim(0, 1.15 * max(row.size for row in rows) / 1e6)
    limits = [row.limit / 1e6 for row in rows]
    size.plot(limits, places, "|", color=LINE, markersize=14, markeredgewidth=2, label="entropy of the bytes")
    names = [f"{row.encoding}, {row.compression}" for row in rows]
    size.set(xlabel="size, MB", yticks=list(places), yticklabels=names)
    size.invert_yaxis()
    _pairs(speed, [row.encode.wall for row in rows], [row.decode.wall for row in rows], ("encode", "decode"))
    speed.set_xlabel("seconds")
    figure.suptitle(f"Fig. 3: nested metadata, {rows[0].bare / 1e6:.3g} MB as {rows[0].encoding}")
    legend_below(figure, size, speed)
    return figure


def _pairs(
    axes: Axes,
    first: Sequence[float],
    second: Sequence[float],
    labels: tuple[str, str] = ("write", "read"),
) -> None:
    axes.barh([k - 0.2 for k in range(len(first))], first, 0.38, color=WRITE, label=labels[0])
    axes.barh([k + 0.2 for k in range(len(second))], second, 0.38, color=READ, hatch="///", label=labels[1])


def _styles(rows: Sequence[FileRow]) -> Styles:
    """Return how each compressor is drawn, the same in every panel."""
    names = dict.fromkeys(row.compressor for row in rows)
    drawn = zip(names, cycle(COLORS), cycle(MARKERS), strict=False)
    return {name: {"color": color, "marker": marker, "label": name} for name, color, marker in drawn}


def _of_first_blocks(rows: Sequence[FileRow]) -> list[FileRow]:
    first = next((row.block_size for row in rows if not _is_auto(row)), 0)
    return [row for row in rows if _is_auto(row) or row.block_size == first]


def _blocks(rows: Sequence[FileRow]) -> str:
    size = max(row.block_size for row in rows)
    return f"blocks of {block_name(size)}" if size else "each codec's own blocks"


def _is_auto(row: FileRow) -> bool:
    return row.compressor.startswith("auto")


def _lines(axes: Axes, rows: Sequence[FileRow], styles: Styles, x: Value, y: Value) -> None:
    for name, style in styles.items():
        points = sorted((x(row), y(row)) for row in rows if row.compressor == name)
        axes.plot([place for place, _ in points], [value for _, value in points], markersize=5, **style)


def _dose_axes(lower: Sequence[Axes], doses: Sequence[float]) -> None:
    for axes in lower:
        axes.set(xlabel="dose, e⁻/pixel/frame", xscale="log")
        axes.set_xticks(doses, [f"{dose:.3g}" for dose in doses])
        axes.minorticks_off()


def _bits(row: FileRow) -> float:
    return 8 * row.size / row.pixels


def _over(row: FileRow) -> float:
    return row.size / row.limit if row.limit else float("nan")


def _rate(row: FileRow, what: str) -> float:
    return row.pixel_bytes / float(getattr(row, what).wall) / 1e6


def _write(row: FileRow) -> float:
    return _rate(row, "write")


def _read(row: FileRow) -> float:
    return _rate(row, "read")
