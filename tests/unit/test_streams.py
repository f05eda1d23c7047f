"""TCP sockets between two Stacks: data in every way, halves, buffers, readiness, files."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import http.client
import random
import select
import selectors
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pair import LEFT, RIGHT, RIGHT6, Pair, pair, whole

import pystack


@pytest.fixture(scope="module")
def it() -> Pair:
    with pair() as made:
        yield made


@pytest.mark.parametrize("v6", [False, True], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("mtu", [576, 1500, 9000, 65500])
def test_ten_megabytes_arrive_unchanged(v6: bool, mtu: int) -> None:
    if v6 and mtu < 1280:
        mtu = 1280
    size = 10_000_000
    data = random.Random(mtu).randbytes(size)
    with pair(mtu=mtu) as own:
        client, server = own.connected(v6)
        thread = threading.Thread(target=client.sendall, args=(data,))
        thread.start()
        got = bytearray()
        while len(got) < size:
            piece = server.recv(100_000)
            assert piece
            got += piece
        thread.join()
        assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()
        client.close()
        server.close()


def test_ways_to_receive(it: Pair) -> None:
    client, server = it.connected()
    with client, server:
        client.sendall(b"0123456789" * 3)
        assert whole(server, 5) == b"01234"
        buffer = bytearray(8)
        assert server.recv_into(buffer) == 8
        assert bytes(buffer) == b"56789012"
        assert server.recv_into(memoryview(buffer)[2:], 3) == 3
        assert bytes(buffer) == b"56345012"
        assert server.recvfrom_into(buffer, 2) == (2, None)
        parts = [bytearray(3), bytearray(2)]
        assert server.recvmsg_into(parts) == (5, [], 0, None)
        assert parts == [b"890", b"12"]
        assert server.recvmsg(100)[0] == b"3456789"
        assert client.sendmsg([b"ab", b"", bytearray(b"cd")]) == 4
        assert server.recv(9) == b"abcd"


def test_a_send_that_does_not_fit_takes_what_fits(it: Pair) -> None:
    client, server = it.connected()
    with client, server:
        client.setblocking(False)
        sent = 0
        with pytest.raises(BlockingIOError):
            while True:
                sent += client.send(b"x" * 100_000)
        assert sent > 100_000
        left = sent
        while left:
            left -= len(server.recv(left))
        client.settimeout(30)
        select.select([], [client], [], 30)
        assert client.send(b"y") == 1


def test_sendall_times_out_as_a_whole(it: Pair) -> None:
    client, server = it.connected()
    with client, server:
        client.settimeout(0.2)
        over = threading.Event()

        def read() -> None:  # there is room again and again: 20 s of it
            while not over.wait(0.02) and server.recv(65536):
                pass

        thread = threading.Thread(target=read)
        thread.start()
        started = time.monotonic()
        with pytest.raises(TimeoutError, match="timed out"):
            client.sendall(bytes(64 << 20))
        assert time.monotonic() - started > 0.15
        over.set()
        thread.join()


def is_full(sock: Any) -> bool:
    """Whether the peer has all that it takes: nothing is under way."""
    told = sock.tcp_info()
    return told.unacked_segments == 0 and told.send_window < told.send_mss


def test_buffer_sizes_take_effect() -> None:
    with pair() as own:
        amounts = []
        for size in (8_000, 200_000):
            with own.right.socket() as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
                listener.bind((RIGHT, 0))
                listener.listen()
                client = own.left.socket()
                client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
                client.connect(listener.getsockname())
                server, _peer = listener.accept()
            assert client.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * size
            assert server.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * size
            client.setblocking(False)
            sent, full = 0, False
            while not full:
                full = is_full(client)
                with contextlib.suppress(BlockingIOError):
                    sent += client.send(b"x" * 1000)
                    full = False
            amounts.append(sent)
            assert 2 * size < sent < 8 * size
            client.close()
            server.close()
        assert amounts[1] > 10 * amounts[0]


def test_lingering_waits_until_all_is_there() -> None:
    with pair() as own:
        client, server = own.connected()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 30))
        got = bytearray()
        reading = threading.Event()

        def read() -> None:
            time.sleep(0.2)
            reading.set()
            while piece := server.recv(65536):
                got.extend(piece)

        thread = threading.Thread(target=read)
        client.settimeout(None)
        client.sendall(bytes(1_200_000))
        thread.start()
        client.close()
        assert reading.is_set()  # the peer's buffer does not take it all
        thread.join()
        assert len(got) == 1_200_000
        server.close()


def test_without_lingering_close_returns_and_the_data_still_arrives(it: Pair) -> None:
    client, server = it.connected()
    client.sendall(bytes(900_000))
    client.close()
    got = 0
    while piece := server.recv(65536):
        got += len(piece)
    assert got == 900_000
    server.close()


def test_closing_out_of_order(it: Pair) -> None:
    with it.right.sockets.create_server((RIGHT, 0)) as listener:
        client = it.left.sockets.create_connection(listener.getsockname())
    # The listener has gone before the connection was accepted: it is reset.
    client.settimeout(30)
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    client.close()
    client, server = it.connected()
    server.close()
    client.close()
    client, server = it.connected()
    client.shutdown(socket.SHUT_RDWR)
    assert server.recv(1) == b""
    server.shutdown(socket.SHUT_RDWR)
    client.close()
    server.close()


@pytest.mark.parametrize("host", [RIGHT, ""], ids=["address", "wildcard"])
def test_listeners_that_share_a_port_take_turns(it: Pair, host: str) -> None:
    with (
        it.right.sockets.create_server((host, 0), reuse_port=True, backlog=1) as first,
        it.right.sockets.create_server(first.getsockname(), reuse_port=True) as second,
    ):
        port = first.getsockname()[1]
        clients = [it.left.sockets.create_connection((RIGHT, port), 30) for _ in range(4)]
        for listener in (first, second):
            listener.settimeout(30)
            for _ in range(2):
                listener.accept()[0].close()
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.accept()
            listener.settimeout(30)
        # Of three turns the first has room for two; what it leaves out, the second gets.
        clients += [it.left.sockets.create_connection((RIGHT, port), 30) for _ in range(6)]
        first.close()
        clients.append(it.left.sockets.create_connection((RIGHT, port), 30))
        for _ in range(5):
            second.accept()[0].close()
        for client in clients:
            client.close()


def test_nagle_and_cork() -> None:
    frames = []

    class Watch:
        def frame_out(self, _interface: int, frame: bytes) -> bool:
            if len(frame) > 66:
                frames.append(frame)
            return True

    a, b = pystack.nic.wire()
    with pystack.Stack(frame_out=Watch()) as left, pystack.Stack() as right:
        left.attach(a, f"{LEFT}/24")
        right.attach(b, f"{RIGHT}/24")
        with right.sockets.create_server((RIGHT, 0)) as listener:
            client = left.sockets.create_connection(listener.getsockname())
            server, _peer = listener.accept()
        with client, server:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            frames.clear()
            for _ in range(10):
                client.send(b"0123456789")
            assert frames == []
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
            assert whole(server, 100) == b"0123456789" * 10
            assert len(frames) == 1
            frames.clear()
            for _ in range(10):
                client.send(b"0123456789")
            assert len(frames) == 10


# --- readiness -------------------------------------------------------------------------------


def test_select_sees_all_four_states(it: Pair) -> None:
    client, server = it.connected()
    with client, server:

        def ready() -> tuple[bool, bool]:
            readable, writable, _ = select.select([client], [client], [], 0)
            return bool(readable), bool(writable)

        assert ready() == (False, True)
        server.sendall(b"x")
        assert select.select([client], [], [], 30)[0]
        assert ready() == (True, True)
        client.setblocking(False)
        while not is_full(client) or select.select([], [client], [], 0)[1]:
            with contextlib.suppress(BlockingIOError):
                client.send(bytes(65536))
        assert ready() == (True, False)
        assert client.recv(1) == b"x"
        assert ready() == (False, False)
        drained = 0
        server.setblocking(False)  # all may have come before the client hears of it
        while not select.select([], [client], [], 0.01)[1]:
            with contextlib.suppress(BlockingIOError):
                drained += len(server.recv(65536))
        assert drained > 0
        assert ready() == (False, True)
        server.close()
        assert select.select([client], [], [], 30)[0]


def test_poll_and_epoll_mixed_with_the_kernels(it: Pair) -> None:
    client, server = it.connected()
    kernel, other = socket.socketpair()
    with client, server, kernel, other, selectors.DefaultSelector() as chooser:
        chooser.register(client, selectors.EVENT_READ, "stack")
        chooser.register(kernel, selectors.EVENT_READ, "kernel")
        assert chooser.select(0) == []
        server.sendall(b"x")
        assert [key.data for key, _mask in chooser.select(10)] == ["stack"]
        other.send(b"x")
        deadline = time.monotonic() + 60
        seen: set[str] = set()
        while seen != {"stack", "kernel"} and time.monotonic() < deadline:
            seen = {key.data for key, _mask in chooser.select(1)}
        assert seen == {"stack", "kernel"}
        poll = select.poll()
        poll.register(client, select.POLLIN | select.POLLOUT)
        assert poll.poll(0) == [(client.fileno(), select.POLLIN | select.POLLOUT)]


def test_a_listener_and_a_connect_show_their_readiness(it: Pair) -> None:
    with it.right.sockets.create_server((RIGHT, 0)) as listener, it.left.socket() as client:
        assert select.select([listener], [], [], 0)[0] == []
        client.setblocking(False)
        assert client.connect_ex(listener.getsockname()) == 115
        assert select.select([], [client], [], 30)[1] == [client]
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        assert select.select([listener], [], [], 30)[0] == [listener]
        listener.accept()[0].close()
        assert select.select([listener], [], [], 0)[0] == []


def open_files() -> set[str]:
    """Without the epoll instance that a Stack's thread makes when it first sleeps for frames."""
    found = set()
    for one in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if not str(one.readlink()).startswith(("anon_inode:[eventpoll]", "/proc/")):
                found.add(one.name)
    return found


