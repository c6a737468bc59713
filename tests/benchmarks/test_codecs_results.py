import json

import pytest

from benchmarks.codecs.params import BenchParams
from benchmarks.codecs.results import PUBLISHED, BenchReport, FileRow, LeftOut, MetadataRow
from benchmarks.codecs.timing import Timing

TIMING = Timing(wall=0.5, cpu=0.75, lowest=0.25, highest=1.0)
ROW = FileRow(
    compressor="zstd:1:bit",
    codec="zstd:1:bit",
    dose=1.0,
    threads=2,
    block_size=0,
    pixels=1_000_000,
    pixel_bytes=2_000_000,
    size=300_000,
    limit=240_000.0,
    poisson_limit=250_000.0,
    repeats=3,
    write=TIMING,
    read=TIMING,
)
META = MetadataRow("JSON", "none", 1_000_000, 1_000_000, 600_000.0, TIMING, TIMING)
REPORT = BenchReport(
    BenchParams(threads=(1, 2)),
    {
        "cores": 2,
        "processor": "A CPU",
        "system": "Linux",
        "architecture": "x86_64",
        "python": "3.12",
        "mrcz-dask": "0",
        "packages": {"numpy": "2.0"},
        "programs": {"gzip": "1.12"},
    },
    (ROW,),
    (ROW,),
    (ROW,),
    (META,),
    (LeftOut("xz", "not installed"),),
    ("a note",),
)


def test_ratios_rates_and_limits() -> None:
    values = ROW.to_dict()
    assert values["ratio"] == pytest.approx(0.15)
    assert values["bits_per_pixel"] == pytest.approx(2.4)
    assert values["over_limit"] == pytest.approx(1.25)
    assert values["over_poisson_limit"] == pytest.approx(1.2)
    assert values["write_MB_s"] == pytest.approx(4.0)
    assert (values["read_s"], values["read_cpu_s"]) == (0.5, 0.75)


def test_the_schema() -> None:
    values = json.loads(json.dumps(REPORT.to_dict(), allow_nan=False))
    assert list(values) == [
        *("schema", "paper", "machine", "parameters", "left_out", "notes"),
        *("table1", "dose", "level", "metadata"),
    ]
    assert values["schema"] == 1
    assert values["left_out"] == [{"name": "xz", "reason": "not installed"}]
    assert values["table1"][0]["paper_ratio"] == PUBLISHED["zstd:1:bit"].ratio
    assert "paper_ratio" not in values["dose"][0]
    assert values["metadata"][0]["over_limit"] == pytest.approx(1 / 0.6)


def test_what_was_left_out_is_named() -> None:
    assert str(REPORT.left_out[0]) == "not installed: xz"
