"""Metadata from files and messages: values, or one error of this package with place, reason and remedy."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcz_dask.formats.metadata import (
    group_attributes,
    open_group,
    open_node,
    parse_json,
    parse_msgpack,
    parse_toml,
    parse_value,
    read_json,
    sealed_values,
    unsealed_values,
)
from mrcz_dask.values.errors import DamagedError, ParameterError

PARSERS = {"json": parse_json, "msgpack": parse_msgpack, "toml": parse_toml}
DAMAGED = {
    "json": [
        b"",
        b"[]",
        b"3",
        b"{",
        b"\xff",
        b'{"a":' * 5000,
        b"[" * 100_000,
        b'{"a": 1' + b"0" * 5000 + b"}",
    ],
    "msgpack": [b"", b"\x01", b"\x81\x01\x02", b"\xc1", b"\x80\x80", b"\x81\xa1\xff\x01", b"\x91" * 5000],
    "toml": [b"a", b"a = ", b"\xff = 3", b"a = " + b"[" * 5000, b"a = 1" + b"0" * 5000],
}
VALUES = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**62), 2**62)
        | st.floats(allow_nan=False)
        | st.text("aä/\n"),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)


@pytest.mark.parametrize(("kind", "data"), [(kind, data) for kind, many in DAMAGED.items() for data in many])
def test_damage_is_named_with_place_and_remedy(kind: str, data: bytes) -> None:
    with pytest.raises(DamagedError, match=r"^here: expected .*; do this$"):
        PARSERS[kind](data, "here", "do this")
    with pytest.raises(ParameterError, match=r"^here: expected .*; do this$"):
        PARSERS[kind](data, "here", "do this", ParameterError)


@pytest.mark.parametrize("kind", PARSERS)
@given(data=st.binary(max_size=100) | st.text(max_size=100).map(str.encode))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_values_or_damaged(kind: str, data: bytes) -> None:
    try:
        assert isinstance(PARSERS[kind](data, "here"), dict)
    except DamagedError:
        return


@given(VALUES)
@settings(max_examples=100, deadline=None)
def test_sealed_values_come_back_and_no_changed_byte_goes_unseen(values: dict[str, Any]) -> None:
    text = json.dumps(sealed_values(values))
    assert unsealed_values(json.loads(text), "here") == values == unsealed_values(values, "here")
    for k in range(0, len(text), max(1, len(text) // 40)):
        for bit in (1, 4, 64):
            changed = text[:k] + chr(ord(text[k]) ^ bit) + text[k + 1 :]
            try:
                assert unsealed_values(parse_json(changed, "here"), "here") == values
            except DamagedError:
                continue


def every_bit(data: bytes) -> Iterator[bytes]:
    for bit in range(8 * len(data)):
        copy = bytearray(data)
        copy[bit // 8] ^= 1 << bit % 8
        yield bytes(copy)


def test_every_bit_of_sealed_json_counts() -> None:
    values = {"a": 1, "xxh": "0123456789abcdef", "b": [1.5, None]}
    for changed in every_bit(json.dumps(sealed_values(values)).encode()):
        try:
            assert unsealed_values(parse_json(changed, "here"), "here") == values
        except DamagedError:
            continue


def test_every_bit_of_sealed_attributes_counts(tmp_path: Path) -> None:
    """No bit is left out: an old group has no checksum, and none comes from a changed bit."""
    zarr.create_group(tmp_path, attributes=sealed_values({"a": 1}))
    file = tmp_path / "zarr.json"
    for changed in every_bit(file.read_bytes()):
        file.write_bytes(changed)
        try:
            assert group_attributes(tmp_path) == {"a": 1}
        except DamagedError:
            continue


def test_values_round_trip_through_messagepack() -> None:
    assert parse_msgpack(msgpack.packb({"a": [1, 2.5, None]}), "here") == {"a": [1, 2.5, None]}


def test_files_that_are_gone_or_no_json(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "no.json")
    (tmp_path / "some.json").write_text("[1]")
    with pytest.raises(DamagedError, match=r"some.json: expected a JSON object"):
        read_json(tmp_path / "some.json")


def _nested(text: str) -> str:
    return text.replace("{", '{"a":' * 3000 + "1" + "}" * 3000, 1)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace("group", "grouq"),
        lambda text: text.replace('"zarr_format": 3', '"zarr_format": 9'),
        lambda text: text.replace('"attributes": {', '"attributes": 3, "b": {'),
        lambda text: text.replace('"attributes"', '"attribute3"'),
        _nested,
    ],
)
def test_a_damaged_zarr_group(tmp_path: Path, damage: Callable[[str], str]) -> None:
    path = tmp_path / "a.zarr"
    zarr.create_group(path, attributes={"a": 1})
    assert group_attributes(path) == {"a": 1} == dict(open_group(path).attrs)
    before = (path / "zarr.json").read_text()
    assert damage(before) != before
    (path / "zarr.json").write_text(damage(before))
    with pytest.raises(DamagedError, match=r"a.zarr: (expected|its attributes) .*; do this$"):
        group_attributes(path, "do this")


def test_a_name_that_stands_twice_is_damage() -> None:
    for text in ('{"a": 1, "a": 2}', '{"b": [{"a": 1, "a": 1}]}'):
        with pytest.raises(DamagedError, match="'a' stands twice"):
            parse_json(text, "x")
        with pytest.raises(DamagedError, match="'a' stands twice"):
            parse_value(text, "x")


def test_a_zarr_group_in_which_a_name_stands_twice_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    zarr.create_group(path, attributes=sealed_values({"a": 1}))
    file = path / "zarr.json"
    file.write_text(file.read_text().replace('"a": 1', '"a": 2, "a": 1'))
    for read in (group_attributes, open_node):
        with pytest.raises(DamagedError, match="'a' stands twice"):
            read(path)
