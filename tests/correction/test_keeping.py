"""Run again: what is kept, what is refused, what is made again."""

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.correction import footer as keeping
from mrcz_dask.correction.run import Outcome
from mrcz_dask.values.errors import OutputExistsError
from mrcz_dask.values.messages import Message, StackDue
from tests.correction.conftest import WRITES, contents
from tests.nights import run_koma


def damaged(data: bytes) -> bytes:
    """Return the bytes with one of them changed."""
    return data[:3000] + bytes([data[3000] ^ 1]) + data[3001:]


def change(path: Path) -> Path:
    """Change a pixel of a stack."""
    frames = mrcz_dask.read(path)
    frames[0, 5, 5] += 1
    path.unlink()
    mrcz_dask.write(path, frames)
    return path


def reasons(heard: list[Message]) -> dict[str, str]:
    """Return why stacks were corrected."""
    return {e.name: e.reason for e in heard if isinstance(e, StackDue)}


Finished = Callable[..., tuple[Path, Outcome]]


@pytest.fixture(scope="module")
def runs(simulated_night: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """runs(write): a finished run below its session, which nothing may change."""

    @cache
    def run(write: str) -> tuple[Path, Outcome]:
        folder = shutil.copytree(simulated_night, tmp_path_factory.mktemp("finished") / "night")
        return folder, run_koma(folder, write=write)

    return run


@pytest.fixture
def finished(runs: Finished, tmp_path: Path) -> Finished:
    """finished(write): a copy of such a session with its run, and the outcome."""

    def copy(write: str = "normalized") -> tuple[Path, Outcome]:
        folder, outcome = runs(write)
        return shutil.copytree(folder, tmp_path / "night"), outcome

    return copy


class TestRunAgain:
    """What is there and sound for the same inputs and parameters is kept."""

    @pytest.mark.parametrize("write", WRITES)
    def test_keeps_and_rewrites_nothing(self, koma: Any, finished: Finished, write: str) -> None:
        night, first = finished(write)
        before = {p: p.stat().st_mtime_ns for p in (night / "koma").rglob("*") if p.name != "events.jsonl"}
        second = koma(night, write=write)
        after = {p: p.stat().st_mtime_ns for p in (night / "koma").rglob("*") if p.name != "events.jsonl"}
        assert before == after
        assert all(r.kept for r in second.results)
        assert [(r.digest, r.noise, r.hot, r.caveats) for r in first.results] == [
            (r.digest, r.noise, r.hot, r.caveats) for r in second.results
        ]

    @pytest.mark.parametrize("write", WRITES)
    def test_a_changed_parameter_is_refused_and_overwrite_works(
        self, tmp_path: Path, koma: Any, finished: Finished, write: str
    ) -> None:
        night, _ = finished(write)
        before = contents(night / "koma")
        with pytest.raises(OutputExistsError, match="--overwrite"):
            koma(night, write=write, radius=1)
        assert contents(night / "koma") == before
        again = koma(night, write=write, radius=1, overwrite=True)
        assert again.complete
        assert contents(night / "koma") != before
        koma(night, tmp_path / "fresh", write=write, radius=1)
        assert contents(night / "koma") == contents(tmp_path / "fresh")

    @pytest.mark.parametrize("first", WRITES)
    @pytest.mark.parametrize("then", WRITES)
    def test_another_way_to_write_is_refused(
        self, koma: Any, finished: Finished, first: str, then: str
    ) -> None:
        if first == then:
            return
        night, _ = finished(first)
        with pytest.raises(OutputExistsError, match="--overwrite"):
            koma(night, write=then)

    def test_a_damaged_output_is_made_again(self, night: Path, koma: Any) -> None:
        outcome = koma(night)  # a copy of outputs would be known as none of this folder's
        path = night / "koma" / outcome.results[2].output
        good = path.read_bytes()
        path.write_bytes(damaged(good))
        heard: list[Message] = []
        again = koma(night, listen=heard.append)
        assert [r.kept for r in again.results] == [True] * 2 + [False] + [True] * 2
        assert path.read_bytes() == good
        ((name, reason),) = reasons(heard).items()
        assert name == outcome.results[2].name and reason.startswith("output damaged: ")

    def test_a_damaged_file_that_no_run_is_known_to_have_made_is_refused(
        self, night: Path, koma: Any
    ) -> None:
        outcome = koma(night)
        path = night / "koma" / outcome.results[2].output
        path.write_bytes(damaged(path.read_bytes()))
        (night / "koma" / "events.jsonl").unlink()
        before = path.read_bytes()
        again = koma(night)
        assert len(again.results) == 4
        (failure,) = again.failures
        assert failure.name == outcome.results[2].name
        assert "damaged" in failure.reason and "--overwrite" in failure.reason and path.name in failure.reason
        assert path.read_bytes() == before
        assert koma(night, overwrite=True).results[2].digest == outcome.results[2].digest

    def test_a_file_that_is_no_output_is_refused(self, night: Path, koma: Any) -> None:
        outcome = koma(night)
        path = night / "koma" / outcome.results[2].output
        mrcz_dask.write(path, np.zeros((2, 4, 4), np.int16), footer=False)
        before = path.read_bytes()
        (failure,) = koma(night).failures
        assert "no run over this folder is known to have made it" in failure.reason
        mrcz_dask.write(path, np.zeros((2, 4, 4), np.int16))
        with pytest.raises(OutputExistsError, match="no output of a run"):
            koma(night)
        assert path.read_bytes() != before and koma(night, overwrite=True).complete

    def test_without_a_log_the_outputs_are_read_and_kept(self, koma: Any, finished: Finished) -> None:
        night, _ = finished()
        (night / "koma" / "events.jsonl").unlink()
        assert all(r.kept for r in koma(night).results)

    def test_a_known_output_is_not_read_again(
        self, koma: Any, finished: Finished, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        night, _ = finished()
        monkeypatch.delattr(keeping, "verify_file")
        assert all(r.kept for r in koma(night).results)

    def test_overwrite_replaces_what_differs_alone(self, koma: Any, finished: Finished) -> None:
        night, _ = finished()
        assert all(r.kept for r in koma(night, overwrite=True).results)

    def test_parameters_that_changed_are_named(self, koma: Any, finished: Finished) -> None:
        night, _ = finished()
        with pytest.raises(OutputExistsError, match="parameters changed: radius 2 -> 3"):
            koma(night, radius=3)
        heard: list[Message] = []
        koma(night, radius=1, method="plain", overwrite=True, listen=heard.append)
        assert set(reasons(heard).values()) == {"parameters changed: method fit -> plain, radius 2 -> 1"}

    def test_a_missing_output_alone_is_written(self, koma: Any, finished: Finished) -> None:
        night, outcome = finished()
        path = night / "koma" / outcome.results[3].output
        data = path.read_bytes()
        path.unlink()
        again = koma(night)
        assert [r.kept for r in again.results] == [True] * 3 + [False, True]
        assert path.read_bytes() == data

    @pytest.mark.parametrize("write", WRITES)
    def test_a_changed_input_redoes_those_whose_windows_hold_it_and_itself_if_it_may(
        self, night: Path, tmp_path: Path, koma: Any, write: str
    ) -> None:
        outcome = koma(night, write=write, method="plain", radius=1, pool=0)
        changed = change(night / outcome.results[3].name)
        output = night / "koma" / outcome.results[3].output
        before = output.read_bytes()
        heard: list[Message] = []
        again = koma(night, write=write, method="plain", radius=1, pool=0, listen=heard.append)
        (failure,) = again.failures
        assert failure.name == changed.name and "the only copy" in failure.reason
        assert "--overwrite" in failure.reason and output.read_bytes() == before
        koma(night, write=write, method="plain", radius=1, pool=0, overwrite=True, listen=heard.append)
        names = [r.name for r in outcome.results]
        assert reasons(heard) == {
            names[2]: f"neighbor changed: {changed.name}",
            names[3]: "input changed",
            names[4]: f"neighbor changed: {changed.name}",
        }
        koma(night, tmp_path / "fresh", write=write, method="plain", radius=1, pool=0)
        assert contents(night / "koma") == contents(tmp_path / "fresh")

    def test_an_input_that_was_touched_alone_changes_nothing(self, koma: Any, finished: Finished) -> None:
        night, outcome = finished()
        (night / outcome.results[3].name).touch()
        assert all(r.kept for r in koma(night).results)

    def test_a_new_stack_redoes_those_whose_windows_it_joins(
        self, night: Path, tmp_path: Path, koma: Any
    ) -> None:
        names = [r.name for r in koma(night, tmp_path / "all").results]
        late = night / names[-1]
        late.rename(tmp_path / late.name)
        koma(night, method="plain", radius=1, pool=0)
        (tmp_path / late.name).rename(late)
        heard: list[Message] = []
        assert koma(night, method="plain", radius=1, pool=0, listen=heard.append).complete
        assert reasons(heard) == {
            names[-2]: f"neighbors changed: {names[-1]} joined, {names[-4]} left",
            names[-1]: "no output yet",
        }

    @pytest.mark.parametrize("write", ["recompressed", "references"])
    def test_a_lost_store_is_made_again(self, koma: Any, finished: Finished, write: str) -> None:
        night, outcome = finished(write)
        before = contents(night / "koma")
        shutil.rmtree(night / "koma" / "session.zarr")
        assert koma(night, write=write).complete
        assert contents(night / "koma") == before
        if write == "recompressed":
            path = night / "koma" / outcome.results[0].output
            assert mrcz_dask.open_stack(path, corrected=True).compute().dtype == np.float32

    def test_a_lost_mask_is_made_again(self, koma: Any, finished: Finished) -> None:
        night, outcome = finished("references")
        mask = night / "koma" / f"{Path(outcome.results[0].name).stem}_mask.mrc"
        data = mask.read_bytes()
        mask.unlink()
        assert koma(night, write="references").complete
        assert mask.read_bytes() == data


@pytest.mark.parametrize("is_damaged", [False, True])
def test_outputs_of_a_folder_that_was_refilled_stay(night: Path, koma: Any, is_damaged: bool) -> None:
    koma(night)
    for path in night.glob("*.mrcz"):
        change(path)
    outputs = list((night / "koma").glob("*.mrcz"))
    for path in outputs if is_damaged else ():
        path.write_bytes(damaged(path.read_bytes()))
    before = [path.read_bytes() for path in outputs]
    refused = koma(night)
    assert not refused.results and len(refused.failures) == len(outputs) == 5
    assert all("the only copy" in one.reason for one in refused.failures)
    assert [path.read_bytes() for path in outputs] == before
    assert koma(night, overwrite=True).complete and koma(night).complete


def test_a_record_of_another_layout_is_made_again(koma: Any, finished: Finished) -> None:
    import zarr

    night, outcome = finished()
    stem = outcome.plan.stacks[0].stem
    zarr.open_group(night / "koma" / "session.zarr", path=f"stacks/{stem}", mode="a").attrs.put(
        {"name": "old"}
    )
    assert all(r.kept for r in koma(night).results)


def test_outputs_of_another_session_with_the_same_names_stay(night: Path, koma: Any) -> None:
    other = Path(shutil.copytree(night, night.parent / "other"))
    for path in other.glob("*.mrcz"):
        change(path)
    out = night.parent / "out"
    assert koma(night, out).complete
    before = {path.name: path.read_bytes() for path in out.glob("*.mrcz")}
    refused = koma(other, out)
    assert not refused.results and all("the only copy" in one.reason for one in refused.failures)
    assert {path.name: path.read_bytes() for path in out.glob("*.mrcz")} == before
    moved = night.rename(night.parent / "moved")
    assert all(result.kept for result in koma(moved, out).results)
    assert koma(other, out, overwrite=True).complete
    assert koma(other, out).complete
