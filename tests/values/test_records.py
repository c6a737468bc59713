"""Records come back from JSON as they were."""

import json
from dataclasses import replace
from typing import Any

import pytest

from mrcz_dask.values.records import SMOOTH_KEPT, Failure, StackRecord, StackResult, Summed

RECORD = StackRecord(
    name="a/b.mrcz",
    stem="b",
    shape=(20, 480, 464),
    dtype="uint8",
    size=4321,
    mtime_ns=10**18 + 1,
    digest="ab" * 16,
    chunks="cd" * 16,
    exponent=0,
    low=0.0,
    high=9.0,
    average=0.25,
    rms=0.5,
    mean=30.0,
    mean_even=None,
    status="sparse",
    outliers={
        "n_hot": 3,
        "n_dead": 1,
        "n_neighbourly": 0,
        "t_dark": -5.5,
        "t_hot": 4.5,
        "mu": 30.0,
        "sigma": 5.5,
        "misfit": 0.1,
        "caveats": ["one", "two"],
    },
    outliers_even=None,
    grid_means=((1.0, 2.0), (3.0, 4.0)),
    grid_pixels=((4, 4), (4, 3)),
    caveats=("few counts",),
    gamma=1.0,
    sketch="AAECAw==",
    made_with="cd" * 16,
)
RESULT = StackResult(
    "a/b.mrcz",
    "b.mrcz",
    10,
    9,
    3,
    1,
    True,
    None,
    {"raw": 0.1, "filtered": None},
    ("few counts",),
    "ef" * 16,
    5,
    "ab" * 16,
)


def through_json(record):
    return type(record).from_dict(json.loads(json.dumps(record.to_dict())))


def test_records_are_the_same_after_json():
    for record in (RECORD, RESULT, Summed.of(RECORD, kept=True), Failure("a.mrcz", "sums", "cut off")):
        assert through_json(record) == record


def test_nested_tuples_come_back_as_tuples():
    assert through_json(RECORD).grid_means == ((1.0, 2.0), (3.0, 4.0))
    assert through_json(RECORD).outliers["caveats"] == ["one", "two"]


def test_fields_of_later_versions_are_ignored():
    assert Failure.from_dict({"name": "a", "phase": "b", "reason": "c", "later": 1}) == Failure("a", "b", "c")


def test_dose_is_per_frame():
    assert RECORD.dose == 1.5


def test_thresholds_that_are_off_are_none():
    for off in ("inf", float("inf"), None):
        record = StackRecord.from_dict(RECORD.to_dict() | {"outliers": RECORD.outliers | {"t_hot": off}})
        assert Summed.of(record, kept=False).t_hot is None


def test_only_a_mask_that_was_found_is_sound():
    assert RECORD.sound
    assert not StackRecord.from_dict(RECORD.to_dict() | {"status": "degenerate"}).sound


@pytest.mark.parametrize(
    ("more", "remark"),
    [
        ({}, ""),
        ({"caveats": ("holds the same data as s3.mrc: ...",), "usable": False, "score": None}, "copy"),
        ({"caveats": ("outlier mask hot: no pattern was taken off",), "usable": False}, "pattern kept"),
        ({"caveats": (f"{SMOOTH_KEPT}: its references hold 7 %",)}, "smooth part kept"),
        ({"usable": False, "score": 3.0}, "high contrast"),
        ({"usable": False, "score": None}, "not a neighbor"),
        ({"kept": True}, "kept"),
        ({"caveats": ("quieter than counting allows: ...",), "kept": True}, "too quiet"),
    ],
)
def test_what_sets_a_stack_apart_is_said_in_two_words(more: dict[str, Any], remark: str) -> None:
    ordinary: dict[str, Any] = {"usable": True, "kept": False, "caveats": ()}
    assert replace(RESULT, **(ordinary | more)).remark == remark
