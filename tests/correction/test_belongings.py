"""What belongs to an output is part of done: gone or damaged, it is made again with the same bytes."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcz_dask.correction import correct_stack
from mrcz_dask.formats.writers import OUTPUT_SUFFIXES
from mrcz_dask.session.manifest import lost
from tests.correction.conftest import contents

FLOATS = {"dtype": "float32"}
# options of a run, and names of what belongs to its outputs: one is gone, or damaged, of each stack
CASES: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["{}.mrcz.mdoc", "session.zarr/thumbnails/{}", "session.zarr/thumbnails/{}/images/zarr.json"]),
    ({"format": "mrcs"} | FLOATS, ["{}.mrcs.json"]),
    ({"format": "tiff"} | FLOATS, ["{}.tif.json"]),
    ({"write": "recompressed"}, ["session.zarr/corrections/{}/pattern/zarr.json"]),
    ({"write": "references"}, ["{}_mask.mrc", "session.zarr/references/{}/zarr.json"]),
]


@pytest.mark.parametrize(("options", "names"), CASES)
def test_what_is_gone_or_damaged_is_made_again(
    night: Path, koma: Any, options: dict[str, Any], names: list[str]
) -> None:
    first, out = koma(night, **options), night / "koma"
    before, stems = contents(out), iter(entry.stem for entry in first.plan.stacks)
    ways = {name: (True, False) if Path(name).suffix else (True,) for name in names}
    files = [(out / name.format(next(stems)), gone) for name in names for gone in ways[name]]
    for file, gone in files:
        if file.is_dir():
            shutil.rmtree(file)
        elif gone:
            file.unlink()
        else:
            data = bytearray(file.read_bytes())
            data[len(data) // 2] ^= 1
            file.write_bytes(data)
    seen = sum(not file.is_dir() and "thumbnails" not in file.parts for file, _ in files)
    assert len(lost(out, first.results, read=True)) == seen
    again = koma(night, **options)
    assert again.complete and all(file.exists() for file, _ in files) and contents(out) == before
    assert [r.kept for r in again.results].count(False) == len(files)


def test_a_histogram_is_made_again_with_the_sum_and_the_output_is_kept(night: Path, koma: Any) -> None:
    stem, folder = koma(night).plan.stacks[2].stem, night / "koma/session.zarr/histograms"
    for damage in (shutil.rmtree, lambda stem: (stem / "hot_dead/c/0/0/0").unlink()):
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        damage(folder / stem)
        assert all(result.kept for result in koma(night).results)
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_an_mdoc_is_there_before_its_output_and_goes_without_it(
    night: Path, koma: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def interrupted(*args: Any) -> Any:
        seen.append(len(list((night / "koma").glob("*.mdoc"))))
        raise KeyboardInterrupt

    monkeypatch.setattr(correct_stack, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        koma(night)
    assert seen == [1] and not list((night / "koma").glob("*.mrcz*"))


def test_without_a_log_or_with_another_time_what_belongs_is_looked_at(night: Path, koma: Any) -> None:
    first = koma(night)
    outputs = [night / "koma" / result.output for result in first.results]
    for log, output in ((True, outputs[2]), (False, outputs[3])):
        output.touch()
        if not log:
            (night / "koma" / "events.jsonl").unlink()
        Path(f"{output}.mdoc").unlink()
        again = koma(night)
        assert [r.kept for r in again.results].count(False) == 1 and Path(f"{output}.mdoc").exists()


@pytest.mark.slow
@pytest.mark.parametrize("format", list(OUTPUT_SUFFIXES))
def test_any_damage_to_outputs_is_mended_by_the_next_run(night: Path, koma: Any, format: Any) -> None:
    """Each round damages one file of each of five outputs: a bit, a cut, or gone."""
    options, out, rng = {"format": format} | FLOATS, night / "koma", np.random.default_rng(0)
    first = koma(night, **options)
    whole = {
        p: p.read_bytes() for name in dict(sum((r.files for r in first.results), ())) for p in [out / name]
    }
    for _ in range(12):
        for result in first.results:
            path = out / result.files[rng.integers(len(result.files))][0]
            data, how = bytearray(whole[path]), rng.integers(4)
            if how == 0:
                path.unlink()
            elif how == 1:
                path.write_bytes(data[: rng.integers(len(data))])
            else:
                data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
                path.write_bytes(data)
        again = koma(night, **options)
        assert again.complete, again.failed
        assert {path: path.read_bytes() for path in whole} == whole
