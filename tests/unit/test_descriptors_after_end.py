"""Descriptors of a Stack that has ended: whose their numbers are, and what they show."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import select
import selectors
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pystack
from tests.support.children import Child

LOCAL = "127.0.0.1"
ENDED = select.POLLIN | select.POLLOUT | select.POLLERR | select.POLLHUP


def numbers_in_use() -> list[str]:
    return sorted(each.name for each in Path("/proc/self/fd").iterdir())


def file_of(number: int) -> tuple[int, int] | None:
    """What a number stands for; another thread may have opened something by now."""
    try:
        status = os.fstat(number)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def end_by_close(net: pystack.Stack) -> None:
    net.close(linger=0)


def end_abruptly(net: pystack.Stack) -> None:
    net.close(abrupt=True)


def end_by_panic(net: pystack.Stack) -> None:
    with pytest.raises(pystack.StackPanic):
        net.fail()


def end_by_panic_and_close(net: pystack.Stack) -> None:
    end_by_panic(net)
    net.close()


ENDS = [end_by_close, end_abruptly, end_by_panic, end_by_panic_and_close]


@pytest.fixture
def net() -> Iterator[pystack.Stack]:
    with pystack.Stack() as made:
        yield made


def connected(net: pystack.Stack) -> tuple[Any, Any, Any]:
    listener = net.sockets.create_server((LOCAL, 0))
    near = net.sockets.create_connection(listener.getsockname())
    far, _ = listener.accept()
    return listener, near, far


def all_kinds(net: pystack.Stack) -> dict[str, Any]:
    listener, near, far = connected(net)
    datagrams = net.socket(type=socket.SOCK_DGRAM)
    datagrams.bind((LOCAL, 0))
    refused = net.socket()
    with pytest.raises(ConnectionRefusedError):
        refused.connect((LOCAL, 1))
    return {
        "listener": listener,
        "connection": near,
        "accepted": far,
        "datagrams": datagrams,
        "fresh": net.socket(),
        "refused": refused,
    }


def masks(sockets: dict[str, Any]) -> dict[str, int]:
    poll = select.poll()
    names = {one.fileno(): name for name, one in sockets.items()}
    for fd in names:
        poll.register(fd, select.POLLIN | select.POLLOUT)
    return {names[fd]: mask for fd, mask in poll.poll(0)}


@pytest.mark.parametrize("end", ENDS)
def test_numbers_stay_with_their_sockets(
    net: pystack.Stack, end: Callable[[pystack.Stack], None]
) -> None:
    sockets = all_kinds(net)
    numbers = [one.fileno() for one in sockets.values()]
    end(net)
    files = [file_of(number) for number in numbers]
    assert None not in files
    strangers = [os.open("/dev/null", os.O_RDONLY) for _ in numbers]
    assert not set(strangers) & set(numbers)
    for position, one in enumerate(sockets.values()):
        if position % 2:
            os.close(one.detach())
        else:
            one.close()
    for number, file in zip(numbers, files, strict=True):
        assert file_of(number) != file
    for stranger in strangers:
        os.close(stranger)  # EBADF if somebody else had closed it


@pytest.mark.parametrize("end", ENDS)
def test_each_shows_an_error(net: pystack.Stack, end: Callable[[pystack.Stack], None]) -> None:
    sockets = all_kinds(net)
    masks(sockets)
    end(net)
    for name, mask in masks(sockets).items():
        assert mask & ENDED == ENDED, name
    assert set(masks(sockets)) == set(sockets)
    for one in sockets.values():
        with pytest.raises((OSError, pystack.StackPanic)):
            one.getsockname()
        one.close()


@pytest.mark.parametrize("selector", [selectors.SelectSelector, selectors.EpollSelector])
def test_who_waits_is_woken(net: pystack.Stack, selector: Callable[[], Any]) -> None:
    sockets = all_kinds(net)
    sockets.pop("refused").close()
    sockets.pop("fresh").close()
    woken: dict[str, bool] = {}
    waiting = threading.Barrier(len(sockets) + 1)

    def wait(name: str, one: Any) -> None:
        with selector() as watching:
            watching.register(one, selectors.EVENT_READ)
            waiting.wait()
            woken[name] = bool(watching.select(10))

    threads = [threading.Thread(target=wait, args=each) for each in sockets.items()]
    for thread in threads:
        thread.start()
    waiting.wait()
    net.close(linger=0)
    for thread in threads:
        thread.join()
    assert woken == dict.fromkeys(sockets, True)
    for one in sockets.values():
        one.close()


@pytest.mark.parametrize("end", [end_by_close, end_by_panic])
@pytest.mark.parametrize("kind", ["listener", "datagrams"])
def test_who_was_told_is_not_woken_again(
    net: pystack.Stack, end: Callable[[pystack.Stack], None], kind: str
) -> None:
    sockets = all_kinds(net)
    one = sockets[kind]
    one.setblocking(False)
    with selectors.EpollSelector() as watching:
        watching.register(one, selectors.EVENT_READ)
        end(net)
        assert watching.select(0)
        with pytest.raises((OSError, pystack.StackPanic)):
            one.accept() if kind == "listener" else one.recv(1)
        assert not watching.select(0)
    assert not select.select([one], [], [], 0)[0]
    number = one.fileno()
    file = file_of(number)
    one.close()
    assert file_of(number) != file
    del sockets[kind]
    for other in sockets.values():
        other.close()


def test_a_server_in_a_thread_does_not_spin(net: pystack.Stack) -> None:
    calls = 0

    class Server(socketserver.TCPServer):
        def get_request(self) -> Any:
            nonlocal calls
            calls += 1
            return super().get_request()

    with net.installed():
        server = Server((LOCAL, 0), socketserver.BaseRequestHandler)
    serving = threading.Event()
    server.service_actions = serving.set  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    serving.wait(30)
    net.close()
    for _ in range(20):
        serving.clear()
        assert serving.wait(30)
    assert calls <= 2
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_asyncio_server_is_told_once() -> None:
    troubles: list[dict[str, Any]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: troubles.append(context))
        with pystack.Stack() as net, net.active():
            server = await asyncio.start_server(lambda _r, _w: None, LOCAL, 0)
            where = server.sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(*where)
            net.close()
            with pytest.raises(OSError, match="Stack is closed"):
                await reader.read()
            for _ in range(20):
                await asyncio.sleep(0)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            server.close()

    asyncio.run(main())
    errors = [each["exception"].errno for each in troubles]
    assert errors in ([], [errno.EBADF])


def test_copies_of_an_ended_stacks_socket(net: pystack.Stack) -> None:
    listener, near, far = connected(net)
    with net.installed():
        copy = os.dup(near.fileno())
        other = near.dup()
        net.close(linger=0)
        with pytest.raises(OSError, match="Stack is closed"):
            os.read(copy, 1)
        before = numbers_in_use()
        for refused in (
            near.dup,
            lambda: socket.fromfd(copy, socket.AF_INET, socket.SOCK_STREAM),
            lambda: socket.socket(fileno=copy),
        ):
            with pytest.raises(OSError, match="Stack is closed"):
                refused()
        assert numbers_in_use() == before
        socket.close(copy)
    number = other.fileno()
    file = file_of(number)
    for one in (listener, near, far, other):
        one.close()
    assert file_of(number) != file
    assert file_of(copy) != file


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest.mark.parametrize("end", ENDS)
def test_one_that_was_told_of_the_end_leaves_nothing(
    net: pystack.Stack, kind: int, end: Callable[[pystack.Stack], None]
) -> None:
    """Once it is closed: the Stack needn't be garbage for that, nor the socket."""
    before = numbers_in_use()
    sock = net.socket(type=kind)
    sock.setblocking(False)
    sock.fileno()
    end(net)
    with pytest.raises((OSError, pystack.StackPanic)):
        sock.recv(1)
    sock.close()
    net.close()
    assert set(numbers_in_use()) <= set(before)


