"""The tables of koma.md, from the numbers that koma_table.py wrote beside it."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SESSIONS = ("standard", "evolving", "no pattern", "white", "mature")
METHODS = ("raw", "filter", "plain", "session", "session mean alone", "fit", "limit", "true pattern")
SHARES = ("plain", "session", "session mean alone", "fit", "limit", "fit around", "limit around")
TRIED = ("3, 200", "6, 200", "3, 12, 200", "12, 48, 200", "fading, 200", "around")
DOSES = {"mature": 0.5}
FRAMES = 30
Row = dict[str, str]
Floats = NDArray[np.float64]


def rows_of(path: Path) -> list[Row]:
    """Return the rows of a table."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def column(rows: Sequence[Row], name: str) -> Floats:
    """Return a column as numbers."""
    return np.array([float(row[name]) for row in rows])


def mean_error(values: Floats) -> tuple[float, float]:
    """Return the mean and its standard error over stacks."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(values.size))


def line(name: str, cells: Sequence[str]) -> str:
    """Return a row of a Markdown table."""
    return f"| {name} | " + " | ".join(cells) + " |"


def header(names: Sequence[str]) -> Iterator[str]:
    """Yield the first two rows of a Markdown table."""
    yield line("", names)
    yield "|---|" + "---|" * len(names)


def share(rows: Sequence[Row], method: str) -> str:
    """Return how much of what the true pattern removes a method removes."""
    rows = [row for row in rows if row[method]]
    if len(rows) < 2:
        return "-"
    without, true = column(rows, "filter"), column(rows, "true pattern")
    removable = (without - true).mean()
    if removable < 5e-5:
        return "-"
    mean, error = mean_error((without - column(rows, method)) / removable * 100)
    return f"{mean:.1f} ± {error:.1f}"


def of_limit(rows: Sequence[Row]) -> str:
    """Return how much of what the limit removes the default removes, differences taken stack by stack."""
    base = (column(rows, "filter") - column(rows, "limit")).mean()
    if base < 5e-5:
        return "-"
    mean, error = mean_error((column(rows, "limit") - column(rows, "fit")) / base * 100)
    return f"{100 + mean:.1f} ± {error:.1f}"


def tried(rows: Sequence[Row], kind: str, name: str) -> str:
    """Return what other references remove more than the two of the default, in % of the true pattern."""
    rows = [row for row in rows if row[f"{kind} {name}"]]
    if len(rows) < 2:
        return "-"
    removable = (column(rows, "filter") - column(rows, "true pattern")).mean()
    if removable < 5e-5:
        return "-"
    mean, error = mean_error((column(rows, kind) - column(rows, f"{kind} {name}")) / removable * 100)
    return f"{mean:+.1f} ± {error:.1f}"


def main_table(rows: Sequence[Row], stacks: str) -> Iterator[str]:
    """Yield R x 1000 and what is removed, for sessions of so many stacks."""
    by_name = {s: [r for r in rows if r["simulated"] == s and r["stacks"] == stacks] for s in SESSIONS}
    yield from header(SESSIONS)
    for method in METHODS:
        cells = [mean_error(column(by_name[s], method) * 1e3) for s in SESSIONS]
        yield line(method, [f"{mean:.2f} ± {error:.2f}" for mean, error in cells])
    for method in SHARES:
        yield line(f"removed by {method}, %", [share(by_name[s], method) for s in SESSIONS])
    yield line("fit, % of limit", [of_limit(by_name[s]) for s in SESSIONS])


def tried_table(rows: Sequence[Row], stacks: str) -> Iterator[str]:
    """Yield what other references would remove beyond the two that are used."""
    by_name = {s: [r for r in rows if r["simulated"] == s and r["stacks"] == stacks] for s in SESSIONS}
    yield from header(SESSIONS)
    for kind in ("limit", "fit"):
        for name in TRIED:
            yield line(f"{kind}: {name}", [tried(by_name[s], kind, name) for s in SESSIONS])


def kept_table(rows: Sequence[Row], method: str) -> Iterator[str]:
    """Yield what a method keeps of the specimen against subtracting the true pattern, %, band by band."""
    bands = list(dict.fromkeys(row["band"] for row in rows))
    yield from header(SESSIONS)
    for band in bands:
        cells = []
        for session in SESSIONS:
            some = [r for r in rows if r["simulated"] == session and r["band"] == band]
            true = column(some, "true pattern")
            mean, error = mean_error((column(some, method) - true) / true.mean() * 100)
            cells.append(f"{100 + mean:.1f} ± {error:.1f}")
        yield line(band, cells)


def removable(rows: Sequence[Row], members: Floats, dose: float) -> Floats:
    """Return what references of so many stacks can remove of the pattern, by the formula; static patterns."""
    stacks = {(r["seed"], r["stack"]): [] for r in rows}
    for row in rows:
        stacks[row["seed"], row["stack"]].append(row)
    found = []
    for bands, m in zip(stacks.values(), members, strict=True):
        power, modes = column(bands, "pattern"), column(bands, "modes")
        noise = (modes / (FRAMES * dose) + np.maximum(column(bands, "true pattern"), 0)) / m
        found.append((power**2 / (power + noise)).sum() / power.sum())
    return np.array(found)


def formula_table(rows: Sequence[Row], noise: Sequence[Row], stacks: str) -> Iterator[str]:
    """Yield the limit that the formula gives beside what was found, and that of other lengths."""
    lengths = (24, 60, 200, 500, 1000)
    yield from header([s for s in SESSIONS if s not in ("no pattern", "evolving")])
    cells: dict[str, list[str]] = {"found, %": [], "formula, %": []} | {f"m = {m}, %": [] for m in lengths}
    for session in SESSIONS:
        if session in ("no pattern", "evolving"):
            continue
        some = [r for r in rows if r["simulated"] == session and r["stacks"] == stacks]
        score = [r for r in noise if r["simulated"] == session and r["stacks"] == stacks]
        dose = DOSES.get(session, 1.0)
        cells["found, %"].append(share(score, "limit"))
        cells["formula, %"].append(f"{100 * removable(some, column(score, 'long'), dose).mean():.1f}")
        for m in lengths:
            value = removable(some, np.full(len(score), float(m)), dose).mean()
            cells[f"m = {m}, %"].append(f"{100 * value:.1f}")
    yield from (line(name, found) for name, found in cells.items())


def print_tables(here: Path) -> None:
    """Print all tables."""
    noise, bands = rows_of(here / "koma_noise.csv"), rows_of(here / "koma_bands.csv")
    there = [n for n in ("60", "200") if any(row["stacks"] == n for row in noise)]
    for stacks in there:
        print(f"\n## R x 1000, {stacks} stacks\n", *main_table(noise, stacks), sep="\n")
        print(f"\n## other references, {stacks} stacks\n", *tried_table(noise, stacks), sep="\n")
        print(f"\n## the formula, {stacks} stacks\n", *formula_table(bands, noise, stacks), sep="\n")
    late = [r for r in noise if r["stacks"] == "200" and int(r["stack"]) == 199]
    if late:
        print("\n## the last of 200 stacks\n", *header(SESSIONS), sep="\n")
        by_name = {s: [r for r in late if r["simulated"] == s] for s in SESSIONS}
        for method in ("fit", "limit", "limit fading, 200"):
            print(line(f"removed by {method}, %", [share(by_name[s], method) for s in SESSIONS]))
    for method in ("fit", "limit", "session", "plain"):
        print(f"\n## specimen kept by {method}, %\n", *kept_table(bands, method), sep="\n")
    half = here / "koma_noise_half.csv"
    if half.exists():
        rows = rows_of(half)
        names = [s for s in SESSIONS if any(r["simulated"] == s for r in rows)]
        print("\n## references at half the dose, R x 1000\n", *header(names), sep="\n")
        for method in ("filter", "plain", "fit", "limit", "true pattern"):
            pairs = [
                mean_error(column([r for r in rows if r["simulated"] == s], method) * 1e3) for s in names
            ]
            print(line(method, [f"{mean:.2f} ± {error:.2f}" for mean, error in pairs]))
