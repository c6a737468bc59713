"""Makes the data of each figure of a report, as columns from which it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from mrcz_dask.numerics.doses import middle_doses
from mrcz_dask.report.data import KINDS, Column, FigureData, SessionData, StackData, StackSample, worst
from mrcz_dask.report.pictures import histogram, patch, picture


def over_stacks(data: SessionData) -> Iterator[FigureData]:
    """Yield the figures that show all stacks of a session, without those that have no data."""
    makers = (
        picture,
        timeline,
        turnover,
        survival,
        places,
        lines,
        thresholds,
        bands,
        specimen,
        noise,
        dose,
        contrast,
        speed,
    )
    figures = (make(data) for make in makers)
    yield from (figure for figure in figures if figure is not None and any(map(len, figure.columns.values())))


def _columns(stacks: Sequence[StackData], **of: Callable[[StackData], Any]) -> dict[str, Column]:
    """Return columns over stacks; each begins with number, name and hours."""
    head: dict[str, Callable[[StackData], Any]] = {
        "stack": lambda s: s.number,
        "name": lambda s: s.name,
        "hours": lambda s: s.hours,
    }
    return {name: [get(s) for s in stacks] for name, get in (head | of).items()}


def _mask(name: str) -> Callable[[StackData], Any]:
    return lambda s: None if s.mask is None else getattr(s.mask, name)


def _time(data: SessionData) -> dict[str, Any]:
    """Return along what stacks are drawn, and where the session breaks."""
    along, breaks = "hours" if data.timed else "number", data.breaks
    after = [s for s in data.stacks if s.name in breaks]
    return {
        "along": "hours" if data.timed else "stack",
        "breaks": {f"stack {s.number}: {breaks[s.name].reason}": getattr(s, along) for s in after},
    }


def timeline(data: SessionData) -> FigureData | None:
    """Return the figure of hot and dead pixels in each stack, over the dose that the detector had seen."""
    stacks = [s for s, _ in data.masks]
    if not stacks:
        return None
    hot, dead = ([100 * getattr(m, name) / m.pixels for _, m in data.masks] for name in ("n_hot", "n_dead"))
    doses = middle_doses([m.dose * m.shape[0] for _, m in data.masks])
    by_name = {s.name: at for s, at in zip(stacks, doses, strict=True)}
    return FigureData(
        "timeline",
        "Hot and dead pixels of every stack, over the dose",
        "In per cent of all pixels, over the counts per pixel that the detector has seen since the first. "
        "A slow rise of hot pixels is a detector that ages with dose; warming it up (annealing) brings it "
        "down. A jump is a change of the camera: a new gain reference, a restart, another mode. "
        f"Hot pixels go from {hot[0]:.3g} % in the first stack to {hot[-1]:.3g} % in the last.",
        "Fig. 7a",
        _columns(stacks, hot=_mask("n_hot"), dead=_mask("n_dead"), status=_mask("status"))
        | {"cumulative_dose": doses, "hot_percent": hot, "dead_percent": dead},
        {
            "along": "cumulative_dose",
            "breaks": {
                f"stack {s.number}: {data.breaks[s.name].reason}": by_name[s.name]
                for s in stacks
                if s.name in data.breaks
            },
        },
    )


def turnover(data: SessionData) -> FigureData:
    """Return the figure of hot pixels that appear and vanish from each stack to the next."""
    stacks = [s for s in data.stacks if s.turnover.hot_births is not None]
    names = ("hot_births", "hot_deaths", "dead_births", "dead_deaths")
    getters = {name: (lambda s, name=name: getattr(s.turnover, name)) for name in names}
    return FigureData(
        "turnover",
        "Hot pixels that appear and go, against the stack before",
        "Where births stay above deaths the population grows. If many appear and go in every stack, they are "
        "pixels close to the threshold, not real births. A stack with many of both differs from its "
        "neighbors: look at it.",
        "Fig. 7a",
        _columns(stacks, **getters),
        _time(data),
    )


def survival(data: SessionData) -> FigureData:
    """Return the figure of how many hot pixels are still hot some stacks later."""
    survival, life = data.health.survival, data.health.lifetime
    words = (
        ""
        if life is None
        else f" Fitted: a mean life of {life.stacks:.1f} stacks; {life.seen:.0%} of the hot pixels would be "
        "seen again at once."
    )
    return FigureData(
        "survival",
        "How long a hot pixel lives",
        "Of the pixels that are hot in a stack, the share that is hot so many stacks later. A slow fall is a "
        f"detector whose defects stay; pixels that are lost at once are noise at the threshold.{words}",
        "",
        {
            "lag": [s.lag for s in survival],
            "share": [s.share for s in survival],
            "pixels": [s.pixels for s in survival],
        },
        {} if life is None else {"lifetime": life.stacks, "seen": life.seen},
    )


def places(data: SessionData) -> FigureData | None:
    """Return the figure of where on the detector hot and dead pixels lie, as a coarse map."""
    kinds = [("hot", data.health.hot), ("dead", data.health.dead)]
    cells = [(kind, y, x, v) for kind, p in kinds if p is not None for (y, x), v in np.ndenumerate(p.cells)]
    if not cells:
        return None
    columns = zip(("kind", "row", "column", "pixels"), zip(*cells, strict=True), strict=True)
    return FigureData(
        "places",
        "Where on the chip outliers are",
        "Each cell has the outliers in it, mean over stacks; rows run as in the files. An even field is "
        "usual. Bright lines are read-out channels, a bright corner or spot is damage or a wrong gain "
        "reference.",
        "",
        {name: [v.item() if hasattr(v, "item") else v for v in values] for name, values in columns},
        {},
    )


def lines(data: SessionData) -> FigureData | None:
    """Return the figure of hot pixels in each detector column and row, which shows bad read-out lines."""
    hot = data.health.hot
    if hot is None:
        return None
    out = hot.standing_out()
    named = [f"{line.what} {line.place} ({line.pixels:.1f}, usual {line.usual:.1f})" for line in out[:6]]
    more = f" and {len(out) - 6} more" if len(out) > 6 else ""
    profiles = [("column", hot.columns), ("row", hot.rows)]
    rows = [(kind, k, float(v)) for kind, profile in profiles for k, v in enumerate(profile)]
    return FigureData(
        "lines",
        "Hot pixels of every column and row",
        "Mean over stacks. A line far above the others is a bad read-out line: put it into a list of "
        "defects. " + (f"Standing out: {', '.join(named)}{more}." if out else "None stands out."),
        "",
        dict(zip(("what", "place", "hot"), zip(*rows, strict=True), strict=True)),
        {},
    )


def thresholds(data: SessionData) -> FigureData:
    """Return the figure of each stack's outlier thresholds, and of how well its histogram was fitted."""
    stacks = [s for s, _ in data.masks]
    names = ("t_dark", "t_hot", "misfit", "mu", "sigma")
    return FigureData(
        "thresholds",
        "Thresholds of the outlier filter, and how well it fits",
        "Thresholds in standard deviations from the center; none where there is no tail. They move little in "
        "a quiet session. Misfit is the largest difference between histogram and fit: stacks that stand out "
        "have carbon, ice, a shifted beam or a wrong gain.",
        "Fig. 5",
        _columns(stacks, **{name: _mask(name) for name in names}),
        _time(data),
    )


