"""Whether an event list is what was written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mrcz_dask.counting.recording import Summary
from mrcz_dask.counting.store import Events
from mrcz_dask.formats.provenance import verify_chain

FRAMES = 64


def event_problems(path: Path) -> list[str]:
    """Return what is wrong with an event list: electrons, their number, provenance. Empty if sound."""
    try:
        return list(_problems(Events(path)))
    except (ValueError, OSError, KeyError, RuntimeError) as error:
        return [f"{path}: cannot be read ({error}); count again"]


def _problems(events: Events) -> Iterator[str]:
    summary = Summary()
    for start in range(0, len(events), FRAMES):
        summary.add(b"", events.found(start, min(start + FRAMES, len(events))))
    said = events.about
    found, expected = (summary.events, summary.frames), (said["events"], said["frames"])
    if found != expected:
        yield "{} electrons in {} frames; expected {} in {}".format(*found, *expected)
    elif summary.events_digest != said["digest"]:
        yield "the electrons are not those that were written (their digest does not match)"
    yield from verify_chain(said["provenance"])
