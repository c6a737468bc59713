import numpy as np

from mrcz_dask.numerics.simulate.streams import Effect, EvolvingState, stream


def test_streams_are_repeatable() -> None:
    first, again = (stream(7, Effect.ETCH, 3, 4).integers(2**62, size=5) for _ in range(2))
    assert np.array_equal(first, again)


def test_a_stream_is_philox_of_its_key_and_counter() -> None:
    bits = np.random.Philox(key=np.array([5, 13], np.uint64), counter=np.array([0, 0, 2, 1], np.uint64))
    assert stream(5, Effect.COUNTS, 1, 2).integers(2**62) == np.random.Generator(bits).integers(2**62)


def test_seed_purpose_index_and_part_make_different_streams() -> None:
    keys = [(s, p, i, f) for s in (0, 1) for p in Effect for i in (0, 1) for f in (0, 1)]
    assert len({int(stream(*key).integers(2**62)) for key in keys}) == len(keys)


def test_replay_gives_the_same_in_any_order() -> None:
    replay = EvolvingState[int](lambda state, i: 3 * state + i, 1)
    forward = [replay.at(i) for i in range(6)]
    assert [replay.at(i) for i in (5, 0, 3, 3, 1)] == [forward[i] for i in (5, 0, 3, 3, 1)]
