"""A mark for tests that need programs from outside: skipped where these are missing."""

from __future__ import annotations

import shutil

import pytest


def needs_programs(*names: str) -> pytest.MarkDecorator:
    """Skips a test where one of these programs isn't installed, and says which."""
    missing = [name for name in names if shutil.which(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")
