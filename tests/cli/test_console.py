"""What is printed of names and reasons that a terminal would obey."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcz_dask.cli import console
from mrcz_dask.cli.progress import Bars, Lines
from mrcz_dask.formats.libraries import one_line
from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.session.log import from_line, to_line
from mrcz_dask.values import messages

EVIL = "a\nb: sound\x1b[31m\x9b2J\u202e\r.mrc"
SHOWN = r"a\nb: sound\u001b[31m\u009b2J\u202e\r.mrc"
OBEYED = set("\x1b\x9b\u202e\r")


def complain(text: str) -> None:
    console.complain(ValueError(text))


@pytest.mark.parametrize("say", [console.say, console.warn, console.alert, complain])
def test_whatever_is_said_takes_one_line(say: Any, capsys: pytest.CaptureFixture[str]) -> None:
    say(EVIL)
    text = "".join(capsys.readouterr())
    assert SHOWN in text and text.count("\n") == 1


def test_a_table_has_a_row_for_each_name(capsys: pytest.CaptureFixture[str]) -> None:
    rows = console.table("stack", "R")
    rows.add_row(EVIL, "1")
    console.results().print(rows)
    line = capsys.readouterr().out.splitlines()[1]
    assert SHOWN in line and line.endswith("1")


MESSAGES = [
    messages.StackFailed(messages.SUMS, EVIL, EVIL, 0),
    messages.Warned(EVIL),
    messages.Noted(EVIL),
    messages.ProcessorFailed(EVIL, 1, "Traceback\n\x9b2J: no"),
    messages.LiveStarted(EVIL, (EVIL,)),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("display", [Bars, Lines])
def test_a_message_takes_one_line(
    display: type, message: messages.Message, capsys: pytest.CaptureFixture[str]
) -> None:
    with display() as show:
        show(message)
    text = capsys.readouterr().err
    assert not OBEYED & set(text) and text.count("\n") == 1


def test_a_log_keeps_a_name_and_obeys_it_not() -> None:
    line = to_line(messages.Warned(EVIL), datetime.now(UTC))
    assert not OBEYED & set(line) and "\n" not in line
    found = from_line(line)
    assert found is not None and found[1] == messages.Warned(EVIL)


@pytest.mark.parametrize("arguments", [("info",), ("verify",), ("provenance",), ("info", "--json")])
@pytest.mark.parametrize("damaged", [False, True], ids=["sound", "damaged"])
def test_commands_print_a_name_in_one_line(
    arguments: tuple[str, ...], damaged: bool, mrcz: Any, tmp_path: Path
) -> None:
    path = tmp_path / EVIL
    write(path, np.ones((2, 8, 8), np.int8))
    if damaged:
        path.write_bytes(path.read_bytes()[:900])
    shown = mrcz(*arguments, path)
    assert SHOWN in shown.out + shown.err or "--json" in arguments
    assert not OBEYED & set(shown.out + shown.err)
    assert not any(line.startswith("b: sound") for line in shown.out.splitlines())


def test_an_unknown_option_is_printed_without_its_escapes(mrcz: Any) -> None:
    shown = mrcz("info", "--x\x1b[31m")
    assert shown.code == 2 and not OBEYED & set(shown.out + shown.err)


def test_the_plan_names_each_stack_in_one_line(night: Path, mrcz: Any) -> None:
    first = min(night.glob("*.mrc*"))
    (night / f"{EVIL}z").write_bytes(b"no stack")
    first.rename(night / f"x{EVIL}")
    shown = mrcz("koma", night, "--dry-run")
    assert SHOWN in shown.out
    assert not OBEYED & set(shown.out + shown.err)
    assert not any(line.startswith("b: sound") for line in shown.out.splitlines())


def test_an_error_of_a_library_that_is_a_number_gets_its_kind() -> None:
    assert (one_line(KeyError(-10)), one_line(ValueError("no tags")), one_line(EOFError())) == (
        "KeyError -10",
        "no tags",
        "EOFError",
    )
