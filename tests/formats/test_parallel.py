import threading
from functools import partial

import pytest

from mrcz_dask.formats.parallel import Pipeline, available_cores


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_order_and_few_wait(threads: int) -> None:
    got: list[int] = []
    pipeline = Pipeline[int](threads, got.append)
    for i in range(50):
        pipeline.submit(partial(lambda i: i * i, i))
        assert len(got) >= i + 1 - 2 * threads
    pipeline.drain()
    pipeline.close()
    assert got == [i * i for i in range(50)]


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_reaches_the_caller(threads: int) -> None:
    pipeline = Pipeline[float](threads, lambda _: None)
    with pytest.raises(ZeroDivisionError):
        pipeline.submit(lambda: 1 / 0)
        pipeline.drain()
    pipeline.close()


def test_one_thread_is_the_callers() -> None:
    seen: list[threading.Thread] = []
    pipeline = Pipeline[threading.Thread](1, seen.append)
    pipeline.submit(threading.current_thread)
    pipeline.close()
    assert seen == [threading.current_thread()]
    assert available_cores() >= 1
