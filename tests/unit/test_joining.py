"""Processes that Python starts join the Stack, and sockets go from one process to another."""

from __future__ import annotations

import errno
import functools
import os
import pickle
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import pytest
from children import HERE, MARKS, Child, connected, in_child

import pystack

pytestmark = MARKS


@pytest.fixture
def net() -> Iterator[pystack.Stack]:
    with pystack.Stack() as made:
        yield made


SPAWNED = """
import multiprocessing, os, socket, sys
import pystack

def serve(listener, queue):
    connection, peer = listener.accept()
    connection.sendall(b"from another process")
    connection.close()
    queue.put(("served", peer[0], listener.getsockname(), os.getppid()))

def fetch(where, queue):
    with socket.create_connection(where, 30) as connection:
        queue.put(("fetched", connection.recv(100)))

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    queue = context.SimpleQueue()
    with pystack.Stack() as net, net.installed(strict=True):
        listener = socket.create_server(("127.0.0.1", 0))
        children = [
            context.Process(target=serve, args=(listener, queue)),
            context.Process(target=fetch, args=(listener.getsockname(), queue)),
        ]
        for child in children:
            child.start()
        said = sorted(queue.get()[:2] for _ in children)
        for child in children:
            child.join()
        print(said, [child.exitcode for child in children])
        with context.Pool(2) as pool:  # which has its own ways between its processes
            print(pool.map(abs, range(-3, 0)))
        listener.close()
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(method: str, tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(SPAWNED)
    done = subprocess.run(
        [sys.executable, str(script), method],
        capture_output=True, text=True, timeout=50, check=False, cwd="/",
    )  # fmt: skip
    expected = "[('fetched', b'from another process'), ('served', '127.0.0.1')] [0, 0]\n[3, 2, 1]\n"
    assert done.stdout == expected, done.stderr


def test_a_socket_that_is_pickled_lives_until_it_is_taken(net: pystack.Stack) -> None:
    client, server = connected(net.sockets)
    sent = bytes(ForkingPickler.dumps(server))
    server.close()
    client.sendall(b"hello")

    def take() -> Any:
        taken = ForkingPickler.loads(sent)
        with taken:
            return taken.recv(10), taken.getpeername(), taken.family, taken.type

    got = in_child(take)
    assert got == (b"hello", client.getsockname(), socket.AF_INET, socket.SOCK_STREAM)
    client.settimeout(30)
    assert client.recv(1) == b""
    with pytest.raises(FileNotFoundError):
        ForkingPickler.loads(sent)
    client.close()


def test_a_socket_that_is_pickled_to_its_own_process(net: pystack.Stack) -> None:
    client, server = connected(net.sockets)
    other = ForkingPickler.loads(ForkingPickler.dumps(server))
    server.close()
    other.sendall(b"still")
    assert client.recv(10) == b"still"
    other.close()
    client.settimeout(30)
    assert client.recv(1) == b""
    client.close()


def test_a_child_gives_its_parent_a_socket(net: pystack.Stack) -> None:
    def make() -> bytes:
        made = net.sockets.create_server((HERE, 0))
        return bytes(ForkingPickler.dumps(made))

    child = Child(make)
    with os.fdopen(os.dup(child._reader), "rb") as pipe:
        listener = ForkingPickler.loads(pickle.loads(pipe.read())[1])
    os.waitpid(child.pid, 0)
    os.close(child._reader)
    with net.sockets.create_connection(listener.getsockname()) as client:
        with listener.accept()[0] as connection:
            connection.sendall(b"x")
        assert client.recv(1) == b"x"
    listener.close()


@pytest.mark.parametrize("stream", ["stdin", "stdout", "stderr"])
def test_a_connection_is_no_programs_stream(net: pystack.Stack, stream: str) -> None:
    """Rather than that its data is lost: a descriptor of a Stack's has none."""
    client, server = connected(net.sockets)
    streams: dict[str, Any] = {stream: server}
    for given in (streams, {stream: server.fileno()}):
        with pytest.raises(OSError, match="Give it a pipe") as caught:
            subprocess.Popen(["cat"], **given)
        assert caught.value.errno == errno.EOPNOTSUPP
    client.sendall(b"unharmed")
    assert server.recv(10) == b"unharmed"
    client.close()
    server.close()
    done = subprocess.run(["echo", "as ever"], stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"as ever\n"


def test_a_connection_is_no_stream_that_is_copied_to_either(net: pystack.Stack) -> None:
    """Nor of this program, whose own streams read and write in C."""
    client, server = connected(net.sockets)
    action = (os.POSIX_SPAWN_DUP2, server.fileno(), 1)
    attempts: list[Callable[[], Any]] = [
        lambda: os.posix_spawn("/bin/echo", ["echo", "x"], os.environ, file_actions=[action]),
        lambda: os.posix_spawnp("echo", ["echo", "x"], os.environ, file_actions=[action]),
        *(functools.partial(os.dup2, server.fileno(), number) for number in range(3)),
    ]
    for attempt in attempts:
        with pytest.raises(OSError, match="Give it a pipe") as caught:
            attempt()
        assert caught.value.errno == errno.EOPNOTSUPP
    client.sendall(b"unharmed")
    assert server.recv(10) == b"unharmed"
    client.close()
    server.close()
    copies = [(os.POSIX_SPAWN_DUP2, 1, 2)]
    started = os.posix_spawn("/bin/true", ["true"], os.environ, file_actions=copies)
    assert os.waitpid(started, 0)[1] == 0


def test_a_kernels_socket_becomes_no_stacks(net: pystack.Stack) -> None:
    """By os.dup2: its object would go on reading and writing the descriptor, in C."""
    client, server = connected(net.sockets)
    near, far = socket.socketpair()
    with near, far:
        with pytest.raises(OSError, match="close it first") as caught:
            os.dup2(server.fileno(), near.fileno())
        assert caught.value.errno == errno.EOPNOTSUPP
        far.send(b"still its own")
        assert near.recv(99) == b"still its own"
        number = near.detach()
        os.close(number)
        assert os.dup2(server.fileno(), number) == number
    server.close()
    client.sendall(b"by its number")
    assert os.read(number, 99) == b"by its number"
    os.close(number)
    assert client.recv(1) == b""
    client.close()


def test_a_socket_is_nothing_that_a_program_inherits(net: pystack.Stack) -> None:
    """One that doesn't know the Stack: what it wrote would be lost, with a status of 0."""
    client, server = connected(net.sockets)
    number = server.fileno()
    copy = (os.POSIX_SPAWN_DUP2, number, 20)
    attempts: list[Callable[[], Any]] = [
        lambda: subprocess.Popen(["true"], pass_fds=[number]),
        lambda: subprocess.Popen(["true"], pass_fds=[number], env={}),
        lambda: os.posix_spawn("/bin/true", ["true"], {}, file_actions=[copy]),
    ]
    on_purpose: list[Callable[[], Any]] = [
        lambda: subprocess.Popen(["true"], close_fds=False),
        lambda: os.posix_spawn("/bin/true", ["true"], os.environ),
    ]
    assert subprocess.run(["true"], close_fds=False, check=True).returncode == 0
    for attempt in attempts:
        with pytest.raises(OSError, match="can't inherit a Stack's socket") as caught:
            attempt()
        assert caught.value.errno == errno.EOPNOTSUPP
    server.set_inheritable(True)
    for attempt in on_purpose:
        with pytest.raises(OSError, match="can't inherit a Stack's socket"):
            attempt()
    assert subprocess.run(["true"], check=True).returncode == 0  # which closes it
    client.sendall(b"unharmed")
    assert server.recv(10) == b"unharmed"
    client.close()
    server.close()


def test_a_listener_may_be_a_pythons_input(net: pystack.Stack) -> None:
    """As FastCGI's and inetd's servers have it."""
    with net.sockets.create_server((HERE, 0)) as listener:
        child = subprocess.Popen(["true"], stdin=listener)
        assert child.wait() == 0


def test_a_python_that_starts_as_its_owner_ends() -> None:
    """multiprocessing's helpers do; they ask for nothing of the network, and have no trouble."""
    program = """
    import os, subprocess, sys, pystack
    from pystack.sockets.joining import share_by_environment
    net = pystack.Stack()
    share_by_environment(net.sockets, strict=True)
    late = '''
    import sys
    sys.stdin.read()  # until the owner has gone
    from pystack.sockets.joining import join_by_environment
    join_by_environment()
    print("here", flush=True)
    import socket
    try:
        socket.create_server(("127.0.0.1", 0))
    except OSError as error:
        print(error.errno, error.strerror)
    '''
    import textwrap
    environment = {**os.environ, "PYTHONPATH": ""}
    subprocess.Popen([sys.executable, "-c", textwrap.dedent(late)], stdin=subprocess.PIPE,
                     env=environment)
    os._exit(0)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True, text=True, timeout=300, check=True, cwd="/",
    )  # fmt: skip
    here, refused = done.stdout.splitlines()
    assert here == "here"
    assert refused.startswith(
        f"{errno.EOWNERDEAD} this Stack is another process's, which has ended"
    )
    assert done.stderr == ""
