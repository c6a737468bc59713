import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.counting.packing import CHARGE_STEPS, EventArrays, joined, pack, pixels, quantized, unpack
from mrcz_dask.values.errors import DamagedError

SHAPE = (40, 56)


def frames(seed: int, counts: list[int]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [
        (
            rng.uniform(-0.3, 40.3, n).astype(np.float32),
            rng.uniform(-0.3, 56.3, n).astype(np.float32),
            rng.normal(40, 8, n).astype(np.float32),
        )
        for n in counts
    ]


def same(a: EventArrays, b: EventArrays) -> bool:
    return all(np.array_equal(getattr(a, k), getattr(b, k)) for k in ("counts", "y", "x", "charge"))


@given(st.integers(0, 1000), st.lists(st.integers(0, 300), min_size=1, max_size=6))
def test_what_is_packed_comes_back(seed: int, counts: list[int]) -> None:
    found = quantized(frames(seed, counts), SHAPE, 4.0)
    again = unpack(pack(found))
    assert same(found, again) and found.digest() == again.digest()
    assert [again.y.dtype, again.charge.dtype] == [np.int32, np.uint16]


@given(st.integers(0, 1000), st.sampled_from([1, 2, 4]))
def test_no_counted_image_knows_the_steps(seed: int, upsampling: int) -> None:
    made = frames(seed, [200])
    found = quantized(made, SHAPE, 4.0)
    for steps, floats, edge in ((found.y, made[0][0], 40), (found.x, made[0][1], 56)):
        expected = np.clip(np.floor(floats.astype(np.float64) * upsampling), 0, edge * upsampling - 1)
        assert np.array_equal(np.floor(pixels(steps) * upsampling), expected)


def test_charges_are_in_steps_of_the_noise_and_stay_at_the_largest() -> None:
    one = [(np.array([1.0]), np.array([1.0]), np.array([charge])) for charge in (8.0, -3.0, 1e9)]
    assert quantized(one, SHAPE, 4.0).charge.tolist() == [2 * CHARGE_STEPS, 0, 65535]


def test_parts_in_a_row_are_the_whole() -> None:
    made = frames(3, [5, 0, 7])
    parts = [quantized([one], SHAPE, 4.0) for one in made]
    assert same(joined(parts), quantized(made, SHAPE, 4.0))


def test_bytes_that_are_cut_are_damage() -> None:
    data = pack(quantized(frames(1, [50]), SHAPE, 4.0))
    for cut in (data[:10], data[:-1]):
        with pytest.raises(DamagedError, match="events"):
            unpack(cut)
