"""A repr never raises: of every object that can be got from a Stack, also once it is gone."""

from __future__ import annotations

import inspect
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from pair import LEFT, RIGHT

import pystack
from pystack import nic

FAR_AWAY = "198.51.100.1"


def is_ours(value: object) -> bool:
    return type(value).__module__.split(".")[0] == "pystack" and not inspect.isclass(value)


def parts(value: object) -> Iterator[object]:
    """The values of an object's public attributes, and what it holds if it is a collection."""
    for name in dir(value):
        if not name.startswith("_"):
            try:
                yield getattr(value, name)
            except (OSError, RuntimeError, AttributeError):
                continue
    if isinstance(value, (list, tuple)):
        yield from value


def reachable(*beginning: object) -> list[Any]:
    """One object of each class that leads from one to the next."""
    found: dict[type, object] = {}
    waiting = list(beginning)
    while waiting:
        one = waiting.pop()
        if isinstance(one, (list, tuple)) and not is_ours(one):
            waiting += one
        elif is_ours(one) and type(one) not in found:
            found[type(one)] = one
            waiting += parts(one)
            if hasattr(one, "list"):
                waiting += one.list()
    return list(found.values())


def everything(cleanup: ExitStack) -> tuple[pystack.Stack, list[Any]]:
    """A Stack with something of each kind, and what can be got from it."""
    left, right = nic.wire()
    far = cleanup.enter_context(pystack.Stack())
    far.attach(right, f"{RIGHT}/24", gateway=LEFT)
    net = cleanup.enter_context(pystack.Stack())
    net.linger = 0
    interface = net.attach(nic.tamper(nic.impair(left, nic.Impairment()), lambda frame: frame),
                           f"{LEFT}/24")  # fmt: skip
    net.neighbours.add("10.0.0.9", "02:00:00:00:00:09", interface=interface)
    net.nameservers[:] = [RIGHT]
    listener = cleanup.enter_context(net.sockets.create_server((LEFT, 80)))
    client = cleanup.enter_context(far.sockets.create_connection((LEFT, 80), 30))
    accepted = cleanup.enter_context(listener.accept()[0])
    taken = cleanup.enter_context(net.intercept(open=1))
    caller = cleanup.enter_context(far.socket(socket.AF_INET, socket.SOCK_STREAM))
    caller.setblocking(False)
    caller.connect_ex((FAR_AWAY, 80))
    flow = taken.get(10)
    beginning = (net, interface, listener, client, accepted, taken, flow, net.connections(),
                 net.snapshot(), net.counters())  # fmt: skip
    return net, reachable(*beginning)


def close(net: pystack.Stack) -> None:
    net.close()


def close_abruptly(net: pystack.Stack) -> None:
    net.close(abrupt=True)


def panic(net: pystack.Stack) -> None:
    with pytest.raises(pystack.StackPanic):
        net.fail("on purpose")


@pytest.mark.parametrize("end", [lambda _net: None, close, close_abruptly, panic])
def test_a_repr_does_not_raise(end: Callable[[pystack.Stack], None]) -> None:
    with ExitStack() as cleanup:
        net, objects = everything(cleanup)
        names = {type(one).__name__ for one in objects}
        assert names >= {
            "AddressList", "Arena", "Connection", "Intercept", "Interface", "NameServers",
            "NeighbourTable", "RouteTable", "Snapshot", "SocketModule", "Stack", "Sysctl",
            "TcpFlow", "socket",
        }, names  # fmt: skip
        end(net)
        for one in objects:
            for tell in (repr, str, ascii):
                assert tell(one)


@pytest.mark.parametrize("name", ["sysctl", "nameservers", "routes", "neighbours"])
def test_the_repr_of_a_table_says_why_it_has_nothing(name: str) -> None:
    with pystack.Stack() as net:
        table = getattr(net, name)
    assert repr(table) == f"<{type(table).__name__}: [Errno 9] the Stack is closed>"
