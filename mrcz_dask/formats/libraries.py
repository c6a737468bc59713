"""Imports optional packages, such as tifffile, and turns their errors into errors of this package."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EINVAL
from importlib import import_module
from pathlib import Path
from typing import Any

from mrcz_dask.values.errors import DamagedError, FormatError, MissingLibraryError, MrczDaskError


def library(module: str, extra: str, purpose: str) -> Any:
    """Import an optional package, such as tifffile; if it is missing, the error says how to install it.

    Parameters
    ----------
    module
        Its name.
    extra
        The extra of this package that installs it.
    purpose
        Purpose of the package, such as ``TIFF files``.

    Raises
    ------
    MissingLibraryError
        It is not installed; says how to install it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingLibraryError(
            f"{purpose} need the package {module.partition('.')[0]}, which is not there ({error}); "
            f"install it: {install(extra)}"
        ) from error


def install(extra: str) -> str:
    """Return the pip command that installs an extra, also for a checkout of the source."""
    root = checkout()
    if root is None:
        return f"pip install 'mrcz-dask[{extra}]'"
    return f"pip install -e {shlex.quote(f'{root}[{extra}]')}"


def checkout() -> Path | None:
    """Return the source folder from which this package runs; None if it was installed."""
    package = sys.modules["mrcz_dask"]  # nothing in the package imports it: that would be a circle
    root = Path(str(package.__file__)).resolve().parents[1]
    return root if (root / "pyproject.toml").is_file() else None


@contextmanager
def opening(name: str, expected: str) -> Iterator[None]:
    """Turn any exception of a library while it opens a file into a FormatError that names the file."""
    try:
        yield
    except Exception as error:
        raise_ours(name, error, "")
        raise FormatError(
            f"{name}: expected {expected}, found what cannot be read: {one_line(error)}"
        ) from error


@contextmanager
def decoding(name: str, frame: int) -> Iterator[None]:
    """Turn any exception of a library while it decodes a frame into a DamagedError with file and frame."""
    try:
        yield
    except Exception as error:
        raise_ours(name, error, f"frame {frame}: ")
        raise DamagedError(
            f"{name}: frame {frame} cannot be decoded ({one_line(error)}); copy the file again"
        ) from error


def raise_ours(name: str, error: Exception, where: str) -> None:
    """Raise an error again, with the file's name, if it is one of this package or the system; else return."""
    if isinstance(error, FormatError) and not str(error).startswith(name):
        raise type(error)(f"{name}: {where}{error}") from error
    # EINVAL: a library was led to a place that no file has; some libraries put texts where the number is
    number = error.errno if isinstance(error, OSError) else None
    of_system = isinstance(number, int) and number != EINVAL
    if of_system or isinstance(error, MrczDaskError):
        raise error


def one_line(error: BaseException) -> str:
    """Return an error's text as one line, or its class name if it has no text."""
    text = " ".join(str(error).split())[:200]
    return text if any(map(str.isalpha, text)) else f"{type(error).__name__} {text}".strip()
