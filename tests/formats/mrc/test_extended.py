import json

import pytest

from mrcz_dask.formats.mrc.extended import decode, encode
from mrcz_dask.values.errors import FormatError


def test_meta_and_scale_come_back_apart() -> None:
    data = encode({"voltage": 300, "who": "é"}, {"scale": 0.5, "offset": 1.0, "dtype": "<i2"})
    assert decode("json", data) == ({"voltage": 300, "who": "é"}, {"scale": 0.5, "offset": 1.0})
    assert json.loads(data)["voltage"] == 300


def test_nothing_to_say_takes_no_room() -> None:
    assert encode(None, {"dtype": "<i2", "unit": "counts"}) == b"" == encode({}, {})
    assert decode("json", b"") == ({}, {}) == decode("FEI1", b"\0\1")


@pytest.mark.parametrize("data", [b"{", b"[1]", b"\xff", b"[" * 100000])
def test_what_is_no_json_object(data: bytes) -> None:
    with pytest.raises(FormatError, match="extended header"):
        decode("json", data)
