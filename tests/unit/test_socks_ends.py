"""The SOCKS server: how it ends, and what one client can't do to the others."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
import threading
from typing import Any

import pytest
from pair import LEFT, pair

import pystack
from pystack.embed.socks import SocksServer
from pystack.embed.socks.dialer import Dialer

GREETING = b"\5\1\0"
ASSOCIATE = b"\5\3\0\1\0\0\0\0\0\0"


async def said(server: SocksServer, data: bytes, size: int) -> tuple[Any, Any, bytes]:
    """A client's streams, and so many bytes of what it is told."""
    reader, writer = await asyncio.open_connection(*server.address)
    writer.write(data)
    return reader, writer, await asyncio.wait_for(reader.readexactly(size), 10)


async def gone(reader: Any, writer: Any) -> None:
    """Waits for the end of what the server says."""
    with contextlib.suppress(ConnectionResetError):
        await asyncio.wait_for(reader.read(), 10)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def connect(port: int) -> bytes:
    return b"\5\1\0\1" + socket.inet_aton(LEFT) + struct.pack("!H", port)


def named(name: bytes, port: int) -> bytes:
    return b"\3" + bytes([len(name)]) + name + struct.pack("!H", port)


def test_closing_as_a_connection_comes_through() -> None:
    async def main() -> None:
        loop, told = asyncio.get_running_loop(), []
        loop.set_exception_handler(lambda _loop, context: told.append(context))
        with pair() as both, both.left.sockets.create_server((LEFT, 0)) as listener:
            port = listener.getsockname()[1]
            for turns in range(12):
                server = SocksServer(both.right, port=0)
                await server.start()
                reader, writer, _answer = await said(server, GREETING, 2)
                writer.write(connect(port))
                for _ in range(turns):
                    await asyncio.sleep(0)
                await asyncio.wait_for(asyncio.gather(server.close(), server.close()), 10)
                assert server.statistics().clients == 0
                await gone(reader, writer)
        assert told == []

    asyncio.run(main())


def test_starting_once_more() -> None:
    async def main() -> None:
        with pair() as both:
            server = SocksServer(both.right, port=0)
            await server.close()
            for _ in range(2):
                async with server:
                    reader, writer, answer = await said(
                        server, GREETING + b"\5\1\0" + named(b"no", 1), 4
                    )
                    assert answer == b"\5\0\5\4"  # names are looked up again
                    await gone(reader, writer)

    asyncio.run(main())


def test_an_address_that_is_not_this_machines_is_named() -> None:
    async def main() -> None:
        with pair() as both:
            server = SocksServer(both.right, "203.0.113.9", 1080)
            with pytest.raises(OSError, match=r"203\.0\.113\.9, port 1080: C") as raised:
                await server.start()
            assert raised.value.errno == errno.EADDRNOTAVAIL

    asyncio.run(main())


def test_an_engine_that_fails_ends_its_clients() -> None:
    async def main() -> None:
        loop, told = asyncio.get_running_loop(), []
        loop.set_exception_handler(lambda _loop, context: told.append(context))
        a, b = pystack.nic.wire()
        left, right = pystack.Stack(), pystack.Stack()
        left.attach(a, f"{LEFT}/24")
        right.attach(b, "10.0.0.2/24")
        echo = left.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            echo.bind((LEFT, 7))
            echo.settimeout(10)
            with (
                left.sockets.create_server((LEFT, 0)) as listener,
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
            ):
                port = listener.getsockname()[1]
                async with SocksServer(right, port=0) as server:
                    stream = await said(server, GREETING + connect(port), 12)
                    relay = await said(server, GREETING + ASSOCIATE, 12)
                    where = "127.0.0.1", struct.unpack("!H", relay[2][-2:])[0]
                    udp.sendto(b"\0\0\0\1" + socket.inet_aton(LEFT) + b"\0\7hi", where)
                    assert await loop.run_in_executor(None, echo.recv, 10) == b"hi"
                    with pytest.raises(pystack.StackPanic):
                        right.fail("on purpose")
                    for reader, writer, _answer in (stream, relay):
                        await gone(reader, writer)
                    late = await said(server, GREETING + connect(port), 4)
                    assert late[2] == b"\5\0\5\1"  # it is told
                    await gone(*late[:2])
        finally:
            echo.close()
            for net in (left, right):
                with contextlib.suppress(pystack.StackPanic):
                    net.close(abrupt=True)
        assert told == []

    asyncio.run(main())


