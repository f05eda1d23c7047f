"""How forwarding ends: closed or cancelled just now, the engine failed, a proxy told nonsense."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pair import RIGHT, routed

import pystack
from pystack.embed.proxy import Direct, Forwarder, HttpConnect, Socks5

AWAY = "198.51.100.7"
HERE = "127.0.0.1"


class Late:
    """An upstream whose connect comes through when it is told to, or as it is cancelled."""

    def __init__(self) -> None:
        self.asked, self.through = asyncio.Event(), asyncio.Event()
        self.is_stubborn = False
        self.made: list[socket.socket] = []
        self.ends: list[socket.socket] = []

    async def connect(self, host: str, port: int) -> socket.socket:
        self.asked.set()
        try:
            await self.through.wait()
        except asyncio.CancelledError:
            if not self.is_stubborn:
                raise
        made, end = socket.socketpair()
        self.made.append(made)
        self.ends.append(end)
        return made

    async def close(self) -> None:
        for end in self.ends:
            end.close()


def knock(net: pystack.Stack) -> Any:
    """A client whose connect is under way."""
    client = net.socket()
    client.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.connect((AWAY, 80))
    return client


@pytest.mark.parametrize("turns", [*range(5), -1], ids=lambda turns: f"turns{turns}")
@pytest.mark.parametrize("is_closed", [True, False], ids=["closed", "cancelled"])
def test_no_connection_outlives_the_forwarder(turns: int, is_closed: bool) -> None:
    async def main() -> None:
        with routed() as both:
            upstream = Late()
            forwarder = Forwarder(both.right, upstream)  # type: ignore[arg-type]
            running = asyncio.ensure_future(forwarder.run())
            await asyncio.sleep(0)
            with knock(both.left):
                await asyncio.wait_for(upstream.asked.wait(), 10)
                if turns < 0:
                    upstream.is_stubborn = True
                else:
                    upstream.through.set()
                for _ in range(turns):
                    await asyncio.sleep(0)
                if is_closed:
                    await asyncio.wait_for(forwarder.close(), 10)
                else:
                    running.cancel()
                await asyncio.wait([running], timeout=10)
                assert running.done()
                assert running.cancelled() != is_closed  # close() alone ends run()
                assert all(one.fileno() == -1 for one in upstream.made)
                assert forwarder.statistics().connections == 0
                with pytest.raises(RuntimeError, match="is closed"):
                    await forwarder.run()

    asyncio.run(main())


# --- the engine fails ----------------------------------------------------------------------------


@contextmanager
def stacks() -> Iterator[tuple[pystack.Stack, pystack.Stack]]:
    """Two on a wire, one of which may fail."""
    a, b = pystack.nic.wire()
    left, right = pystack.Stack(), pystack.Stack()
    left.attach(a, "10.0.0.1/24")
    right.attach(b, f"{RIGHT}/24")
    left.routes.add("default", gateway=RIGHT)
    try:
        yield left, right
    finally:
        for net in (left, right):
            with contextlib.suppress(pystack.StackPanic):
                net.close(abrupt=True)


def test_an_engine_that_fails_ends_its_flows() -> None:
    async def main() -> None:
        loop, told = asyncio.get_running_loop(), []
        loop.set_exception_handler(lambda _loop, context: told.append(context))
        with (
            socket.create_server((HERE, 0)) as listener,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
            stacks() as (left, right),
        ):
            datagrams.bind((HERE, 0))
            datagrams.settimeout(30)
            listener.setblocking(False)

            def to(flow: Any) -> tuple[str, int]:
                mine = listener if flow.protocol == "tcp" else datagrams
                return HERE, int(mine.getsockname()[1])

            forwarder = Forwarder(right, Direct(), to=to)
            running = asyncio.ensure_future(forwarder.run())
            await asyncio.sleep(0)
            asking = left.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with knock(left), asking:
                asking.sendto(b"x", (AWAY, 7))
                data, peer = await asyncio.to_thread(datagrams.recvfrom, 100)
                datagrams.sendto(data, peer)
                connection, _peer = await asyncio.wait_for(loop.sock_accept(listener), 10)
                while (
                    forwarder.statistics().datagram_flows + forwarder.statistics().connections < 2
                ):
                    await asyncio.sleep(0.01)
                with pytest.raises(pystack.StackPanic):
                    right.fail("on purpose")
                with pytest.raises(pystack.StackPanic):
                    await asyncio.wait_for(running, 10)
                with connection, pytest.raises(ConnectionResetError):
                    await asyncio.wait_for(loop.sock_recv(connection, 1), 10)
                assert forwarder.statistics().datagram_flows == 0
                assert forwarder.statistics().connections == 0
        assert told == []

    asyncio.run(main())


# --- proxies, and what they are told -------------------------------------------------------------


@contextlib.asynccontextmanager
async def proxy(answer: Callable[[bytes], bytes]) -> Any:
    """A proxy's port, and what it has heard."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(4096):
                heard.append(data)
                writer.write(answer(data))
        writer.close()

    server = await asyncio.start_server(serve, HERE, 0)
    try:
        yield server.sockets[0].getsockname()[1], heard
    finally:
        server.close()
        await asyncio.sleep(0)


