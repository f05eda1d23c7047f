"""Callbacks for as long as a descriptor is ready, in asyncio's loop and in libuv's."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from pystack.dial.watching import Watcher, watching

HOST = "127.0.0.1"


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    def runs(work: Coroutine[Any, Any, None]) -> None:
        loop = pytest.importorskip(request.param).new_event_loop()
        try:
            loop.run_until_complete(asyncio.wait_for(work, 60))
        finally:
            loop.close()

    return runs


def reset_behind(data: bytes) -> socket.socket:
    """A connection whose peer has sent this and a reset."""
    with socket.create_server((HOST, 0)) as server:
        one = socket.create_connection(server.getsockname())
        peer, _ = server.accept()
    peer.sendall(data)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    one.setblocking(False)
    return one


def test_what_came_before_an_error_is_read_to_its_end(run: Any) -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        watches, over, got = watching(loop), loop.create_future(), b""
        writable = 0

        def read() -> None:
            nonlocal got
            try:
                got += one.recv(3)
            except ConnectionResetError:
                over.set_result(None)
                watches.remove_reader(one.fileno())

        def write() -> None:
            nonlocal writable
            writable += 1
            if writable == 3:
                watches.remove_writer(one.fileno())

        with reset_behind(b"0123456789") as one:
            watches.add_writer(one.fileno(), write)
            watches.add_reader(one.fileno(), read)
            await over
            while writable < 3:
                await asyncio.sleep(0)
        assert got == b"0123456789"
        # Its number is free for another.
        with reset_behind(b"x") as another:
            over, got = loop.create_future(), b""
            one = another
            watches.add_reader(another.fileno(), read)
            await over
            assert got == b"x"

    run(work())


def test_errors_of_datagrams_come_one_after_another(run: Any) -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        watches, errors = watching(loop), 0
        with socket.socket(type=socket.SOCK_DGRAM) as closed:
            closed.bind((HOST, 0))
            nobody = closed.getsockname()

        def read() -> None:
            nonlocal errors
            with pytest.raises(ConnectionRefusedError):
                one.recv(10)
            errors += 1

        with socket.socket(type=socket.SOCK_DGRAM) as one:
            one.connect(nobody)
            one.setblocking(False)
            watches.add_reader(one.fileno(), read)
            for number in range(1, 4):
                one.send(b"")
                while errors < number:
                    await asyncio.sleep(0)
            assert watches.remove_reader(one.fileno())

    run(work())


def test_a_loop_of_asyncio_s_needs_none(run: Any) -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        of_asyncio = isinstance(loop, asyncio.BaseEventLoop)
        assert isinstance(watching(loop), asyncio.BaseEventLoop if of_asyncio else Watcher)

    run(work())