def test_the_descriptor_is_made_once_and_closed_with_the_socket(it: Pair) -> None:
    gc.collect()  # of other tests
    before = len(open_files())
    client, server = it.connected()
    assert len(open_files()) == before
    number = client.fileno()
    assert client.fileno() == number
    assert len(open_files()) == before + 2
    client.close()
    server.close()
    assert client.fileno() == -1
    assert len(open_files()) == before


# --- files and programs ----------------------------------------------------------------------


def test_text_files(it: Pair) -> None:
    client, server = it.connected()
    with client, server:
        with client.makefile("w", encoding="utf-8", newline="\r\n") as out:
            out.write("grüß\ngott\n")
        with server.makefile("r", encoding="utf-8") as lines:
            assert lines.readline() == "grüß\n"
            assert lines.readline() == "gott\n"
            assert lines.mode == "r"


def test_a_file_that_times_out_says_so(it: Pair) -> None:
    client, server = it.connected()
    with client, server, client.makefile("rb", 0) as raw:
        client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            raw.read(1)


def test_sendfile(it: Pair, tmp_path: Path) -> None:
    data = random.Random(5).randbytes(700_000)
    (tmp_path / "f").write_bytes(data)
    client, server = it.connected()
    with client, server, (tmp_path / "f").open("rb") as file:
        got = bytearray()

        def read() -> None:
            while piece := server.recv(65536):
                got.extend(piece)

        thread = threading.Thread(target=read)
        thread.start()
        assert client.sendfile(file, 100, 500_000) == 500_000
        assert file.tell() == 500_100
        assert client.sendfile(file) == 700_000  # from `offset` on, wherever the file is
        client.shutdown(socket.SHUT_WR)
        thread.join()
        assert bytes(got) == data[100:500_100] + data
        with (tmp_path / "f").open("r") as text, pytest.raises(ValueError, match="binary"):
            client.sendfile(text)
        with pytest.raises(ValueError, match="positive"):
            client.sendfile(file, 0, 0)


