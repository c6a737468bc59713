"""A file that is edited while it is used."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from mrcz_dask.live.processors.loading import Script

FILE_SECONDS = 0.5


class FileWatch:
    """Tells when a file is another one; it is looked at twice a second at most."""

    def __init__(self, path: Path) -> None:
        self._path, self._looked = path, 0.0
        self._stamp = self._now()

    def _now(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size

    def changed(self, script: Script) -> Script | None:
        """Return the file as it is now if it differs from what runs and from what was tried last."""
        if time.monotonic() - self._looked < FILE_SECONDS:
            return None
        self._looked = time.monotonic()
        stamp = self._now()
        if stamp is None or stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            text = self._path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None
        return None if text == script.text else replace(script, text=text)
