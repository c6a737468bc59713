"""Live processing: a user's own Python on every frame as it is recorded.

Names are loaded when they are first used, as in `mrcz_dask`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mrcz_dask.live.begin import Keep as Keep
    from mrcz_dask.live.begin import Shown as Shown
    from mrcz_dask.live.begin import start as start
    from mrcz_dask.live.declare import Image as Image
    from mrcz_dask.live.declare import Profile as Profile
    from mrcz_dask.live.declare import Range as Range
    from mrcz_dask.live.declare import Scalar as Scalar
    from mrcz_dask.live.declare import processor as processor
    from mrcz_dask.live.folder import Folder as Folder
    from mrcz_dask.live.frames import Frame as Frame
    from mrcz_dask.live.frames import FrameInfo as FrameInfo
    from mrcz_dask.live.frames import Roi as Roi
    from mrcz_dask.live.listen import Listen as Listen
    from mrcz_dask.live.replay import Recorded as Recorded
    from mrcz_dask.live.replay import Replay as Replay
    from mrcz_dask.live.sender import FrameSender as FrameSender
    from mrcz_dask.live.session import LiveParams as LiveParams
    from mrcz_dask.live.session import Session as Session
    from mrcz_dask.live.stacks import recorded as recorded

_HOMES = {
    "Folder": "folder",
    "Frame": "frames",
    "FrameInfo": "frames",
    "FrameSender": "sender",
    "Image": "declare",
    "Keep": "begin",
    "Listen": "listen",
    "LiveParams": "session",
    "Profile": "declare",
    "Range": "declare",
    "Recorded": "replay",
    "Replay": "replay",
    "Roi": "frames",
    "Scalar": "declare",
    "Session": "session",
    "Shown": "begin",
    "processor": "declare",
    "recorded": "stacks",
    "start": "begin",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'mrcz_dask.live' has no attribute {name!r}")
    return getattr(import_module(f"mrcz_dask.live.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(_HOMES)
