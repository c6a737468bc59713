"""Held-out correlated noise of the five named sessions, method by method, and what it keeps of the specimen.

Usage: python docs/study/koma_table.py run [STACKS [SEED ...]]   simulate and score; adds to koma_*.csv beside
       python docs/study/koma_table.py                           print the tables of koma.md from these files

A session of 60 stacks takes half a minute, one of 200 almost two; default: 60 stacks, seeds 0 to 4.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from koma_print import print_tables
from numpy.typing import NDArray

from mrcz_dask.numerics.noise.correlation import correlated_noise
from mrcz_dask.numerics.outliers.mask import outlier_mask
from mrcz_dask.numerics.outliers.weights import is_masked, near_another
from mrcz_dask.numerics.reference.bands import Bands, make_bands
from mrcz_dask.numerics.reference.correction import make_correction
from mrcz_dask.numerics.reference.koma import Pattern, PatternFit
from mrcz_dask.numerics.reference.parts import MeanImage, References, combine, measure_bands
from mrcz_dask.numerics.reference.regression import LARGEST_SUM, fit_bands, pattern_of
from mrcz_dask.numerics.reference.session_sum import SessionSum
from mrcz_dask.numerics.reference.window import Member, WindowSum
from mrcz_dask.numerics.session.contrast import BlockMeans, block_means, judge_contrast
from mrcz_dask.numerics.simulate import SESSIONS, named, simulate_session
from mrcz_dask.numerics.simulate.params import SimulationParams
from mrcz_dask.numerics.simulate.specimen import Specimen
from mrcz_dask.numerics.sums import sum_stack
from mrcz_dask.values.params import ContrastParams, KomaParams
from mrcz_dask.values.windows import koma_window, long_window

HERE = Path(__file__).parent
SHAPE = (384, 384)
SCORED = 10
FEW = 5
PARAMS = KomaParams(radius=12)
RADII = (3, 6, PARAMS.radius)
MIDDLE = 4 * PARAMS.radius
FADING = 6.0  # stacks
LOOKED_AT = ("plain", "session", "fit", "limit", "true pattern")

Image = NDArray[np.float32]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Scored:
    """What is kept of a stack that is scored: frames, true pattern, specimen as the even frames have it."""

    frames: NDArray[np.integer]
    truth: Image
    specimen: Image


@dataclass(frozen=True)
class Session:
    """First pass over a session: the members of windows, who is usable, and the stacks to score."""

    members: list[Member]
    usable: list[bool]
    scored: dict[int, Scored]

    def others(self, i: int) -> list[int]:
        """Return the usable stacks but i."""
        return [k for k, good in enumerate(self.usable) if good and k != i]


def positions(stacks: int) -> list[int]:
    """Return the stacks that are scored, from the sixth to the last."""
    return [round(v) for v in np.linspace(5, stacks - 1, SCORED)]


def sum_of(params: SimulationParams, dose: float | None) -> dict[str, object]:
    """Return what makes the sums of a session from few frames: the same dose, drift and dose rate in all."""
    each = params.frames / FEW
    of_frames = {"frames": FEW, "drift": params.drift * each, "frame_time": params.frame_time * each}
    return of_frames | {"dose": (dose or params.dose) * each}


def first_pass(name: str, seed: int, stacks: int, dose: float | None = None) -> Session:
    """Simulate a session and find the masks of its stacks; with `dose` references get that instead."""
    params = named(name, seed=seed, shape=SHAPE, stacks=stacks)
    session = simulate_session(params)
    sums = simulate_session(named(name, seed=seed, shape=SHAPE, stacks=stacks, **sum_of(params, dose)))
    members, scored = [], {}
    grids: list[BlockMeans | None] = []
    for i in range(stacks):
        total = sum_stack(sums.stack(i).frames)
        found = outlier_mask(total)
        masked = np.flatnonzero(is_masked(found.weight255))
        members.append(Member(total.values, total.exponent, masked, found.mean, params.frames))
        grids.append(block_means(total.total(), found.mask, ContrastParams().blocks))
        if i in positions(stacks):
            stack = session.stack(i)
            moved = [Specimen(params, i).moved(*shift) for shift in stack.truth.drift[::2]]
            scored[i] = Scored(stack.frames, stack.truth.pattern, np.mean(moved, axis=0, dtype=np.float32))
    verdicts = judge_contrast(grids, PARAMS.radius, ContrastParams())
    return Session(members, [v.usable for v in verdicts], scored)


def reference(session: Session, window: Sequence[int]) -> Image:
    """Return P over a window."""
    total: WindowSum[int] = WindowSum(SHAPE)
    total.move_to(window, 0, session.members.__getitem__)
    return total.reference()


def fading(session: Session, window: Sequence[int], i: int) -> Image:
    """Return P with weights exp(-|i - j| / 6)."""
    numerator, denominator = np.zeros(SHAPE), np.zeros(SHAPE)
    for j in window:
        one, weight = session.members[j], np.exp(-abs(i - j) / FADING)
        good = np.ones(SHAPE)
        good.reshape(-1)[one.masked] = 0
        numerator += weight * good * one.values
        denominator += weight * good * one.mean
    return np.asarray(numerator / np.maximum(denominator, 1e-9), np.float32)


@dataclass(frozen=True)
class Windows:
    """References of a stack: windows by radius, the long one, a fading one; those of the method `session`."""

    by_radius: dict[int, Image]
    middle: Image
    long: Image
    around: Image
    fading: Image
    session: tuple[Image, Image]
    lengths: tuple[int, int]

    @property
    def short(self) -> Image:
        """Of the radius that is the default."""
        return self.by_radius[PARAMS.radius]

    @classmethod
    def of(cls, session: Session, i: int) -> Windows:
        """Return those of stack i."""
        n, usable = len(session.members), session.usable
        by_radius = {a: koma_window(i, n, a, usable) for a in RADII}
        short = by_radius[PARAMS.radius]
        around = koma_window(i, n, PARAMS.long_window // 2, usable)
        middle, long = (long_window(i, short[-1], k, usable) for k in (2 * MIDDLE, PARAMS.long_window))
        whole: SessionSum[int] = SessionSum(SHAPE)
        whole.move_to(session.others(i), 0, session.members.__getitem__)
        return cls(
            {a: reference(session, window) for a, window in by_radius.items()},
            reference(session, middle), reference(session, long), reference(session, around),
            fading(session, long, i), whole.images(), (len(short), len(long)),
        )  # fmt: skip


def several(mean: MeanImage, refs: Sequence[Image], mask: Mask, bands: Bands, *, chance: bool) -> Image:
    """Return the pattern by a regression on any number of references, as `fit_bands` does it for two."""
    k = len(refs)
    table = np.zeros((k + 1, k + 1, len(bands.names)))
    for a, b in combinations(range(k), 2):
        at = np.ix_([0, a + 1, b + 1], [0, a + 1, b + 1])
        table[at] = measure_bands(mean, References.of([refs[a], refs[b]], bands), mask, bands).products
    out, factors = np.zeros(SHAPE, np.float32), np.zeros((k, len(bands.names)))
    for b, modes in enumerate(bands.modes):
        xx, xy, yy = table[1:, 1:, b], table[1:, 0, b], table[0, 0, b]
        c = np.linalg.lstsq(xx, xy, rcond=1e-9)[0]
        explained = float(c @ xy)
        if not chance or (explained > 2 * k / (modes / 2) * (yy - explained) and c.sum() > 0):
            factors[:, b] = c * min(1.0, LARGEST_SUM / max(c.sum(), 1e-9))
    for one, factor in zip(refs, factors, strict=True):
        split = References.of([one], bands)
        out += combine(split.images, split.parts, factor[None], bands)
    return out


def patterns(
    mean: MeanImage, mask: Mask, dose: float, made: Windows, truth: Image
) -> Iterator[tuple[str, Pattern]]:
    """Yield what each method takes off, counts per frame."""
    bands = make_bands(SHAPE, PARAMS.min_modes)
    two = [made.short, made.long] if made.lengths[0] != made.lengths[1] else [made.short]
    others = {
        "3, 200": [made.by_radius[3], made.long],
        "6, 200": [made.by_radius[6], made.long],
        "3, 12, 200": [made.by_radius[3], made.short, made.long],
        "12, 48, 200": [made.short, made.middle, made.long],
        "fading, 200": [made.fading, made.long],
    }
    relative = MeanImage(mean.values, mean.factor, dose)
    true = MeanImage(truth)

    def found(method: str, images: Sequence[Image]) -> Pattern:
        return PatternFit(images, KomaParams(radius=12, method=method)).find(mean, dose, mask)

    def scaled(image: Image) -> Pattern:
        return Pattern(image * np.float32(dose))

    yield "filter", Pattern(np.zeros(SHAPE, np.float32))
    yield "plain", found("plain", two[:1])
    yield "session", found("session", made.session)
    yield "fit", found("fit", two)
    split = References.of(two, bands)
    yield "limit", scaled(pattern_of(fit_bands(measure_bands(true, split, mask, bands), bands), split, bands))
    yield "true pattern", scaled(truth - np.float32(1))
    for name, refs in others.items():
        yield f"fit {name}", scaled(several(relative, refs, mask, bands, chance=True))
        yield f"limit {name}", scaled(several(true, refs, mask, bands, chance=False))
    yield "session mean alone", found("plain", [made.session[0]])
    around = [made.short, made.around]
    yield "fit around", found("fit", around)
    split = References.of(around, bands)
    yield (
        "limit around",
        scaled(pattern_of(fit_bands(measure_bands(true, split, mask, bands), bands), split, bands)),
    )


def scores(session: Session, i: int, made: Windows) -> tuple[dict[str, float], list[list[float | str]]]:
    """Return R of each method on frames 1, 3, 5, ...; mask and coefficients are from frames 0, 2, 4, ...

    And for each band, its modes, the true pattern's power, and the specimen's part in what a method leaves.
    """
    frames, scored = session.scored[i].frames, session.scored[i]
    even = sum_stack(frames[::2])
    found = outlier_mask(even)
    weight = found.weight255
    mask, near = is_masked(weight), near_another(is_masked(weight), 2)
    dose = found.mean / even.n
    mean = MeanImage(even.values, 2.0**-even.exponent / even.n)
    image = even.values / np.float32(even.n)
    result = {"raw": correlated_noise(frames[1::2])}
    parts: dict[str, Floats] = {}
    for name, pattern in patterns(mean, mask, dose, made, scored.truth):
        ready = make_correction("subtract", pattern.image, mean, weight, near, pattern.scale).ready()
        result[name] = correlated_noise(ready.apply(f) for f in frames[1::2])
        if name in LOOKED_AT:
            left = image * (1 if pattern.scale is None else pattern.scale) - pattern.image
            parts[name] = specimens_part(left / np.float32(dose), scored.specimen, mask)
    return result, by_band(parts, scored.truth)


def specimens_part(left: Image, specimen: Image, mask: Mask) -> Floats:
    """Return the product of an image with the specimen, band by band."""
    bands = make_bands(SHAPE, PARAMS.min_modes)
    return measure_bands(MeanImage(left), References.of([specimen], bands), mask, bands).products[0, 1]


def by_band(parts: dict[str, Floats], truth: Image) -> list[list[float | str]]:
    """Return rows of band, modes, power of the pattern, and products with the specimen by method."""
    bands = make_bands(SHAPE, PARAMS.min_modes)
    power = measure_bands(
        MeanImage(truth), References.of([truth], bands), np.zeros(SHAPE, bool), bands
    ).products[0, 0]
    return [
        [name, modes, power[b], *(parts[method][b] for method in LOOKED_AT)]
        for b, (name, modes) in enumerate(zip(bands.names, bands.modes, strict=True))
    ]


def append(name: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Add rows to a table beside this file."""
    path = HERE / name
    with path.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if file.tell() == 0:
            writer.writerow(header)
        writer.writerows([f"{v:.6g}" if isinstance(v, float) else v for v in row] for row in rows)


