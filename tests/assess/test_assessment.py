"""What scores come to."""

import numpy as np
import pytest

from mrcz_dask.assess.assessment import over_dose, over_radius, points
from mrcz_dask.assess.params import AssessParams
from mrcz_dask.assess.results import VARIANTS, StackCurve, StackPairs
from mrcz_dask.values.errors import ParameterError

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


def test_a_rise_after_the_fall_is_said() -> None:
    falling = over_radius(curves(lambda a: 0.01 / a), "plain+filter")
    turning = over_radius(curves(lambda a: 0.01 / a + 1e-4 * a), "plain+filter")

    assert falling.fits["plain"].words == ()
    assert "beyond 8 R rises again" in turning.fits["plain"].words[-1]
    assert falling.choice.radius == 16 and turning.choice.radius == 8
    assert falling.law == (1 / 120,) * 5


def test_stacks_that_lack_a_score_are_left_out() -> None:
    found = curves(lambda a: 0.01 / a)
    lacking = {variant: [[None] * 4] * 5 for variant in VARIANTS}
    found[2] = StackCurve("s2", RADII, (120,) * 5, {"raw": [0.05, 1e-3], "filter": [None, None]}, lacking)

    assert over_radius(found, "fit+filter").stacks == ("s0", "s1", "s3", "s4", "s5")
    assert over_radius(found[2:3], "fit+filter") is None


def test_pairs_without_a_number_are_left_out() -> None:
    doses = (1.0, 2.0, 4.0, 8.0, 16.0)
    pairs = [
        StackPairs(f"s{k}", tuple("abcde"), doses, (None,) * 5, (None, *(0.1 / d for d in doses[1:])))
        for k in range(4)
    ]

    found = over_dose(pairs)

    assert set(found.fits) == {"filtered"} and len(list(points(pairs, "filtered"))) == 16
    assert found.fits["filtered"].curve.b < -0.9
    assert over_dose([]) is None


@pytest.mark.parametrize("name", ["parts", "methods"])
@pytest.mark.parametrize(
    "values", [(), ("stacks", "stacks"), ("fit", "fit"), ("fit", "best"), ("stacks", "a")]
)
def test_parts_and_methods_that_there_are_not(name: str, values: tuple[str, ...]) -> None:
    with pytest.raises(ParameterError, match=f"{name} are .*; expected some of .*, each once"):
        AssessParams(**{name: values})


@pytest.mark.parametrize("name", ["sample", "anchors"])
def test_no_stack_at_all_to_score(name: str) -> None:
    with pytest.raises(ParameterError, match=f"{name} is 0"):
        AssessParams(**{name: 0})
