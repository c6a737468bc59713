"""``runs.jsonl``: when, where and for how long runs went - all that must not be in the files themselves."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mrcz_dask import __version__


def append_run(path: Path, outcome: dict[str, Any], executor: dict[str, Any]) -> None:
    """Append one line about a run: its time and platform, and its outputs by their digests."""
    line = {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "executor": executor,
        "outputs": {r["output"]: r["digest"] for r in outcome["results"]},
        "failures": outcome["failures"],
        "rejected": outcome["rejected"],
    }
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
