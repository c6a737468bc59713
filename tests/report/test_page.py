"""The page: one file without a network, every text escaped, every figure with words, headings in order."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from mrcz_dask.report.data import LeftOut, SessionData
from mrcz_dask.report.figures import figures
from mrcz_dask.report.judging import QUESTIONS, WORDS
from mrcz_dask.report.page import page
from mrcz_dask.report.questions import answers, light

from .conftest import session_data

BAD = '<img src=x onerror="window.bad = 1"></script><script>window.bad = 1</script>.mrc'
ADDRESSES = ("src", "href", "action", "data", "poster")


class Read(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, *names: str) -> list[dict[str, str | None]]:
        return [given for tag, given in self.tags if tag in names]


@pytest.fixture(scope="module")
def text(data: SessionData) -> str:
    return page(data)


@pytest.fixture(scope="module")
def read(text: str) -> Read:
    return Read(text)


def test_nothing_comes_from_elsewhere(read: Read, text: str) -> None:
    for _, given in read.tags:
        for name in ADDRESSES:
            value = given.get(name)
            assert value is None or value.startswith(("data:", "#")), value
    assert "@import" not in text and "url(http" not in text
    policy = next(m["content"] for m in read.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'")
    assert not read.all("link", "iframe", "object")


def test_every_figure_is_there_with_words(read: Read, data: SessionData) -> None:
    images = read.all("img")
    assert all(len(one.get("alt") or "") > 8 for one in images)
    assert {f"figure-{one.key}" for one in figures(data)} == {one["id"] for one in read.all("figure")}
    for one in figures(data):
        assert one.caption in read.text


def test_headings_go_down_one_at_a_time(read: Read) -> None:
    levels = [int(tag[1]) for tag, _ in read.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_links_lead_to_what_is_there(read: Read) -> None:
    ids = [given["id"] for _, given in read.tags if "id" in given]
    assert len(ids) == len(set(ids))
    for one in read.all("a"):
        assert one["href"] and one["href"].removeprefix("#") in ids
    for one in read.all("section"):
        assert one["aria-labelledby"] in ids


def test_it_suits_phones_print_and_readers(read: Read, text: str) -> None:
    assert any(one.get("name") == "viewport" for one in read.all("meta"))
    assert "@media print" in text and "@media (max-width" in text
    assert read.all("html")[0]["lang"] == "en" and read.all("main")
    assert all(
        one.get("tabindex") == "0" and one.get("aria-label")
        for one in read.all("div")
        if one.get("class") == "scroll"
    )


def test_the_verdict_and_every_question_are_there(read: Read, data: SessionData) -> None:
    assert data.verdict is not None and data.verdict in read.text
    for about, found in answers(data).items():
        assert f"{about.capitalize()}: {WORDS[light(found)]}" in read.text
    for question in QUESTIONS:
        assert question.text in read.text and question.limits in read.text
    assert "less correlated noise by" in read.text and "stacks done; leave out 1" in read.text


def test_what_was_not_done_is_named(read: Read, data: SessionData) -> None:
    for one in data.left_out:
        assert one.name in read.text and one.reason in read.text
    assert "left out of windows" in read.text and "score" in read.text


def test_texts_stay_texts(quiet: SessionData, undrawn: None) -> None:
    bad = session_data(5, lambda k: {"name": BAD, "state": "failed", "reason": BAD, "caveats": (BAD,)})
    bad = replace(
        bad,
        session=f"/{BAD}",
        left_out=(LeftOut(BAD, BAD, False),),
        warnings=(BAD,),
        problems=(BAD,),
        platform=BAD,
    )
    found, usual = Read(page(bad)), Read(page(quiet))
    assert len(found.all("script")) == len(usual.all("script"))
    assert not any("onerror" in given for _, given in found.tags)
    assert BAD in found.text


def test_the_same_data_give_the_same_page(data: SessionData, undrawn: None) -> None:
    assert page(data) == page(data)


def test_a_session_of_five_thousand_stacks_gives_a_page() -> None:
    long = session_data(5000, lambda k: {"caveats": ("something",), "reason": "no output yet"})
    made = page(long)
    assert len(made) < 30e6
    assert "the first 200 of 5000" in made and "5000 rows" in made
    assert made.count("<td>something</td>") == 1  # a caveat is said once
    assert "lines are medians of neighbors" in made


def test_a_session_of_hundreds_of_stacks_is_not_grouped(undrawn: None) -> None:
    assert "lines are medians of neighbors" not in page(session_data(300))


def test_a_session_of_which_nothing_is_known_gives_a_page() -> None:
    assert "Nothing is known of this." in page(session_data(0))
