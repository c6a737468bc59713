"""Live processing: runs a user's own Python functions on camera frames while the microscope records them.

Names are loaded when they are first used, as in `mrcz_dask`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mrcz_dask.live.counting.stacks import StreamOptions as StreamOptions
    from mrcz_dask.live.counting.stream import count_stream as count_stream
    from mrcz_dask.live.frames import Frame as Frame
    from mrcz_dask.live.frames import FrameInfo as FrameInfo
    from mrcz_dask.live.frames import Roi as Roi
    from mrcz_dask.live.launch import Keep as Keep
    from mrcz_dask.live.launch import start as start
    from mrcz_dask.live.processors.declare import Image as Image
    from mrcz_dask.live.processors.declare import Profile as Profile
    from mrcz_dask.live.processors.declare import Range as Range
    from mrcz_dask.live.processors.declare import Scalar as Scalar
    from mrcz_dask.live.processors.declare import processor as processor
    from mrcz_dask.live.record.recorder import Recorder as Recorder
    from mrcz_dask.live.record.stacks import recorded as recorded
    from mrcz_dask.live.session import LiveParams as LiveParams
    from mrcz_dask.live.session import LiveSession as LiveSession
    from mrcz_dask.live.transport.listen import Listen as Listen
    from mrcz_dask.live.transport.replay import Folder as Folder
    from mrcz_dask.live.transport.replay import Recorded as Recorded
    from mrcz_dask.live.transport.replay import Replay as Replay
    from mrcz_dask.live.transport.sender import FrameSender as FrameSender

_NAMES = {
    "counting.stacks": ("StreamOptions",),
    "counting.stream": ("count_stream",),
    "frames": ("Frame", "FrameInfo", "Roi"),
    "launch": ("Keep", "start"),
    "processors.declare": ("Image", "Profile", "Range", "Scalar", "processor"),
    "record.recorder": ("Recorder",),
    "record.stacks": ("recorded",),
    "session": ("LiveParams", "LiveSession"),
    "transport.listen": ("Listen",),
    "transport.replay": ("Folder", "Recorded", "Replay"),
    "transport.sender": ("FrameSender",),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'mrcz_dask.live' has no attribute {name!r}")
    return getattr(import_module(f"mrcz_dask.live.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(_HOMES)
