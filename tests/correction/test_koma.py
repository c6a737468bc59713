"""The main job as a whole: the same bytes in any order, small sessions, and what goes wrong."""

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.correction import correct_stack as finishing
from mrcz_dask.correction.plan import make_plan
from mrcz_dask.engine.client import SerialClient
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.values.errors import MrczDaskError, SessionError
from mrcz_dask.values.messages import Message, PhaseFinished, PhaseStarted, StackDone, StackFailed, Warned
from mrcz_dask.values.params import Settings
from tests.correction.conftest import SHAPE, WRITES, contents, poisson


def hidden(folder: Path) -> list[str]:
    return [p.name for p in folder.rglob("*") if p.name.startswith(".")]


class Shuffled(SerialClient):
    """Runs every task twice, and gives results in any order."""

    slots = threads = ahead = 5

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)

    def submit(self, *arguments: Any, **more: Any) -> Any:
        super().submit(*arguments, **more)
        return super().submit(*arguments, **more)

    def finished(self, seconds: float) -> list[tuple[Any, Any]]:
        self._random.shuffle(self._finished)
        found, self._finished = self._finished[:2], self._finished[2:]
        return found


@pytest.mark.parametrize("write", WRITES)
def test_order_and_repetition_change_nothing(night: Path, tmp_path: Path, koma: Any, write: str) -> None:
    one = koma(night, tmp_path / "one", write=write)
    two = koma(night, tmp_path / "two", Shuffled(5), write=write)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert one.results == two.results
    assert one.complete


@pytest.mark.parametrize("write", WRITES)
def test_every_output_is_sound_and_nothing_is_left_over(
    night: Path, tmp_path: Path, koma: Any, write: str
) -> None:
    outcome = koma(night, tmp_path / "out", write=write)
    for result in outcome.results:
        path = tmp_path / "out" / result.output
        assert verify_file(path).status == "sound"
        assert Path(f"{path}.mdoc").read_bytes() == (night / f"{result.name}.mdoc").read_bytes()
    assert hidden(tmp_path / "out") == []


def test_inputs_are_not_touched(night: Path, koma: Any) -> None:
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in night.iterdir() if p.is_file()}
    koma(night)
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in night.iterdir() if p.is_file()} == before


def test_results_come_in_order_of_acquisition(night: Path, koma: Any) -> None:
    outcome = koma(night, client=Shuffled(1))
    assert [r.name for r in outcome.results] == [s.name for s in outcome.plan.stacks]
    assert [r.name for r in outcome.results] != sorted(r.name for r in outcome.results)


def test_the_listener_is_told(night: Path, koma: Any) -> None:
    heard: list[Message] = []
    koma(night, listen=heard.append)
    phases = [e.phase for e in heard if isinstance(e, PhaseStarted)]
    assert (
        phases == [e.phase for e in heard if isinstance(e, PhaseFinished)] == ["sums and masks", "correction"]
    )
    assert sum(isinstance(e, StackDone) for e in heard) == 10
    started = [e for e in heard if isinstance(e, PhaseStarted)]
    assert {e.bytes for e in started} == {sum(p.stat().st_size for p in night.glob("*.mrcz"))}


class TestSmallSessions:
    """Sessions and stacks shorter than the algorithms would like."""

    @pytest.mark.parametrize("stacks", [1, 2, 3])
    @pytest.mark.parametrize("method", ["fit", "plain"])
    def test_few_stacks(self, tmp_path: Path, koma: Any, stacks: int, method: str) -> None:
        for k in range(stacks):
            poisson(tmp_path / "s", f"{k}.mrcz")
        outcome = koma(tmp_path / "s", radius=12, method=method)
        assert outcome.complete
        assert len(outcome.results) == stacks
        alone = any("no usable neighbor" in text for r in outcome.results for text in r.caveats)
        assert alone == (stacks == 1)

    @pytest.mark.parametrize("n", [2, 3])
    def test_few_frames_have_no_held_out_noise(self, tmp_path: Path, koma: Any, n: int) -> None:
        for k in range(3):
            poisson(tmp_path / "s", f"{k}.mrcz", n=n)
        for result in koma(tmp_path / "s").results:
            assert [result.noise[k] for k in ("raw", "filtered", "corrected")] == [None] * 3
            assert result.noise["raw_in_sample"] is not None

    def test_four_frames_have(self, tmp_path: Path, koma: Any) -> None:
        for k in range(3):
            poisson(tmp_path / "s", f"{k}.mrcz", n=4)
        assert all(r.noise["corrected"] is not None for r in koma(tmp_path / "s").results)

    def test_images_are_no_stacks(self, tmp_path: Path, koma: Any) -> None:
        poisson(tmp_path / "s", "image.mrcz", n=1)
        with pytest.raises(SessionError, match="no stack"):
            koma(tmp_path / "s")
        assert not (tmp_path / "s" / "koma").exists()


