"""A Stack in the processes that its own forks: every call is made by the one that owns it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import random
import selectors
import signal
import socket
import ssl
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from children import HERE, MARKS, Child, connected, in_child
from pair import whole

import pystack
from pystack._native import lib

pytestmark = MARKS


@pytest.fixture
def net() -> Iterator[pystack.Stack]:
    with pystack.Stack() as made:
        yield made


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Waits for what another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# --- what a child can do ----------------------------------------------------------------------


def test_a_child_serves_what_its_parent_listens_on(net: pystack.Stack) -> None:
    listener = net.sockets.create_server((HERE, 80))

    def serve() -> Any:
        connection, peer = listener.accept()
        with connection:
            connection.sendall(connection.recv(100)[::-1])
            return peer, connection.getpeername(), connection.getsockname()

    child = Child(serve)
    with net.sockets.create_connection((HERE, 80)) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"olleh"
        assert client.recv(100) == b""
        name = client.getsockname()
    assert child.result() == (name, name, (HERE, 80))
    listener.close()


def test_what_a_child_makes_is_the_parents_networks(net: pystack.Stack) -> None:
    with net.sockets.create_server((HERE, 0)) as listener:
        where = listener.getsockname()

        def connect() -> Any:
            with net.sockets.create_connection(where) as made:
                return made.getsockname(), made.recv(10)

        child = Child(connect)
        connection, peer = listener.accept()
        connection.sendall(b"there")
        connection.close()
        assert child.result() == (peer, b"there")


def test_a_child_under_installed(net: pystack.Stack) -> None:
    def connect() -> bytes:
        with socket.create_connection(where, 30) as made:
            return made.recv(10)

    with net.installed(), socket.create_server((HERE, 0)) as listener:
        where = listener.getsockname()
        child = Child(connect)
        with listener.accept()[0] as connection:
            connection.sendall(b"there")
        assert child.result() == b"there"


def test_megabytes_both_ways(net: pystack.Stack) -> None:
    client, server = connected(net.sockets)
    data = random.Random(7).randbytes(6_000_000)

    def echo() -> str:
        digest = hashlib.sha256()
        received = 0
        with server:
            while received < len(data):
                part = server.recv(1 << 20)
                digest.update(part)
                received += len(part)
            server.sendall(memoryview(data))
        return digest.hexdigest()

    child = Child(echo)
    server.close()
    client.sendall(data)
    got = bytearray()
    while part := client.recv(1 << 20):
        got += part
    assert got == data
    assert child.result() == hashlib.sha256(data).hexdigest()
    client.close()


def test_flags_timeouts_options_and_names(net: pystack.Stack) -> None:
    client, server = connected(net.sockets)

    def use() -> Any:
        said: list[Any] = [server.recv(3, socket.MSG_PEEK), server.recv(5, socket.MSG_WAITALL)]
        try:
            server.recv(1, socket.MSG_DONTWAIT)
        except BlockingIOError as error:
            said.append(error.errno)
        server.settimeout(0.05)
        begin = time.monotonic()
        try:
            server.recv(1)
        except TimeoutError:
            said.append(time.monotonic() - begin > 0.04)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        said.append(server.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        said.append(server.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE))
        said.append(server.tcp_info().state.name)
        server.shutdown(socket.SHUT_WR)
        try:
            server.send(b"x")
        except BrokenPipeError:
            said.append("pipe")
        return said

    client.sendall(b"hello")
    child = Child(use)
    expected = [b"hel", b"hello", errno.EAGAIN, True, 1, socket.SOCK_STREAM, "ESTABLISHED", "pipe"]
    assert child.result() == expected
    # The option and the shutdown are the socket's, not the child's.
    assert server.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    assert client.recv(1) == b""
    client.close()
    server.close()


def test_what_can_never_come_is_said_at_once(net: pystack.Stack) -> None:
    def ask() -> list[int | None]:
        said = []
        with net.socket() as fresh:
            fresh.bind((HERE, 0))
            for call in (lambda: fresh.recv(1), fresh.accept, lambda: fresh.send(b"x")):
                with pytest.raises(OSError) as caught:
                    call()
                said.append(caught.value.errno)
        return said

    assert in_child(ask) == ask() == [errno.ENOTCONN, errno.EINVAL, errno.EPIPE]


def test_datagrams_with_ancillary_data(net: pystack.Stack) -> None:
    receiver = net.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind((HERE, 5000))
    receiver.setsockopt(socket.IPPROTO_IP, net.sockets.IP_RECVTTL, 1)

    def receive() -> Any:
        first = receiver.recvmsg(100, 100)
        second = receiver.recvmsg_into([bytearray(1)] * 100 + [bytearray(70000)])
        receiver.sendto(b"back", first[3])
        try:
            receiver.sendto(bytes(70000), first[3])
        except OSError as error:
            return first[:2], second[0], error.errno

    child = Child(receive)
    with net.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect((HERE, 5000))
        sender.sendmsg([b"one"], [(socket.IPPROTO_IP, socket.IP_TTL, struct.pack("i", 9))])
        sender.sendmsg([b"abc"] * 1000)
        assert sender.recv(100) == b"back"
    ttl = (socket.IPPROTO_IP, socket.IP_TTL, struct.pack("i", 9))
    assert child.result() == ((b"one", [ttl]), 3000, errno.EMSGSIZE)
    receiver.close()


def test_selectors_and_asyncio(net: pystack.Stack) -> None:
    listener = net.sockets.create_server((HERE, 0))

    def select() -> bytes:
        with listener.accept()[0] as connection, selectors.DefaultSelector() as selector:
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ)
            got = b""
            while not got.endswith(b"."):
                assert selector.select(10)
                with contextlib.suppress(BlockingIOError):
                    got += connection.recv(2)
            return got

    child = Child(select)
    with net.sockets.create_connection(listener.getsockname()) as client:
        client.sendall(b"one two ")
        client.sendall(b"three.")
        assert child.result() == b"one two three."

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(handle, sock=listener)
        async with server:
            await asyncio.sleep(60)

    child = Child(lambda: asyncio.run(serve()))
    with contextlib.ExitStack() as clients:
        many = [
            clients.enter_context(net.sockets.create_connection(listener.getsockname()))
            for _ in range(50)
        ]
        for number, client in enumerate(many):
            client.sendall(b"line %d\n" % number)
        for number, client in enumerate(many):
            with client.makefile("rb") as file:
                assert file.read() == b"LINE %d\n" % number
    child.kill()
    listener.close()


def test_many_threads_of_a_child(net: pystack.Stack) -> None:
    listener = net.sockets.create_server((HERE, 0))

    def serve_one(connection: socket.socket) -> None:
        with connection, connection.makefile("rwb") as file:
            for line in file:
                file.write(line)
                file.flush()

    def serve() -> int:
        threads = []
        for _ in range(20):
            threads.append(threading.Thread(target=serve_one, args=(listener.accept()[0],)))
            threads[-1].start()
        for thread in threads:
            thread.join()
        return len(threads)

    child = Child(serve)
    clients = [net.sockets.create_connection(listener.getsockname()) for _ in range(20)]
    files = [client.makefile("rwb") for client in clients]
    for turn in range(20):
        for number, file in enumerate(files):
            file.write(b"%d %d\n" % (number, turn))
            file.flush()
        for number, file in enumerate(files):
            assert file.readline() == b"%d %d\n" % (number, turn)
    for file, client in zip(files, clients, strict=True):
        file.close()
        client.close()
    assert child.result() == 20
    listener.close()


def test_tls_in_a_child(net: pystack.Stack, tmp_path: Path) -> None:
    import trustme

    authority = trustme.CA()
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server_side)
    client_side = ssl.create_default_context()
    authority.configure_trust(client_side)
    client, server = connected(net.sockets)

    def serve() -> str | None:
        with server_side.wrap_socket(server, server_side=True) as secure:
            secure.sendall(secure.recv(100).upper())
            return secure.version()

    child = Child(serve)
    server.close()
    with client_side.wrap_socket(client, server_hostname="localhost") as secure:
        secure.sendall(b"quiet")
        assert secure.recv(100) == b"QUIET"
        assert secure.version() == child.result()


def test_names_and_tables_can_be_read(net: pystack.Stack) -> None:
    def look() -> Any:
        return (
            net.sockets.if_nameindex(),
            [(one.name, one.mtu, list(one.addresses)) for one in net.interfaces],
            net.ping(HERE, timeout=30).received,
            len(net.connections()),
            net.sysctl["net.core.somaxconn"],
            net.counters().keys() > {"tcp.in_segments"},
            net.sockets.getaddrinfo("localhost", 80, socket.AF_INET)[0][4],
        )

    with net.sockets.create_server((HERE, 0)):
        looked = in_child(look)
        assert looked == look()


def test_what_the_owner_alone_can_do_is_refused(net: pystack.Stack) -> None:
    left, _right = pystack.nic.wire()

    def set_one() -> None:
        net.sysctl["net.core.somaxconn"] = 7

    def add_route() -> None:
        net.routes.add("10.9.0.0/16", interface=net.loopback)

    for action in (lambda: net.attach(left, "10.0.0.1/24"), set_one, add_route):
        with pytest.raises(OSError, match="which alone may change it") as caught:
            in_child(action)
        assert caught.value.errno == errno.EREMOTE


# --- who holds what ---------------------------------------------------------------------------


def test_a_socket_lives_until_all_have_closed_it(net: pystack.Stack) -> None:
    client, server = connected(net.sockets)
    go_reader, go_writer = os.pipe()

    def later() -> None:
        os.read(go_reader, 1)
        server.sendall(b"from the child")
        server.close()

    child = Child(later)
    server.close()
    client.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.recv(1)  # the parent's close is not the connection's end
    client.settimeout(30)
    os.write(go_writer, b"x")
    assert client.recv(100) == b"from the child"
    assert client.recv(100) == b""
    child.result()
    client.close()
    os.close(go_reader)
    os.close(go_writer)


def test_a_child_that_closes_takes_nothing_from_its_parent(net: pystack.Stack) -> None:
    client, server = connected(net.sockets)
    with net.sockets.create_server((HERE, 80)) as listener:
        in_child(lambda: (client.close(), server.close(), listener.close()))
        client.sendall(b"still here")
        assert server.recv(100) == b"still here"
        with net.sockets.create_connection((HERE, 80)):
            listener.accept()[0].close()
    client.close()
    server.close()


def test_what_a_killed_child_held_is_let_go(net: pystack.Stack) -> None:
    listener = net.sockets.create_server((HERE, 0))
    where = listener.getsockname()

    def serve() -> bytes:
        sock = listener.accept()[0]
        sock.sendall(b"!")
        return bytes(sock.recv(1))

    child = Child(serve)
    with net.sockets.create_connection(where) as client:
        client.settimeout(30)
        assert client.recv(1) == b"!"  # it has accepted: what still waits would be the parent's
        time.sleep(0.05)  # so that it waits in recv
        child.kill()
        assert client.recv(1) == b""  # as the kernel closes what a dead process had
    until(lambda: all(one.handle < 0 or one.local == where for one in handles(net)))
    with net.sockets.create_connection(where):
        listener.accept()[0].close()
    listener.close()


class _Held:
    def __init__(self, handle: int, local: Any) -> None:
        self.handle = handle
        self.local = local


def handles(net: pystack.Stack) -> list[_Held]:
    """The sockets that somebody holds, with where they are bound."""
    listing = net._handle.listing(
        "struct ps_connection", lambda out, room: lib.ps_connections(net._handle.pointer, out, room)
    )
    return [_Held(one.handle, (HERE, one.local.port)) for one in listing]


def test_a_childs_child(net: pystack.Stack) -> None:
    client, server = connected(net.sockets)

    def middle() -> Any:
        made = net.sockets.create_server((HERE, 0))
        grandchild = Child(lambda: (server.recv(10), made.getsockname()))
        server.close()
        where = made.getsockname()
        made.close()
        assert grandchild.result() == (b"hello", where)
        return where

    child = Child(middle)
    server.close()
    client.sendall(b"hello")
    where = child.result()
    client.settimeout(30)
    assert client.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        net.sockets.create_connection(where)
    client.close()


def test_forks_of_several_threads_and_stacks() -> None:
    with pystack.Stack() as one, pystack.Stack() as other:
        a, b = connected(one.sockets), connected(other.sockets)
        results = []

        def fork(pair: Any, number: int) -> None:
            child = Child(lambda: (pair[1].sendall(b"%d" % number), os.getpid())[1])
            results.append(child.result() == child.pid)

        threads = [
            threading.Thread(target=fork, args=(pair, number))
            for number in range(5)
            for pair in (a, b)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [True] * 10
        for client, server in (a, b):
            assert sorted(whole(client, 5)) == list(b"01234")
            # Nobody else has kept it open.
            server.close()
            client.settimeout(30)
            assert client.recv(1) == b""
            client.close()


def test_a_child_without_descriptors_leaves_connections_in_the_queue(net: pystack.Stack) -> None:
    import resource

    listener = net.sockets.create_server((HERE, 0))

    def accept() -> int:
        listener.settimeout(30)
        listener.accept()[0].close()  # one goes
        _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        taken = os.open("/dev/null", os.O_RDONLY)
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 1, hard))
        try:
            listener.accept()
        except OSError as error:
            return error.errno or 0
        return 0

    child = Child(accept)
    clients = [net.sockets.create_connection(listener.getsockname()) for _ in range(2)]
    assert child.result() == errno.EMFILE
    listener.accept()[0].close()  # it is there still
    for client in clients:
        client.close()
    listener.close()


def test_a_child_that_closes_the_stack_closes_its_own_share(net: pystack.Stack) -> None:
    client, server = connected(net.sockets)

    def close() -> int:
        net.close()
        try:
            server.recv(1)
        except OSError as error:
            return error.errno or 0
        return 0

    assert in_child(close) == errno.EBADF
    client.sendall(b"hello")
    assert server.recv(5) == b"hello"
    client.close()
    server.close()


# --- ends -------------------------------------------------------------------------------------


def test_the_owner_dies_under_a_child() -> None:
    program = """
    import os, socket, sys, time, pystack
    net = pystack.Stack()
    listener = net.sockets.create_server(("127.0.0.1", 0))
    if os.fork() == 0:
        try:
            listener.accept()
        except OSError as error:
            print(error.errno, error.strerror, flush=True)
        try:
            net.socket()
        except OSError as error:
            print(error.errno, flush=True)
        os._exit(0)
    time.sleep(0.3)
    os._exit(0)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True, text=True, timeout=300, check=True, cwd="/",
    )  # fmt: skip
    first, second = done.stdout.splitlines()
    assert first.startswith(f"{errno.EOWNERDEAD} this Stack is another process's, which has ended")
    assert second == str(errno.EOWNERDEAD)


