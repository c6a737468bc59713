"""Movies of events stay as they are: a run hands on what it found, unless it is told to write movies."""

from pathlib import Path
from typing import Any

import pytest

import mrcz_dask
from mrcz_dask.engine.clusters import ClientOptions
from mrcz_dask.numerics.simulate import named, simulate_session
from mrcz_dask.values.params import InputParams
from tests.inputs import WRITERS

SERIAL = ClientOptions(0)


def session(folder: Path, *kinds: str) -> mrcz_dask.Session:
    folder.mkdir()
    params = named("standard", shape=(64, 64), frames=40, stacks=len(kinds), dose=0.05)
    for k, (kind, stack) in enumerate(zip(kinds, simulate_session(params), strict=True)):
        WRITERS[kind](folder, f"s{k}", stack.frames)
    return mrcz_dask.open_session(folder, inputs=InputParams(eer_frames=20))


@pytest.mark.parametrize(
    ("kinds", "options", "ends"),
    [
        (("eer", "eer", "eer"), {}, "_reference.mrc"),
        (("eer", "eer", "eer"), {"write": "normalized"}, ".mrcz"),
        (("eer", "eer", "eer"), {"dtype": "float32"}, ".mrcz"),
        (("eer", "eer", "eer"), {"format": "mrcs"}, ".mrcs"),
        (("tiff", "tiff", "tiff"), {}, ".mrcz"),
    ],
)
def test_events_stay_as_they_are(tmp_path: Path, kinds: Any, options: dict[str, Any], ends: str) -> None:
    plan = session(tmp_path / "movies", *kinds).koma(radius=1, **options)
    outcome = plan.run(tmp_path / "out", SERIAL, report=False)
    assert outcome.complete
    assert ("EER stays as it is" in str(outcome.plan)) == (kinds[0] == "eer" and not options)
    written = {path.name for path in outcome.plan.folder.iterdir() if path.is_file()}
    assert all(any(name == f"s{k}{ends}" for name in written) for k in range(3)), written
