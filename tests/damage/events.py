"""Event lists."""

from pathlib import Path
from typing import Any

import numpy as np

from mrcz_dask.counting.packing import EventArrays, quantized
from mrcz_dask.counting.recording import Summary
from mrcz_dask.counting.store import EventList, event_problems, write_events
from mrcz_dask.formats import provenance
from tests.damage.generator import Kind, same_json

SHAPE = (24, 32)
COUNTS = [3, 0, 5, 1]


def electrons() -> EventArrays:
    """Return the electrons of a few frames."""
    rng = np.random.default_rng(0)
    triples = [(rng.uniform(0, 24, n), rng.uniform(0, 32, n), rng.normal(40, 8, n)) for n in COUNTS]
    return quantized(triples, SHAPE, 4.0)


def write_list(folder: Path) -> Path:
    """Write an event list."""
    found, summary, path = electrons(), Summary(), folder / "a.events.zarr"
    summary.add(b"", found)
    about = {
        "shape": [len(COUNTS), *SHAPE],
        "frames": summary.frames,
        "events": summary.events,
        "charge_step": 0.25,
        "digest": summary.events_digest,
        "provenance": provenance.append(None, provenance.step("count", results={"factor": 1.1})),
    }
    write_events(path, about, [found])
    return path


def read_list(path: Path) -> list[Any]:
    """Return all electrons and what is known of them."""
    events = EventList(path)
    found = events.read(0, len(COUNTS))
    return [events.about, found.counts, found.y, found.x, found.charge]


def is_sound(path: Path) -> bool:
    """Return whether a list is called sound."""
    return not event_problems(path)


KINDS = [Kind("event list", ("counting/store.py",), write_list, read_list, is_sound, same=same_json)]
