"""No text makes a terminal do anything, and ordinary letters stay as they are."""

import json

from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.values.texts import json_text, visible

OBEYED = [*map(chr, range(32)), *map(chr, range(127, 160)), *"\u2028\u2029\u061c\u200e\u200f\ufeff\u00ad"]
BIDI = [*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))]


@given(st.text())
def test_a_text_takes_one_line_and_escapes_nothing_twice(text: str) -> None:
    shown = visible(text)
    assert not set(shown) & {*OBEYED, *BIDI} and visible(shown) == shown
    assert len(shown.splitlines()) <= 1
    shown.encode()


def test_letters_of_all_scripts_stay() -> None:
    for text in ("Größe µ 1 × 2.mrc", "冷凍 電子.mrcz", "می‌خواهم", "קובץ.tif", "👩‍🔬", "a\u00a0b", r"C:\new"):
        assert visible(text) == text
    assert visible("a\nb\x1b[31m\x9b\u202e") == r"a\nb\u001b[31m\u009b\u202e"


@given(st.dictionaries(st.text(), st.text()))
def test_json_keeps_its_content(values: dict[str, str]) -> None:
    for indent in (None, 2):
        text = json_text(values, indent)
        assert json.loads(text) == values
        assert not set(text) & {*OBEYED, *BIDI} - {"\n"}
