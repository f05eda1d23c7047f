"""Forwarding: what the upstream says is what the source hears, and bytes go both ways."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import re
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from pair import Pair, routed

import pystack
from pystack.embed.proxy import (
    Direct,
    Forwarder,
    HttpConnect,
    Pump,
    Socks5,
    Upstream,
    datagrams,
    parse_upstream,
    pump,
)
from pystack.embed.proxy.datagrams import DatagramRelay
from pystack.embed.socks import SocksServer
from pystack.sockets.relay import carry_out

AWAY, AWAY6 = "198.51.100.7", "2001:db8::7"
HERE = "127.0.0.1"


def to_here(flow: Any) -> tuple[str, int]:
    """All hosts are this machine's loopback."""
    return HERE, flow.destination[1]


@asynccontextmanager
async def forwarding(net: pystack.Stack, *arguments: Any, **options: Any) -> AsyncIterator[Any]:
    forwarder = Forwarder(net, *arguments, **{"to": to_here, **options})
    task = asyncio.ensure_future(forwarder.run())
    await asyncio.sleep(0)  # flows are taken from its first step on
    try:
        yield forwarder
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def in_thread(call: Callable[[], Any]) -> Any:
    return await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(None, call), 30)


def run(main: Callable[[Pair], Awaitable[None]]) -> None:
    with routed() as both:
        asyncio.run(main(both))  # type: ignore[arg-type]


