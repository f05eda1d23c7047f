"""Marks for tests that need something from outside: skipped where it is missing."""

from __future__ import annotations

import ctypes.util
import shutil

import pytest


def needs_programs(*names: str) -> pytest.MarkDecorator:
    """Skips a test where one of these programs isn't installed, and says which."""
    missing = [name for name in names if shutil.which(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def need(*names: str) -> None:
    """Skips the test that runs where one of these programs isn't installed."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def needs_library(name: str) -> pytest.MarkDecorator:
    """Skips a test where a shared library isn't installed."""
    missing = ctypes.util.find_library(name) is None
    return pytest.mark.skipif(missing, reason=f"not installed: lib{name}")
