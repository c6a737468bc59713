"""The browser of the monitor's tests."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest


def _harness() -> Any:
    spec = importlib.util.spec_from_file_location(
        "browser", Path(__file__).parents[2] / "monitor" / "browser.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["browser"] = module
    spec.loader.exec_module(module)
    return module


def open_browser() -> Callable[[Path], AbstractContextManager[Any]]:
    """Return what opens a tab of a real browser; skips where it can neither be found nor installed."""
    harness = _harness()
    program = harness.browser()
    if program is None:
        pytest.skip("chromium is not installed, and cannot be: no apt-get, or not root")
    return lambda folder: harness.opened(program, folder)