def run(stacks: int, seeds: Sequence[int], sessions: Sequence[str], dose: float | None = None) -> None:
    """Simulate and score sessions; add what was found to the tables."""
    ending = "" if dose is None else "_half"
    for seed in seeds:
        for name in sessions:
            session = first_pass(name, seed, stacks, dose)
            noise, kept = [], []
            for i in positions(stacks):
                made = Windows.of(session, i)
                found, bands = scores(session, i, made)
                noise.append([name, stacks, seed, i, *made.lengths, *found.values()])
                kept += [[name, stacks, seed, i, made.lengths[1], *row] for row in bands]
            where = ("simulated", "stacks", "seed", "stack")
            append(f"koma_noise{ending}.csv", [*where, "short", "long", *found], noise)
            if dose is None:
                append("koma_bands.csv", [*where, "long", "band", "modes", "pattern", *LOOKED_AT], kept)
            print(f"{name}, {stacks} stacks, seed {seed}: {sum(session.usable)} usable", flush=True)


def main(arguments: Sequence[str]) -> None:
    """Run, or print."""
    if not arguments:
        print_tables(HERE)
    elif arguments[0] == "half":
        run(60, [0, 1], ["standard", "no pattern", "white"], dose=0.5)
    else:
        numbers = [int(v) for v in arguments[1:]]
        run(numbers[0] if numbers else 60, numbers[1:] or range(5), list(SESSIONS))


if __name__ == "__main__":
    main(sys.argv[1:])
