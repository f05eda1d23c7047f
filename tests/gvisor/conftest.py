"""These tests need the engine gvisor, which is built on demand."""

from __future__ import annotations

import pytest

from pystack._native.engines import engine_path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what is in this folder where the engine has not been built."""
    try:
        engine_path("gvisor")
    except OSError as error:
        for item in items:
            if item.path.parent.name == "gvisor":
                item.add_marker(pytest.mark.skip(reason=str(error.strerror)))