def test_names_of_one_client_hold_up_nobody_else() -> None:
    began, may_end = threading.Semaphore(0), threading.Event()
    most, under_way = 0, 0

    def getaddrinfo(host: str, port: int, **_rest: Any) -> list[Any]:
        nonlocal most, under_way
        if host.startswith("slow"):
            under_way += 1
            most = max(most, under_way)
            began.release()
            may_end.wait(30)
            under_way -= 1
            raise socket.gaierror(socket.EAI_AGAIN, "nobody answers")
        return [(socket.AF_INET, 1, 6, "", (LEFT, port))]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as both, both.left.sockets.create_server((LEFT, 0)) as listener:
            both.right.sockets.getaddrinfo = getaddrinfo  # type: ignore[method-assign]
            echo = both.left.socket(socket.AF_INET, socket.SOCK_DGRAM)
            echo.bind((LEFT, 7))
            echo.settimeout(10)
            port = listener.getsockname()[1]
            streams = []
            with echo, contextlib.ExitStack() as cleanup:
                async with SocksServer(both.right, port=0) as server:
                    for names in ([b"slow%d" % number for number in range(30)], [b"good"]):
                        reader, writer, answer = await said(server, GREETING + ASSOCIATE, 12)
                        streams.append((reader, writer))
                        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                        cleanup.enter_context(udp)
                        for name in names:
                            udp.sendto(
                                b"\0\0\0" + named(name, 7) + b"hi",
                                ("127.0.0.1", struct.unpack("!H", answer[-2:])[0]),
                            )
                        if len(names) > 1:
                            for _ in range(4):
                                assert await loop.run_in_executor(None, began.acquire, True, 10)
                    assert await loop.run_in_executor(None, echo.recv, 10) == b"hi"
                    request = GREETING + b"\5\1\0" + named(b"good", port)
                    reader, writer, answer = await said(server, request, 12)
                    assert answer[:4] == b"\5\0\5\0"
                    streams.append((reader, writer))
                    assert (most, under_way) == (4, 4)
                may_end.set()
                for reader, writer in streams:
                    await gone(reader, writer)

    try:
        asyncio.run(main())
    finally:
        may_end.set()


def test_connections_of_one_host_leave_the_others_their_lookups() -> None:
    began, may_end = threading.Semaphore(0), threading.Event()

    def getaddrinfo(host: str, port: int, **_rest: Any) -> list[Any]:
        if host.startswith("slow"):
            began.release()
            may_end.wait(30)
            raise socket.gaierror(socket.EAI_NONAME, "nobody answers")
        return [(socket.AF_INET, 1, 6, "", (LEFT, port))]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as both, both.left.sockets.create_server((LEFT, 0)) as listener:
            both.right.sockets.getaddrinfo = getaddrinfo  # type: ignore[method-assign]
            port = listener.getsockname()[1]
            slow = []
            async with SocksServer(both.right, port=0) as server:
                for number in range(40):  # more than there are threads
                    reader, writer, _ = await said(server, GREETING, 2)
                    slow.append((reader, writer))
                    writer.write(b"\5\1\0" + named(b"slow%d" % number, port))
                for _ in range(16):
                    assert await loop.run_in_executor(None, began.acquire, True, 10)
                reader, writer = await asyncio.open_connection(
                    *server.address, local_addr=("127.0.0.2", 0)
                )
                writer.write(GREETING + b"\5\1\0" + named(b"good", port))
                assert (await asyncio.wait_for(reader.readexactly(12), 10))[:4] == b"\5\0\5\0"
                assert not began.acquire(blocking=False), "the first host has its half"
                # Who gives up while it waits, or while its name is looked up, leaves no gap.
                for number in (0, 39):
                    slow[number][1].close()
                may_end.set()
                for number in range(1, 39):
                    answer = await asyncio.wait_for(slow[number][0].readexactly(4), 10)
                    assert answer == b"\5\4\0\1", number
                    await gone(*slow[number])
                writer.close()
                await gone(reader, writer)
            assert all(turns.idle for turns in server._dialer._turns.values())

    try:
        asyncio.run(main())
    finally:
        may_end.set()


