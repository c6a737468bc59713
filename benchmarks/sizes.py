"""Sizes of files of Poisson counts at the doses of Fig. 2, against python-mrcz and Shannon's limit."""

from __future__ import annotations

from functools import cache, partial
from math import prod

import mrcz
import numpy as np
from numpy.typing import NDArray

from benchmarks.codecs.counts import poisson_entropy
from benchmarks.harness import Amounts, Bench, at_most, counts, row
from mrcz_dask.formats.mrc.writer import write

DOSES = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
# small frames would be judged by their last, partial block
_SHAPE = (1, 3838, 3710)


def sizes(bench: Bench, dose: float) -> tuple[int, int]:
    """Return the bytes of our file (``codec="auto"``) and of python-mrcz's (zstd-1) for one K2 frame."""
    stack = _counts(dose)
    ours, theirs = bench.folder / "size.mrcz", bench.folder / "size-theirs.mrcz"
    write(ours, stack, durable=False)
    mrcz.writeMRC(stack, str(theirs), compressor="zstd", clevel=1)
    return ours.stat().st_size, theirs.stat().st_size


@cache
def _counts(dose: float) -> NDArray[np.int8]:
    return counts(dose, _SHAPE)


def _against_theirs(dose: float, bench: Bench) -> Amounts:
    return Amounts(*sizes(bench, dose))


def _against_shannon(dose: float, bench: Bench) -> Amounts:
    return Amounts(sizes(bench, dose)[0], poisson_entropy(dose) / 8 * prod(_SHAPE))


@row("bytes, mean over the doses 0.1-4", rival="python-mrcz, zstd-1", goal=at_most(0.95))
def _mean(bench: Bench) -> Amounts:
    found = [sizes(bench, dose) for dose in DOSES]
    return Amounts(sum(ours / theirs for ours, theirs in found) / len(found), 1)


for _dose in DOSES:
    row(f"bytes at {_dose:g} e-/pix", rival="python-mrcz, zstd-1", goal=at_most(0.965))(
        partial(_against_theirs, _dose)
    )
for _dose in (0.5, 1.0, 2.0, 4.0, 10.0):
    row(f"bytes at {_dose:g} e-/pix", rival="Shannon's limit", goal=at_most(1.08))(
        partial(_against_shannon, _dose)
    )
