import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mrcz_dask.live.processors.host import Script, load
from mrcz_dask.values.errors import ParameterError, ProcessorError

Write = Callable[[str, str], Script]
TWO = """
@processor(Scalar("a"))
def one(frame):
    return 1

@processor(Scalar("a"))
def two(frame):
    return 2
"""


def test_one_of_several_is_named(write: Write) -> None:
    path = write("both", TWO).path
    assert load(Script.parse(f"{path}:two")).function(None) == 2
    assert load(Script.parse(f"{path}:one")).spec.name == "one"


@pytest.mark.parametrize(
    ("body", "name", "text"),
    [
        (TWO, "", "2 processors"),
        (TWO, "three", "no processor three"),
        ("x = 1", "", "0 processors"),
        ("def f(:", "", "SyntaxError"),
        ("raise KeyError('why')", "", "KeyError: 'why'"),
        ("sys.exit(1)", "", "SystemExit"),
        ("@processor()\ndef f(frame): return 1", "", "expected one Scalar"),
    ],
)
def test_files_that_are_none(write: Write, body: str, name: str, text: str) -> None:
    script = write("bad", body)
    with pytest.raises(ProcessorError, match=text):
        load(Script(script.path, name, script.text))


@pytest.mark.parametrize("body", ["1 / 0", "x = 1"])
def test_an_old_version_stays_where_the_new_one_does_not_load(write: Write, body: str) -> None:
    load(write("good", "@processor(Scalar('a'))\ndef f(frame): return 1"))
    before = sys.modules["live_processor_good"]
    with pytest.raises(ProcessorError):
        load(write("good", body))
    assert sys.modules["live_processor_good"] is before


def test_a_traceback_begins_in_the_users_file(write: Write) -> None:
    with pytest.raises(ProcessorError) as raised:
        load(write("bad", "def inner():\n    return 1 / 0\ninner()"))
    text = str(raised.value)
    assert "in inner" in text and "return 1 / 0" in text and "loading.py" not in text
    assert 'File "bad.py", line' in text


@pytest.mark.parametrize("said", ["gone.py", "gone.py:f", "folder"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, said: str) -> None:
    with pytest.raises(ParameterError, match=r"expected FILE\.py"):
        Script.parse(str(tmp_path / said))


def test_processors_of_other_files_that_are_imported_do_not_count(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(write("shared_by_all", "@processor(Scalar('a'))\ndef f(frame): return 1").path)
    monkeypatch.syspath_prepend(str(path.parent))
    script = write("own", "from shared_by_all import f\n@processor(Scalar('a'))\ndef g(frame): return 2")
    assert load(script).spec.name == "g"