def bands(data: SessionData) -> FigureData:
    """Return the figure of the pattern by bands: the share that neighbors explain, and that is subtracted."""
    rows = [(s.number, s.name, b) for s in data.stacks for b in s.bands]
    one = [b for _, _, b in rows]
    return FigureData(
        "bands",
        "The pattern that is taken off, band by band",
        "Share of a stack's power in each band that its neighbors explain: median, and the middle 80 % of "
        "the stacks. Beside it: the share of the reference that is taken off. Columns and rows are read-out "
        "noise; shells are structure of so many pixels. Fine scales are counting noise, of which nothing is "
        "explained.",
        "",
        {
            "stack": [number for number, _, _ in rows],
            "name": [name for _, name, _ in rows],
            "band": [b.band for b in one],
            "modes": [b.modes for b in one],
            "explained": [b.explained for b in one],
            "used": [int(b.used) for b in one],
            "coefficient_short": [_nth(b.coefficients, 0) for b in one],
            "coefficient_long": [_nth(b.coefficients, 1) for b in one],
        },
        {},
    )


def specimen(data: SessionData) -> FigureData | None:
    """Return the figure of the smooth structure that stacks share and that was left in the frames."""
    if data.shared is None:
        return None
    rows, columns = np.indices(data.shared.shape)
    return FigureData(
        "specimen",
        "What neighbors share and no detector shows: it was not taken off",
        "Smooth structure in the mean of the stacks, in per cent of their mean. It may be the edge of a hole "
        "in the same corner, or uneven illumination. It stays in the frames; columns, rows and pixels were "
        "taken off. If this is the detector's, run again with --trust-reference.",
        "",
        {
            "row": rows.ravel().tolist(),
            "column": columns.ravel().tolist(),
            "percent": (100 * data.shared).round(3).ravel().tolist(),
        },
        {},
    )