class TestWhatGoesWrong:
    """One bad stack is its own failure; nothing half-written remains."""

    @pytest.mark.parametrize("write", WRITES)
    def test_a_stack_that_changes_between_the_passes(self, night: Path, koma: Any, write: str) -> None:
        victim = sorted(night.glob("*.mrcz"))[0]

        def change(message: Message) -> None:
            if message == PhaseFinished("sums and masks"):
                frames = mrcz_dask.read(victim)
                frames[2, 3, 4] += 1
                mrcz_dask.write(victim, frames)

        outcome = koma(night, write=write, listen=change)
        (failure,) = outcome.failures
        assert failure.name == victim.name
        assert "were summed" in failure.reason and "run again" in failure.reason
        assert len(outcome.results) == 4
        assert not list((night / "koma").glob(f"{victim.stem}*"))
        assert hidden(night / "koma") == []

    def test_a_stack_that_goes_away_between_the_passes(self, night: Path, koma: Any) -> None:
        victim = sorted(night.glob("*.mrcz"))[3]
        outcome = koma(
            night, listen=lambda e: victim.unlink() if e == PhaseFinished("sums and masks") else None
        )
        (failure,) = outcome.failures
        assert victim.name in failure.reason
        assert len(outcome.results) == 4

    @pytest.mark.parametrize("write", WRITES)
    def test_a_full_disk_is_named_and_leaves_nothing(
        self, night: Path, koma: Any, write: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(handle: int) -> None:
            raise OSError(28, "No space left on device")

        def fill(message: Message) -> None:
            if message == PhaseFinished("sums and masks"):
                monkeypatch.setattr(os, "fsync", full)

        heard: list[Message] = []
        outcome = koma(night, write=write, listen=lambda e: (heard.append(e), fill(e)))
        assert outcome.results == ()
        assert len(outcome.failures) == 5
        assert all("No space left" in f.reason and "free some space" in f.reason for f in outcome.failures)
        assert sum(isinstance(e, StackFailed) for e in heard) == 5
        assert {p.name for p in (night / "koma").iterdir()} <= {"session.zarr", "events.jsonl", "MANIFEST"}

    def test_a_journal_that_cannot_be_written_is_a_warning(self, night: Path, koma: Any) -> None:
        (night / "koma" / "events.jsonl").mkdir(parents=True)
        heard: list[Message] = []
        assert koma(night, listen=heard.append).complete
        assert any(isinstance(e, Warned) and "events.jsonl" in e.message for e in heard)

    def test_a_bug_in_one_stack_stops_no_other(
        self, night: Path, koma: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inner = finishing.fit_stack
        calls = iter(range(100))

        def sometimes(*args: Any, **more: Any) -> Any:
            if next(calls) == 0:
                raise ZeroDivisionError("nobody foresaw this")
            return inner(*args, **more)

        monkeypatch.setattr(finishing, "fit_stack", sometimes)
        outcome = koma(night)
        assert [f.reason for f in outcome.failures] == ["ZeroDivisionError: nobody foresaw this"]
        assert len(outcome.results) == 4

    def test_an_interrupted_run_leaves_nothing_half_written(
        self, night: Path, tmp_path: Path, koma: Any
    ) -> None:
        done = []

        def interrupt(message: Message) -> None:
            if isinstance(message, StackDone) and message.phase == "correction":
                done.append(message.name)
                if len(done) == 3:
                    raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            koma(night, listen=interrupt)
        assert hidden(night / "koma") == []
        assert all(verify_file(p).status == "sound" for p in (night / "koma").glob("*.mrcz"))
        again = koma(night)
        assert sum(r.kept for r in again.results) == 3
        koma(night, tmp_path / "fresh")
        assert contents(night / "koma") == contents(tmp_path / "fresh")

    def test_mixed_shapes(self, plain_session: Path, koma: Any) -> None:
        mrcz_dask.write(plain_session / "other.mrcz", np.ones((4, 64, 64), np.uint8))
        outcome = koma(plain_session)
        assert len(outcome.results) == 5
        assert not outcome.complete
        assert "64 x 64" in outcome.to_dict()["rejected"][0]["reason"]

    def test_two_stacks_at_the_same_time_go_by_name_with_a_warning(self, tmp_path: Path, koma: Any) -> None:
        for name in ("b", "a", "c"):
            poisson(tmp_path / "s", f"{name}_2026-01-02_03.04.05.mrcz")
        outcome = koma(tmp_path / "s")
        assert outcome.complete
        assert [r.name[0] for r in outcome.results] == ["a", "b", "c"]
        assert any("same time" in text for text in outcome.to_dict()["warnings"])


def test_sums_that_are_gone_are_made_again(night: Path, koma: Any) -> None:
    koma(night, radius=1)
    outputs = sorted((night / "koma").glob("*.mrcz"))
    before = [path.read_bytes() for path in outputs]
    stem = make_plan(night, None, Settings(), overwrite=True).stacks[3].stem
    array = night / "koma" / "session.zarr" / "stacks" / stem / "sum"
    for chunk in (array / "c").rglob("*"):
        if chunk.is_file():
            chunk.unlink()
    assert koma(night, radius=1, overwrite=True).complete
    assert [path.read_bytes() for path in outputs] == before


def test_a_store_of_another_version_is_refused(night: Path, koma: Any) -> None:
    import zarr

    koma(night)
    zarr.open_group(night / "koma" / "session.zarr", mode="a").attrs.put({"mrcz_dask_store": 99})
    with pytest.raises(MrczDaskError, match="layout 99"):
        koma(night)


def test_a_session_without_gain_reference_is_said_to_look_raw(tmp_path: Path, koma: Any) -> None:
    rng = np.random.default_rng(4)
    gain = rng.normal(1, 0.2, SHAPE[1:]).clip(0.2)
    (tmp_path / "s").mkdir()
    for k in range(4):
        frames = rng.poisson(200 * gain, SHAPE).astype(np.uint16)
        mrcz_dask.write(tmp_path / "s" / f"{k}.mrcz", frames)
    heard: list[Message] = []
    koma(tmp_path / "s", listen=heard.append)
    assert any(isinstance(e, Warned) and "gain reference" in e.message for e in heard)


def test_the_serial_client_says_what_it_is() -> None:
    assert SerialClient().describe() == {"kind": "serial"}