def test_names_that_cannot_be() -> None:
    names = [b"a..b", b"a" * 64, b"." * 255, b"a" * 255, "é".encode() * 100, b"."]

    async def main() -> None:
        loop, told = asyncio.get_running_loop(), []
        loop.set_exception_handler(lambda _loop, context: told.append(context))
        with pair() as both:
            echo = both.left.socket(socket.AF_INET, socket.SOCK_DGRAM)
            echo.bind((LEFT, 7))
            echo.settimeout(10)
            with echo, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                async with SocksServer(both.right, port=0) as server:
                    for name in names:
                        request = GREETING + b"\5\1\0" + named(name, 80)
                        reader, writer, answer = await said(server, request, 4)
                        assert answer == b"\5\0\5\4", name
                        await gone(reader, writer)
                    for request in (b"a..b:80", b"a.b:" + b"9" * 5000, b"a.b:0"):
                        line = b"CONNECT " + request + b" HTTP/1.1\r\n\r\n"
                        reader, writer, answer = await said(server, line, 12)
                        assert answer[9:] == (b"502" if b".." in request else b"400")
                        await gone(reader, writer)
                    reader, writer, answer = await said(server, GREETING + ASSOCIATE, 12)
                    where = "127.0.0.1", struct.unpack("!H", answer[-2:])[0]
                    for name in names:
                        udp.sendto(b"\0\0\0" + named(name, 7) + b"x", where)
                    udp.sendto(b"\0\0\0\1" + socket.inet_aton(LEFT) + b"\0\7last", where)
                    assert await loop.run_in_executor(None, echo.recv, 10) == b"last"
                    writer.close()
                    await gone(reader, writer)
        assert told == []

    asyncio.run(main())


def test_a_plain_request_is_told_what_is_served() -> None:
    async def main() -> None:
        with pair() as both:
            async with SocksServer(both.right, port=0) as server:
                request = b"GET http://name.test/ HTTP/1.1\r\n\r\n"
                reader, writer, status = await said(server, request, 12)
                head, _empty, body = (await reader.read()).partition(b"\r\n\r\n")
                assert status == b"HTTP/1.1 501"
                assert f"Content-Length: {len(body)}".encode() in head
                assert b"CONNECT and SOCKS5 only" in body
                assert b"socks5h://" in body
                writer.close()
                await writer.wait_closed()

    asyncio.run(main())


def test_an_address_has_no_more_than_its_places() -> None:
    async def main() -> None:
        with pair() as both:
            async with SocksServer(both.left, port=0, per_address=1) as server:
                _reader, writer, answer = await said(server, GREETING, 2)
                assert answer == b"\5\0"
                second, its_end = await asyncio.open_connection(*server.address)
                with pytest.raises(ConnectionResetError):
                    await second.read()
                its_end.close()
                assert server.statistics().crowded_out == 1
                other, its_end = await asyncio.open_connection(
                    *server.address, local_addr=("127.0.0.2", 0)
                )
                its_end.write(GREETING)
                assert await other.readexactly(2) == b"\5\0"
                its_end.close()
                writer.close()

    asyncio.run(main())


def test_nothing_is_looked_up_once_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        begun, go_on = threading.Semaphore(0), threading.Event()

        def look_up(*_arguments: Any, **_options: Any) -> list[Any]:
            begun.release()
            go_on.wait()
            return []

        with pair() as both:
            monkeypatch.setattr(both.left.sockets, "getaddrinfo", look_up)
            dialer = Dialer(both.left, 60.0)
            kind = int(socket.SOCK_DGRAM)
            asked = [
                asyncio.ensure_future(dialer.resolve("name.test", 80, kind, "10.0.0.1"))
                for _ in range(12)
            ]
            for _ in range(8):  # half of the places
                await asyncio.to_thread(begun.acquire)
            waiting = asked[8:]
            dialer.close()
            done, _left = await asyncio.wait(waiting)
            assert {type(one.exception()) for one in done} == {ConnectionAbortedError}
            go_on.set()
            assert await asyncio.gather(*asked[:8]) == [[]] * 8
            assert dialer._pools == {}
            assert not begun.acquire(blocking=False)
            assert await dialer.resolve("name.test", 80, kind, "10.0.0.1") == []
            dialer.close()

    asyncio.run(main())
