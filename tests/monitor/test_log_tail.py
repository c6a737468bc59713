"""A log that grows is read to the same events, whenever one looks."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.monitor.log_tail import LogTail
from mrcz_dask.session.log import NAME, Moment
from mrcz_dask.values.errors import FormatError, SessionError


@given(cuts=st.lists(st.integers(0, 30_000), max_size=6))
def test_looks_at_any_moment_give_all_events_once(out: Path, moments: list[Moment], cuts: list[int]) -> None:
    text = (out / NAME).read_bytes()
    with TemporaryDirectory() as name:
        path = Path(name) / NAME
        path.write_bytes(b"")
        tail, found = LogTail(path.parent), []
        for end in [*sorted(cuts), len(text)]:
            path.write_bytes(text[:end])
            found += tail.new()
    assert found == moments


def test_another_log_in_its_place_is_read_from_its_beginning(
    out: Path, moments: list[Moment], tmp_path: Path
) -> None:
    lines = (out / NAME).read_text().splitlines(keepends=True)
    (tmp_path / NAME).write_text("".join(lines))
    tail = LogTail(tmp_path)
    assert list(tail.new()) == moments
    (tmp_path / NAME).write_text("".join(lines[:2]))
    assert list(tail.new()) == moments[:2]


def test_no_log_is_an_error_that_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="expected the output folder"):
        list(LogTail(tmp_path).new())


def test_a_link_to_elsewhere_is_not_followed(out: Path, tmp_path: Path) -> None:
    (tmp_path / NAME).symlink_to(out / NAME)
    with pytest.raises(SessionError, match="link"):
        list(LogTail(tmp_path).new())


def test_another_layout_is_an_error(out: Path, tmp_path: Path) -> None:
    first = (out / NAME).read_text().splitlines()[0]
    (tmp_path / NAME).write_text(first.replace('"layout": 1', '"layout": 99') + "\n")
    with pytest.raises(FormatError, match="layout"):
        list(LogTail(tmp_path).new())


def test_lines_that_are_none_are_passed_over(out: Path, moments: list[Moment], tmp_path: Path) -> None:
    text = (out / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(b'\xff\xfe{"time": 3}\n[1]\n{}\n' + text + b'{"time": "half of a li')
    assert list(LogTail(tmp_path).new()) == moments
