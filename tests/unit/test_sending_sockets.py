"""Sockets that go between processes by their descriptors, and multiprocessing's own connections."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from children import HERE, MARKS, Child, connected, in_child

import pystack

pytestmark = MARKS


@pytest.fixture
def net() -> Iterator[pystack.Stack]:
    with pystack.Stack() as made, made.installed():
        yield made


def receive(end: socket.socket) -> socket.socket:
    """A socket that comes over one of AF_UNIX."""
    _data, fds, _flags, _address = socket.recv_fds(end, 10, 1)
    return socket.socket(fileno=fds[0])


def test_a_parent_sends_a_connection_to_its_child(net: pystack.Stack) -> None:
    """As servers do that accept in one process and answer in another."""
    near, far = socket.socketpair(socket.AF_UNIX)

    def serve() -> Any:
        with receive(far) as connection:
            far.send(b"taken")
            readable, _writable, _other = select.select([connection], [], [], 30)
            assert readable
            connection.sendall(connection.recv(10).upper())
            assert select.select([connection], [], [], 0.01) == ([], [], [])
            return connection.getsockname()

    child = Child(serve)
    client, server = connected(socket)
    name = server.getsockname()
    socket.send_fds(near, [b"x"], [server.fileno()])
    server.close()  # what is under way is open
    near.recv(10)
    time.sleep(0.05)  # so that it is looking by now
    client.sendall(b"hello")
    assert client.recv(10) == b"HELLO"
    assert client.recv(10) == b""
    assert child.result() == name
    for one in (near, far, client):
        one.close()


def test_a_child_sends_a_connection_to_its_parent(net: pystack.Stack) -> None:
    near, far = socket.socketpair(socket.AF_UNIX)
    listener = socket.create_server((HERE, 0))

    def connect() -> None:
        with socket.create_connection(listener.getsockname()) as made:
            socket.send_fds(far, [b"x"], [made.fileno()])
            far.recv(1)  # until it was taken

    child = Child(connect)
    server, _peer = listener.accept()
    client = receive(near)
    near.send(b"x")
    child.result()
    client.sendall(b"hello")
    assert server.recv(10) == b"hello"
    client.close()
    server.settimeout(30)
    assert server.recv(10) == b""
    for one in (near, far, server, listener):
        one.close()


def test_what_a_child_sends_outlives_its_own_close(net: pystack.Stack) -> None:
    """To its parent, that takes it when the child has closed it, or was killed."""
    near, far = socket.socketpair(socket.AF_UNIX)
    listener = socket.create_server((HERE, 0))

    def send(die: bool) -> None:
        made = socket.create_connection(listener.getsockname())
        socket.send_fds(far, [b"x"], [made.fileno()])
        if die:
            os.kill(os.getpid(), signal.SIGKILL)
        made.close()

    for die in (False, True):
        child = Child(lambda die=die: send(die))
        server, _peer = listener.accept()
        _pid, _status = os.waitpid(child.pid, 0)
        server.sendall(b"while it is under way")
        client = receive(near)
        assert select.select([client], [], [], 30)[0]
        assert client.recv(100) == b"while it is under way"
        assert select.select([client], [], [], 0.01)[0] == []
        client.sendall(b"hello")
        assert server.recv(10) == b"hello"
        client.close()
        server.settimeout(30)
        assert server.recv(10) == b""
        server.close()
    for one in (near, far, listener):
        one.close()


def test_what_a_child_sends_to_another_child(net: pystack.Stack) -> None:
    near, far = socket.socketpair(socket.AF_UNIX)
    listener = socket.create_server((HERE, 0))

    def send() -> None:
        with socket.create_connection(listener.getsockname()) as made:
            socket.send_fds(far, [b"x"], [made.fileno()])

    def take() -> bytes:
        with receive(near) as taken:
            taken.sendall(b"taken")
            return taken.recv(10)

    in_child(send)
    server, _peer = listener.accept()
    child = Child(take)
    assert server.recv(10) == b"taken"
    server.sendall(b"given")
    assert child.result() == b"given"
    server.settimeout(30)
    assert server.recv(10) == b""
    for one in (near, far, server, listener):
        one.close()


def test_what_is_sent_and_never_taken_ends(net: pystack.Stack) -> None:
    near, far = socket.socketpair(socket.AF_UNIX)
    listener = socket.create_server((HERE, 0))

    def send() -> None:
        with socket.create_connection(listener.getsockname()) as made:
            socket.send_fds(far, [b"x"], [made.fileno()])

    in_child(send)
    server, _peer = listener.accept()
    server.settimeout(0.2)
    with pytest.raises(TimeoutError):
        server.recv(10)
    near.close()
    far.close()
    server.settimeout(30)
    assert server.recv(10) == b""
    server.close()
    listener.close()


MANAGER = """
import multiprocessing, os, sys
from multiprocessing.connection import Client, Listener
from multiprocessing.managers import BaseManager
import pystack

class Count:
    def __init__(self):
        self.sum = 0
    def add(self, number):
        self.sum += number
        return self.sum
    def data(self, size):
        return bytes(size)

class Manager(BaseManager):
    pass

Manager.register("Count", Count)

def answer(where):
    with Client(where, authkey=b"key") as connection:
        connection.send(sum(connection.recv()))

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with pystack.Stack() as net, net.installed():
        with Manager(("127.0.0.1", 0), b"key", ctx=context) as manager:
            count = manager.Count()
            print(count.add(3), count.add(4), len(count.data(1_000_000)), manager.address[0])
            del count
        with Listener(("127.0.0.1", 0), authkey=b"key") as listener:
            child = context.Process(target=answer, args=(listener.address,))
            child.start()
            with listener.accept() as connection:
                connection.send(list(range(100_000)))
                print(connection.recv())
            child.join()
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_managers_and_connections(method: str, tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(MANAGER)
    done = subprocess.run(
        [sys.executable, str(script), method],
        capture_output=True, text=True, timeout=50, check=False, cwd=os.sep,
    )  # fmt: skip
    assert done.stdout == f"3 7 1000000 127.0.0.1\n{sum(range(100_000))}\n", done.stderr
    assert done.stderr == ""
