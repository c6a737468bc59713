"""One run at a time in an output folder."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from mrcz_dask.values import messages
from mrcz_dask.values.errors import OutputExistsError
from mrcz_dask.values.messages import Listener

NAME = ".koma.lock"
ATTEMPTS, PAUSE = 5, 0.2
# What file systems say that know no locks.
UNKNOWN = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


@contextmanager
def locked(folder: Path, listen: Listener = messages.silent) -> Iterator[None]:
    """Keep other runs out of an output folder, which is made; the lock ends with the process at the latest.

    It holds for all machines that share the folder, where its file system passes locks on (NFS does).

    Parameters
    ----------
    folder
        The output folder.
    listen
        Is warned where the file system knows no locks.

    Raises
    ------
    OutputExistsError
        When another run is at work there; says on which machine.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        _take(folder, handle, listen)
        yield
    finally:
        os.close(handle)


def _take(folder: Path, handle: int, listen: Listener) -> None:
    for left in reversed(range(ATTEMPTS)):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if left == 0:
                raise OutputExistsError(
                    f"{folder}: another run writes there ({_read(handle)}); wait for its end, or choose "
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
            _sign(handle)
            return


def holder(folder: Path) -> str | None:
    """Return who is at work in an output folder (process, host, since when); None if nobody is known."""
    try:
        handle = os.open(folder / NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(handle)
    except OSError:
        return None
    finally:
        os.close(handle)
    return None


def _sign(handle: int) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"process {os.getpid()} on {platform.node()} since {now}\n".encode(), 0)


def _read(handle: int) -> str:
    return os.pread(handle, 1000, 0).decode(errors="replace").strip() or "it has not said who it is"