def test_addresses_and_subclasses(it: Pair) -> None:
    class Mine(it.left.sockets.socket):  # type: ignore[name-defined, misc]
        note = "kept"

    sock = Mine(socket.AF_INET6, socket.SOCK_STREAM)
    with sock:
        assert isinstance(sock, pystack.sockets.Socket)
        assert (sock.family, sock.type) == (socket.AF_INET6, socket.SOCK_STREAM)
        sock.bind(("::", 0))
        sock.listen()
        assert sock.getsockname()[0] == "::"
        client = it.right.sockets.create_connection(("10.0.0.1", sock.getsockname()[1]), 30)
        accepted, peer = sock.accept()
        with client, accepted:
            assert type(accepted) is it.left.sockets.socket  # as the library has it
            assert peer[0] == "::ffff:10.0.0.2"
            assert "raddr=" in repr(accepted)
    assert "[closed]" in repr(sock)


def test_duplicates_share_the_connection(it: Pair) -> None:
    before = open_files()
    client, server = it.connected()
    copy = client.dup()
    assert copy.fileno() != client.fileno()
    client.close()
    server.sendall(b"x")
    assert select.select([copy], [], [], 30)[0]
    assert copy.recv(1) == b"x"
    copy.sendall(b"y")
    assert server.recv(1) == b"y"
    copy.close()
    assert server.recv(1) == b""
    server.close()
    assert open_files() == before


