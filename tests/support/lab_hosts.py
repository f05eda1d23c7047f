"""Hosts of the lab, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pystack.lab.host import Host
from pystack.lab.hosts import HostKind, hosts
from pystack.lab.plan import Topology
from pystack.lab.tester import Tester


def kind_of(name: str) -> HostKind:
    """A kind of Host; the test is skipped where this machine lacks what it needs."""
    kind = hosts()[name]
    why = kind.missing()
    if why is not None:
        pytest.skip(f"{name} needs {why}")
    return kind


@contextmanager
def tester_of(host: Host, topology: Topology) -> Iterator[Tester]:
    """A tester, and the Host started for it."""
    plan = topology.plan()
    host.start(plan)
    tester = Tester(host, plan)
    yield tester
    tester.finish()
