"""Give a stack as a dask array, one chunk per frame; threads of a process share the open readers."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from numpy.typing import DTypeLike, NDArray

from mrcz_dask.formats.places import measure
from mrcz_dask.formats.sources import FrameSource, open_source
from mrcz_dask.values.errors import FormatError
from mrcz_dask.values.params import USUAL_INPUT, InputParams

OPEN_FILES = 16


def frames_array(
    load: Callable[..., NDArray[Any]],
    arguments: tuple[Any, ...],
    shape: tuple[int, int, int],
    dtype: DTypeLike,
) -> da.Array:
    """Return a dask array of a stack, one chunk per frame, whose chunk k is computed by load(*arguments, k).

    Parameters
    ----------
    load
        An importable function, so that any worker can call it; returns frame k, (ny, nx).
    arguments
        Arguments before k: small plain values.
    shape
        (n, ny, nx).
    dtype
        Type of the frames.
    """
    n, ny, nx = shape
    name = f"{load.__name__}-{tokenize(load, arguments, shape)}"
    graph = {(name, k, 0, 0): (_chunk, load, arguments, k) for k in range(n)}
    return da.Array(graph, name, ((1,) * n, (ny,), (nx,)), dtype=np.dtype(dtype))


def _chunk(load: Callable[..., NDArray[Any]], arguments: tuple[Any, ...], k: int) -> NDArray[Any]:
    return load(*arguments, k)[None]


Known = tuple[str, int, int, InputParams]


def identity(path: Path, params: InputParams = USUAL_INPUT) -> Known:
    """Return the values that identify a stack's file in a Dask graph: path, size, modification time,
    `params`.
    """
    return str(path.absolute()), *measure(path), params


_idle: OrderedDict[Known, FrameSource] = OrderedDict()
_lock = threading.Lock()


@contextmanager
def shared_reader(path: str, size: int, mtime_ns: int, params: InputParams) -> Iterator[FrameSource]:
    """Lend an open reader of a stack to this thread; afterwards the process keeps it open for the next use.

    Raises
    ------
    FormatError
        When the file is no longer the one that the graph was made for.
    """
    known = (path, size, mtime_ns, params)
    with _lock:
        reader = _idle.pop(known, None)
    if reader is None:
        if identity(Path(path), params) != known:
            raise FormatError(f"{path}: changed since it was opened; call open_stack again")
        reader = open_source(path, params)
    try:
        yield reader
    finally:
        with _lock:
            spare = [_idle.pop(known)] if known in _idle else []
            _idle[known] = reader
            while len(_idle) > OPEN_FILES:
                spare.append(_idle.popitem(last=False)[1])
        for spare_reader in spare:
            spare_reader.close()


def physical_frame(path: str, size: int, mtime_ns: int, params: InputParams, k: int) -> NDArray[Any]:
    """Return frame k of a stack in counts: the file's scale and offset, if it has any, are applied."""
    with shared_reader(path, size, mtime_ns, params) as reader:
        return reader.physical(k)
