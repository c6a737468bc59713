from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import mrcz_dask
from mrcz_dask.formats.text.mdoc import read_mdoc
from mrcz_dask.numerics.simulate import SimulationParams, named, simulate_session
from mrcz_dask.session import simulation
from mrcz_dask.session.simulation import START, exposures, write_session
from mrcz_dask.values.errors import OutputExistsError, SpaceError
from mrcz_dask.values.messages import Message, PhaseFinished, PhaseStarted, StackDone

PARAMS = named("standard", shape=(64, 80), frames=4, stacks=3, seed=11, hot=(0.01, 0.02), dead=0.001)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[Path, ...]]:
    folder = tmp_path_factory.mktemp("simulated") / "night"
    return folder, write_session(folder, PARAMS)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_stacks_come_back(written: tuple[Path, tuple[Path, ...]]) -> None:
    session = simulate_session(PARAMS)
    for i, path in enumerate(written[1]):
        frames = mrcz_dask.read(path)
        assert frames.dtype == np.uint8
        assert np.array_equal(frames, session.stack(i).frames)


def test_the_folder_holds_stacks_mdocs_and_truth(written: tuple[Path, tuple[Path, ...]]) -> None:
    folder, paths = written
    names = {path.name for path in paths}
    assert {p.name for p in folder.iterdir()} == names | {f"{n}.mdoc" for n in names} | {"truth.zarr"}


def test_the_truth_is_beside_the_session(written: tuple[Path, tuple[Path, ...]]) -> None:
    folder, paths = written
    root: Any = zarr.open_group(folder / "truth.zarr", mode="r")
    assert SimulationParams.from_dict(root.attrs["params"]) == PARAMS
    assert root.attrs["stems"] == [path.stem for path in paths]
    truth = simulate_session(PARAMS).stack(1).truth
    group = root[paths[1].stem]
    assert (group.attrs["index"], group.attrs["dose"]) == (1, truth.dose)
    for name in (*simulation.IMAGES, "drift"):
        expected = getattr(truth, name)
        assert group[name].dtype == expected.dtype
        assert np.array_equal(group[name][:], expected)


def test_the_mdocs_say_when_and_how_much(written: tuple[Path, tuple[Path, ...]]) -> None:
    for i, path in enumerate(written[1]):
        found = read_mdoc(Path(f"{path}.mdoc"))
        dose = simulate_session(PARAMS).dose(i)
        assert found.time == exposures(PARAMS)[i].time
        assert (found.pixel_size, found.get("Voltage")) == (1.06, "300")
        assert float(found.get("ExposureDose") or 0) == pytest.approx(4 * dose / 1.06**2, abs=1e-3)


def test_names_are_not_in_the_order_of_time() -> None:
    for stacks in (2, 3, 50):
        for seed in range(5):
            plan = exposures(replace(PARAMS, stacks=stacks, seed=seed))
            stems = [exposure.stem for exposure in plan]
            assert len(set(stems)) == stacks
            assert stems != sorted(stems)


def test_stacks_are_a_minute_apart() -> None:
    times = [exposure.time for exposure in exposures(replace(PARAMS, stacks=50))]
    gaps = np.diff([START, *times])
    assert {60, 70} >= {min(g.total_seconds() for g in gaps), max(g.total_seconds() for g in gaps)}


def test_the_same_seed_writes_the_same_files(written: tuple[Path, Any], tmp_path: Path) -> None:
    write_session(tmp_path, PARAMS)
    assert contents(tmp_path) == contents(written[0])


def test_events_tell_of_every_stack(tmp_path: Path) -> None:
    events: list[Message] = []
    paths = write_session(tmp_path, PARAMS, listener=events.append)
    size = 4 * 64 * 80
    assert events[0] == PhaseStarted("simulate", 3, 3 * size)
    assert events[1:4] == [StackDone("simulate", path.stem, size) for path in paths]
    assert events[4:] == [PhaseFinished("simulate")]


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(OutputExistsError, match=r"mine\.txt"):
        write_session(tmp_path, PARAMS)
    assert contents(tmp_path) == {"mine.txt": b"keep"}


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("keep")
    with pytest.raises(SpaceError, match="file"):
        write_session(tmp_path / "file", PARAMS)


@pytest.mark.parametrize("made_before", [True, False])
def test_nothing_stays_of_what_was_interrupted(tmp_path: Path, made_before: bool) -> None:
    folder = tmp_path / "night"
    if made_before:
        folder.mkdir()

    def interrupt(message: Message) -> None:
        if isinstance(message, StackDone):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_session(folder, PARAMS, listener=interrupt)
    assert folder.exists() == made_before
    assert not made_before or not list(folder.iterdir())


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(simulation, "write", full)
    with pytest.raises(SpaceError, match="No space left"):
        write_session(tmp_path / "night", PARAMS)
    assert not (tmp_path / "night").exists()
