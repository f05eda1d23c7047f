"""The kernel's namespace and the Stack that the differential tests run on."""

from __future__ import annotations

from collections.abc import Iterator

import differential
import pytest
from namespace import Namespace, namespace

import pystack


@pytest.fixture(scope="session", autouse=True)
def places() -> Iterator[None]:
    with differential.places():
        yield


@pytest.fixture(scope="module")
def kernel() -> Iterator[Namespace]:
    """A namespace for the kernel's sockets."""
    with namespace() as made:
        yield made


@pytest.fixture(scope="module")
def net() -> Iterator[pystack.Stack]:
    """A Stack with its loopback."""
    with pystack.Stack() as made:
        yield made
