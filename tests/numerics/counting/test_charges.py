import numpy as np
import pytest

from mrcz_dask.numerics.counting.coincidence import simulated, true_spectrum
from mrcz_dask.numerics.counting.detector import Detector
from mrcz_dask.numerics.counting.events import EventFinder
from mrcz_dask.numerics.counting.noise import charge_spectrum
from mrcz_dask.numerics.counting.params import CountingParams

NOISE = 1.75


@pytest.mark.parametrize(("occupancy", "charge", "width"), [(0.01, 10.0, 0.12), (0.05, 12.0, 0.2)])
def test_what_is_missing_and_what_is_merged_moves_the_charge_no_more(
    occupancy: float, charge: float, width: float
) -> None:
    stack = simulated(CountingParams(charge=charge, width=width), 4.0, 11, occupancy)
    detector = Detector(stack.offset, stack.noise)
    look = CountingParams(charge=10.5, width=0.15)
    finder = EventFinder(detector, look)
    charges = np.concatenate([finder.find(stack.frame(k).values).charge for k in range(stack.params.frames)])
    found = charge_spectrum(charges / detector.unit, NOISE)
    counted = charges.size / (stack.params.frames * stack.frame(0).values.size)
    made = true_spectrum(found, look, counted, NOISE, 4.0)
    assert abs(made.charge / charge - 1) < 0.02 and abs(made.width / width - 1) < 0.12
    before = abs(found.charge / charge - 1) + abs(found.width / width - 1)
    assert abs(made.charge / charge - 1) + abs(made.width / width - 1) < before / 2
