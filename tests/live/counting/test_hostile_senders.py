"""A sender whose frames cannot be counted is refused; the frames of all others are counted."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mrcz_dask
from mrcz_dask.live.counting.stacks import StreamOptions
from mrcz_dask.live.counting.stream import CountStream, count_stream
from mrcz_dask.live.transport.listen import Listen
from mrcz_dask.live.transport.sender import FrameSender, SenderError
from mrcz_dask.values.errors import MrczDaskError

SHAPE = (96, 112)
ODD: list[dict[str, Any]] = [
    {"frame": np.zeros((8, 8), np.uint16)},
    {"frame": np.zeros(SHAPE, np.complex64)},
    {"frame": np.full(SHAPE, np.nan, np.float32)},
    {"frame": np.full(SHAPE, 3e38, np.float32)},
    {"time": -7e10},
    {"time": -5.9e10},
    {"stack": "a\nb/../\x1b[31m\u202e"},
    {"meta": {"live": 1, "acquisition_time": [], "pixel_size": {}}},
]


def test_odd_senders_are_refused_and_others_go_on(
    raw_stacks: list[Path], calibration: Path, tmp_path: Path
) -> None:
    frames: NDArray[Any] = mrcz_dask.read(raw_stacks[0])
    places: list[str] = []
    told: list[Any] = []
    bound, stop = threading.Event(), threading.Event()

    def source(counting: CountStream) -> Listen:
        numbers: Any = {"next_number": counting.next_number, "safe": counting.safe_number}
        made = Listen("*", **numbers, check=counting.check, listen=told.append)
        places.append(made.address)
        bound.set()
        return made

    errors: list[BaseException] = []

    def run() -> None:
        try:
            count_stream(source, StreamOptions(tmp_path, calibration), stop=stop, listen=told.append)
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            errors.append(error)
            bound.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert bound.wait(60)
    with FrameSender(places[0], stream="good") as good:
        for k, odd in enumerate(ODD):
            good.send(frames[k])
            values = {"frame": frames[0]} | odd
            try:
                with FrameSender(places[0], stream=f"odd{k}", timeout=20) as sender:
                    sender.send(values.pop("frame"), **values)
            except (SenderError, MrczDaskError, ValueError, TypeError):
                pass
            assert not errors, (odd, errors)
    stop.set()
    thread.join()
    assert not errors
    assert mrcz_dask.read_footer(tmp_path / "good_0000000000.mrcz")["meta"]["live"]["numbers"] == [
        [0, len(ODD)]
    ]
