"""Guard the output folder: one run at a time, enough space, no input overwritten, temporary files removed."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import re
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from mrcz_dask.formats.source import open_file
from mrcz_dask.formats.writers import OUTPUT_SUFFIXES
from mrcz_dask.values import messages
from mrcz_dask.values.errors import OutputExistsError, PlaceError, SpaceError
from mrcz_dask.values.messages import Listener
from mrcz_dask.values.texts import readable, some

_ENDS = "|".join(re.escape(suffix) for suffix in OUTPUT_SUFFIXES.values())
# Temporary files of AtomicFile, AtomicFolder and `read_back`, and temporary folders of the session store.
_TEMPORARY = re.compile(
    rf"\.(?P<name>.*)\.[0-9a-f]{{12,32}}\.part(?:(?:{_ENDS}|\.mrc)(?:\.json)?)?", re.DOTALL
)
_TEMPORARY_OF_STORE = re.compile(r"\.session\.zarr-[0-9a-f]{32}(?:-old)?")
LONGEST_STEM = 200
LOCK = ".koma.lock"
ATTEMPTS, PAUSE = 5, 0.2
# Errors of file systems that know no locks.
UNKNOWN = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


@contextmanager
def locked(folder: Path, listen: Listener = messages.silent) -> Iterator[None]:
    """Make an output folder and lock it against other runs during the block, or until the process ends.

    It holds for all machines that share the folder, where its file system passes locks on (NFS does).

    Parameters
    ----------
    folder
        Output folder.
    listen
        Gets a warning if the file system knows no locks.

    Raises
    ------
    OutputExistsError
        If another run is at work there; says on which machine.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):  # no run can write here
        yield
        return
    handle = open_file(folder / LOCK, os.O_RDWR | os.O_CREAT)
    try:
        _lock(folder, handle, listen)
        yield
    finally:
        os.close(handle)


def _lock(folder: Path, handle: int, listen: Listener) -> None:
    for left in reversed(range(ATTEMPTS)):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if left == 0:
                raise OutputExistsError(
                    f"{folder}: another run writes there ({_holder(handle)}); wait for its end, or choose "
                    "another output folder (-o)"
                ) from None
            time.sleep(PAUSE)  # somebody may just look who holds it
        except OSError as error:
            if error.errno not in UNKNOWN:
                raise
            listen(
                messages.Warned(f"{folder}: this file system knows no locks; start one run at a time there")
            )
            return
        else:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"process {os.getpid()} on {platform.node()} since {now}\n".encode(), 0)
            return


def _holder(handle: int) -> str:
    return os.pread(handle, 1000, 0).decode(errors="replace").strip() or "it has not said who it is"


def holder(folder: Path) -> str | None:
    """Return which run locks an output folder (process, host, since when); None if none is known."""
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(handle)
    except OSError:
        return None
    finally:
        os.close(handle)
    return None


def check_space(folder: Path, needed: int) -> None:
    """Check that `needed` bytes can be written to a folder, which need not exist yet; raise an error if not.

    Raises
    ------
    PlaceError
        If the folder is a file.
    SpaceError
        If it cannot be written into, or has fewer bytes free; with the figures.
    """
    above = Path(os.path.abspath(folder))  # noqa: PTH100 - `..` goes, and nothing has to be there
    place = next(p for p in (above, *above.parents) if p.exists())
    if not place.is_dir():
        raise PlaceError(f"{place} is a file; expected a folder for the outputs; choose another (-o)")
    if not os.access(place, os.W_OK | os.X_OK):
        raise SpaceError(f"{place} cannot be written into; change its permissions or choose another output")
    free = shutil.disk_usage(place).free
    if needed > free:
        raise SpaceError(
            f"{folder} has {readable(free)} free; expected at least the {readable(needed)} of the outputs;"
            f" free {readable(needed - free)} or choose another output folder"
        )


def make_folder(folder: Path) -> None:
    """Make a folder for outputs, and its parents, if it does not exist.

    Raises
    ------
    PlaceError
        If a file is in its place, or in that of a folder above it.
    SpaceError
        If it cannot be made there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise PlaceError(f"{folder}: is a file, or below one; choose another output folder") from error
    except OSError as error:
        raise SpaceError(
            f"{folder}: cannot be made ({error.strerror or error}); choose another output folder"
        ) from error


def forbid_overwriting(inputs: Iterable[Path], outputs: Iterable[Path]) -> None:
    """Raise an error if an output would overwrite an input, directly or through a link.

    Raises
    ------
    SessionError
        Names every output that would overwrite an input.
    """
    taken = {_identity(path) for path in inputs} - {None}
    clashes = [str(path) for path in outputs if _identity(path) in taken]
    if clashes:
        raise PlaceError(
            f"{len(clashes)} outputs would overwrite inputs: {some(clashes)}; expected an output folder apart"
            " from the inputs; choose another one"
        )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:  # not there, or a link to itself
        return None
    return status.st_dev, status.st_ino


@contextmanager
def without_temporary_files(folder: Path, stems: Iterable[str]) -> Iterator[None]:
    """Remove, when the block ends, temporary files that killed workers left of these stacks' outputs."""
    try:
        yield
    finally:
        by_folder: defaultdict[Path, list[str]] = defaultdict(list, {folder: []})
        for path in (folder / stem for stem in stems):
            by_folder[path.parent].append(path.name.encode()[:LONGEST_STEM].decode(errors="ignore"))
        for place, names in by_folder.items():
            hidden = [path for path in place.iterdir() if path.name[0] == "."] if place.is_dir() else []
            for path in hidden:
                half = _TEMPORARY.fullmatch(path.name)
                ours = half is not None and half["name"].lstrip(".").startswith(tuple(names))
                if ours or _TEMPORARY_OF_STORE.fullmatch(path.name):
                    remove(path)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
