import threading

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.live.frames import Frame
from mrcz_dask.live.processors.runner import Mailbox


def _frame(k: int) -> Frame:
    return Frame(k, 0.0, np.zeros((1, 1)))


def _taken(box: Mailbox) -> int | None:
    found = box.take(0)
    return None if found is None else found.number


@given(st.lists(st.booleans(), max_size=40))
def test_the_newest_is_taken_and_every_other_is_counted(steps: list[bool]) -> None:
    box, put, taken = Mailbox(), 0, []
    for is_put in steps:
        if is_put:
            box.put(_frame(put))
            put += 1
        else:
            number = _taken(box)
            assert number in (None, put - 1)
            taken += [] if number is None else [number]
    left = _taken(box)
    taken += [] if left is None else [left]
    assert taken == sorted(set(taken))
    assert len(taken) + box.skipped == put
    assert not put or taken[-1] == put - 1


def test_every_frame_is_taken_in_order_and_the_source_waits() -> None:
    box, taken = Mailbox(2), []
    source = threading.Thread(target=lambda: [box.put(_frame(k)) for k in range(50)] and box.end())
    source.start()
    while not box.over:
        found = box.take(1)
        taken += [] if found is None else [found.number]
    source.join()
    assert taken == list(range(50)) and box.skipped == 0


def test_frames_of_a_pause_are_skipped_and_the_end_is_seen() -> None:
    box = Mailbox()
    box.put(_frame(0))
    box.pause(True)
    assert _taken(box) is None
    box.put(_frame(1))
    box.put(_frame(2))
    assert box.skipped == 3
    box.pause(False)
    assert _taken(box) is None
    box.put(_frame(3))
    box.end()
    assert not box.over and _taken(box) == 3 and box.over


def test_a_source_that_waits_goes_on_at_the_end() -> None:
    box = Mailbox(1)
    box.put(_frame(0))
    source = threading.Thread(target=lambda: box.put(_frame(1)))
    source.start()
    box.end()
    source.join(10)
    assert not source.is_alive()
