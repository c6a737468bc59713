"""Outlier filtering and knock-out moving average of cryo-EM movie stacks in MRCZ, on Dask.

Names are loaded when they are first used: ``import mrcz_dask`` imports neither distributed nor zarr.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from mrcz_dask.version import __version__ as __version__

if TYPE_CHECKING:
    from mrcz_dask.api.counting import count as count
    from mrcz_dask.api.koma import KomaPlan as KomaPlan
    from mrcz_dask.api.koma import koma as koma
    from mrcz_dask.api.session import Session as Session
    from mrcz_dask.api.session import open_session as open_session
    from mrcz_dask.correction.opening import open_stack as open_stack
    from mrcz_dask.formats.mrc.reader import read_header as read_header
    from mrcz_dask.formats.mrc.writer import write as write
    from mrcz_dask.formats.sources import read as read
    from mrcz_dask.formats.sources import read_footer as read_footer
    from mrcz_dask.numerics.noise.correlation import correlated_noise as correlated_noise
    from mrcz_dask.numerics.outliers.mask import OutlierMask as OutlierMask
    from mrcz_dask.numerics.outliers.mask import outlier_mask as outlier_mask
    from mrcz_dask.values.errors import MrczDaskError as MrczDaskError
    from mrcz_dask.values.params import ContrastParams as ContrastParams
    from mrcz_dask.values.params import InputParams as InputParams
    from mrcz_dask.values.params import KomaParams as KomaParams
    from mrcz_dask.values.params import OutlierParams as OutlierParams
    from mrcz_dask.values.params import WriteParams as WriteParams
    from mrcz_dask.values.windows import koma_window as koma_window

_HOMES = {
    "read": "formats.sources",
    "read_header": "formats.mrc.reader",
    "read_footer": "formats.sources",
    "write": "formats.mrc.writer",
    "open_stack": "correction.opening",
    "correlated_noise": "numerics.noise.correlation",
    "outlier_mask": "numerics.outliers.mask",
    "OutlierMask": "numerics.outliers.mask",
    "MrczDaskError": "values.errors",
    "OutlierParams": "values.params",
    "ContrastParams": "values.params",
    "InputParams": "values.params",
    "KomaParams": "values.params",
    "WriteParams": "values.params",
    "koma_window": "values.windows",
    "koma": "api.koma",
    "open_session": "api.session",
    "count": "api.counting",
    "Session": "api.session",
    "KomaPlan": "api.koma",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'mrcz_dask' has no attribute {name!r}")
    return getattr(import_module(f"mrcz_dask.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*_HOMES, "__version__"]
