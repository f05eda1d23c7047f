"""A program that changes the module socket itself: its mocks, guards and wrappers stay its own.

Each test runs on the kernel, too: whatever holds there, holds in either block.
"""

from __future__ import annotations

import functools
import gc
import importlib
import socket
import ssl
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any
from unittest import mock

import pytest

import pystack
from pystack.sockets import patch as patches

HOST = "127.0.0.1"
Block = Callable[[], AbstractContextManager[Any]]


@pytest.fixture(params=["kernel", "installed", "active"])
def block(request: pytest.FixtureRequest) -> Iterator[Block]:
    """What makes a block in which the module socket is a Stack's, or a block of nothing."""
    with pystack.Stack() as net:
        yield nullcontext if request.param == "kernel" else getattr(net, request.param)


@pytest.fixture
def listener(block: Block) -> Iterator[Any]:
    with block():
        made = socket.create_server((HOST, 0))
    with made:
        yield made


@pytest.fixture
def patch() -> Iterator[pytest.MonkeyPatch]:
    """Undone after the block, as the program's own cleaning up may be."""
    with pytest.MonkeyPatch.context() as made:
        yield made


def connected(listener: Any) -> str:
    """Connects, and says by what class of socket."""
    with socket.create_connection(listener.getsockname()) as made:
        return type(made).__name__


def test_a_wrapper_stays(block: Block, listener: Any, patch: pytest.MonkeyPatch) -> None:
    asked = []
    with block():
        original = socket.getaddrinfo

        def wrapper(*arguments: Any, **named: Any) -> Any:
            asked.append(arguments[0])
            return original(*arguments, **named)

        with mock.patch("socket.getaddrinfo", wrapper):
            # A module that blocks look after, and change when it is imported.
            patch.delitem(sys.modules, "uvicorn.loops.auto", raising=False)
            importlib.import_module("uvicorn.loops.auto")
            connected(listener)
            assert asked == [HOST]
            with block():
                pass
            assert socket.getaddrinfo is wrapper
        assert socket.getaddrinfo is original


def test_another_stack_s_block_holds_before_it(block: Block) -> None:
    with block(), mock.patch("socket.gethostbyname") as mocked:
        with pystack.Stack() as other, other.installed():
            assert socket.gethostbyname("127.0.0.1") == "127.0.0.1"
        assert socket.gethostbyname is mocked
        mocked.assert_not_called()


def test_what_is_left_in_a_block_stays(block: Block) -> None:
    before = socket.getfqdn
    try:
        with block():
            socket.getfqdn = left = lambda *_: "mine"  # type: ignore[assignment]
        assert socket.getfqdn is left
        with block():
            assert block is nullcontext or socket.getfqdn is not left
        assert socket.getfqdn is left
    finally:
        socket.getfqdn = before


def test_blocks_that_end_in_another_order() -> None:
    before = socket.getfqdn
    with pystack.Stack() as one, pystack.Stack() as other, ExitStack() as younger:
        with one.installed():
            younger.enter_context(other.installed())
            theirs = socket.getfqdn
            socket.getfqdn = mine = lambda *_: "mine"  # type: ignore[assignment]
        assert socket.getfqdn is mine
        assert socket.gethostbyname == other.sockets.gethostbyname
        socket.getfqdn = theirs
    assert socket.getfqdn is before


def test_who_puts_the_original_back_does_not_leave(listener: Any, block: Block) -> None:
    original = socket.create_connection, socket.getaddrinfo
    with block():
        here = socket.socket
        socket.create_connection, socket.getaddrinfo = original
        with block():
            connected(listener)
        assert socket.socket is here
        connected(listener)


def test_a_mock_of_the_class(block: Block) -> None:
    with block():
        with mock.patch("socket.socket") as mocked:
            socket.socket()
        mocked.assert_called_once()
        with socket.socket() as real:
            assert not isinstance(real, mock.Mock)


def test_a_mock_of_a_method(block: Block, listener: Any) -> None:
    seen = []
    with block():
        with mock.patch.object(socket.socket, "connect", lambda _self, to: seen.append(to)):
            with socket.socket() as one:
                one.connect((HOST, 1))
        assert seen == [(HOST, 1)]
        with socket.socket() as one:
            one.connect(listener.getsockname())
            assert one.getpeername() == listener.getsockname()


def test_a_guard_around_a_method(block: Block, listener: Any, patch: pytest.MonkeyPatch) -> None:
    seen = []
    with block():
        original = socket.socket.connect

        def guard(self: socket.socket, address: Any) -> None:
            seen.append(address)
            original(self, address)

        with patch.context() as here:
            here.setattr(socket.socket, "connect", guard)
            connected(listener)
        connected(listener)
    assert seen == [listener.getsockname()]


