"""One socket object in several threads: who makes its descriptor, who gets it, who waits."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

import pystack


@pytest.fixture(scope="module")
def net() -> Iterator[pystack.Stack]:
    with pystack.Stack() as made:
        yield made


def together(*calls: Callable[[], Any]) -> list[Any]:
    """What the calls return that threads make at the same moment."""
    start = threading.Barrier(len(calls))
    results: list[Any] = [None] * len(calls)

    def run(number: int) -> None:
        start.wait()
        results[number] = calls[number]()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_the_first_fileno_is_everybodys(net: pystack.Stack) -> None:
    for _ in range(300):
        with net.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            numbers = together(sock.fileno, sock.fileno, sock.fileno)
            assert numbers == [sock.fileno()] * 3
            os.fstat(numbers[0])


def test_one_alone_detaches(net: pystack.Stack) -> None:
    for _ in range(300):
        sock = net.socket(socket.AF_INET, socket.SOCK_DGRAM)
        given = [one for one in together(sock.detach, sock.detach) if one != -1]
        assert len(given) == 1
        net.sockets.close(given[0])


def test_setblocking_beside_the_first_fileno(net: pystack.Stack) -> None:
    for _ in range(300):
        with net.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            together(sock.fileno, lambda sock=sock: sock.setblocking(False))
            assert not os.get_blocking(sock.fileno())


@pytest.mark.parametrize("call", ["recv", "recv_into", "recvfrom", "accept"])
@pytest.mark.parametrize("timeout", [0, 0.05])
def test_a_timeout_is_for_calls_to_come(net: pystack.Stack, call: str, timeout: float) -> None:
    # On a busy machine a thread may begin its call after the timeout is set, and ends with it.
    assert any(outlasts_a_timeout(net, call, timeout, lead) for lead in (0.1, 1, 10))


def outlasts_a_timeout(net: pystack.Stack, call: str, timeout: float, lead: float) -> bool:
    """Whether a call goes on when a timeout is set some time after it has begun."""
    with ExitStack() as opened:
        listener = opened.enter_context(net.sockets.create_server(("127.0.0.1", 0)))
        sock, name = listener, listener.getsockname()
        if call != "accept":
            sock = opened.enter_context(net.sockets.create_connection(name))
            far = opened.enter_context(listener.accept()[0])
        result: list[Any] = []

        def use() -> None:
            with suppress(BlockingIOError, TimeoutError):
                if call == "accept":
                    opened.enter_context(sock.accept()[0])
                    result.append(True)
                else:
                    result.append(getattr(sock, call)(bytearray(4) if call == "recv_into" else 4))

        thread = threading.Thread(target=use)
        thread.start()
        time.sleep(lead)
        sock.settimeout(timeout)
        thread.join(0.7)  # calls look for signals each half second
        if not thread.is_alive():
            return False
        if call == "accept":
            opened.enter_context(net.sockets.create_connection(name))
        else:
            far.send(b"late")
        thread.join(30)
        return bool(result)
