"""A run into every format: the same pixels, provenance and recipes as into MRCZ, rows as others show them."""

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from mrcz_dask.api.reproduce import reproduce
from mrcz_dask.correction.opening import open_stack, recipe_problem
from mrcz_dask.export.run import export
from mrcz_dask.export.texts import Optics
from mrcz_dask.formats.sources import open_source, read, read_footer
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.formats.writers import OUTPUT_SUFFIXES
from mrcz_dask.values.errors import OutputExistsError, ParameterError
from mrcz_dask.values.params import OutputFormat, WriteParams
from tests.nights import Koma, run_koma

FORMATS: tuple[OutputFormat, ...] = get_args(OutputFormat)
WAYS = [{"dtype": "int16"}, {"dtype": "float32"}, {"write": "recompressed"}]


def outputs(folder: Path, format: OutputFormat) -> list[Path]:
    ours = (p for p in folder.glob(f"*{OUTPUT_SUFFIXES[format]}") if p.name != "session.zarr")
    return sorted(ours)


def rows(format: OutputFormat) -> slice:
    """How rows of an output of MRC lie: TIFF is written from the last to the first."""
    return slice(None, None, -1 if format == "tiff" else 1)


@pytest.fixture(scope="module")
def usual(simulated_night: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of a run into MRCZ, one for each way to write."""

    @cache
    def run(**way: Any) -> Path:
        out = tmp_path_factory.mktemp("usual")
        assert run_koma(simulated_night, out, **way).complete
        return out

    return run


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(way.values()))
@pytest.mark.parametrize("format", FORMATS)
def test_the_same_pixels_in_every_format(
    night: Path,
    tmp_path: Path,
    koma: Koma,
    usual: Callable[..., Path],
    format: OutputFormat,
    way: dict[str, Any],
) -> None:
    outcome = koma(night, tmp_path / "out", format=format, **way)
    assert outcome.complete
    found = outputs(tmp_path / "out", format)
    assert len(found) == 5
    for path, result in zip(outputs(usual(**way), "mrcz"), found, strict=True):
        assert np.array_equal(read(result)[:, rows(format)], read(path))
        assert read(result).dtype == read(path).dtype
        assert verify_file(result).status == "sound"
        steps = [step["name"] for step in (read_footer(result) or {})["provenance"]]
        assert steps[-3:] == ["outliers", "koma", "write"]
        if "write" in way:
            assert np.array_equal(read(result)[:, rows(format)], read(night / path.name))
            corrected = [open_stack(one, corrected=True).compute() for one in (path, result)]
            assert np.array_equal(corrected[1][:, rows(format)], corrected[0])
            assert recipe_problem(result) is None


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_again_everything_is_kept_and_can_be_made_again(
    night: Path, tmp_path: Path, koma: Koma, format: OutputFormat
) -> None:
    way = {"format": format, "dtype": "float32"}
    first = koma(night, tmp_path / "out", **way)
    again = koma(night, tmp_path / "out", **way)
    assert all(result.kept for result in again.results)
    (tmp_path / "out" / "events.jsonl").unlink()
    from_footers = koma(night, tmp_path / "out", **way)
    assert [r.digest for r in from_footers.results] == [r.digest for r in first.results]
    assert all(result.kept for result in from_footers.results)
    path = outputs(tmp_path / "out", format)[3]
    assert reproduce(path, night).same
    with pytest.raises(OutputExistsError, match="parameters changed: radius"):
        koma(night, tmp_path / "out", radius=1, **way)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    mended = koma(night, tmp_path / "out", **way)
    assert sum(not result.kept for result in mended.results) == 1
    assert [r.digest for r in mended.results] == [r.digest for r in first.results]


@pytest.mark.parametrize("format", [f for f in FORMATS if f != "mrcz"])
def test_another_format_in_the_same_folder_is_asked_for(
    simulated_night: Path, usual: Callable[..., Path], koma: Koma, format: OutputFormat
) -> None:
    with pytest.raises(OutputExistsError, match=f"format mrcz -> {format}"):
        koma(simulated_night, usual(dtype="float32"), dtype="float32", format=format)


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_damage_is_found_and_mended(night: Path, tmp_path: Path, koma: Koma, format: OutputFormat) -> None:
    way = {"format": format, "write": "recompressed"}
    first = koma(night, tmp_path / "out", **way)
    path = outputs(tmp_path / "out", format)[2]
    file = (
        max((p for p in path.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
        if path.is_dir()
        else path
    )
    data = bytearray(file.read_bytes())
    data[len(data) * 2 // 3] ^= 0x55
    file.write_bytes(data)
    assert verify_file(path).status == "damaged"
    mended = koma(night, tmp_path / "out", **way)
    assert sum(not result.kept for result in mended.results) == 1
    assert [r.digest for r in mended.results] == [r.digest for r in first.results]


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_outputs_are_no_stacks_of_a_session(
    night: Path, tmp_path: Path, koma: Koma, format: OutputFormat
) -> None:
    koma(night, tmp_path / "out", format=format)
    for path in outputs(tmp_path / "out", format):
        (shutil.copytree if path.is_dir() else shutil.copy)(path, night / f"again_{path.name}")  # type: ignore[operator]
        beside = path.with_name(f"{path.name}.json")
        if beside.exists():
            shutil.copy(beside, night / f"again_{beside.name}")
    outcome = koma(night, tmp_path / "more")
    assert len(outcome.results) == 5
    assert sum("output of KOMA" in one.reason for one in outcome.plan.discovery.skipped) == 5


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_all_of_them_are_handed_on_alike(
    night: Path, tmp_path: Path, koma: Koma, format: OutputFormat
) -> None:
    koma(night, tmp_path / "out", format=format, write="recompressed")
    koma(night, tmp_path / "usual", write="recompressed")
    for name in ("out", "usual"):
        export(tmp_path / name, tmp_path / f"{name}-export", "motioncor", Optics(pixel_size=1.0))
    ours = sorted(p.relative_to(tmp_path / "out-export") for p in (tmp_path / "out-export").rglob("*"))
    assert ours == sorted(
        p.relative_to(tmp_path / "usual-export") for p in (tmp_path / "usual-export").rglob("*")
    )
    for name in ours:
        if (tmp_path / "out-export" / name).is_file() and name.suffix != ".mrcs":
            assert (tmp_path / "out-export" / name).read_bytes() == (
                tmp_path / "usual-export" / name
            ).read_bytes()
        elif name.suffix == ".mrcs":
            assert np.array_equal(
                read(tmp_path / "out-export" / name), read(tmp_path / "usual-export" / name)
            )


def test_counts_are_stored_as_narrow_as_they_are(night: Path, tmp_path: Path, koma: Koma) -> None:
    """The night's counts go up to some 15: four bits if all are below 16, else a byte."""
    koma(night, tmp_path / "out", format="mrcs", write="recompressed")
    for path in outputs(tmp_path / "out", "mrcs"):
        with open_source(path) as reader:
            largest = max(int(frame.max()) for frame in reader)
            nbytes = {True: 0.5, False: 1}[largest < 16 and reader.shape[2] % 2 == 0]
            assert path.stat().st_size == 1024 + nbytes * np.prod(reader.shape)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"write": "references", "format": "tiff"}, "plain MRC"),
        ({"dtype": "float16", "format": "mrcs"}, "float16"),
        ({"format": "png"}, "format"),
    ],
)
def test_what_does_not_go_together(wrong: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ParameterError, match=complaint):
        WriteParams(**wrong)
