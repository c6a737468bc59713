"""Messages are plain frozen values."""

import inspect
from dataclasses import FrozenInstanceError

import pytest

from mrcz_dask.values import messages


def test_every_class_is_a_message():
    classes = [
        c for _, c in inspect.getmembers(messages, inspect.isclass) if c.__module__ == messages.__name__
    ]

    assert len(classes) > 5
    assert all(issubclass(c, messages.Message) for c in classes)


def test_messages_are_equal_by_value_and_frozen():
    done = messages.StackDone("sums", "a.mrcz", 10)

    assert done == messages.StackDone("sums", "a.mrcz", 10)
    with pytest.raises(FrozenInstanceError):
        done.bytes = 11


def test_silence():
    assert messages.silent(messages.Warned("x")) is None
