"""Folders as bytes for the fuzzer, and targets for everything that `tests/damage` knows how to write."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from mrcz_dask.formats.metadata import group_attributes
from mrcz_dask.values.errors import MrczDaskError
from tests.damage.generator import Kind, files_of
from tests.damage.test_damage import KINDS
from tests.fuzz.target import Target

MARK = b"\n\xff=== "  # before the name of each file


def joined(path: Path) -> bytes:
    """Return a file with its sidecar, or all files of a folder, as bytes."""
    named = [(file.relative_to(path.parent).as_posix(), file.read_bytes()) for file in files_of(path)]
    return b"".join(MARK + name.encode() + b"\n" + content for name, content in named)


def spread(data: bytes, folder: Path) -> None:
    """Write the files that `joined` read into an empty folder, if their names are still in it."""
    shutil.rmtree(folder, ignore_errors=True)
    for part in data.split(MARK)[1:]:
        name, _, content = part.partition(b"\n")
        path = folder / name.decode("ascii", "ignore").replace("\0", "")
        if folder.resolve() in path.resolve().parents:
            with suppress(OSError):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)


def folder_target(name: str, write: Callable[[Path], Path], read: Callable[[Path], object]) -> Target:
    """Return a target that reads a folder, or a file with its sidecar, which may be changed anywhere."""
    names: list[Path] = []

    def seeds(folder: Path) -> list[bytes]:
        path = write(folder)
        names.append(path.relative_to(folder))
        return [joined(path)]

    def read_again(data: bytes, folder: Path) -> object:
        inside = folder / "it" / names[-1].parent
        spread(data, inside)
        with suppress(FileNotFoundError):  # it names the file that is gone
            return read(inside / names[-1].name)
        return None

    return Target(name.replace(" ", "-"), seeds, read_again)


def _read(kind: Kind, path: Path) -> object:
    try:
        found = kind.read(path)
    except MrczDaskError:
        if kind.verify is not None:
            kind.verify(path)
        raise
    return found, kind.verify is not None and kind.verify(path)


def _write_results(folder: Path) -> Path:
    import numpy as np

    from mrcz_dask.live.processors.declare import Image, Profile, Scalar, Spec
    from mrcz_dask.live.processors.results import ResultStore
    from mrcz_dask.live.view import Result

    store = ResultStore(folder / "live.zarr")
    series = store.series("a", "a.py")
    series.declare(Spec("a", "A", (Scalar("dose"), Profile("line"), Image("map"))))
    for k in range(3):
        line = np.arange(4.0), np.arange(4.0)
        series.append(Result(k, 1e9 + k, {"dose": 1.5, "line": line, "map": np.ones((4, 5))}))
    series.close()
    return store.path


def _read_results(path: Path) -> object:
    from mrcz_dask.live.page.exports import write_results
    from mrcz_dask.live.processors.results import ResultStore

    with suppress(MrczDaskError):
        write_results(path / "a", "csv", path.parent / "a.csv")
    store = ResultStore(path, append=True)
    store.series("a", "a.py").close()
    return store.settings("a")


def _write_store(folder: Path) -> Path:
    import numpy as np

    from mrcz_dask.session.store import SessionStore

    store = SessionStore(folder / "session.zarr")
    store.create()
    images, about = np.zeros((2, 4, 6), np.uint8), {"low": 0.5, "high": 2.0, "patch_at": [1, 2]}
    patch = {"patch": np.zeros((2, 3, 3), np.float32), "patch_weight": np.zeros((3, 3), np.uint8)}
    store.put_thumbnails("a", {"images": images, **patch}, about)
    return store.path


def _read_store(path: Path) -> object:
    from mrcz_dask.session.store import SessionStore

    store = SessionStore(path)
    group_attributes(path)
    store.create()
    return store.thumbnails("a"), store.patch("a")


TARGETS = [
    *(folder_target(kind.name, kind.write, partial(_read, kind)) for kind in KINDS if kind.name != "log"),
    folder_target("live results", _write_results, _read_results),
    folder_target("thumbnails", _write_store, _read_store),
]
