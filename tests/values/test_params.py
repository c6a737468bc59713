"""Parameters validate themselves, name every field that is wrong, and come back from dictionaries."""

import json
import math
from dataclasses import FrozenInstanceError, fields
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.values.choices import Rule
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.params import (
    ContrastParams,
    GainParams,
    InputParams,
    KomaParams,
    OutlierParams,
    Settings,
    WriteParams,
)

WRONG = {
    OutlierParams: {
        "rule": "best",
        "tail_fdr": 0,
        "max_sigma": 3,
        "lim": -1,
        "k": 0,
        "rho": 1.5,
        "radius": 0,
        "fit": "l2",
        "fallback": (1.0, 2.0),
        "illumination": "yes",
        "lines": "yes",
    },
    ContrastParams: {"blocks": 1, "floor": -0.1, "factor": 0.5, "history": 2},
    KomaParams: {
        "radius": 0,
        "method": "none",
        "form": "add",
        "long_window": 0,
        "long": "after",
        "min_modes": 1,
        "dose_spread": 0,
        "breaks": "some",
        "break_dose": 0,
        "break_after": 0,
        "groups": ("TS_01",),
        "smooth_limit": -0.01,
        "trust_reference": "yes",
        "always": "yes",
        "pool": -1,
    },
    InputParams: {"mode0": "both", "four_bit": "maybe", "eer_frames": 0, "eer_upsampling": 3},
    WriteParams: {"write": "all", "dtype": "int8", "step": 0.1, "codec": "", "format": "png"},
    GainParams: {"gain": "../x", "gamma": (1.0, 2.0), "subpixels": 3, "frame_time": 0.0},
}
EACH = [(cls, name, value) for cls, values in WRONG.items() for name, value in values.items()]
WHOLE = [
    (InputParams, "eer_frames"),
    (OutlierParams, "radius"),
    (ContrastParams, "blocks"),
    (ContrastParams, "history"),
    (KomaParams, "radius"),
    (KomaParams, "long_window"),
    (KomaParams, "min_modes"),
    (KomaParams, "pool"),
]


def test_every_field_has_a_wrong_value_here():
    assert all({f.name for f in fields(cls)} == set(values) for cls, values in WRONG.items())


@pytest.mark.parametrize(("cls", "name", "value"), EACH)
def test_a_wrong_value_is_named_with_its_field(cls, name, value):
    with pytest.raises(ParameterError, match=rf"\b{name} is ") as caught:
        cls(**{name: value})
    assert repr(value) in str(caught.value)


def test_a_pause_may_be_any():
    assert KomaParams(break_after=None).break_after is None


@pytest.mark.parametrize(("cls", "name"), sorted({(c, n) for c, n, _ in EACH}, key=str))
@pytest.mark.parametrize("value", [None, "twelve", math.nan, [3.0]], ids=repr)
def test_a_value_of_the_wrong_kind_is_named_too(cls, name, value):
    if value is None and name == "break_after":
        return
    if name in ("codec", "gain") and isinstance(value, str):
        return
    if name == "frame_time" and value is None:
        return
    with pytest.raises(ParameterError, match=rf"\b{name} is "):
        cls(**{name: value})


@pytest.mark.parametrize(("cls", "name"), WHOLE)
def test_numbers_of_things_are_whole(cls, name):
    with pytest.raises(ParameterError, match=f"{name} is 12.5"):
        cls(**{name: 12.5})


@pytest.mark.parametrize("cls", WRONG)
def test_all_wrong_fields_are_named_at_once(cls):
    with pytest.raises(ParameterError) as caught:
        cls(**WRONG[cls])
    assert all(f"{name} is " in str(caught.value) for name in WRONG[cls])


@pytest.mark.parametrize("step", [0, -0.5, 0.3, math.inf, math.nan])
def test_a_step_is_a_power_of_two(step):
    with pytest.raises(ParameterError, match="step is"):
        WriteParams(step=step)


def test_parameters_are_frozen():
    with pytest.raises(FrozenInstanceError):
        KomaParams().radius = 3


POSITIVE = st.floats(0.01, 1)
OUTLIERS = st.builds(
    OutlierParams,
    rule=st.sampled_from(get_args(Rule)),
    tail_fdr=POSITIVE,
    max_sigma=st.floats(4, 64),
    rho=POSITIVE,
    radius=st.integers(1, 64),
    fallback=st.tuples(st.floats(-9, -0.1), st.floats(0.1, 9)),
    illumination=st.booleans(),
)
KOMAS = st.builds(
    KomaParams,
    radius=st.integers(1, 100),
    method=st.sampled_from(["fit", "plain"]),
    form=st.sampled_from(["subtract", "subtract-raw", "divide"]),
    dose_spread=POSITIVE,
)
WRITES = st.builds(
    WriteParams,
    write=st.sampled_from(["normalized", "recompressed", "references"]),
    dtype=st.sampled_from(["int16", "float32", "float16"]),
    step=st.integers(-20, 20).map(lambda k: 2.0**k),
)
CONTRASTS = st.builds(ContrastParams, blocks=st.integers(2, 256), floor=POSITIVE)


@given(values=st.one_of(OUTLIERS, KOMAS, WRITES, CONTRASTS))
def test_parameters_come_back_from_json(values):
    assert type(values).from_dict(json.loads(json.dumps(values.to_dict()))) == values


@given(values=st.builds(Settings, outliers=OUTLIERS, contrast=CONTRASTS, koma=KOMAS, write=WRITES))
def test_settings_come_back_from_json(values):
    again = Settings.from_dict(json.loads(json.dumps(values.to_dict())))

    assert again == values
    assert hash(again) == hash(values)


def test_an_unknown_key_is_named_with_the_known_ones():
    with pytest.raises(ParameterError, match=r"unknown \['raduis'\].*'radius'"):
        KomaParams.from_dict({"raduis": 3})


def test_settings_name_what_is_unknown_or_missing():
    whole = Settings().to_dict()

    with pytest.raises(ParameterError, match=r"unknown \['kOma'\]"):
        Settings.from_dict(whole | {"kOma": {}})
    with pytest.raises(ParameterError, match=r"missing \['koma'\]"):
        Settings.from_dict({k: v for k, v in whole.items() if k != "koma"})
