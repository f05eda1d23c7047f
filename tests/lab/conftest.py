"""What tests of Hosts share. The lab needs scapy, which speaks up about things that are none of a
test's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from quick import representatives

pytest.importorskip("scapy")

if TYPE_CHECKING:
    from pystack.lab.host import Host
    from pystack.lab.tester import Tester


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A module that has NAMES of Hosts puts its tests to each; all but QUICK are left to CI."""
    names = getattr(metafunc.module, "NAMES", None)
    if names is not None and "host" in metafunc.fixturenames:
        values = representatives(names, metafunc.module.QUICK)
        metafunc.parametrize("host", values, indirect=True, scope="module")


@pytest.fixture(scope="module")
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """A Host, for all tests of a module; started anew for each."""
    from lab_hosts import kind_of

    made = kind_of(request.param).make()
    yield made
    made.stop()


@pytest.fixture
def lab(host: Host) -> Iterator[Tester]:
    """The tester of a Host with one interface."""
    from lab_hosts import tester_of

    from pystack.lab.plan import Topology

    with tester_of(host, Topology.HOST) as tester:
        yield tester


@pytest.fixture
def router(host: Host) -> Iterator[Tester]:
    """The tester of a Host that forwards."""
    from lab_hosts import tester_of

    from pystack.lab.plan import Topology

    with tester_of(host, Topology.ROUTER) as tester:
        yield tester
