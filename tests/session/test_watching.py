"""A folder into which a microscope writes: what has settled, looked at once."""

import os
import shutil
from pathlib import Path

import pytest

from mrcz_dask.session import watching
from mrcz_dask.session.watching import Watcher


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watcher(night: Path, clock: Clock) -> Watcher:
    for path in night.iterdir():
        os.utime(path, (1e9, 1e9))
    return Watcher(night, night / "koma", settle=10, clock=clock)


def names(watcher: Watcher) -> set[str]:
    return {stack.name for stack in watcher.scan().discovery.stacks}


def test_a_stack_is_taken_when_it_has_not_changed_for_long_enough(watcher: Watcher, clock: Clock) -> None:
    assert watcher.scan().unsettled == 5
    clock.now = 9.9
    assert names(watcher) == set()
    clock.now = 10
    assert len(names(watcher)) == 5
    assert watcher.scan().unsettled == 0


def test_one_that_is_much_older_than_the_newest_is_taken_at_once(watcher: Watcher, night: Path) -> None:
    newest = sorted(night.glob("*.mrcz"))[0]
    os.utime(newest, (1e9 + 10, 1e9 + 10))
    assert len(names(watcher)) == 4
    assert newest.name not in names(watcher)


def test_one_that_grows_has_not_settled(watcher: Watcher, night: Path, clock: Clock) -> None:
    path = sorted(night.glob("*.mrcz"))[0]
    watcher.scan()
    for _ in range(3):
        clock.now += 8
        path.write_bytes(path.read_bytes() + b"more")
        os.utime(path, (1e9, 1e9))
        assert path.name not in names(watcher)
    clock.now += 10
    assert watcher.scan().unsettled == 0


def test_a_change_of_its_mdoc_is_one_of_the_stack(watcher: Watcher, night: Path, clock: Clock) -> None:
    path = sorted(night.glob("*.mrcz"))[0]
    mdoc = path.with_name(path.name + ".mdoc")
    watcher.scan()
    clock.now = 10
    before = {s.name: s.acquired for s in watcher.scan().discovery.stacks}
    mdoc.write_text("[FrameSet = 0]\nDateTime = 14-Oct-26  23:59:59\n")
    os.utime(mdoc, (1e9, 1e9))
    assert path.name not in names(watcher)
    clock.now = 20
    after = {s.name: s.acquired for s in watcher.scan().discovery.stacks}
    assert before[path.name] != after[path.name]
    assert after[path.name].time.hour == 23


def test_a_file_is_looked_at_once(
    watcher: Watcher, night: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher.scan()
    clock.now = 10
    found = names(watcher)
    monkeypatch.delattr(watching, "probe")
    assert names(watcher) == found


def test_an_empty_folder_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "night").mkdir()
    assert Watcher(tmp_path / "night", tmp_path / "out", 1).scan().discovery.stacks == ()


def test_a_second_format_of_a_stack_leaves_the_name_of_the_first_output(
    watcher: Watcher, night: Path, clock: Clock
) -> None:
    path = sorted(night.glob("*.mrcz"))[0]
    watcher.scan()
    clock.now = 10
    assert len(watcher.scan().discovery.stacks) == 5
    shutil.copyfile(path, path.with_suffix(".mrc"))
    watcher.scan()
    clock.now = 20
    stems = {stack.name: stack.stem for stack in watcher.scan().discovery.stacks}
    assert stems[path.name] == path.stem
    assert stems[f"{path.stem}.mrc"] == f"{path.stem}.mrc"


@pytest.mark.parametrize("what", ["broken", "to itself", "broken mdoc"])
def test_a_link_that_leads_nowhere_settles_and_is_named(
    what: str, watcher: Watcher, night: Path, clock: Clock
) -> None:
    name = {"broken": "gone.mrc", "to itself": "loop.mrc"}.get(what, "lone.mrcz")
    if what == "broken mdoc":
        shutil.copyfile(sorted(night.glob("*.mrcz"))[0], night / name)
    (night / ("lone.mrcz.mdoc" if what == "broken mdoc" else name)).symlink_to(
        "loop.mrc" if what == "to itself" else "nowhere"
    )
    watcher.scan()
    clock.now = 10
    seen = watcher.scan()
    assert seen.unsettled == 0
    assert (name in {one.path.name for one in seen.discovery.rejected}) == (what != "broken mdoc")
    assert len(seen.discovery.stacks) == (6 if what == "broken mdoc" else 5)
