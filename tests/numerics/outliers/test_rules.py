from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special

from mrcz_dask.numerics.outliers.rules import fit_tail, least_absolute_line
from mrcz_dask.values.params import OutlierParams

TOTAL = 10**8
Z = np.arange(-8, 8, 0.1)
PAPER, FDR = OutlierParams(rule="paper"), OutlierParams()


def beyond(share: float) -> np.ndarray:
    """Pixels above each edge: a clean normal, and a share that is hotter than all edges."""
    return np.rint(TOTAL * (special.ndtr(-Z) * (1 - share) + share)).astype(np.int64)


@pytest.mark.parametrize("share", [5e-5, 5.8e-4, 5e-3])
def test_the_papers_threshold_is_where_the_probit_saturates(share: float) -> None:
    tail = fit_tail(Z, beyond(share), TOTAL, PAPER)
    assert tail.threshold == pytest.approx(-special.ndtri(share), abs=0.15)
    assert not tail.fallback and tail.line is not None and tail.line[0] == pytest.approx(1, abs=0.1)


def test_one_side_mirrors_the_other() -> None:
    hot = fit_tail(Z, beyond(1e-3), TOTAL, PAPER)
    dark = fit_tail(Z, beyond(1e-3), TOTAL, PAPER, dark=True)
    assert dark == hot


def test_fdr_goes_out_to_where_good_pixels_are_a_tenth() -> None:
    t = fit_tail(Z, beyond(5e-3), TOTAL, PAPER).threshold
    moved = fit_tail(Z, beyond(5e-3), TOTAL, FDR).threshold
    exact = -special.ndtri(0.1 * special.ndtr(-t)) / FDR.rho
    assert (
        exact <= moved + 1e-9 <= exact + 0.1 / FDR.rho
    )  # where the share of good ones is a tenth at an edge


def test_fdr_counts_the_values_that_are_masked() -> None:
    """Of values in steps of a sigma a threshold just below one of them would mask many good pixels."""
    edges = np.arange(-5.5, 8.5)
    beyond_edges = np.rint(TOTAL * special.ndtr(-edges) + 1e-4 * TOTAL * (edges < 6.5)).astype(np.int64)
    threshold = fit_tail(edges, beyond_edges, TOTAL, FDR).threshold
    masked = edges[:-1][(edges[:-1] + edges[1:]) / 2 > threshold * FDR.rho][0]
    k = int(np.flatnonzero(edges == masked)[0])
    assert TOTAL * special.ndtr(-masked) <= 0.1 * beyond_edges[k] < TOTAL * special.ndtr(1 - masked)


def test_fdr_keeps_its_distance() -> None:
    shares = beyond(0.08)
    assert fit_tail(Z, shares, TOTAL, OutlierParams(tail_fdr=1.0)).threshold == 3.25
    assert fit_tail(Z, shares, TOTAL, OutlierParams(tail_fdr=1.0), dark=True).threshold == 4.0


@pytest.mark.parametrize("params", [PAPER, FDR])
def test_no_tail_masks_nothing(params: OutlierParams) -> None:
    assert fit_tail(Z, beyond(0), TOTAL, params).threshold == math.inf
    assert fit_tail(Z, np.zeros(Z.size, np.int64), TOTAL, params).threshold == math.inf


def test_a_tail_that_cannot_be_fitted_takes_the_fallback_only_if_it_is_fat() -> None:
    wide = np.rint(TOTAL * special.ndtr(-Z / 1.8)).astype(np.int64)
    tail = fit_tail(Z, wide, TOTAL, PAPER)
    assert tail.fallback and tail.threshold == 3.25
    few = np.where(Z < 5.2, np.rint(TOTAL * special.ndtr(-Z)), 0).astype(np.int64)
    few[np.flatnonzero(Z < 5.2)[-1] + 1] = 10
    assert fit_tail(Z, few, TOTAL, PAPER).threshold == math.inf


def test_the_line_of_least_absolute_deviations_does_not_mind_strays() -> None:
    x = np.arange(20.0)
    y = 0.7 * x - 2
    y[[3, 11, 17]] += 100, -50, 30
    assert least_absolute_line(x, y) == pytest.approx((0.7, -2))
    assert least_absolute_line(np.zeros(3), np.arange(3.0)) is None
