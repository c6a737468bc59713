import getpass
import json
import platform
from pathlib import Path

from benchmarks.codecs.machine import machine, processor


def test_what_matters_is_there_and_nothing_that_names_anybody() -> None:
    about = machine()
    assert about["cores"] >= 1
    assert {"numpy", "blosc2", "c-blosc2", "numcodecs", "msgpack"} <= set(about["packages"])
    said = json.dumps(about)
    assert str(Path.home()) not in said
    assert platform.node() not in about.values()
    assert getpass.getuser() not in about.values()


def test_processor(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(
        "processor\t: 0\nmodel name\t: A Fine CPU @ 3 GHz \nprocessor\t: 1\nmodel name\t: Other\n"
    )
    assert processor(info) == "A Fine CPU @ 3 GHz"
    info.write_text("Features : fp asimd\n")
    assert processor(info) == (platform.processor() or "unknown")
    assert processor(tmp_path / "missing") == (platform.processor() or "unknown")