def socks(relay: bytes) -> Callable[[bytes], bytes]:
    return lambda data: b"\5\0" if len(data) == 3 else b"\5\0\0" + relay


def test_a_relay_may_have_a_name() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        asked = []

        async def getaddrinfo(host: str, port: int, *, type: int) -> list[Any]:
            asked.append(host)
            return [(socket.AF_INET, type, 0, "", (HERE, port))]

        loop.getaddrinfo = getaddrinfo  # type: ignore[assignment]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as relay:
            relay.bind((HERE, 0))
            relay.setblocking(False)
            name = b"\3\x0arelay.test" + struct.pack("!H", relay.getsockname()[1])
            async with proxy(socks(name)) as (port, _heard):
                channel = await asyncio.wait_for(Socks5(HERE, port).datagrams(AWAY, 7), 10)
                channel.send(b"hello")
                data = await asyncio.wait_for(loop.sock_recv(relay, 100), 10)
                channel.close()
        assert data == b"\0\0\0\1" + socket.inet_aton(AWAY) + b"\0\7hello"
        assert asked == ["relay.test"]

    asyncio.run(main())


@pytest.mark.parametrize(
    "relay",
    [b"\3\0\0\7", b"\3\3\xff\xff\xff\0\7", b"\3\4a..b\0\7", b"\3\x40" + b"a" * 64 + b"\0\7",
     b"\1\x7f\0\0\1\0\0"],
)  # fmt: skip
def test_a_relay_that_cannot_be(relay: bytes) -> None:
    async def main() -> None:
        async with proxy(socks(relay)) as (port, _heard):
            with pytest.raises(OSError, match="names a relay") as caught:
                await asyncio.wait_for(Socks5(HERE, port).datagrams(AWAY, 7), 10)
            assert caught.value.errno == errno.EPROTO

    asyncio.run(main())


@pytest.mark.parametrize("kind", [Socks5, HttpConnect])
@pytest.mark.parametrize(
    "name", ["x\r\nEvil: 1\r\n", "x y", "", "\0", ".", "a..b", "a" * 64, "a." * 128, "é" * 64]
)
def test_a_proxy_is_told_no_name_that_cannot_be(kind: Any, name: str) -> None:
    async def main() -> None:
        async with proxy(lambda _data: b"") as (port, heard):
            with pytest.raises(OSError, match="no name") as caught:
                await asyncio.wait_for(kind(HERE, port).connect(name, 80), 10)
            assert (caught.value.errno, heard) == (errno.EINVAL, [])
            with pytest.raises(OSError, match="0 to 65535"):
                await asyncio.wait_for(kind(HERE, port).connect("name.test", 65536), 10)

    asyncio.run(main())


def test_a_proxy_is_told_a_name_as_idna_puts_it() -> None:
    async def main() -> None:
        async with proxy(lambda _data: b"HTTP/1.1 200 OK\r\n\r\n") as (port, heard):
            (await asyncio.wait_for(HttpConnect(HERE, port).connect("bücher.test", 80), 10)).close()
            assert heard[0].startswith(b"CONNECT xn--bcher-kva.test:80 HTTP/1.1\r\n")

    asyncio.run(main())


def test_a_status_has_three_digits() -> None:
    async def main() -> None:
        async with proxy(lambda _data: b"HTTP/1.1 " + b"2" * 5000 + b" OK\r\n\r\n") as (
            port,
            _heard,
        ):
            with pytest.raises(OSError, match="no HTTP proxy"):
                await asyncio.wait_for(HttpConnect(HERE, port).connect(AWAY, 80), 10)

    asyncio.run(main())


def test_a_name_that_cannot_be_is_an_unknown_one() -> None:
    async def main() -> None:
        for name in ("a..b", "a" * 64):
            with pytest.raises(socket.gaierror):
                await Direct().connect(name, 80)

    asyncio.run(main())
