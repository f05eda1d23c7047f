"""The methods in C (bindings/python/transfer.c): recv, recv_into, send and sendall."""

from __future__ import annotations

import gc
import inspect
import os
import signal
import socket
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from pair import LEFT, RIGHT, Pair, pair

import pystack
from pystack.sockets import Socket


@pytest.fixture(scope="module")
def it() -> Iterator[Pair]:
    with pair() as made:
        yield made


def test_they_are_methods_like_others(it: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    client, server = it.connected()
    with client, server:
        monkeypatch.setattr(Socket, "recv", lambda *_arguments: b"patched")
        assert server.recv(10) == b"patched"
        monkeypatch.undo()
        client.send(b"sent")
        assert server.recv(10) == b"sent"
        assert Socket.recv(*(client.send(b"by the class") and (server, 100))) == b"by the class"
    for name in ("recv", "send", "sendall"):
        assert str(inspect.signature(getattr(Socket, name))).endswith("flags=0, /)")
    assert str(inspect.signature(Socket.recv_into)) == "(self, /, buffer, nbytes=0, flags=0)"


def test_a_subclass_has_its_own(it: Pair) -> None:
    base: Any = it.right.sockets.socket

    class Shouting(base):  # type: ignore[misc]
        def recv(self, *arguments: Any) -> bytes:
            return bytes(super().recv(*arguments).upper())

        def recv_into(self, buffer: bytearray, *arguments: Any) -> int:
            count = int(super().recv_into(buffer, *arguments))
            buffer[:count] = buffer[:count].upper()
            return count

        def send(self, data: bytes, *arguments: Any) -> int:
            return int(super().send(data.upper(), *arguments))

        def sendall(self, data: bytes, *arguments: Any) -> None:
            super().sendall(data.upper(), *arguments)

    client, server = it.connected()
    with client, Shouting(fileno=server.detach()) as shouting:
        shouting.settimeout(30)  # the number stays non-blocking, a new object is not to wait
        client.send(b"abc")
        assert shouting.recv(10) == b"ABC"
        assert shouting.send(b"def") == 3
        assert client.recv(10) == b"DEF"
        buffer = bytearray(3)
        client.sendall(b"abc")
        assert shouting.recv_into(buffer) == 3
        assert buffer == b"ABC"
        shouting.sendall(b"def")
        assert client.recv(10) == b"DEF"


def test_private_names_are_left_to_subclasses(it: Pair) -> None:
    """But for those of `socket.socket`, all begin with what nobody else's do."""
    kinds: list[type] = [it.left.sockets.socket, *pystack.sockets.Socket.__mro__]
    own = {name for kind in kinds for name in vars(kind) if not name.endswith("__")}
    assert {name for name in own - set(dir(socket.socket)) if not name.startswith("_ps_")} == {
        "tcp_info"
    }


@pytest.mark.parametrize("size", [1, 4096, 4097, 262144])
def test_every_size(it: Pair, size: int) -> None:
    client, server = it.connected()
    with client, server:
        for buffer in (b"x" * size, bytearray(b"x" * size), memoryview(b"x" * size)):
            sent = client.send(buffer)
            assert 0 < sent <= size
            got = b""
            while len(got) < sent:
                got += server.recv(size)
            assert got == b"x" * sent


@pytest.mark.parametrize("size", [1, 4096, 262144, 5_000_001])
@pytest.mark.parametrize("timeout", [None, 30])
def test_all_of_it(it: Pair, size: int, timeout: float | None) -> None:
    client, server = it.connected()
    data = os.urandom(size)
    client.settimeout(timeout)
    server.settimeout(timeout)
    with client, server:
        for buffer in (data, bytearray(data), memoryview(data)):
            sender = threading.Thread(target=client.sendall, args=(buffer,))
            sender.start()
            got, into = bytearray(), bytearray(100_000)
            while len(got) < size:
                got += into[: server.recv_into(into)]
            sender.join()
            assert got == data


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_a_blocking_descriptor_waits_for_all_of_it(it: Pair, kind: type[Any]) -> None:
    """As the kernel's, if another has taken O_NONBLOCK from it."""
    client, server = it.connected()
    data = kind(os.urandom(5_000_001))
    client.settimeout(0)
    os.set_blocking(client.fileno(), True)
    failed = list[BaseException]()

    def send() -> None:
        try:
            client.sendall(data)
        except OSError as error:
            failed.append(error)
            client.shutdown(socket.SHUT_WR)

    with client, server:
        sender = threading.Thread(target=send)
        sender.start()
        got, into = bytearray(), bytearray(100_000)
        while len(got) < len(data) and (count := server.recv_into(into)):
            got += into[:count]
        sender.join()
        assert (failed, got) == ([], data)
        with pytest.raises(BlockingIOError):
            client.sendall(kind(100_000_000), socket.MSG_DONTWAIT)


def test_a_buffer_in_use_keeps_its_size(it: Pair) -> None:
    client, server = it.connected()
    into, counts = bytearray(10), list[int]()
    with client, server:
        reader = threading.Thread(target=lambda: counts.append(server.recv_into(into)))
        reader.start()
        refused = False
        while not refused:
            try:
                into.append(0)
                into.pop()
            except BufferError:
                refused = True
        client.sendall(b"now")
        reader.join()
        into.append(0)  # it may grow again
    assert (counts, into[:3]) == ([3], b"now")


def test_a_buffer_keeps_its_size_between_the_calls(it: Pair) -> None:
    """Empty, it would be told of the stream's end."""
    base: Any = it.right.sockets.socket
    refused = list[bool]()

    class Meddling(base):  # type: ignore[misc]
        def _ps_recv_into_on(self, buffer: bytearray, result: int) -> int:
            try:
                buffer.clear()
            except BufferError:
                refused.append(True)
            return int(super()._ps_recv_into_on(buffer, result))

    client, server = it.connected()
    into = bytearray(10)
    with client, Meddling(fileno=server.detach()) as meddling:
        meddling.settimeout(0.05)
        with pytest.raises(TimeoutError):
            meddling.recv_into(into)
    into.append(0)  # it may grow again
    assert refused == [True]


def test_what_was_sent_before_the_end(it: Pair) -> None:
    client, server = it.connected()
    with client:
        client.settimeout(0)
        with pytest.raises(BlockingIOError):
            client.sendall(bytes(100_000_000))
        client.settimeout(0.05)
        with pytest.raises(TimeoutError, match="timed out"):
            client.sendall(bytes(100_000_000))
        client.settimeout(None)
        ending = threading.Thread(target=server.close)  # with data unread: a reset
        ending.start()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            client.sendall(bytes(100_000_000))
        ending.join()
        with pytest.raises(BrokenPipeError):
            client.sendall(b"more")


def test_flags_and_odd_arguments_go_the_long_way(it: Pair) -> None:
    client, server = it.connected()
    with client, server:
        client.send(b"abc", socket.MSG_DONTWAIT)
        assert server.recv(2, socket.MSG_PEEK) == b"ab"
        assert server.recv(True) == b"a"
        assert server.recv(10, False) == b"bc"
        server.setblocking(False)
        for wrong, error in (
            (("x",), TypeError), ((-1,), ValueError), ((1 << 70,), OverflowError), ((), TypeError),
            ((1, 2, 3), TypeError), ((1, 1 << 70), OverflowError), ((10,), BlockingIOError),
        ):  # fmt: skip
            with pytest.raises(error):
                server.recv(*wrong)
        for wrong, error in ((("x",), TypeError), ((), TypeError), ((b"x", "x"), TypeError)):
            with pytest.raises(error):
                client.send(*wrong)
            with pytest.raises(error):
                client.sendall(*wrong)
        client.sendall(b"abcdef", socket.MSG_DONTWAIT)
        server.settimeout(30)
        while len(server.recv(6, socket.MSG_PEEK)) < 6:
            pass
        into = bytearray(4)
        assert server.recv_into(into, 1) == 1
        assert server.recv_into(memoryview(into)[1:], nbytes=2) == 2
        assert server.recv_into(buffer=into, flags=socket.MSG_PEEK) == 3
        assert into[:3] == b"def"
        assert server.recv_into(bytearray()) == 0
        for named, error in (
            ({}, TypeError), ({"buffer": b"x"}, TypeError), ({"buffer": into, "of": 1}, TypeError),
            ({"buffer": into, "nbytes": 5}, ValueError),
            ({"buffer": into, "nbytes": -1}, ValueError),
        ):  # fmt: skip
            with pytest.raises(error) as raised:
                server.recv_into(**named)
            assert "_ps_" not in str(raised.value)


def test_closed_and_unmade(it: Pair) -> None:
    client, server = it.connected()
    server.close()
    client.close()
    unmade = Socket.__new__(Socket)
    for one, error, text in (
        (client, OSError, "Bad file descriptor"),
        (unmade, AttributeError, "_ps_"),
    ):
        for call, argument in (
            (one.recv, 1), (one.recv_into, bytearray(1)), (one.send, b"x"), (one.sendall, b"x"),
        ):  # fmt: skip
            with pytest.raises(error, match=text):
                call(argument)


def test_a_signal_in_between_is_handled(it: Pair) -> None:
    client, server = it.connected()
    seen: list[int] = []

    def handler(number: int, _frame: object) -> None:
        seen.append(number)
        client.send(b"now")

    before = signal.signal(signal.SIGUSR1, handler)
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
    try:
        with client, server:
            timer.start()
            assert server.recv(10) == b"now"
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
    assert seen == [signal.SIGUSR1]


def test_a_hypercall_that_raises_is_heard() -> None:
    class Clock(pystack.hypercalls.ManualClock):
        broken = False

        def now_us(self) -> int:
            if self.broken:
                raise ZeroDivisionError("the clock")
            return super().now_us()

    clock, wires = Clock(), pystack.nic.wire()
    with pystack.Stack(clock=clock) as left, pystack.Stack() as right:
        left.attach(wires[0], f"{LEFT}/24")
        right.attach(wires[1], f"{RIGHT}/24")
        with (
            right.sockets.create_server((RIGHT, 0)) as listener,
            left.sockets.create_connection(listener.getsockname()) as client,
            listener.accept()[0] as server,
        ):
            server.send(b"abc")
            assert client.recv(1) == b"a"
            for call in (
                lambda: client.recv(1),
                lambda: client.recv_into(bytearray(1)),
                lambda: client.send(b"x"),
                lambda: client.sendall(b"x"),
            ):
                clock.broken = True
                with pytest.raises(ZeroDivisionError, match="the clock"):
                    call()
                clock.broken = False


def test_a_cycle_is_collected(it: Pair) -> None:
    base: Any = it.left.sockets.socket

    class Cyclic(base):  # type: ignore[misc]
        me: Any

    one = Cyclic(socket.AF_INET, socket.SOCK_STREAM)
    one.close()
    one.me = one
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is None


def test_threads_may_share_a_socket(it: Pair) -> None:
    client, server = it.connected()
    count, got = 2000, [0, 0]

    def take(which: int) -> None:
        while data := server.recv(7):
            got[which] += len(data)

    threads = [threading.Thread(target=take, args=(which,)) for which in range(2)]
    with client, server:
        for thread in threads:
            thread.start()
        for _ in range(count):
            assert client.send(b"12345") == 5
        client.shutdown(socket.SHUT_WR)
        for thread in threads:
            thread.join()
    assert sum(got) == 5 * count
