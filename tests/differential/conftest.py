"""The kernel's namespace and the Stack that the differential tests run on."""

from __future__ import annotations

from collections.abc import Iterator

import differential
import pytest


@pytest.fixture(scope="session", autouse=True)
def places() -> Iterator[None]:
    with differential.places():
        yield
