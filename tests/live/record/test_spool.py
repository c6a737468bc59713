"""Frames in spools come back as they were sent."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mrcz_dask.formats.compression.codecs import Codec
from mrcz_dask.live.frames import Frame
from mrcz_dask.live.record.spool import FrameSpool, StreamInfo, spooled
from tests.live.transport.streaming import pixels


def frame(number: int) -> Frame:
    given: dict[str, Any] = {"stack": "s", "index": number, "meta": {"k": number}, "stream": "camera"}
    return Frame(number, 1e9 + number / 7, pixels(number), **given)


def test_frames_come_back(tmp_path: Path) -> None:
    spool = FrameSpool.create(tmp_path / "a", asdict(StreamInfo.of(frame(0))))
    spool.add([(frame(k), Codec().compress(pixels(k))) for k in range(5)])
    entries = spool.entries
    spool.close()
    found = list(spooled(tmp_path / "a"))
    assert [one.number for _, one in found] == list(range(5))
    for about, one in found:
        expected = frame(one.number)
        assert np.array_equal(one.data, expected.data) and one.data.dtype == expected.data.dtype
        assert (one.time, one.stack, one.index, one.meta) == (
            expected.time,
            expected.stack,
            expected.index,
            expected.meta,
        )
        assert about == StreamInfo.of(expected)
    resumed = FrameSpool.resume(tmp_path / "a")
    assert resumed is not None and resumed.entries == entries and resumed.about == StreamInfo.of(frame(0))
    resumed.close()
