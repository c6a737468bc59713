"""Live correction: as good as the main job's, blind to what it corrects, and never in the way."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event as Flag
from typing import Any

import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.truth import hot_sigmas
from mrcz_dask.correction.plan import make_plan
from mrcz_dask.correction.run import carry_out
from mrcz_dask.engine.client import SerialClient
from mrcz_dask.gain.options import GainOptions
from mrcz_dask.live.correction.correct import LiveCorrection, LiveOptions
from mrcz_dask.live.correction.learning import Learner
from mrcz_dask.live.frames import Frame
from mrcz_dask.numerics.noise.correlation import correlated_noise
from mrcz_dask.numerics.simulate import SimulatedSession, named, simulate_session
from mrcz_dask.session.simulation import write_session
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.messages import Message, Noted, Warned
from mrcz_dask.values.params import KomaParams, Settings

PARAMS = named("standard", shape=(256, 256), stacks=16, frames=20, seed=3)
SHAPE = (64, 48)
LATE = range(11, 16)
OPTIONS = LiveOptions(Settings(koma=KomaParams(radius=5)), wait=True)


def stream(stacks: list[NDArray[Any]], name: str = "s{}") -> Iterator[Frame]:
    number = 0
    for i, stack in enumerate(stacks):
        for k, frame in enumerate(stack):
            yield Frame(number, float(number), frame, stack=name.format(i), index=k, chunk=b"-")
            number += 1


def corrected(frames: Iterator[Frame], options: LiveOptions = OPTIONS) -> list[Frame]:
    with LiveCorrection(options) as correction:
        return [correction.take(frame) for frame in frames]


def about(frame: Frame) -> dict[str, Any]:
    found: dict[str, Any] = frame.meta["correction"]
    return found


def noise(stacks: int, frames: int = 6, shape: tuple[int, int] = SHAPE, seed: int = 0) -> list[NDArray[Any]]:
    """Return stacks with a pattern of 10 %, and hot pixels."""
    draws = np.random.default_rng(seed)
    expected = 4 * (1 + 0.1 * draws.standard_normal(shape))
    expected.flat[:: shape[1] + 7] += 40
    return [draws.poisson(expected, (frames, *shape)).astype(np.uint8) for _ in range(stacks)]


@pytest.fixture(scope="module")
def session() -> SimulatedSession:
    return simulate_session(PARAMS)


@pytest.fixture(scope="module")
def raw(session: SimulatedSession) -> list[NDArray[Any]]:
    return [stack.frames for stack in session]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("live") / "session"
    write_session(folder, PARAMS)
    return folder


def by_stack(frames: list[Frame]) -> list[NDArray[np.float32]]:
    pixels = np.stack([frame.data for frame in frames])
    return list(pixels.reshape(-1, PARAMS.frames, *PARAMS.shape))


@pytest.fixture(scope="module")
def live(raw: list[NDArray[Any]]) -> list[NDArray[np.float32]]:
    return by_stack(corrected(stream(raw)))


@pytest.fixture(scope="module")
def plain(raw: list[NDArray[Any]]) -> list[NDArray[np.float32]]:
    koma = replace(OPTIONS.settings.koma, method="plain")
    return by_stack(corrected(stream(raw), replace(OPTIONS, settings=Settings(koma=koma))))


def mean_noise(stacks: list[NDArray[Any]]) -> float:
    return float(np.mean([correlated_noise(stacks[i]) for i in LATE]))


@pytest.mark.parametrize("method", ["fit", "plain"])
def test_noise_is_that_of_the_main_job(
    method: Any, request: pytest.FixtureRequest, raw: list[NDArray[Any]], written: Path, tmp_path: Path
) -> None:
    frames = request.getfixturevalue("live" if method == "fit" else "plain")
    settings = Settings(koma=KomaParams(radius=5, method=method))
    outcome = carry_out(make_plan(written, tmp_path / "out", settings), SerialClient())
    offline = np.mean([outcome.results[i].noise["corrected"] for i in LATE])
    assert mean_noise(frames) < 0.1 * mean_noise(raw)
    assert mean_noise(frames) < 1.15 * offline


def likeness(session: SimulatedSession, stacks: list[NDArray[Any]], i: int) -> float:
    good = ~session.stack(i).truth.mask
    return float(np.corrcoef(stacks[i].mean(axis=0)[good], session.pattern(i)[good])[0, 1])


def test_the_pattern_goes(session: SimulatedSession, live: Any, plain: Any, raw: Any) -> None:
    of_raw = np.mean([likeness(session, raw, i) for i in LATE])
    assert of_raw > 0.13
    assert np.mean([likeness(session, live, i) for i in LATE]) < 0.5 * of_raw
    assert abs(np.mean([likeness(session, plain, i) for i in LATE])) < 0.1 * of_raw


def test_hot_pixels_are_filled_also_those_that_are_new(session: SimulatedSession, live: Any) -> None:
    truth, before = session.stack(12).truth, session.stack(11).truth
    strong = hot_sigmas(truth) > 15
    new = strong & ~before.hot
    assert new.sum() > 10
    after_looks = live[12][8:].mean(axis=0)
    for some in (strong, new):
        assert abs(after_looks[some].mean() - truth.dose) < 0.15


def test_the_mean_dose_is_kept(session: SimulatedSession, live: Any, raw: Any) -> None:
    for i in (0, 5, 15):
        good = ~session.stack(i).truth.mask
        assert live[i][:, good].mean() == pytest.approx(raw[i][:, good].mean(), rel=3e-4)


def test_a_frame_says_what_was_applied() -> None:
    frames = corrected(stream(noise(4)))
    first, second, third = (about(frames[k]) for k in (0, 6, 13))
    assert first == {"gain": None, "mask": {}, "reference": None, "since": 0, "notes": []}
    assert about(frames[5])["mask"] == {"s0": 4}
    assert (second["mask"], second["reference"], second["since"]) == ({"s0": 6}, None, 6)
    assert third["reference"] == {"method": "fit", "stacks": 2, "long": 2, "newest": "s1"}
    assert about(frames[14])["mask"] == {"s1": 6, "s2": 2} and about(frames[14])["since"] == 14
    assert all(frame.chunk is None and frame.data.dtype == np.float32 for frame in frames)


@settings(max_examples=8)
@given(place=st.integers(0, 5), seed=st.integers(0, 9))
def test_a_frame_changes_nothing_of_others_in_its_stack(place: int, seed: int) -> None:
    stacks = noise(4, seed=seed)
    changed = [stack.copy() for stack in stacks]
    changed[3][place] = np.random.default_rng(seed).poisson(9, SHAPE)
    options = replace(OPTIONS, mask_after=0)
    pairs = zip(corrected(stream(stacks), options), corrected(stream(changed), options), strict=True)
    differing = [a.number for a, b in pairs if a.data.tobytes() != b.data.tobytes()]
    assert differing == [18 + place]


def test_looks_see_frames_that_came_before() -> None:
    stacks = noise(4, frames=12)
    stacks[3][:, 20, 20] += 60
    frames = corrected(stream(stacks))
    values = [float(frame.data[20, 20]) for frame in frames[36:]]
    assert min(values[:2]) > 40 and max(values[2:]) < 10
    assert corrected(stream(stacks), replace(OPTIONS, mask_after=0))[-1].data[20, 20] > 40


def test_the_same_frames_give_the_same_bytes() -> None:
    stacks = noise(5)
    first, second = corrected(stream(stacks)), corrected(stream(stacks))
    assert [a.data.tobytes() for a in first] == [b.data.tobytes() for b in second]
    assert [a.meta for a in first] == [b.meta for b in second]


def test_frames_do_not_wait_and_say_from_when_on_they_are_better(monkeypatch: pytest.MonkeyPatch) -> None:
    may_go, done, learn = Flag(), Flag(), Learner.learn

    def slow(self: Learner, stack: Any) -> Any:
        assert may_go.wait(60)
        try:
            return learn(self, stack)
        finally:
            done.set()

    monkeypatch.setattr(Learner, "learn", slow)
    frames = list(stream(noise(2, frames=8)))
    told: list[Message] = []
    with LiveCorrection(replace(OPTIONS, wait=False, mask_after=0), told.append) as correction:
        early = [correction.take(frame) for frame in frames[:12]]
        may_go.set()
        assert done.wait(60)
        late = take_until(correction, frames[12:], lambda one: "s0" in about(one)["mask"])
    assert about(early[-1]) == {"gain": None, "mask": {}, "reference": None, "since": 0, "notes": []}
    assert about(late)["since"] == late.number and told == []
    waited = corrected(iter(frames), replace(OPTIONS, mask_after=0))
    assert late.data.tobytes() == waited[late.number].data.tobytes()


def take_until(correction: LiveCorrection, frames: list[Frame], found: Any) -> Frame:
    """Correct frames, the last one as often as need be, until one is as it is asked for."""
    for k in range(100_000):
        made = correction.take(frames[min(k, len(frames) - 1)])
        if found(made):
            return made
    raise AssertionError("no such frame")


def test_stacks_that_come_too_fast_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    may_go = Flag()
    monkeypatch.setattr(Learner, "learn", lambda self, stack: may_go.wait(60) and self.update_mask(stack))
    told: list[Message] = []
    with LiveCorrection(replace(OPTIONS, wait=False, mask_after=0), told.append) as correction:
        frames = [correction.take(frame) for frame in stream(noise(5, frames=2))]
        may_go.set()
    assert told == [Warned(f"s{k}: not learned from, corrections are behind") for k in (2, 3)]
    assert about(frames[-1])["notes"] == ["s3: not learned from, corrections are behind"]


def test_frames_without_a_stack_make_stacks_of_so_many() -> None:
    frames = corrected(stream([np.concatenate(noise(3))], ""), replace(OPTIONS, frames_per_stack=6))
    assert about(frames[13])["mask"] == {"frames from 6": 6}
    named_ones = corrected(stream(noise(3)))
    assert [a.data.tobytes() for a in frames] == [b.data.tobytes() for b in named_ones]


def test_another_size_begins_anew() -> None:
    stacks = [*noise(3), *noise(3, shape=(48, 64))]
    told: list[Message] = []
    with LiveCorrection(OPTIONS, told.append) as correction:
        frames = [correction.take(frame) for frame in stream(stacks)]
    assert "48 x 64 uint8 among frames of 64 x 48" in about(frames[18])["notes"][0]
    np.testing.assert_array_equal(frames[19].data, stacks[3][1])
    assert about(frames[20])["since"] == 20 and about(frames[20])["notes"] == []
    assert about(frames[-1])["reference"]["stacks"] == 2
    assert [type(one) for one in told] == [Warned, Noted]


def test_one_odd_frame_is_passed_and_changes_nothing() -> None:
    frames = list(stream(noise(3)))
    odd = replace(frames[8], data=np.ones((5, 5), np.uint8))
    found = corrected(iter([*frames[:9], odd, *frames[9:]]))
    assert found[9].data.tolist() == np.ones((5, 5)).tolist() and about(found[9])["notes"]
    rest = [one.data.tobytes() for one in found[:9] + found[10:]]
    assert rest == [one.data.tobytes() for one in corrected(iter(frames))]


def test_cameras_have_corrections_of_their_own() -> None:
    one = [replace(frame, stream="one") for frame in stream(noise(4))]
    two = [replace(frame, stream="two") for frame in stream(noise(4, seed=1))]
    mixed = corrected(frame for pair in zip(one, two, strict=True) for frame in pair)
    for alone, found in ((one, mixed[::2]), (two, mixed[1::2])):
        for a, b in zip(corrected(iter(alone)), found, strict=True):
            assert a.data.tobytes() == b.data.tobytes() and a.meta == b.meta


@pytest.mark.parametrize("data", [np.ones((2, 3, 4), np.uint8), np.ones((3, 4), np.complex64)])
def test_what_is_no_frame_is_passed(data: NDArray[Any]) -> None:
    (found,) = corrected(iter([Frame(0, 0.0, data)]))
    assert found.data.shape == data.shape and found.data.dtype == np.float32
    assert about(found)["notes"][0].startswith("not corrected")


def test_a_stack_without_a_mask_is_named_and_the_stream_goes_on() -> None:
    stacks = [stack.astype(np.float32) for stack in noise(4)]
    stacks[1][:] = np.nan
    told: list[Message] = []
    with LiveCorrection(OPTIONS, told.append) as correction:
        frames = [correction.take(frame) for frame in stream(stacks)]
    assert "s1: not learned from" in about(frames[12])["notes"][0]
    assert about(frames[13])["mask"] == {"s0": 6} and about(frames[-1])["mask"] == {"s2": 6, "s3": 4}
    assert np.isfinite(frames[-1].data).all()
    assert [one for one in told if isinstance(one, Warned)]


def test_floats_that_are_counts_give_what_counts_give() -> None:
    stacks = noise(4)
    whole = corrected(stream(stacks))
    floats = corrected(stream([stack.astype(np.float32) for stack in stacks]))
    for a, b in zip(whole, floats, strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-5, atol=1e-5)


def test_high_contrast_is_nobodys_reference() -> None:
    params = named("standard", shape=(256, 256), stacks=7, frames=12, carbon=(4,))
    frames = corrected(stream([stack.frames for stack in simulate_session(params)]))
    assert about(frames[60])["notes"] == ["s4: high contrast, no reference for others"]
    assert about(frames[60])["reference"] == about(frames[59])["reference"]
    assert about(frames[-1])["reference"]["long"] == 5


def test_a_jump_of_dose_begins_anew_and_is_scaled_to_at_once() -> None:
    params = named("standard", shape=(256, 256), stacks=11, frames=12, dose_jumps=(6,), dose_factors=(1.6,))
    session = simulate_session(params)
    stacks = [stack.frames for stack in session]
    told: list[Message] = []
    with LiveCorrection(OPTIONS, told.append) as correction:
        frames = [correction.take(frame) for frame in stream(stacks)]
    good = ~session.stack(6).truth.mask
    for frame in frames[72:84]:
        raw = stacks[6][frame.index]
        assert frame.data[good].mean() == pytest.approx(raw[good].mean(), rel=2e-3)
    begun = [one.message for one in told if isinstance(one, Warned)]
    assert len(begun) == 1 and begun[0].startswith("corrections begin anew with s6: the dose goes from")
    assert about(frames[-1])["reference"]["stacks"] == 4


@pytest.mark.parametrize("form", ["divide", "subtract-raw"])
def test_other_forms_take_the_pattern_off_too(form: Any) -> None:
    stacks = noise(8, frames=12)
    settings = Settings(koma=KomaParams(radius=5, form=form, method="plain"))
    frames = corrected(stream(stacks), replace(OPTIONS, settings=settings))
    found = np.stack([frame.data for frame in frames[-12:]])
    assert correlated_noise(found) < 0.4 * correlated_noise(corrected_mask_only(stacks))
    assert found.mean() == pytest.approx(np.median(stacks[-1], axis=(1, 2)).mean(), rel=0.05)


def corrected_mask_only(stacks: list[NDArray[Any]]) -> NDArray[Any]:
    """Return the last stack as if it were the first."""
    return np.stack([frame.data for frame in corrected(stream(stacks[-1:]))][4:])


def test_the_gain_comes_first_the_way_round_that_is_told(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    image = draws.uniform(0.8, 1.25, (48, 64)).astype(np.float32)
    image[3, 5] = 0
    with mrcfile.new(tmp_path / "gain.mrc") as file:
        file.set_data(image)
    stacks = noise(3)
    options = replace(OPTIONS, gain=GainOptions(str(tmp_path / "gain.mrc"), rotate=1, flip=1, gamma="0.5"))
    frames = corrected(stream(stacks), options)
    turned = np.rot90(image, -1)[::-1]  # as the files' rows are, seen from above
    power = np.sqrt(np.where(turned > 0, turned, 1))
    expected = stacks[0][0] * power
    good = turned > 0
    np.testing.assert_allclose(frames[0].data[good], expected[good], rtol=1e-5)
    assert about(frames[0])["gain"] == 0.5
    assert 1 < frames[0].data[~good].item() < 8
    assert about(frames[-1])["reference"]["stacks"] == 2
    assert frames[-1].data.mean() == pytest.approx(4.0, rel=0.1)


def test_a_gain_that_does_not_fit_is_told_and_frames_go_on(tmp_path: Path) -> None:
    with mrcfile.new(tmp_path / "gain.mrc") as file:
        file.set_data(np.ones((10, 10), np.float32))
    told: list[Message] = []
    options = replace(OPTIONS, gain=GainOptions(gain=str(tmp_path / "gain.mrc")))
    with LiveCorrection(options, told.append) as correction:
        frames = [correction.take(frame) for frame in stream(noise(1))]
    assert "gain not applied" in about(frames[-1])["notes"][0] and about(frames[-1])["gain"] is None
    assert len(told) == 1


def test_options_are_checked() -> None:
    with pytest.raises(ParameterError, match="frames_per_stack"):
        LiveOptions(frames_per_stack=0)
    with pytest.raises(ParameterError, match="fit or plain"):
        LiveOptions(Settings(koma=KomaParams(method="session")))


@pytest.mark.parametrize("form", ["subtract", "divide", "subtract-raw"])
@pytest.mark.parametrize("value", [0, 9])
def test_a_blank_frame_stays_blank_and_teaches_nothing(form: Any, value: int) -> None:
    options = LiveOptions(Settings(koma=KomaParams(radius=2, form=form)), wait=True)
    stacks = noise(6)
    blank = np.full((1, *SHAPE), value, np.uint8)
    with_blank = [np.concatenate([blank, s[:3], blank, s[3:], blank]) for s in stacks]
    found = [np.stack([f.data for f in corrected(stream(one), options)]) for one in (with_blank, stacks)]
    kept = found[0].reshape(6, 9, *SHAPE)
    assert (kept[:, [0, 4, 8]] == value).all()
    np.testing.assert_array_equal(kept[:, [1, 2, 3, 5, 6, 7]].reshape(-1, *SHAPE), found[1])
    assert "blank" in about(corrected(stream([blank]), options)[0])["notes"][0]


def test_a_stack_that_comes_again_is_not_its_own_neighbor() -> None:
    stacks = noise(9)
    stacks[1:1] = [stacks[1][:, ::-1]]  # seen when it is complete
    last = corrected(stream([*stacks, stacks[6], noise(10)[9]]))[-12:]
    for k, frame in enumerate(last[:6]):
        (note,) = (text for text in about(frame)["notes"] if "again" in text)
        assert "frames of s6 again" in note and about(frame)["reference"] is None
        good = frame.data == stacks[6][k]
        assert good.mean() > 0.9  # outliers alone are filled
    assert about(last[6])["reference"]["newest"] == "s9"
    assert "s10: holds the same data as s6: not learned from again" in about(last[6])["notes"]


def test_counts_that_float32_loses_are_named() -> None:
    (frame,) = corrected(stream([noise(1)[0][:1].astype(np.uint32) + np.uint32(4_200_000_000)]))
    assert "counts lie on a large offset" in about(frame)["notes"][0]
