"""A Stack's descriptors: their numbers and copies, who closes them, what goes through them."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import gc
import multiprocessing.connection
import os
import resource
import select
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import pystack

LOCAL = "127.0.0.1"


@pytest.fixture
def net() -> Iterator[pystack.Stack]:
    with pystack.Stack() as made:
        yield made


def connected(net: pystack.Stack) -> tuple[Any, Any]:
    with net.sockets.create_server((LOCAL, 0)) as listener:
        near = net.sockets.create_connection(listener.getsockname())
        far, _ = listener.accept()
    far.settimeout(30)
    return near, far


def close_by_os(fd: int) -> None:
    os.close(fd)


def close_behind_python(fd: int) -> None:
    os.dup2(os.open("/dev/null", os.O_RDONLY), fd)  # C's close, of which nobody tells


@pytest.mark.parametrize("how", [close_by_os, close_behind_python])
def test_a_connection_ends_with_its_detached_descriptor(
    net: pystack.Stack, how: Callable[[int], None]
) -> None:
    near, far = connected(net)
    how(near.detach())
    assert far.recv(1) == b""
    far.close()


def test_a_number_that_is_anothers_by_now_is_left_alone(net: pystack.Stack) -> None:
    near, far = connected(net)
    copy = near.dup()
    fd = near.detach()
    close_behind_python(fd)
    os.close(fd)
    ours, theirs = socket.socketpair()
    assert ours.fileno() == fd
    theirs.send(b"for ours alone")
    far.send(b"x")
    assert copy.recv(1) == b"x"
    copy.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            copy.send(bytes(100000))
    far.settimeout(0.2)
    with pytest.raises(TimeoutError):
        while True:
            far.recv(1 << 20)
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        theirs.recv(100)
    assert ours.recv(100) == b"for ours alone"
    net.close()
    theirs.send(b"open")
    assert ours.recv(100) == b"open"
    for one in (ours, theirs, copy):
        one.close()


def test_a_file_that_has_the_number_stays_open(net: pystack.Stack) -> None:
    near, far = connected(net)
    fd = near.fileno()
    close_behind_python(fd)
    with pytest.raises(OSError, match="Bad file"):
        near.close()
    assert os.read(fd, 1) == b""
    os.close(fd)
    far.close()


def over(fd: int) -> None:
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, fd)
    os.close(null)


@pytest.mark.parametrize("how", [over, lambda fd: os.closerange(fd, fd + 1)])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_number_that_is_taken_away_ends_the_socket(
    net: pystack.Stack, kind: int, how: Callable[[int], None]
) -> None:
    if kind == socket.SOCK_STREAM:
        sock, far = connected(net)
    else:
        sock, far = net.socket(type=kind), None
        sock.bind((LOCAL, 0))
    fd, where = sock.fileno(), sock.getsockname()
    how(fd)
    if far is None:
        with net.socket(type=kind) as again:
            again.bind(where)
    else:
        assert far.recv(1) == b""
        far.close()
    with pytest.raises(OSError, match="Bad file"):
        sock.recv(1)
    if how is over:  # the file that is there now is left alone
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        sock.settimeout(0)
        assert fcntl.fcntl(fd, fcntl.F_GETFL) == flags
    else:
        with pytest.raises(OSError, match="Bad file"):
            sock.settimeout(0)
    with pytest.raises(OSError, match="Bad file"):
        sock.close()
    if how is over:
        os.close(fd)


def test_an_object_follows_what_is_copied_over_its_number(net: pystack.Stack) -> None:
    first, far = connected(net)
    second, other = connected(net)
    os.dup2(first.fileno(), second.fileno())
    assert other.recv(1) == b""
    assert second.getpeername() == far.getsockname()
    second.send(b"by the second")
    assert far.recv(20) == b"by the second"
    with net.installed():
        copy = second.dup()
    first.close()
    far.send(b"xyz")
    assert second.recv(1) == b"x"
    second.close()
    assert copy.recv(2) == b"yz"
    copy.close()
    assert far.recv(1) == b""
    for one in (far, other):
        one.close()


def test_an_object_follows_across_kinds(net: pystack.Stack) -> None:
    first, far = connected(net)
    second = net.socket(type=socket.SOCK_DGRAM)
    second.bind((LOCAL, 0))
    where = second.getsockname()
    os.dup2(first.fileno(), second.fileno())
    assert second.type == socket.SOCK_DGRAM  # what the object was made as, as with the kernel's
    with net.socket(type=socket.SOCK_DGRAM) as again:
        again.bind(where)
    assert select.select([], [second], [], 5)[1]
    os.dup2(second.fileno(), second.fileno())
    second.send(b"x")
    assert far.recv(1) == b"x"
    for one in (first, second, far):
        one.close()


def test_a_number_that_was_given_away_is_nobodys(net: pystack.Stack) -> None:
    first, far = connected(net)
    second, other = connected(net)
    number = second.detach()
    os.dup2(first.fileno(), number)
    assert other.recv(1) == b""
    first.close()
    with net.installed():
        copy = socket.socket(fileno=number)
    far.send(b"x")
    assert copy.recv(1) == b"x"
    copy.close()
    assert far.recv(1) == b""
    for one in (far, other):
        one.close()


COPIES: dict[str, Callable[[Any], Any]] = {
    "os.dup": lambda s: socket.socket(fileno=os.dup(s.fileno())),
    "os.dup2": lambda s: socket.socket(fileno=os.dup2(s.fileno(), 200)),
    "F_DUPFD": lambda s: socket.socket(fileno=fcntl.fcntl(s.fileno(), fcntl.F_DUPFD, 0)),
    "fromfd": lambda s: socket.fromfd(s.fileno(), s.family, s.type),
    "dup": lambda s: s.dup(),
    "socket.dup": lambda s: socket.socket(fileno=socket.dup(s.fileno())),
    "SCM_RIGHTS": lambda s: socket.socket(fileno=passed(s.fileno())),
}


def passed(fd: int) -> int:
    left, right = socket.socketpair()
    with left, right:
        socket.send_fds(left, [b"!"], [fd])
        return socket.recv_fds(right, 1, 1)[1][0]


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest.mark.parametrize("name", COPIES)
def test_a_copy_is_the_same_socket(net: pystack.Stack, name: str, kind: int) -> None:
    with net.installed():
        if kind == socket.SOCK_STREAM:
            first, far = connected(net)
        else:
            first, far = socket.socket(type=kind), socket.socket(type=kind)
            for one, other in ((first, far), (far, first)):
                one.bind((LOCAL, 0)) if one.getsockname()[1] == 0 else None
                other.bind((LOCAL, 0)) if other.getsockname()[1] == 0 else None
                one.connect(other.getsockname())
            far.settimeout(30)
        where = first.getsockname()
        copy = COPIES[name](first)
        assert isinstance(copy, pystack.sockets.Socket)
        first.close()
        far.send(b"in")
        assert select.select([copy], [], [], 5)[0]
        assert copy.recv(10) == b"in"
        assert not select.select([copy], [], [], 0)[0]
        copy.send(b"out")
        assert far.recv(10) == b"out"
        copy.close()
        if kind == socket.SOCK_STREAM:
            assert far.recv(1) == b""
        else:
            with socket.socket(type=kind) as again:
                again.bind(where)
        far.close()


def test_a_copy_that_nobody_uses_keeps_the_connection(net: pystack.Stack) -> None:
    near, far = connected(net)
    copy = os.dup(near.fileno())
    near.close()
    far.settimeout(0.2)
    with pytest.raises(TimeoutError):
        far.recv(1)
    os.close(copy)
    far.settimeout(30)
    assert far.recv(1) == b""
    far.close()


def test_an_object_that_is_collected_closes_its_number(net: pystack.Stack) -> None:
    near, far = connected(net)
    fd = near.fileno()
    with pytest.warns(ResourceWarning):
        del near
        gc.collect()
    assert far.recv(1) == b""
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)
    far.close()


def test_garbage_that_closes_its_socket_itself(net: pystack.Stack) -> None:
    class Owner:
        def __init__(self, sock: Any) -> None:
            self.sock, self.me = sock, self

        def __del__(self) -> None:
            self.sock.close()

    near, far = connected(net)
    near.fileno()
    Owner(near)
    del near
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()  # what `close` raised would fail the test
    assert far.recv(1) == b""
    far.close()


def test_os_functions_carry_the_data(net: pystack.Stack) -> None:
    near, far = connected(net)
    fd = near.fileno()
    assert os.write(fd, b"one") == 3
    assert far.recv(10) == b"one"
    assert os.writev(fd, [b"t", b"wo"]) == 3
    assert far.recv(10) == b"two"
    far.send(b"three")
    assert os.read(fd, 3) == b"thr"
    buffers = [bytearray(1), bytearray(5)]
    assert os.readv(fd, buffers) == 2
    assert buffers == [b"e", b"e\0\0\0\0"]
    os.set_blocking(fd, False)
    with pytest.raises(BlockingIOError):
        os.read(fd, 1)
    far.close()
    os.set_blocking(fd, True)
    assert os.read(fd, 1) == b""
    near.close()


def test_what_cannot_be_carried_is_refused(net: pystack.Stack) -> None:
    near, far = connected(net)
    read, write = os.pipe()
    os.write(write, b"data")
    for ends in ((read, near.fileno()), (near.fileno(), write)):
        with pytest.raises(OSError, match="splice") as info:
            os.splice(*ends, 4)
        assert info.value.errno == errno.EINVAL
    with pytest.raises(OSError, match="seek"):
        os.pread(near.fileno(), 1, 0)
    for fd in (read, write):
        os.close(fd)
    near.close()
    far.close()


def test_a_file_on_the_descriptor(net: pystack.Stack) -> None:
    near, far = connected(net)
    with os.fdopen(near.fileno(), "w", closefd=False) as out:
        out.write("text\n")
    assert far.recv(10) == b"text\n"
    far.sendall(b"line\nrest")
    with open(near.detach(), "rb") as file:  # noqa: PTH123 - a number
        assert file.readline() == b"line\n"
        assert file.read(4) == b"rest"
        assert file.fileno() >= 0
    assert far.recv(1) == b""  # closed with the file
    with pytest.raises(ValueError, match="mode"):
        os.fdopen(far.fileno(), "rw")
    far.close()


def test_other_files_are_the_librarys(net: pystack.Stack, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    fd = os.open(path, os.O_RDWR)
    assert os.read(fd, 5) == b"x"
    assert os.write(fd, b"y") == 1
    os.close(fd)
    assert path.read_text() == "xy"
    with pytest.raises(OSError, match="Bad file"):
        os.close(fd)
    assert net.sockets.socket.__name__ == "socket"


def test_connections_of_multiprocessing(net: pystack.Stack) -> None:
    with net.installed():
        listener = multiprocessing.connection.Listener((LOCAL, 0))
        out: list[Any] = []
        thread = threading.Thread(target=lambda: out.append(listener.accept()))
        thread.start()
        client = multiprocessing.connection.Client(listener.address)
        thread.join()
        client.send({"a": 1})
        assert out[0].poll(5)
        assert out[0].recv() == {"a": 1}
        client.close()
        with pytest.raises(EOFError):
            out[0].recv()
        out[0].close()
        listener.close()


def test_o_nonblock_is_honoured(net: pystack.Stack) -> None:
    near, far = connected(net)
    os.set_blocking(near.fileno(), False)
    assert near.gettimeout() is None
    with pytest.raises(BlockingIOError):
        near.recv(1)
    with pytest.raises(BlockingIOError):
        while True:
            near.sendall(bytes(1 << 20))
    listener = net.sockets.create_server((LOCAL, 0))
    os.set_blocking(listener.fileno(), False)
    with pytest.raises(BlockingIOError):
        listener.accept()
    os.set_blocking(near.fileno(), True)
    near.settimeout(0)
    os.set_blocking(near.fileno(), True)
    threading.Timer(0.1, far.send, [b"late"]).start()
    assert near.recv(10) == b"late"
    for one in (near, far, listener):
        one.close()


@contextmanager
def few_descriptors(more: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(one.name) for one in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_without_descriptors_connections_wait(net: pystack.Stack) -> None:
    """Each client has an answer, though there are descriptors for few at a time."""

    async def serve(reader: Any, writer: Any) -> None:
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    async def main(ready: threading.Event, done: threading.Event) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: troubles.append(context["message"]))
        server = await asyncio.start_server(serve, sock=listener)
        ready.set()
        await loop.run_in_executor(None, done.wait)
        server.close()

    troubles: list[str] = []
    listener = net.sockets.create_server((LOCAL, 0), backlog=100)
    where = listener.getsockname()
    ready, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(main(ready, done)))
    thread.start()
    ready.wait()
    clients = [net.sockets.create_connection(where) for _ in range(60)]
    with few_descriptors(40):
        for client in clients:
            client.sendall(b"x\n")
            client.settimeout(20)
        answers = [client.recv(10) for client in clients]
    done.set()
    thread.join()
    assert answers == [b"x\n"] * 60
    for client in clients:
        client.close()


def test_accept_without_descriptors_leaves_the_connection(net: pystack.Stack) -> None:
    listener = net.sockets.create_server((LOCAL, 0))
    listener.setblocking(False)
    listener.fileno()
    client = net.sockets.create_connection(listener.getsockname())
    with few_descriptors(0):
        taken = []
        with pytest.raises(OSError, match="Too many") as info:
            while True:
                taken.append(os.dup(0))
        with pytest.raises(OSError, match="Too many") as info:
            listener.accept()
        assert info.value.errno == errno.EMFILE
        with pytest.raises(OSError, match="Too many"):
            client.fileno()
        for fd in taken:
            os.close(fd)
    server, _ = listener.accept()
    server.send(b"x")
    assert client.recv(1) == b"x"
    for one in (server, client, listener):
        one.close()


def test_run_raises_the_limit(tmp_path: Path) -> None:
    script = tmp_path / "show.py"
    script.write_text("import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])")
    command = str(Path(sys.executable).with_name("pystack"))
    wire, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with wire, other:
        done = subprocess.run(
            ["sh", "-c", 'ulimit -S -n 256; exec "$@"', "sh", sys.executable, command, "run",
             "--nic", f"fd:{wire.fileno()}", "--address", "10.0.0.2/24", "--", str(script)],
            pass_fds=[wire.fileno()], capture_output=True, text=True, check=True, timeout=300,
        )  # fmt: skip
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert int(done.stdout) == min(hard, 65536)


def test_a_child_that_was_forked_keeps_it_open(net: pystack.Stack) -> None:
    near, far = connected(net)
    near.fileno()
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(told, 1)
        os._exit(0)
    near.close()
    far.settimeout(0.1)
    with pytest.raises(TimeoutError):
        far.recv(1)
    os.write(tell, b"x")
    os.waitpid(child, 0)
    os.close(told)
    os.close(tell)
    far.settimeout(30)
    assert far.recv(1) == b""
    far.close()
