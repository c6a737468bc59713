from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.codecs.counts import Counts
from benchmarks.codecs.peers import Contender, mrcz
from benchmarks.codecs.race import Entrant, race
from benchmarks.codecs.timing import BenchStep
from mrcz_dask.values.errors import DamagedError
from mrcz_dask.values.messages import Message, silent

COUNTS = Counts.poisson(1.0, (2, 24, 40), seed=5)


def entrants(folder: Path, *codecs: str) -> list[Entrant]:
    return [Entrant(mrcz(COUNTS.stack, folder, codec, 1, 0), COUNTS) for codec in codecs]


def test_rows_are_in_the_order_of_the_entrants(tmp_path: Path) -> None:
    rows = race(entrants(tmp_path, "zstd:1", "lz4:9", "auto"), 3, "dose", silent)
    assert [row.compressor for row in rows] == ["zstd:1:bit", "lz4:9:bit", "auto"]
    assert [row.codec.split(":")[0] for row in rows[:2]] == ["zstd", "lz4"]
    assert {row.repeats for row in rows} == {3}
    for row in rows:
        assert row.pixels == row.pixel_bytes == 2 * 24 * 40
        assert row.limit == COUNTS.limit(COUNTS.bits)
        assert 0 < row.write.lowest <= row.write.wall <= row.write.highest


def test_every_measurement_is_told(tmp_path: Path) -> None:
    heard: list[Message] = []
    race(entrants(tmp_path, "zstd:1", "lz4:9"), 2, "table 1", heard.append)
    names = ["zstd:1:bit", "lz4:9:bit", "lz4:9:bit", "zstd:1:bit"]
    assert heard == [BenchStep("table 1", name, k, 4) for k, name in enumerate(names, 1)]


def test_who_is_slow_gets_no_second_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = entrants(tmp_path, "zstd:1")[0]
    calls: list[int] = []

    def write() -> None:
        calls.append(1)
        one.contender.write()

    counted = Entrant(replace(one.contender, write=write), COUNTS)
    monkeypatch.setattr("benchmarks.codecs.race.PATIENCE", 1e-9)
    assert race([counted], 3, "dose", silent)[0].repeats == len(calls) == 1


def test_everything_that_is_read_is_compared(tmp_path: Path) -> None:
    good = entrants(tmp_path, "zstd:1")[0]
    reads: list[int] = []

    def read() -> Any:
        reads.append(1)
        found = np.array(good.contender.read())
        found[0, 0, 0] += len(reads) == 2
        return found

    bad: Contender = replace(good.contender, read=read)
    with pytest.raises(DamagedError):
        race([Entrant(bad, COUNTS)], 3, "dose", silent)
    assert len(reads) == 2