@contextmanager
def kernel_server(serve: Callable[[socket.socket], None], family: int = 2) -> Iterator[int]:
    """A server of the kernel's on the loopback, for one connection after the other."""
    with socket.create_server((HERE, 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _peer = listener.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):  # reset by the client
                    serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def digest(connection: socket.socket) -> None:
    """Answers a whole stream by its hash."""
    whole = hashlib.sha256()
    while data := connection.recv(65536):
        whole.update(data)
    connection.sendall(whole.digest())


def ask_digest(net: pystack.Stack, host: str, port: int, data: bytes) -> bytes:
    with net.sockets.create_connection((host, port), 20) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while more := client.recv(100):
            answer += more
    return answer


# --- the pump ------------------------------------------------------------------------------------


def test_a_pump_carries_both_ways_with_back_pressure() -> None:
    async def main() -> None:
        left, inner_left = socket.socketpair()
        inner_right, right = socket.socketpair()
        carrying = Pump(inner_left, inner_right, early=b"early ")
        data = bytes(range(256)) * 16384  # 4 MiB: more than all buffers on the way

        def send(end: socket.socket) -> None:
            end.sendall(data)
            end.shutdown(socket.SHUT_WR)

        def receive(end: socket.socket) -> bytes:
            whole = b""
            while more := end.recv(1 << 20):
                whole += more
            return whole

        got = await asyncio.gather(
            *(in_thread(lambda end=end: send(end)) for end in (left, right)),
            *(in_thread(lambda end=end: receive(end)) for end in (left, right)),
        )
        await asyncio.wait_for(carrying.done, 10)
        assert got[2] == b"early " + data
        assert got[3] == data
        assert (carrying.there, carrying.back) == (len(data), len(data) + 6)
        assert carrying.error is None
        assert inner_left.fileno() == inner_right.fileno() == -1
        carrying.abort()  # nothing more
        left.close()
        right.close()

    asyncio.run(main())


def test_a_cancelled_pump_resets_both() -> None:
    async def main() -> None:
        with socket.create_server((HERE, 0)) as listener:
            ends = []
            for _ in range(2):
                ends.append(socket.create_connection(listener.getsockname()))
                ends.append(listener.accept()[0])
        task = asyncio.ensure_future(pump(ends[1], ends[3]))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for end in (ends[0], ends[2]):
            end.settimeout(10)
            with end, pytest.raises(ConnectionResetError):
                end.recv(1)

    asyncio.run(main())


def test_a_pump_without_descriptors_resets_both() -> None:
    class Without:
        closed = False

        def setblocking(self, _flag: bool) -> None:
            pass

        def fileno(self) -> int:
            raise OSError(errno.EMFILE, "too many open files")

        def setsockopt(self, *_arguments: Any) -> None:
            pass

        def close(self) -> None:
            self.closed = True

    async def main() -> None:
        with socket.create_server((HERE, 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            server, left = listener.accept()[0], Without()
        with pytest.raises(OSError, match="too many"):
            Pump(left, server)  # type: ignore[arg-type]
        assert left.closed
        client.settimeout(10)
        with client, pytest.raises(ConnectionResetError):
            client.recv(1)

    asyncio.run(main())


# --- direct --------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [AWAY, AWAY6])
def test_a_connection_is_forwarded(host: str) -> None:
    async def main(both: Pair) -> None:
        data = bytes(range(256)) * 8192
        with kernel_server(digest) as port:
            async with forwarding(both.right) as forwarder:
                answer = await in_thread(lambda: ask_digest(both.left, host, port, data))
                assert answer == hashlib.sha256(data).digest()
                assert forwarder.statistics().accepted == 1

    run(main)


def test_closed_is_closed_and_filtered_is_silent() -> None:
    async def main(both: Pair) -> None:
        silent = asyncio.Event()

        class Nobody(Direct):
            async def connect(self, host: str, port: int) -> socket.socket:
                if port == 9:
                    silent.set()
                    await asyncio.get_running_loop().create_future()
                return await super().connect(host, port)

        async with forwarding(both.right, Nobody(), connect_timeout=0.2) as forwarder:
            with pytest.raises(ConnectionRefusedError):
                await in_thread(lambda: both.left.sockets.create_connection((AWAY, 1), 10))
            with pytest.raises(TimeoutError):
                await in_thread(lambda: both.left.sockets.create_connection((AWAY, 9), 0.5))
            assert silent.is_set()
            assert forwarder.statistics().refused == forwarder.statistics().dropped == 1

    run(main)


def test_to_may_refuse() -> None:
    def nowhere(_flow: Any) -> tuple[str, int]:
        raise PermissionError(errno.EACCES, "not from here")

    async def main(both: Pair) -> None:
        async with forwarding(both.right, to=nowhere):
            with pytest.raises(PermissionError):  # RFC 4443 3.1, code 1
                await in_thread(lambda: both.left.sockets.create_connection((AWAY6, 80), 10))

    run(main)


def test_a_reset_goes_through() -> None:
    def reset(connection: socket.socket) -> None:
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def main(both: Pair) -> None:
        with kernel_server(reset) as port:
            async with forwarding(both.right):

                def ask() -> None:
                    with both.left.sockets.create_connection((AWAY, port), 10) as client:
                        client.sendall(b"x")
                        client.recv(1)

                with pytest.raises(ConnectionResetError):
                    await in_thread(ask)

    run(main)


def test_the_oldest_connect_makes_room() -> None:
    async def main(both: Pair) -> None:
        class Nobody(Direct):
            async def connect(self, host: str, port: int) -> socket.socket:
                return await asyncio.get_running_loop().create_future()

        async with forwarding(both.right, Nobody(), connecting=2) as forwarder:
            clients = [both.left.socket() for _ in range(5)]
            for client in clients:
                client.setblocking(False)
                client.connect_ex((AWAY, 80))
            while forwarder.statistics().pushed_out < 3:
                await asyncio.sleep(0.01)
            assert forwarder.statistics().connecting == 2
            for client in clients:
                client.close()

    run(main)


def udp_echo() -> tuple[socket.socket, threading.Thread]:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((HERE, 0))

    def serve() -> None:
        while True:
            data, peer = server.recvfrom(65536)
            if data == b"end":
                return
            server.sendto(b"re:" + data, peer)

    thread = threading.Thread(target=serve)
    thread.start()
    return server, thread


def test_datagrams_are_forwarded_and_refused() -> None:
    async def main(both: Pair) -> None:
        server, thread = udp_echo()
        port = server.getsockname()[1]

        def ask(where: int, count: int) -> list[bytes]:
            with both.left.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(10)
                client.connect((AWAY, where))
                for number in range(count):
                    client.send(b"%d" % number)
                return [client.recv(100) for _ in range(count)]

        async with forwarding(both.right, udp_idle=1.0, grace=5.0) as forwarder:
            assert await in_thread(lambda: ask(port, 5)) == [b"re:%d" % one for one in range(5)]
            assert forwarder.statistics().datagram_flows == 1
            with pytest.raises(ConnectionRefusedError):
                await in_thread(lambda: ask(1, 1))
            while forwarder.statistics().datagram_flows:  # idle: it is forgotten
                await asyncio.sleep(0.05)
            assert forwarder.statistics().idle == 1
        server.sendto(b"end", server.getsockname())
        thread.join()
        server.close()

    run(main)


def test_flows_of_datagrams_share_their_room() -> None:
    async def main(both: Pair) -> None:
        server, thread = udp_echo()
        total = 2 << 20
        async with forwarding(both.right, grace=5.0, udp_room=total) as forwarder:

            def rooms() -> set[int]:
                relays = [one for one in forwarder._quiet if isinstance(one, DatagramRelay)]
                inside = [one._inside for one in relays if one._inside is not None]
                return {one.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) for one in inside}

            clients = []
            for count, each in ((1, total), (2, total // 2), (3, total // 4)):
                client = both.left.socket(socket.AF_INET, socket.SOCK_DGRAM)
                clients.append(client)
                client.settimeout(60)
                client.connect((AWAY, server.getsockname()[1]))
                client.send(b"hello")
                assert await in_thread(lambda: clients[-1].recv(100)) == b"re:hello"
                assert forwarder.statistics().datagram_flows == count
                assert rooms() == {each} or rooms() == {2 * each}  # Linux's option has it doubled
            for client in clients:
                client.close()
            one = next(iter(forwarder._quiet))
            for other in set(forwarder._quiet) - {one}:
                other.abort()
            assert rooms() == {total // 2} or rooms() == {total}
        server.sendto(b"end", server.getsockname())
        thread.join()
        server.close()

    run(main)


def test_datagrams_wait_for_a_loop_that_does_something_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    carried = [0]

    def counting(*arguments: Any) -> tuple[int, int]:
        count, error = carry_out(*arguments)
        carried[0] += count
        return count, error

    async def main(both: Pair) -> None:
        count, data, window = 700, bytes(1400), 50
        server, thread = udp_echo()

        def taken() -> int:
            return both.right.counters()["udp.in_datagrams"]

        async with forwarding(both.right, grace=5.0):
            with both.left.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(10)
                client.connect((AWAY, server.getsockname()[1]))
                client.send(b"the first")
                assert await in_thread(lambda: client.recv(100)) == b"re:the first"
                before = taken()
                for number in range(1, count + 1):  # on the loop's own thread
                    client.send(data)
                    while number % window == 0 and taken() < before + number:
                        time.sleep(0.001)
                deadline = time.monotonic() + 20
                while carried[0] < count and time.monotonic() < deadline:
                    await asyncio.sleep(0.01)
                assert carried[0] == count
        server.sendto(b"end", server.getsockname())
        thread.join()
        server.close()

    monkeypatch.setattr(datagrams, "carry_out", counting)
    run(main)


def test_echo_requests_are_answered_as_they_are_there() -> None:
    async def main(both: Pair) -> None:
        class Known(Direct):
            async def echo(self, host: str, data: bytes, ttl: int) -> None:
                if host != HERE:
                    raise OSError(errno.EHOSTUNREACH, "none such")
                try:
                    await super().echo(host, data, ttl)
                except PermissionError as error:
                    pytest.skip(str(error))

        async with forwarding(both.right, Known(), to=lambda flow: (
            (HERE if flow.destination[0] == AWAY else AWAY6), 0)):  # fmt: skip
            assert (
                await in_thread(lambda: both.left.ping(AWAY, count=3, interval=0))
            ).received == 3
            assert (await in_thread(lambda: both.left.ping(AWAY6, timeout=1))).received == 0

    run(main)


# --- upstreams -----------------------------------------------------------------------------------


@asynccontextmanager
async def socks_server(
    both: Pair, **options: Any
) -> AsyncIterator[tuple[SocksServer, tuple[str, int]]]:
    """A SOCKS server whose connections leave by the left Stack's loopback."""
    async with SocksServer(both.left, port=0, timeout=10, **options) as server:
        yield server, server.address


@pytest.mark.parametrize("kind", ["socks5", "http"])
@pytest.mark.parametrize("login", [None, ("me", "a:secret@ß")])
def test_a_proxy_is_the_upstream(kind: str, login: tuple[str, str] | None) -> None:
    async def main(both: Pair) -> None:
        options = {} if login is None else {"user": login[0], "password": login[1]}
        async with socks_server(both, **options) as (_server, (host, port)):
            upstream: Upstream = (
                Socks5(host, port, **options)
                if kind == "socks5"
                else HttpConnect(host, port, **options)
            )
            with both.left.sockets.create_server((HERE, 0)) as listener:
                where = listener.getsockname()[1]

                def serve() -> None:
                    with listener.accept()[0] as connection:
                        digest(connection)  # type: ignore[arg-type]

                thread = threading.Thread(target=serve)
                thread.start()
                async with forwarding(both.right, upstream):
                    answer = await in_thread(
                        lambda: ask_digest(both.left, AWAY, where, b"x" * 100_000)
                    )
                    assert answer == hashlib.sha256(b"x" * 100_000).digest()
                    with pytest.raises(
                        ConnectionRefusedError if kind == "socks5" else (TimeoutError, OSError)
                    ):
                        await in_thread(lambda: both.left.sockets.create_connection((AWAY, 1), 2))
                thread.join()

    run(main)


def test_datagrams_by_socks5() -> None:
    async def main(both: Pair) -> None:
        async with socks_server(both) as (server, (host, port)):
            with both.left.socket(socket.AF_INET, socket.SOCK_DGRAM) as echo:
                echo.bind((HERE, 0))
                echo.settimeout(10)

                def serve() -> None:
                    for _ in range(2):
                        data, peer = echo.recvfrom(100)
                        echo.sendto(b"re:" + data, peer)

                thread = threading.Thread(target=serve)
                thread.start()

                def ask() -> list[bytes]:
                    with both.left.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                        client.settimeout(10)
                        client.connect((AWAY, echo.getsockname()[1]))
                        client.send(b"1")
                        client.send(b"2")
                        return [client.recv(100) for _ in range(2)]

                async with forwarding(both.right, Socks5(host, port)):
                    assert await in_thread(ask) == [b"re:1", b"re:2"]
                    assert server.statistics().associations == 1
                thread.join()

    run(main)


@pytest.mark.parametrize("upstream", [Socks5(HERE, 1), HttpConnect(HERE, 1)])
def test_a_proxy_that_is_not_there_is_an_unreachable_network(upstream: Upstream) -> None:
    async def main() -> None:
        with pytest.raises(OSError, match=r"the proxy <.* 127.0.0.1:1>") as caught:
            await upstream.connect(AWAY, 80)
        assert caught.value.errno == errno.ENETUNREACH
        with pytest.raises(OSError, match="ICMP") as caught:
            await upstream.echo(AWAY, b"", 64)
        assert caught.value.errno == errno.EOPNOTSUPP

    asyncio.run(main())


ANSWERS = [
    (Socks5, b"HTTP/1.1 400 Bad Request\r\n\r\n", errno.EPROTO),
    (Socks5, b"\5\xff", errno.EACCES),
    (Socks5, b"\5\0\5\2\0\1\0\0\0\0\0\0", errno.EACCES),
    (Socks5, b"\5\0\5\4\0\1\0\0\0\0\0\0", errno.EHOSTUNREACH),
    (Socks5, b"\5\0\5\0\0\x09", errno.EPROTO),
    (Socks5, b"\5\0\5", errno.ECONNRESET),
    (HttpConnect, b"\5\0\r\n\r\n", errno.EPROTO),
    (HttpConnect, b"HTTP/1.1 403 Forbidden\r\n\r\n", errno.EACCES),
    (HttpConnect, b"HTTP/1.0 504 x\r\nA: b\r\n\r\n", errno.ETIMEDOUT),
    (HttpConnect, b"HTTP/1.1 200 " + b"x" * 20000, errno.EPROTO),
    (HttpConnect, b"HTTP/1.1", errno.ECONNRESET),
]


@pytest.mark.parametrize(("kind", "answer", "code"), ANSWERS)
def test_what_a_proxy_answers(kind: Any, answer: bytes, code: int) -> None:
    def say(connection: socket.socket) -> None:
        connection.recv(3)
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            continue

    async def main() -> None:
        with kernel_server(say) as port:
            with pytest.raises(OSError, match=r".") as caught:
                await asyncio.wait_for(kind(HERE, port).connect(AWAY, 80), 10)
            assert (caught.value.errno or errno.ECONNRESET) == code

    asyncio.run(main())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("direct", "<Direct>"),
        ("socks5://h", "<Socks5 h:1080>"),
        ("socks5h://a%3Ab:c%40d@[::1]:9", "<Socks5 [::1]:9>"),
        ("http://u:p@h:3128/", "<HttpConnect h:3128>"),
    ],
)
def test_an_upstream_has_a_name(text: str, shown: str) -> None:
    assert repr(parse_upstream(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "socks4://h:1",
        "http://",
        "socks5://h:0x",
        "socks5://h:99999",
        "http://h:1/x",
        "http://u@h",
    ],
)
def test_what_names_no_upstream(text: str) -> None:
    with pytest.raises(ValueError, match=r"upstream|port|password|Port"):
        parse_upstream(text)


@pytest.mark.parametrize("make", [Direct, lambda device: parse_upstream("direct", device)])
@pytest.mark.parametrize("device", ["", "a/b", "of more than 15 bytes", "nul\0"])
def test_a_device_that_is_no_name(make: Callable[[str], Direct], device: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(device))):
        make(device)


@pytest.mark.parametrize(
    "make",
    [
        Direct,
        lambda device: Socks5(HERE, 1080, device=device),
        lambda device: HttpConnect(HERE, 8080, device=device),
    ],
)
def test_a_device_that_is_not_there_is_told_at_once(make: Callable[[str], Upstream]) -> None:
    with pytest.raises(OSError, match=r"No such device: 'nosuch0'; .* has .*\blo\b") as caught:
        make("nosuch0")
    assert caught.value.errno == errno.ENODEV
    make("lo")
