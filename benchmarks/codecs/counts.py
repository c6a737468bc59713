"""Counts to compress, and how small they can become."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from mrcz_dask.formats.sources import read

_WIDEST = 1 << 24


@dataclass(frozen=True, slots=True)
class Counts:
    """A stack and the limits of its size.

    Attributes
    ----------
    stack
        (n, y, x).
    dose
        e-/pixel/frame asked for; of a stack that was read its mean, in stored steps.
    bits
        Entropy of the values that are there, bits per pixel; None where they are no integers.
    poisson_bits
        Entropy of a Poisson variable of this dose; None for a stack that was read.
    """

    stack: NDArray[Any]
    dose: float
    bits: float | None
    poisson_bits: float | None

    @classmethod
    def poisson(cls, dose: float, shape: tuple[int, ...], seed: int) -> Counts:
        """Draw Poisson counts: int8 as the paper's, or uint16 where they go beyond 127."""
        stack = poisson_counts(dose, shape, seed)
        return cls(stack, dose, entropy(stack), poisson_entropy(dose))

    @classmethod
    def of_file(cls, path: Path) -> Counts:
        """Read a stack as it is stored.

        Raises
        ------
        FormatError, OSError
            As `mrcz_dask.read`.
        """
        stack = read(path, scaled=False)
        mean = sum(float(frame.real.mean(dtype=np.float64)) for frame in stack) / len(stack)
        return cls(stack, mean, entropy(stack), None)

    def kept_in(self, path: Path) -> Counts:
        """Return the same with the stack in a file (.npy), so that many need not be in memory at once."""
        np.save(path, self.stack)
        return replace(self, stack=np.load(path, mmap_mode="r"))

    def limit(self, bits: float | None) -> float | None:
        """Return `bits` per pixel as bytes of the whole stack."""
        return None if bits is None else bits * self.stack.size / 8


def poisson_counts(dose: float, shape: tuple[int, ...], seed: int) -> NDArray[Any]:
    """Return Poisson counts (n, y, x), int8 where no count is above 127, else uint16."""
    draws = np.random.default_rng(seed)
    stack = np.empty(shape, np.uint16)
    for frame in stack:
        frame[:] = draws.poisson(dose, frame.shape)
    return stack.astype(np.int8) if stack.max() <= 127 else stack


def entropy(stack: NDArray[Any]) -> float | None:
    """Return the entropy of the values of a stack (n, y, x), in bits per pixel.

    It is the limit for coders that take every pixel for itself: neighbors that are alike need less. None
    for other than integers, and for integers spread over more than 2^24 values.
    """
    if stack.dtype.kind not in "iu":
        return None
    low, high = int(stack.min()), int(stack.max())
    if high - low >= _WIDEST:
        return None
    found = np.zeros(high - low + 1, np.int64)
    for frame in stack:
        found += np.bincount((frame.astype(np.int64) - low).ravel(), minlength=found.size)
    return shannon(found)


def shannon(occurrences: NDArray[np.int64]) -> float:
    """Return the entropy in bits of a histogram."""
    share = occurrences[occurrences > 0] / occurrences.sum()
    return float(abs((share * np.log2(share)).sum()))


def poisson_entropy(dose: float) -> float:
    """Return the entropy of a Poisson variable of mean `dose`, in bits."""
    k = np.arange(int(dose + 40 * np.sqrt(dose) + 40))
    log_p = k * np.log(dose) - dose - gammaln(k + 1)
    return float(-(np.exp(log_p) * log_p).sum() / np.log(2))
