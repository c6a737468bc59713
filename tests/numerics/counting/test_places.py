"""Places within pixels become even."""

import numpy as np
import pytest

from mrcz_dask.numerics.counting.detector import Detector
from mrcz_dask.numerics.counting.events import EventFinder
from mrcz_dask.numerics.counting.params import CountingParams, RawParams
from mrcz_dask.numerics.counting.places import learn_places
from mrcz_dask.numerics.counting.simulate import RawStack


def quarters(events):
    within = np.concatenate([events.y % 1, events.x % 1])
    return np.bincount((within * 4).astype(int), minlength=4) / within.size


@pytest.mark.parametrize("position", ["centroid", "fitted"])
def test_quarters_of_pixels_get_as_many(position):
    stack = RawStack(RawParams(occupancy=0.02, seed=4))
    detector, params = Detector(stack.offset, stack.noise), CountingParams(position=position)
    learnt = learn_places(EventFinder(detector, params).places_within(stack.frame(0).values))
    frame = stack.frame(1).values
    plain = quarters(EventFinder(detector, params).find(frame))
    even = quarters(EventFinder(detector, params, learnt).find(frame))
    scatter = np.sqrt(0.25 * 0.75 / 9000)
    np.testing.assert_allclose(even, 0.25, atol=4 * scatter)
    if position == "centroid":
        assert np.abs(plain - 0.25).max() > 3 * scatter


def test_even_places_stay():
    places = (np.arange(4000) + 0.5) / 4000 - 0.5
    learnt = learn_places(places)
    np.testing.assert_allclose(learnt.apply(places), places, atol=2e-3)


def test_few_places_are_not_learnt_from():
    with pytest.raises(ValueError, match="at least"):
        learn_places(np.zeros(10))
