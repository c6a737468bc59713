"""Live correction says what is wrong with its gain and dark, and takes gamma at the electrons' dose rate."""

from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import mrcfile
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from mrcz_dask.gain.options import GainOptions
from mrcz_dask.live.correction.correct import LiveCorrection
from mrcz_dask.live.frames import Frame
from mrcz_dask.live.launch import start
from mrcz_dask.live.transport.replay import Replay
from mrcz_dask.numerics.gain.gain import K2
from mrcz_dask.values.errors import MissingFileError
from mrcz_dask.values.messages import Message, Warned
from tests.live.correction.test_correcting import OPTIONS, SHAPE, about, corrected, noise, stream


def saved(path: Path, image: NDArray[Any]) -> str:
    with mrcfile.new(path) as file:
        file.set_data(np.ascontiguousarray(image, np.float32))
    return str(path)


def told(stacks: list[NDArray[Any]], gain: GainOptions) -> list[str]:
    events: list[Message] = []
    with LiveCorrection(replace(OPTIONS, gain=gain), events.append) as correction:
        for frame in stream(stacks):
            correction.take(frame)
    return [one.message for one in events if isinstance(one, Warned)]


def test_a_gain_that_fits_otherwise_or_nowhere_is_told_once(tmp_path: Path) -> None:
    draws = np.random.default_rng(5)
    response = 1 + 0.1 * draws.standard_normal(SHAPE)
    stacks = [draws.poisson(5 * response, (6, *SHAPE)).astype(np.uint8) for _ in range(7)]
    gain = saved(tmp_path / "g.mrc", 1 / response)
    assert not told(stacks, GainOptions(gain))
    (text,) = told(stacks, GainOptions(gain, flip=1))
    assert "give --gain-rotate 0 --gain-flip 0 (" in text
    (text,) = told(stacks, GainOptions(saved(tmp_path / "n.mrc", 1 / draws.permutation(response))))
    assert "adds pattern in every orientation" in text
    (text,) = told(stacks, GainOptions(saved(tmp_path / "ones.mrc", np.ones(SHAPE))))
    assert "compared with 5 stacks, this gain cannot be judged" in text


def test_gamma_is_taken_at_the_dose_rate_without_the_dark(tmp_path: Path) -> None:
    for name, image in (("gain", np.ones(SHAPE)), ("dark", np.full(SHAPE, 2.0))):
        with mrcfile.new(tmp_path / f"{name}.mrc") as file:
            file.set_data(image.astype(np.float32))
    gain, dark = str(tmp_path / "gain.mrc"), str(tmp_path / "dark.mrc")
    asked = GainOptions(gain, dark=dark, gamma="auto", frame_time=0.5)
    (stack,) = noise(1)
    frames = corrected(stream([stack + np.asarray(2, stack.dtype)]), replace(OPTIONS, gain=asked))
    assert about(frames[0])["gain"] == pytest.approx(K2.at(float(stack[0].mean()) / 0.5))


@pytest.mark.parametrize(("suffix", "row"), [("tif", SHAPE[0] - 1 - 5), ("mrc", 5)])
def test_defects_are_where_the_rows_of_the_format_say(tmp_path: Path, suffix: str, row: int) -> None:
    stack = np.full((4, *SHAPE), 10, np.uint8)
    stack[:, row, 7] = 0
    if suffix == "tif":
        tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    else:
        mrcfile.write(tmp_path / "a.mrc", stack.astype(np.int16))
    (tmp_path / "defects.txt").write_text("7 5 1 1\n")
    frames: list[Frame] = []
    Replay(tmp_path / f"a.{suffix}").run(frames.extend, Event())
    gain = GainOptions(defects=str(tmp_path / "defects.txt"))
    last = corrected(iter(frames), replace(OPTIONS, gain=gain))[-1]
    assert np.allclose(last.data, 10)


@pytest.mark.parametrize("what", ["gain", "dark", "defects"])
def test_a_reference_that_is_not_there_is_an_error_before_the_first_frame(tmp_path: Path, what: str) -> None:
    options = replace(OPTIONS, gain=GainOptions(**{what: str(tmp_path / "none.mrc")}))
    script = tmp_path / "p.py"
    script.write_text("")
    with (
        pytest.raises(MissingFileError, match=rf"^{what} .*none\.mrc: there is no such file"),
        start(Replay(tmp_path), [script], correct=options),
    ):
        pass
