"""What scores come to."""

from pathlib import Path

import numpy as np

from mrcz_dask.noise.plan import choose, noise_plan
from mrcz_dask.noise.report import make_report
from mrcz_dask.noise.results import VARIANTS, NoiseParams, StackCurve, StackPairs
from mrcz_dask.values.params import KomaParams, Settings

RADII = (1, 2, 4, 8, 16)


def curves(shape, stacks: int = 6) -> list[StackCurve]:
    """Stacks whose R is 0.01 and its own without KOMA, and `shape` of the radius more with it."""
    rng = np.random.default_rng(0)
    made = []
    for k in range(stacks):
        own = float(rng.normal(0, 1e-3))
        scores = [[0.01 + own + shape(a) + float(rng.normal(0, 1e-6)), 1e-4, shape(a), 1e-5] for a in RADII]
        alone = {"raw": [0.05, 1e-3], "filter": [0.01 + own, 1e-4]}
        made.append(StackCurve(f"s{k}", RADII, (120,) * 5, alone, dict.fromkeys(VARIANTS, scores)))
    return made


def report(night: Path, found: list[StackCurve] | None, pairs: list[StackPairs] | None = None):
    plan = noise_plan(choose([night]), None, Settings(koma=KomaParams(method="plain")))
    return make_report(plan, NoiseParams(), [], None, pairs, found, [])


def test_a_rise_after_the_fall_is_said(night: Path) -> None:
    falling = report(night, curves(lambda a: 0.01 / a)).over_radius
    turning = report(night, curves(lambda a: 0.01 / a + 1e-4 * a)).over_radius

    assert falling.fits["plain"].words == ()
    assert "beyond 8 R rises again" in turning.fits["plain"].words[-1]
    assert falling.choice.radius == 16 and turning.choice.radius == 8
    assert falling.law == (1 / 120,) * 5


def test_stacks_that_lack_a_score_are_left_out(night: Path) -> None:
    found = curves(lambda a: 0.01 / a)
    lacking = {variant: [[None] * 4] * 5 for variant in VARIANTS}
    found[2] = StackCurve("s2", RADII, (120,) * 5, {"raw": [0.05, 1e-3], "filter": [None, None]}, lacking)

    some = report(night, found)
    none = report(night, found[2:3])

    assert some.over_radius.stacks == ("s0", "s1", "s3", "s4", "s5")
    assert none.over_radius is None and "against the radius" in none.words[0]


def test_pairs_without_a_number_are_left_out(night: Path) -> None:
    doses = (1.0, 2.0, 4.0, 8.0, 16.0)
    pairs = [
        StackPairs(f"s{k}", tuple("abcde"), doses, (None,) * 5, (None, *(0.1 / d for d in doses[1:])))
        for k in range(4)
    ]

    found = report(night, None, pairs).over_dose

    assert set(found.fits) == {"filtered"} and len(list(found.points("filtered"))) == 16
    assert found.fits["filtered"].curve.b < -0.9
    assert report(night, None, []).words == ("sums over dose: fewer than two stacks that may be compared",)