def _nth(values: Sequence[float], k: int) -> float | None:
    return values[k] if len(values) > k else None


def noise(data: SessionData) -> FigureData:
    """Return the figure of each stack's R: as recorded, after the outlier filter, and after correction."""
    stacks = [s for s in data.stacks if any(s.noise.get(kind) is not None for kind in KINDS)]
    getters = {kind: (lambda s, kind=kind: s.noise.get(kind)) for kind in KINDS}
    return FigureData(
        "noise",
        "Correlated noise before and after",
        "What frames of a stack have in common beside the specimen, held out: mask and coefficients from "
        "even frames, noise of odd ones. Lower is better, each step below the one before. The specimen stays "
        "in it, so it does not end at zero; carbon and ice stand above the rest.",
        "Fig. 7c",
        _columns(stacks, **getters, usable=lambda s: None if s.usable is None else int(s.usable)),
        _time(data),
    )


def dose(data: SessionData) -> FigureData:
    """Return the figure of each stack's dose, in counts per pixel and frame."""
    stacks = [s for s, _ in data.masks]
    return FigureData(
        "dose",
        "Dose of every stack",
        "Counts per pixel and frame, mean over good pixels. A fall is thick ice, carbon or a beam that "
        "moves; a step is a change of the illumination, across which windows should not reach.",
        "",
        _columns(stacks, dose=_mask("dose"), high_contrast=lambda s: int(s.high_contrast)),
        _time(data),
    )


def contrast(data: SessionData) -> FigureData:
    """Return the figure of each stack's contrast score, which is high for carbon and thick ice."""
    stacks = [s for s in data.stacks if s.score is not None]
    return FigureData(
        "contrast",
        "Contrast of every stack",
        "Unevenness of the image on a coarse grid beyond counting. Stacks with carbon edges or thick ice lie "
        "far above the others; they are corrected, but correct no other stack.",
        "",
        _columns(stacks, score=lambda s: s.score, left_out=lambda s: int(s.high_contrast)),
        {**_time(data), "floor": data.settings.get("contrast", {}).get("floor")},
    )


def speed(data: SessionData) -> FigureData | None:
    """Return the figure of the last run's progress: stacks finished over time; None if it did no work."""
    run = next((r for r in reversed(data.runs) if r.marks), None)
    if run is None:
        return None
    return FigureData(
        "speed",
        "Progress of the run",
        "Stacks through each phase against the time since its beginning. Straight lines are an even pace; a "
        "flat piece is waiting: for the microscope, the disk or the queue.",
        "",
        {
            "pass": [name for name, _, _ in run.marks],
            "seconds": [seconds for _, seconds, _ in run.marks],
            "stacks": [stacks for _, _, stacks in run.marks],
        },
        {},
    )


def figures(data: SessionData) -> Iterator[FigureData]:
    """Yield a report's figures as data: over all stacks, then of the first and the worst fitted stack."""
    yield from over_stacks(data)
    for name, stack in chosen(data):
        look = data.samples.get(stack.number, StackSample())
        if look.fit is not None:
            yield histogram(stack, look, name)
        if look.patch is not None:
            yield patch(stack, look, name)


def chosen(data: SessionData) -> list[tuple[str, StackData]]:
    """Return the stacks that a report always shows: the first one, and the one whose histogram fits worst."""
    first = next((s for s in data.stacks if s.number in data.samples), None)
    last = worst([s for s in data.stacks if s.number in data.samples])
    stacks = [("first", first), ("worst", last)]
    return [(name, s) for name, s in stacks if s is not None and (name == "first" or s is not first)]
