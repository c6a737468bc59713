"""One run at a time in an output folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mrcz_dask.values.errors import OutputExistsError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs out of an output folder, which is made; the lock ends with the process at the latest.

    Raises
    ------
    OutputExistsError
        When another run is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise OutputExistsError(
            f"{folder}: another run writes there; wait for its end, or choose another output folder (-o)"
        ) from None
    finally:
        os.close(handle)
