"""Run again: what is kept, what is refused, what is made again."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.values.errors import OutputExistsError

WRITES = ["normalized", "recompressed", "references"]
SHAPE = (4, 64, 80)


def contents(folder: Path) -> dict[str, bytes]:
    """Every byte of the outputs, the journal (times, platform) and the store's own layout apart."""
    return {
        p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file() and p.name != "runs.jsonl"
    }


class TestRunAgain:
    """What is there and sound for the same inputs and parameters is kept."""

    @pytest.mark.parametrize("write", WRITES)
    def test_keeps_and_rewrites_nothing(self, night: Path, koma: Any, write: str) -> None:
        first = koma(night, write=write)
        before = {p: p.stat().st_mtime_ns for p in (night / "koma").rglob("*") if p.name != "runs.jsonl"}
        second = koma(night, write=write)
        after = {p: p.stat().st_mtime_ns for p in (night / "koma").rglob("*") if p.name != "runs.jsonl"}
        assert before == after
        assert all(r.kept for r in second.results)
        assert [(r.digest, r.noise, r.hot, r.caveats) for r in first.results] == [
            (r.digest, r.noise, r.hot, r.caveats) for r in second.results
        ]

    @pytest.mark.parametrize("write", WRITES)
    def test_a_changed_parameter_is_refused_and_overwrite_works(
        self, night: Path, tmp_path: Path, koma: Any, write: str
    ) -> None:
        koma(night, write=write)
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
    def test_another_way_to_write_is_refused(self, night: Path, koma: Any, first: str, then: str) -> None:
        if first == then:
            return
        koma(night, write=first)
        with pytest.raises(OutputExistsError, match="--overwrite"):
            koma(night, write=then)

    def test_a_damaged_output_is_named_and_refused(self, night: Path, koma: Any) -> None:
        outcome = koma(night)
        path = night / "koma" / outcome.results[2].output
        data = bytearray(path.read_bytes())
        data[3000] ^= 1
        path.write_bytes(data)
        again = koma(night)
        assert len(again.results) == 6
        (failure,) = again.failures
        assert failure.name == outcome.results[2].name
        assert "damaged" in failure.reason and "--overwrite" in failure.reason and path.name in failure.reason
        assert path.read_bytes() == data
        assert koma(night, overwrite=True).results[2].digest == outcome.results[2].digest

    def test_a_missing_output_alone_is_written(self, night: Path, koma: Any) -> None:
        outcome = koma(night)
        path = night / "koma" / outcome.results[4].output
        data = path.read_bytes()
        path.unlink()
        again = koma(night)
        assert [r.kept for r in again.results] == [True] * 4 + [False] + [True] * 2
        assert path.read_bytes() == data

    def test_a_changed_input_is_asked_about(self, night: Path, koma: Any) -> None:
        outcome = koma(night)
        changed = night / outcome.results[3].name
        frames = mrcz_dask.read(changed)
        frames[0, 5, 5] += 1
        changed.unlink()
        mrcz_dask.write(changed, frames)
        again = koma(night)
        assert changed.name in {f.name for f in again.failures}
        assert all("other inputs" in f.reason and "--overwrite" in f.reason for f in again.failures)
        assert koma(night, overwrite=True).complete

    @pytest.mark.parametrize("write", ["recompressed", "references"])
    def test_a_lost_store_is_made_again(self, night: Path, koma: Any, write: str) -> None:
        outcome = koma(night, write=write)
        before = contents(night / "koma")
        shutil.rmtree(night / "koma" / "session.zarr")
        assert koma(night, write=write).complete
        assert contents(night / "koma") == before
        if write == "recompressed":
            path = night / "koma" / outcome.results[0].output
            assert mrcz_dask.open_stack(path, corrected=True).compute().dtype == np.float32

    def test_a_lost_mask_is_made_again(self, night: Path, koma: Any) -> None:
        outcome = koma(night, write="references")
        mask = night / "koma" / f"{Path(outcome.results[0].name).stem}_mask.mrc"
        data = mask.read_bytes()
        mask.unlink()
        assert koma(night, write="references").complete
        assert mask.read_bytes() == data


def test_a_record_of_another_layout_is_made_again(night: Path, koma: Any) -> None:
    import zarr

    outcome = koma(night)
    stem = outcome.plan.stacks[0].stem
    zarr.open_group(night / "koma" / "session.zarr", path=f"stacks/{stem}", mode="a").attrs.put(
        {"name": "old"}
    )
    assert all(r.kept for r in koma(night).results)
