"""What needs the engine linux is skipped where it has not been built."""

from __future__ import annotations

import pytest

from pystack._native.engines import engine_path


@pytest.fixture
def engine() -> str:
    """The engine's name; `linux` is the newest release that has been built."""
    try:
        engine_path("linux")
    except OSError as error:
        pytest.skip(str(error.strerror))
    return "linux"
