"""What leaves a World is refused or warned of, with the line."""

from __future__ import annotations

import concurrent.futures
import ctypes.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from pystack.errors import OffStackError
from pystack.world import OutsideWorldWarning, World


def line_of(function: Callable[[], object]) -> int:
    return function.__code__.co_firstlineno


@pytest.mark.parametrize(
    "call",
    [
        socket.socket,
        lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM),
        lambda: socket.create_connection(("127.0.0.1", 9)),
        lambda: socket.getaddrinfo("example.org", 80),
        lambda: socket.gethostbyname("example.org"),
    ],
)
def test_the_kernels_network_is_refused(call: Callable[[], object]) -> None:
    with World() as world:
        world.host("a")
        with pytest.raises(OffStackError, match=r"host\.thread, host\.spawn"):
            call()
    if not isinstance(call, socket.socket):
        socket.socket().close()  # and only inside


def test_what_a_host_does_is_its_own() -> None:
    with World() as world, warnings.catch_warnings():
        warnings.simplefilter("error", OutsideWorldWarning)
        host = world.host("a")
        done: list[object] = []

        def work() -> None:
            with socket.socket() as made:
                made.bind(("", 0))
                done.append(made.getsockname()[1])
            left, right = socket.socketpair()  # AF_UNIX stays in the process
            left.close()
            right.close()
            thread = threading.Thread(target=done.append, args=(1,))
            thread.start()
            thread.join()
            time.sleep(5)
            done.append(world.now)

        host.thread(work)
        world.sleep(10)
        assert len(done) == 3


@pytest.mark.parametrize(
    "call",
    [
        lambda: subprocess.run([sys.executable, "-c", ""], check=True),
        lambda: os.system("true"),
    ],
)
def test_children_are_warned_of_with_the_line(call: Callable[[], object]) -> None:
    with World(), pytest.warns(OutsideWorldWarning, match="a child is no part") as caught:
        call()
    assert {(one.filename, one.lineno) for one in caught} == {(__file__, line_of(call))}
    with warnings.catch_warnings():
        warnings.simplefilter("error", OutsideWorldWarning)
        call()


def test_a_wait_in_real_time_is_warned_of_with_the_line() -> None:
    from_before = threading.Lock()
    from_before.acquire()
    heard: list[pytest.WarningsRecorder] = []

    def release() -> None:
        while not any(len(one) for one in heard):  # it began before: its time is the machine's
            time.sleep(0.05)
        from_before.release()

    thread = threading.Thread(target=release)
    thread.start()
    with World(), pytest.warns(OutsideWorldWarning, match="holds the World up") as caught:
        heard.append(caught)
        from_before.acquire()
    thread.join()
    lines = {(one.filename, one.lineno) for one in caught}
    first = test_a_wait_in_real_time_is_warned_of_with_the_line.__code__.co_firstlineno
    assert lines == {(__file__, first + 14)}
    assert "from_before.acquire()" in str(caught[0].message)


@pytest.mark.slow
def test_a_long_computation_is_no_wait() -> None:
    with World(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        until = time.thread_time() + 2.2
        while time.thread_time() < until:
            pass
    assert [str(one.message) for one in caught] == []


def test_what_the_library_asks_of_the_machine_is_no_warning() -> None:
    with World(), warnings.catch_warnings():
        warnings.simplefilter("error", OutsideWorldWarning)
        ctypes.util.find_library("c")


def test_threads_that_a_hosts_thread_starts_are_the_hosts() -> None:
    with World() as world:
        client, server = world.host("client"), world.host("server")
        world.link(client, server)
        heard: list[object] = []

        def serve() -> None:
            with socket.create_server(("", 80)) as listener:
                for _ in range(6):
                    connection, peer = listener.accept()
                    with connection:
                        connection.sendall(peer[0].encode())

        def ask(_number: int) -> str:
            with socket.create_connection(("server", 80)) as sock:
                return sock.recv(100).decode()

        def work() -> None:
            with concurrent.futures.ThreadPoolExecutor(3) as pool:
                heard.extend(pool.map(ask, range(4)))
            one = threading.Thread(target=lambda: heard.append(ask(4)))
            one.start()
            one.join()

        server.thread(serve)
        client.thread(work).join()
        assert heard == ["10.0.0.1"] * 5
        with pytest.raises(OffStackError):
            ask(5)  # this thread is on no host


def test_timers_of_the_machine_are_warned_of_with_the_line() -> None:
    with World(), pytest.warns(OutsideWorldWarning, match=r"signal\.\w+ counts") as caught:
        signal.alarm(3600)
        signal.setitimer(signal.ITIMER_REAL, 3600)
    assert [Path(each.filename).name for each in caught] == ["test_outside.py"] * 2
    with warnings.catch_warnings():
        warnings.simplefilter("error", OutsideWorldWarning)
        signal.alarm(0)  # outside of one
        with World():
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.alarm(0)
        with World(time="real"):
            signal.alarm(3600)
    signal.alarm(0)
