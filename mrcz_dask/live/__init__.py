"""Live processing: a user's own Python on every frame as it is recorded.

Names are loaded when they are first used, as in `mrcz_dask`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mrcz_dask.live.declare import Image as Image
    from mrcz_dask.live.declare import Profile as Profile
    from mrcz_dask.live.declare import Range as Range
    from mrcz_dask.live.declare import Scalar as Scalar
    from mrcz_dask.live.declare import processor as processor
    from mrcz_dask.live.frames import FrameInfo as FrameInfo
    from mrcz_dask.live.frames import Roi as Roi

_HOMES = {
    "FrameInfo": "frames",
    "Image": "declare",
    "Profile": "declare",
    "Range": "declare",
    "Roi": "frames",
    "Scalar": "declare",
    "processor": "declare",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'mrcz_dask.live' has no attribute {name!r}")
    return getattr(import_module(f"mrcz_dask.live.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(_HOMES)
