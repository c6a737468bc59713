"""Connected components against SciPy's."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from mrcz_dask.numerics.counting.detector import Detector
from mrcz_dask.numerics.counting.events import EventFinder
from mrcz_dask.numerics.counting.params import CountingParams, RawParams
from mrcz_dask.numerics.counting.simulate import RawStack

COUNTING = CountingParams(clusters="components", position="centroid", sigma=4.0, xray=1e6)


@given(seed=st.integers(0, 2**32), occupancy=st.sampled_from([0.005, 0.02, 0.05]))
@settings(max_examples=20, deadline=None)
def test_clusters_are_those_of_scipy(seed, occupancy):
    stack = RawStack(RawParams(shape=(48, 56), occupancy=occupancy, seed=seed, dead=0.0))
    detector, frame = Detector(stack.offset, stack.noise), stack.frame(0).values
    z = frame.astype(np.float32) * detector.inverse - detector.offset
    labels, n = ndimage.label(z > 4, np.ones((3, 3)))
    found = EventFinder(detector, COUNTING).find(frame)
    assert found.y.size == n
    at = range(1, n + 1)
    centers = np.array(ndimage.center_of_mass(z, labels, at)).reshape(-1, 2) + 0.5
    order = np.lexsort(centers.T)
    mine = np.c_[found.y, found.x]
    np.testing.assert_allclose(mine[np.lexsort(mine.T)], centers[order], atol=1e-4)
    total = ndimage.sum_labels(z, labels, at) * detector.unit
    np.testing.assert_allclose(np.sort(found.charge), np.sort(total), rtol=1e-4)


def test_the_largest_pixel_and_xrays():
    frame = np.full((32, 32), 100, np.uint16)
    frame[5, 5:8], frame[20, 20] = (130, 150, 120), 3000
    own = CountingParams(clusters="components", position="maximum")
    found = EventFinder(Detector(np.full((32, 32), 100.0), 4.0), own).find(frame)
    np.testing.assert_array_equal(np.c_[found.y, found.x], [[5.5, 6.5]])