def test_a_guard_instead_of_the_class(block: Block, patch: pytest.MonkeyPatch) -> None:
    def guard(*_arguments: Any, **_named: Any) -> None:
        raise RuntimeError("no network in tests")

    with block(), patch.context() as here:
        here.setattr(socket, "socket", guard)
        with pytest.raises(RuntimeError, match="no network in tests"):
            socket.create_connection((HOST, 1))


def test_a_class_on_it_in_its_place(block: Block, listener: Any, patch: pytest.MonkeyPatch) -> None:
    seen = []
    with block():

        class Watched(socket.socket):
            def connect(self, address: Any) -> None:
                seen.append(address)
                super().connect(address)

        with patch.context() as here:
            here.setattr(socket, "socket", Watched)
            assert connected(listener) == "Watched"
            with socket.socket() as made:
                assert isinstance(made, Watched)
    assert seen == [listener.getsockname()]


IMPORTS = "from socket import *; from socket import SocketType, fromfd, getaddrinfo as asked"


def test_what_was_imported_in_a_block_is_the_kernels_after_it(
    block: Block, patch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("taken_in_a_block")
    patch.setitem(sys.modules, module.__name__, module)
    taken = vars(module)
    with block():
        exec(IMPORTS, taken)
        inside = taken["socket"]
        assert inside is socket.socket
        with block():
            pass
        assert taken["socket"] is inside
    assert taken["socket"] is socket.socket
    assert taken["SocketType"] is socket.SocketType
    assert taken["asked"] is socket.getaddrinfo
    assert taken["fromfd"] is socket.fromfd


def test_what_is_a_socket_by_its_class(block: Block) -> None:
    with block():

        @functools.singledispatch
        def kind(_one: Any) -> str:
            return "another"

        kind.register(socket.socket, lambda _one: "a socket")
        near, far = socket.socketpair()
        with near, far, socket.socket() as one:
            assert {kind(near), kind(one)} == {"a socket"}
            for each in (near, one):
                assert isinstance(each, socket.socket)
                assert issubclass(type(each), socket.socket)
        assert kind(3) == "another"
        assert issubclass(ssl.SSLSocket, socket.socket)
        assert not issubclass(int, socket.socket)


def test_the_kernels_other_sockets_are_pickled(block: Block, patch: pytest.MonkeyPatch) -> None:
    patch.delitem(sys.modules, "multiprocessing.reduction", raising=False)
    with block():
        reduction = importlib.import_module("multiprocessing.reduction")
        near, far = socket.socketpair()
        with near, far:
            with reduction.ForkingPickler.loads(reduction.ForkingPickler.dumps(near)) as copy:
                copy.send(b"x")
            assert far.recv(9) == b"x"


# --- what the garbage collector and signals begin and end anywhere --------------------------------


def module_of(**attributes: str) -> types.ModuleType:
    made = types.ModuleType("made")
    vars(made).update(attributes)
    return made


class Collecting(dict[Any, Any]):
    """Places; who goes through them has the garbage collector run, amid a change."""

    def __iter__(self) -> Iterator[Any]:
        gc.collect()
        return super().__iter__()


def within_a_minute(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()


def test_a_block_that_is_collected_amid_another_s_change_ends() -> None:
    place = module_of(one="original", two="original")

    def left_open() -> None:
        def block() -> Iterator[None]:
            with patches.patched({(place, "one"): "of the collected"}):
                yield held

        held = block()
        next(held)
        cycle: list[Any] = [held]
        cycle.append(cycle)

    def work() -> None:
        gc.disable()
        try:
            left_open()
            assert place.one == "of the collected"
            with patches.patched({}) as layer:
                patches.extend(layer, Collecting({(place, "two"): "of the block"}))
                assert (place.one, place.two) == ("original", "of the block")
        finally:
            gc.enable()

    within_a_minute(work)
    assert (place.one, place.two) == ("original", "original")
    assert not patches.replaced()


def test_a_block_that_begins_amid_another_s_change_holds() -> None:
    place = module_of(one="original", two="original")

    class Interrupted(dict[Any, Any]):
        def __iter__(self) -> Iterator[Any]:
            for each in list(super().__iter__()):
                inner.enter_context(patches.patched({(place, "one"): "younger"}))
                assert place.one == "younger"
                yield each

    def work() -> None:
        with patches.patched({(place, "one"): "older"}) as layer:
            patches.extend(layer, Interrupted({(place, "two"): "older"}))
            assert (place.one, place.two) == ("younger", "older")
            inner.close()
            assert (place.one, place.two) == ("older", "older")

    with ExitStack() as inner:
        within_a_minute(work)
    assert (place.one, place.two) == ("original", "original")
    assert not patches.replaced()
