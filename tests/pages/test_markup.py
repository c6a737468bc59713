"""Whatever is no HTML already is escaped, wherever it is put."""

import json
from html.parser import HTMLParser
from io import BytesIO
from urllib.request import urlopen

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mrcz_dask.pages.template import Markup, element, embedded, joined, png, table

BAD = "<script>alert('x')</script>\"&"
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]))


class Seen(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@given(texts, texts)
def test_text_stays_text(text: str, value: str) -> None:
    found = Seen(element("p", text, title=value))
    assert found.tags == ["p"] and found.text == text and found.attributes == [("title", value)]


@given(texts)
def test_what_is_added_is_escaped(text: str) -> None:
    for made in (element("b", "x") + text, joined([element("b", "x"), text]), Markup("<b>x</b>") + text):
        assert isinstance(made, Markup)
        found = Seen(made)
        assert found.tags == ["b"] and found.text == f"x{text}"


def test_pieces_stay_pieces() -> None:
    assert element("p", element("b", BAD)).startswith("<p><b>&lt;script&gt;")
    assert element("p", Markup("<i>") + Markup("</i>")) == "<p><i></i></p>"


def test_attributes() -> None:
    assert element("img", src="a", alt="b", hidden=True, width=None) == '<img src="a" alt="b" hidden>'
    assert element("label", "x", for_="y", aria_label="z") == '<label for="y" aria-label="z">x</label>'


def test_tables_escape_their_cells() -> None:
    found = Seen(table((BAD,), [(BAD,), (element("b", "bold"),)], BAD))
    assert found.tags.count("script") == 0 and found.tags.count("b") == 1


@given(st.recursive(texts | st.integers(-(2**53), 2**53) | st.none(), st.lists))
def test_embedded_data_comes_back_and_breaks_out_of_nothing(values: object) -> None:
    made = embedded("data", values)
    inside = made.partition(">")[2].removesuffix("</script>")
    assert json.loads(inside) == values
    assert not set("<>&") & set(inside)


def test_images_are_whole() -> None:
    gray = np.arange(200, dtype=np.uint8).reshape(10, 20)
    with urlopen(png(gray)) as file:
        assert np.array_equal(np.asarray(Image.open(BytesIO(file.read()))), gray)