def test_a_detached_socket_is_taken_up_by_its_descriptor(it: Pair) -> None:
    client, server = it.connected()
    number = client.detach()
    assert client.fileno() == -1
    with pytest.raises(OSError, match="Bad file"):
        client.send(b"x")
    again = it.left.sockets.socket(fileno=number)
    assert (again.family, again.type) == (socket.AF_INET, socket.SOCK_STREAM)
    again.sendall(b"x")
    assert server.recv(1) == b"x"
    again.close()
    assert server.recv(1) == b""
    server.close()
    with pytest.raises(OSError, match="descriptor"):
        it.left.sockets.socket(fileno=number)


def test_the_kernels_families_stay_the_kernels(it: Pair) -> None:
    with it.left.sockets.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        assert type(sock) is socket.socket
    a, b = it.left.sockets.socketpair()
    with a, b:
        a.send(b"x")
        assert b.recv(1) == b"x"


def test_installed_puts_the_stack_in_place_of_the_kernel(it: Pair) -> None:
    from http.server import BaseHTTPRequestHandler

    from pystack.cli.http import HTTPServer

    class Hello(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_arguments: object) -> None:
            pass

    kernels = socket.socket
    server = HTTPServer(it.right, (RIGHT6, 80), Hello)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        with it.left.installed():
            assert socket.socket is not kernels
            connection = http.client.HTTPConnection(RIGHT6, 80, timeout=10)
            connection.request("GET", "/")
            assert connection.getresponse().read() == b"hello"
            connection.close()
            with it.right.installed():
                assert socket.socket is it.right.sockets.socket
            assert socket.socket is it.left.sockets.socket
            a, b = socket.socketpair()
            a.close()
            b.close()
        assert socket.socket is kernels
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_requests_over_a_stack(it: Pair) -> None:
    import requests

    with it.right.sockets.create_server((RIGHT, 80)) as listener:

        def serve() -> None:
            sock, _peer = listener.accept()
            with sock:
                sock.recv(65536)
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        thread = threading.Thread(target=serve)
        thread.start()
        with it.left.installed():
            assert requests.get(f"http://{RIGHT}/", timeout=10).text == "ok"
        thread.join()


def test_active_is_for_one_thread_or_task(it: Pair) -> None:
    import asyncio

    kernels = socket.socket
    seen: dict[str, type] = {}

    def elsewhere() -> None:
        with socket.socket() as sock:
            seen["thread"] = type(sock)

    async def task(name: str) -> None:
        await asyncio.sleep(0)
        with socket.socket() as sock:
            seen[name] = type(sock)

    async def tasks() -> None:
        outside = asyncio.ensure_future(task("outside"))
        with it.left.active():
            inside = asyncio.ensure_future(task("inside"))
        await asyncio.gather(inside, outside)

    with it.left.active():
        with socket.socket() as sock:
            assert isinstance(sock, pystack.sockets.Socket)
            assert isinstance(sock, socket.socket)
        with socket.create_server(("10.0.0.1", 0)) as listener:
            assert isinstance(listener, pystack.sockets.Socket)
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert seen["thread"] is kernels
    with it.right.active():  # so that the names are in place while the loop runs
        context_free = threading.Thread(target=lambda: asyncio.run(tasks()))
        context_free.start()
        context_free.join()
    assert issubclass(seen["inside"], pystack.sockets.Socket)
    assert seen["outside"] is kernels
    assert socket.socket is kernels


def test_functions_on_descriptors(it: Pair) -> None:
    client, server = it.connected()
    with client, server, it.left.installed():
        copy = socket.fromfd(client.fileno(), socket.AF_INET, socket.SOCK_STREAM)
        with copy:
            assert isinstance(copy, pystack.sockets.Socket)
            assert copy.getpeername() == client.getpeername()
            copy.settimeout(30)  # the other's has made the descriptor one that doesn't wait
            server.sendall(b"to the copy")
            assert copy.recv(100) == b"to the copy"
        again = socket.socket(fileno=socket.dup(client.fileno()))
        client.close()
        again.sendall(b"still open")
        assert server.recv(100) == b"still open"
        socket.close(again.detach())
        assert server.recv(100) == b""
        left, right = socket.socketpair()  # the kernel's
        with left, right:
            one = socket.fromfd(left.fileno(), socket.AF_UNIX, socket.SOCK_STREAM)
            one.sendall(b"x")
            assert right.recv(1) == b"x"
            socket.close(one.detach())
            two = socket.dup(left.fileno())
            socket.close(two)
            with pytest.raises(OSError, match="Bad file"):
                socket.close(two)