def test_the_owner_closes_its_stack_under_a_child() -> None:
    with pystack.Stack() as net:
        listener = net.sockets.create_server((HERE, 0))
        child = Child(listener.accept)
        time.sleep(0.05)
    with pytest.raises(OSError) as caught:
        child.result()
    assert caught.value.errno == errno.EOWNERDEAD


def test_a_signal_interrupts_a_childs_wait(net: pystack.Stack) -> None:
    client, server = connected(net.sockets)
    ready_reader, ready_writer = os.pipe()
    sent_reader, sent_writer = os.pipe()

    def wait() -> tuple[int, bool]:
        signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(InterruptedError("now")))
        took = []
        # One may be late on a busy machine; found by the look of each half second, all are.
        for _ in range(20):
            try:
                os.write(ready_writer, b"x")
                server.recv(1)
            except InterruptedError:
                took.append(time.monotonic() - float(os.read(sent_reader, 100)))
        return len(took), min(took) < 0.3

    child = Child(wait)
    for _ in range(20):
        os.read(ready_reader, 1)
        time.sleep(0.05)
        os.write(sent_writer, str(time.monotonic()).encode())
        os.kill(child.pid, signal.SIGALRM)
    assert child.result() == (20, True)
    client.close()
    server.close()
    for number in (ready_reader, ready_writer, sent_reader, sent_writer):
        os.close(number)


def test_a_stack_that_nobody_drives_is_not_shared() -> None:
    with pystack.Stack(threaded=False) as net:
        with pytest.raises(OSError) as caught:
            in_child(net.connections)
        assert caught.value.errno == errno.EOWNERDEAD
