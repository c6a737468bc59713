import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.codecs import metadata
from benchmarks.codecs.metadata import (
    CODECS,
    ENCODINGS,
    Serializer,
    encodings,
    measure_metadata,
    nested_metadata,
)
from benchmarks.codecs.params import BenchParams
from mrcz_dask.values.errors import DamagedError
from mrcz_dask.values.messages import silent

EACH = [Serializer(encoding, codec) for encoding in encodings() for codec in CODECS]
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("one", EACH, ids=[one.name for one in EACH])
@settings(max_examples=30)
@given(values=plain)
def test_round_trip(one: Serializer, values: Any) -> None:
    data = one.encode(values)
    assert one.decode(data) == values
    assert one.unpacked(data) == one.encoding.dumps(values)


@pytest.mark.parametrize("nbytes", [20_000, 200_000])
def test_metadata_have_about_the_size_that_was_asked_for(nbytes: int) -> None:
    assert len(ENCODINGS[0].dumps(nested_metadata(nbytes, 0))) == pytest.approx(nbytes, rel=0.3)


def test_metadata_are_the_same_from_the_same_seed() -> None:
    assert nested_metadata(20_000, 1) == nested_metadata(20_000, 1) != nested_metadata(20_000, 2)


def test_metadata_are_nested_plain_values_with_gaps() -> None:
    values = nested_metadata(10_000, 0)
    assert json.loads(json.dumps(values)) == values
    first = values["stacks"][0]
    assert first["flags"]["carbon"] is None
    assert len(first["frames"][3]["shift_px"]) == 2


def test_rows() -> None:
    params = BenchParams(threads=(1,), metadata_bytes=40_000, repeats=2)
    rows = measure_metadata(params, silent)
    assert [(row.encoding, row.compression) for row in rows] == [
        (encoding.name, codec) for encoding in encodings() for codec in CODECS
    ]
    for row in rows:
        assert (row.size == row.bare) == (row.compression == "none")
        assert 0 < row.limit < row.bare


def test_values_that_change_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    lossy = metadata.Encoding("lossy", ENCODINGS[0].dumps, lambda data: {})
    monkeypatch.setattr(metadata, "encodings", lambda: (lossy,))
    with pytest.raises(DamagedError, match="lossy, none"):
        measure_metadata(BenchParams(threads=(1,), metadata_bytes=2000, repeats=1), silent)