def test_garbage_after_the_end(net: pystack.Stack) -> None:
    sockets = all_kinds(net)
    numbers = [one.fileno() for one in sockets.values()]
    net.close(linger=0)
    files = [file_of(number) for number in numbers]
    sockets.clear()
    gc.collect()
    for number, file in zip(numbers, files, strict=True):
        assert file_of(number) != file


def test_a_child_that_closes_the_stack_keeps_its_numbers(net: pystack.Stack) -> None:
    listener, near, far = connected(net)
    near.fileno()

    def close_all() -> None:
        made = net.socket()
        number, inherited = made.fileno(), near.fileno()
        net.close()
        strangers = [os.open("/dev/null", os.O_RDONLY) for _ in range(4)]
        assert not {number, inherited} & set(strangers)
        near.close()
        os.close(made.detach())
        for each in (number, inherited):
            with pytest.raises(OSError, match="Bad file"):
                os.fstat(each)
        for stranger in strangers:
            os.close(stranger)

    Child(close_all).result()
    near.send(b"still there")
    assert far.recv(100) == b"still there"
    for one in (listener, near, far):
        one.close()


def test_a_child_sees_the_owners_end(net: pystack.Stack) -> None:
    listener, near, far = connected(net)
    near.fileno()
    ready, told = os.pipe()

    def watch() -> int:
        poll = select.poll()
        poll.register(near, select.POLLIN)
        os.write(told, b"!")
        [(_fd, mask)] = poll.poll(10000)  # it may be before the error comes to the end
        assert mask & select.POLLHUP
        with pytest.raises(OSError, match="another process's"):
            near.recv(1)
        [(_fd, mask)] = poll.poll(0)
        near.close()
        return mask

    child = Child(watch)
    os.read(ready, 1)
    net.close(linger=0)
    assert child.result() & (select.POLLERR | select.POLLHUP) == select.POLLERR | select.POLLHUP
    os.close(ready)
    os.close(told)
    for one in (listener, near, far):
        one.close()
