"""Loads the processors of workflows/live and runs them over frames, as a session does."""

import importlib.util
import pickle
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.live import FrameInfo, Roi
from mrcz_dask.live.processors.declare import MARK, Processor

FOLDER = Path(__file__).parents[2] / "workflows" / "live"
FILES = sorted(FOLDER.glob("*.py"))
Result = dict[str, Any] | None


@cache
def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"live_{name}", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def declared(name: str) -> Processor:
    made: Processor = getattr(getattr(module(name), name), MARK)
    return made


def info_of(number: int, shape: tuple[int, ...], **known: Any) -> FrameInfo:
    facts = {
        "stack": "s",
        "pixel_size": None,
        "roi": Roi(0, shape[0], 0, shape[1]),
        "shape": shape[:2],
        **known,
    }
    return FrameInfo(number=number, time=number / 4, index=number, meta={}, **facts)


class Run:
    """A processor with its state, which goes through pickle after each frame."""

    def __init__(self, name: str, **values: Any) -> None:
        self.processor = declared(name)
        self.values = {
            each.name: each.checked(values.get(each.name, each.default))
            for each in self.processor.spec.parameters
        }
        self.state = self.processor.begin()
        self.number = -1

    def __call__(self, frame: NDArray[Any], number: int | None = None, **known: Any) -> Result:
        self.number = self.number + 1 if number is None else number
        frame = frame.copy()
        frame.flags.writeable = False
        special = {"state": self.state, "info": info_of(self.number, frame.shape, **known)}
        wanted = {key: special[key] for key in self.processor.spec.takes}
        returned = self.processor.function(frame, **wanted, **self.values)
        self.state = pickle.loads(pickle.dumps(self.state))
        return self._checked(returned)

    def over(self, frames: Iterable[NDArray[Any]], **known: Any) -> list[dict[str, Any]]:
        found = [self(frame, **known) for frame in frames]
        assert None not in [one if one is None else 1 for one in found]
        return found  # type: ignore[return-value]

    def _checked(self, returned: Any) -> Result:
        if returned is None:
            return None
        outputs = self.processor.spec.outputs
        made = returned if isinstance(returned, dict) else {outputs[0].name: returned}
        assert set(made) == {one.name for one in outputs}
        for one in outputs:
            value = made[one.name]
            if one.ndim == 1:
                assert np.shape(value[0]) == np.shape(value[1]) and np.ndim(value[0]) == 1
            else:
                assert np.ndim(value) == one.ndim
        return made
