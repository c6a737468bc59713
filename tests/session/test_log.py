"""The log: every message comes back as it was, also after a crash."""

import json
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.session.log import KINDS, Log, from_line, last_results, read_messages, to_line
from mrcz_dask.values import messages
from mrcz_dask.values.errors import FormatError
from mrcz_dask.values.records import StackResult, Summed

NOW = datetime(2026, 10, 14, 19, 3, 3, 250_000, UTC)
STARTED = messages.RunStarted(
    "1.0", "/night", "/night/koma", {"koma": {"radius": 12}}, {"kind": "serial"}, "Linux"
)
SUMMED = Summed(1.5, 20, 3, 4, None, 55.5, 30.0, 5.5, 0.01, "ok")
RESULT = StackResult(
    name="a.mrcz",
    output="a.mrcz",
    bytes_in=10,
    bytes_out=20,
    hot=1,
    dead=2,
    usable=True,
    score=None,
    noise={"raw": 0.1, "filtered": None},
    caveats=("said",),
    digest="ab",
    mtime_ns=5,
    key="cd",
)
MESSAGES: list[messages.Message] = [
    STARTED,
    messages.StackFound("a.mrcz", "a.mrcz", "2026-10-14 19:03:03", "mdoc", 10),
    messages.StackLeftOut("b.mrcz", "cut off", rejected=True),
    messages.StackDue("a.mrcz", "input changed"),
    messages.ClusterReady(2, 1, "tcp://127.0.0.1:1", ""),
    messages.PageReady("http://127.0.0.1:1/session"),
    messages.Noted("gain: gain.mrc, as the frames, multiply"),
    messages.PhaseStarted(messages.SUMS, 1, 10),
    messages.StackDone(messages.SUMS, "a.mrcz", 10, None, SUMMED),
    messages.PhaseFinished(messages.SUMS),
    messages.StackDone(messages.CORRECTION, "a.mrcz", 10, None, RESULT),
    messages.StackFailed(messages.CORRECTION, "c.mrcz", "no space", 10),
    messages.Warned("a clock"),
    messages.Waiting("a.mrcz", 1, 3),
    messages.RunFinished(1, 1),
    messages.LiveStarted("tcp://127.0.0.1:1", ("mean.py",)),
    messages.ProcessorLoaded("mean", "mean.py", "ab", 2),
    messages.ProcessorFailed("mean", 3, "Traceback"),
    messages.ProcessorRestarted("mean", 3, "lost"),
    messages.FramesMissing(7, 2),
    messages.SourceEnded("camera", 9, ""),
]


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda e: type(e).__name__)
def test_there_and_back(message: messages.Message) -> None:
    assert from_line(to_line(message, NOW)) == (NOW, message)


def test_every_kind_of_message_is_tried() -> None:
    assert {type(e) for e in MESSAGES} == set(KINDS.values())


@given(name=st.text(), reason=st.text())
def test_whatever_files_are_called(name: str, reason: str) -> None:
    line = to_line(messages.StackFailed("x", name, reason, 0), NOW)
    assert "\n" not in line and json.loads(line)["name"] is not None
    found = from_line(line)
    assert found is not None and isinstance(found[1], messages.StackFailed)


def test_times_of_phases_stay_out(tmp_path: Path) -> None:
    assert "timing" in {f.name for f in fields(messages.StackDone)}
    assert "timing" not in json.loads(to_line(MESSAGES[6], NOW))


def test_one_line_an_event_with_the_name_of_its_stack(tmp_path: Path) -> None:
    book = Log(tmp_path, messages.silent)
    for message in MESSAGES:
        book(message)
    assert [one["event"] for one in lines(tmp_path)] == [type(e).__name__ for e in MESSAGES]
    assert all("name" in one for one in lines(tmp_path) if one["event"].startswith("Stack"))
    assert [message for _, message in read_messages(tmp_path)] == MESSAGES
    assert last_results(read_messages(tmp_path), StackResult) == {"a.mrcz": RESULT}


def test_a_line_that_a_crash_cut_off_is_left_out(tmp_path: Path) -> None:
    book = Log(tmp_path, messages.silent)
    book(MESSAGES[1])
    path = tmp_path / "events.jsonl"
    path.write_bytes(path.read_bytes() + b'{"time": "2026-10-')
    assert [message for _, message in read_messages(tmp_path)] == MESSAGES[1:2]
    Log(tmp_path, messages.silent)(MESSAGES[2])
    assert [message for _, message in read_messages(tmp_path)] == MESSAGES[1:3]


@pytest.mark.parametrize(
    "line", ["", "[]", "7", "{}", '{"time": 1, "event": "X"}', '{"time": "x", "event": "y"}']
)
def test_lines_that_say_nothing(line: str) -> None:
    assert from_line(line) is None


@pytest.mark.parametrize(
    "line",
    [
        {"event": "StackFailed", "name": "a"},
        {"event": "StackDone", "phase": "another", "name": "a", "bytes": 1, "found": {"dose": 1}},
        {"event": "StackDone", "phase": messages.SUMS, "name": "a", "bytes": 1, "found": {"dose": 1}},
    ],
)
def test_lines_of_which_fields_are_missing(line: dict[str, Any]) -> None:
    assert from_line(json.dumps({"time": NOW.isoformat(), **line})) is None


@given(st.sampled_from(MESSAGES), st.integers(0, 10**6), st.integers(0, 7))
def test_a_line_with_a_changed_bit_says_the_same_or_nothing(
    message: messages.Message, place: int, bit: int
) -> None:
    line = bytearray(to_line(message, NOW).encode())
    line[place % len(line)] ^= 1 << bit
    assert from_line(line.decode("utf-8", "replace")) in (None, (NOW, message))


@pytest.mark.parametrize("depth", [100, 900, 100_000])
def test_a_line_of_deep_brackets_says_nothing(tmp_path: Path, depth: int) -> None:
    found = '{"a":' * depth + "1" + "}" * depth
    line = f'{{"time": "{NOW.isoformat()}", "event": "StackDone", "phase": "sums", "found": {found}}}'
    (tmp_path / "events.jsonl").write_text(f"{line}\n{to_line(STARTED, NOW)}\n")
    assert [message for _, message in read_messages(tmp_path)] == [STARTED]


def test_events_of_later_versions_are_left_out() -> None:
    assert from_line(json.dumps({"time": NOW.isoformat(), "event": "Unheard", "of": 1})) is None


def test_another_layout_is_refused(tmp_path: Path) -> None:
    line = json.loads(to_line(STARTED, NOW)) | {"layout": 99}
    del line["xxh3"]
    (tmp_path / "events.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(FormatError, match="another layout"):
        list(read_messages(tmp_path))


def test_what_cannot_be_written_now_is_written_later(tmp_path: Path) -> None:
    heard: list[messages.Message] = []
    folder = tmp_path / "share"
    folder.mkdir()
    book = Log(folder, heard.append)
    book(MESSAGES[0])
    folder.rename(tmp_path / "away")
    book(MESSAGES[1])
    book(MESSAGES[2])
    assert len(heard) == 1 and isinstance(heard[0], messages.Warned)
    (tmp_path / "away").rename(folder)
    book(MESSAGES[3])
    assert [message for _, message in read_messages(folder)] == MESSAGES[:4]


def test_no_log(tmp_path: Path) -> None:
    assert list(read_messages(tmp_path)) == []
