"""Events are plain frozen values."""

import inspect
from dataclasses import FrozenInstanceError

import pytest

from mrcz_dask.values import events


def test_every_event_is_one():
    classes = [c for _, c in inspect.getmembers(events, inspect.isclass) if c.__module__ == events.__name__]

    assert len(classes) > 5
    assert all(issubclass(c, events.Event) for c in classes)


def test_events_are_equal_by_value_and_frozen():
    done = events.StackDone("sums", "a.mrcz", 10)

    assert done == events.StackDone("sums", "a.mrcz", 10)
    with pytest.raises(FrozenInstanceError):
        done.bytes = 11


def test_silence():
    assert events.silent(events.Warned("x")) is None
