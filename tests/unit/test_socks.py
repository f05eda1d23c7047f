"""The SOCKS5 and HTTP CONNECT server: what it answers, to whom, and what it survives."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pair import LEFT, LEFT6, Pair, pair

from pystack.embed.socks import SocksServer

GREETING = b"\5\1\0"
OK4 = b"\5\0\0\1"


def ipv4(host: str, port: int) -> bytes:
    return b"\1" + socket.inet_aton(host) + struct.pack("!H", port)


def ipv6(host: str, port: int) -> bytes:
    return b"\4" + socket.inet_pton(socket.AF_INET6, host) + struct.pack("!H", port)


@contextmanager
def upper_server(both: Pair) -> Iterator[int]:
    """A server on the left Stack that answers in capital letters, to the end of the stream."""
    with both.left.sockets.create_server(
        ("::", 0), family=socket.AF_INET6, dualstack_ipv6=True
    ) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _peer = listener.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    while data := connection.recv(4096):
                        connection.sendall(data.upper())

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def served(talk: Callable[[Pair, SocksServer, int], Awaitable[None]], **options: Any) -> None:
    """Runs `talk` beside a server whose connections leave by the right Stack."""

    async def main() -> None:
        with pair() as both, upper_server(both) as port:
            async with SocksServer(both.right, port=0, **options) as server:
                await asyncio.wait_for(talk(both, server, port), 30)

    asyncio.run(main())


class Talk:
    """A client of the kernel's."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, server: SocksServer) -> Talk:
        return cls(*await asyncio.open_connection(*server.address))

    async def say(self, data: bytes, size: int) -> bytes:
        self.writer.write(data)
        return await self.reader.readexactly(size)

    async def rest(self) -> bytes:
        try:
            return await self.reader.read()
        except ConnectionResetError:
            return b""
        finally:
            await self.close()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


@pytest.mark.parametrize("host", [LEFT, LEFT6])
def test_connect(host: str) -> None:
    async def talk(both: Pair, server: SocksServer, port: int) -> None:
        client = await Talk.to(server)
        assert await client.say(GREETING, 2) == b"\5\0"
        where = ipv6(host, port) if ":" in host else ipv4(host, port)
        answer = await client.say(b"\5\1\0" + where, 22 if ":" in host else 10)
        assert answer[:4] == (b"\5\0\0\4" if ":" in host else OK4)
        assert await client.say(b"hello", 5) == b"HELLO"
        client.writer.write_eof()
        assert await client.rest() == b""
        assert server.statistics().connections == 1

    served(talk)


def test_everything_in_one_segment() -> None:
    async def talk(both: Pair, server: SocksServer, port: int) -> None:
        client = await Talk.to(server)
        client.writer.write(GREETING + b"\5\1\0" + ipv4(LEFT, port) + b"early")
        assert (await client.reader.readexactly(12))[:6] == b"\5\0" + OK4
        assert await client.reader.readexactly(5) == b"EARLY"
        await client.close()

    served(talk)


def test_a_name_is_resolved_on_the_stack() -> None:
    async def talk(both: Pair, server: SocksServer, port: int) -> None:
        asked = []

        def getaddrinfo(host: str, port: int, **_rest: Any) -> list[Any]:
            asked.append(host)
            return [
                (socket.AF_INET6, 1, 6, "", ("2001:db8::1", port, 0, 0)),  # no route
                (socket.AF_INET, 1, 6, "", (LEFT, port)),
            ]

        both.right.sockets.getaddrinfo = getaddrinfo  # type: ignore[method-assign]
        client = await Talk.to(server)
        await client.say(GREETING, 2)
        name = b"\3" + bytes([11]) + b"server.test" + struct.pack("!H", port)
        assert (await client.say(b"\5\1\0" + name, 10))[:4] == OK4
        assert await client.say(b"x", 1) == b"X"
        assert asked == ["server.test"]
        await client.close()

    served(talk)


REPLIES = [(ipv4(LEFT, 1), 5), (ipv4("192.0.2.1", 80), 3), (b"\3\4none\0P", 4), (b"\3\1\xff\0P", 8)]


@pytest.mark.parametrize(("where", "code"), REPLIES)
def test_a_failure_has_its_code(where: bytes, code: int) -> None:
    async def talk(both: Pair, server: SocksServer, port: int) -> None:
        def unknown(*_arguments: Any, **_rest: Any) -> list[Any]:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")

        both.right.sockets.getaddrinfo = unknown  # type: ignore[method-assign]
        client = await Talk.to(server)
        await client.say(GREETING, 2)
        assert (await client.say(b"\5\1\0" + where, 10))[1] == code
        assert await client.rest() == b""

    served(talk)


# --- who may -------------------------------------------------------------------------------------


def test_user_and_password() -> None:
    async def talk(both: Pair, server: SocksServer, port: int) -> None:
        client = await Talk.to(server)
        assert await client.say(b"\5\2\0\2", 2) == b"\5\2"
        assert await client.say(b"\1\2me\6secret", 2) == b"\1\0"
        assert (await client.say(b"\5\1\0" + ipv4(LEFT, port), 10))[:4] == OK4
        await client.close()
        for greeting, answer in ((GREETING, b"\5\xff"), (b"\5\1\1", b"\5\xff")):
            client = await Talk.to(server)
            assert await client.say(greeting, 2) == answer
            assert await client.rest() == b""
        client = await Talk.to(server)
        await client.say(b"\5\1\2", 2)
        assert await client.say(b"\1\2me\5wrong", 2) == b"\1\1"
        assert await client.rest() == b""
        assert server.statistics().rejected == 3

    served(talk, user="me", password="secret")


def connect_request(port: int, *fields: str) -> bytes:
    return "\r\n".join([f"CONNECT {LEFT}:{port} HTTP/1.1", *fields, "", ""]).encode()


def test_http_connect() -> None:
    async def talk(both: Pair, server: SocksServer, port: int) -> None:
        right = "Proxy-Authorization: basic " + base64.b64encode(b"me:a:b").decode()
        wrong = "Proxy-Authorization: Basic " + base64.b64encode(b"me:x").decode()
        client = await Talk.to(server)
        client.writer.write(connect_request(port, "Host: x", right) + b"early")
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert await client.reader.readexactly(5) == b"EARLY"
        await client.close()
        for request, status in [
            (connect_request(port, wrong), b"407"),
            (connect_request(port, "Proxy-Authorization: Basic !"), b"407"),
            (connect_request(port), b"407"),
            (connect_request(1, right), b"502"),
            (b"GET http://x/ HTTP/1.1\r\n" + right.encode() + b"\r\n\r\n", b"501"),
            (b"CONNECT x HTTP/1.1\r\n" + right.encode() + b"\r\n\r\n", b"400"),
            (b"nonsense\r\n\r\n", b"400"),
        ]:
            client = await Talk.to(server)
            client.writer.write(request)
            assert (await client.rest()).startswith(b"HTTP/1.1 " + status), request

    served(talk, user="me", password="a:b")


# --- datagrams -----------------------------------------------------------------------------------


def test_udp_associate() -> None:
    async def talk(both: Pair, server: SocksServer, port: int) -> None:
        echoes = [both.left.socket(family, socket.SOCK_DGRAM) for family in (2, 10)]

        def serve(echo: Any) -> None:
            echo.settimeout(10)
            data, peer = echo.recvfrom(2000)
            echo.sendto(data.upper(), peer)

        for echo, host in zip(echoes, (LEFT, LEFT6), strict=True):
            echo.bind((host, 7))
        threads = [threading.Thread(target=serve, args=(echo,)) for echo in echoes]
        for thread in threads:
            thread.start()
        client = await Talk.to(server)
        await client.say(GREETING, 2)
        answer = await client.say(b"\5\3\0" + ipv4("0.0.0.0", 0), 10)
        assert answer[:4] == OK4
        relay = (socket.inet_ntoa(answer[4:8]), struct.unpack("!H", answer[8:])[0])
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.setblocking(False)
            udp.bind(("127.0.0.1", 0))
            for broken in (
                b"",
                b"\0\0\1" + ipv4(LEFT, 7) + b"fragment",
                b"\0\0\0\1\1",
                b"\0\0\0\x09\0\0\0",
            ):
                udp.sendto(broken, relay)
            for where in (ipv4(LEFT, 7), ipv6(LEFT6, 7)):
                udp.sendto(b"\0\0\0" + where + b"hello", relay)
                assert await asyncio.wait_for(loop.sock_recv(udp, 100), 10) == (
                    b"\0\0\0" + where + b"HELLO"
                )
            await client.close()
            while server.statistics().clients:
                await asyncio.sleep(0.01)
            udp.connect(relay)
            with pytest.raises(ConnectionRefusedError):  # the relay has ended with it
                for _ in range(100):
                    udp.send(b"x")
                    await asyncio.sleep(0.01)
        for thread in threads:
            thread.join()
        for echo in echoes:
            echo.close()

    served(talk)


# --- what it survives ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"\4\1\0P\x7f\0\0\1\0", b""),
        (b"\5\0", b"\5\xff"),
        (GREETING + b"\4\1\0\1", b"\5\0"),
        (GREETING + b"\5\2\0" + ipv4(LEFT, 1), b"\5\0\5\7\0\1\0\0\0\0\0\0"),
        (GREETING + b"\5\1\0\x09", b"\5\0\5\x08\0\1\0\0\0\0\0\0"),
        (GREETING + b"\5\1\0\3\0\0P", b"\5\0\5\x08\0\1\0\0\0\0\0\0"),
        (b"G" * 40000, b""),
        (b"", b""),
    ],
)
def test_nonsense_is_closed(said: bytes, answer: bytes) -> None:
    async def talk(_both: Pair, server: SocksServer, _port: int) -> None:
        client = await Talk.to(server)
        client.writer.write(said)
        if not said:
            client.writer.write_eof()
        assert await client.rest() == answer
        assert server.statistics().rejected == 1

    served(talk)


def test_who_says_nothing_is_closed_in_time() -> None:
    async def talk(_both: Pair, server: SocksServer, _port: int) -> None:
        client = await Talk.to(server)
        client.writer.write(b"\5")
        assert await client.rest() == b""
        assert server.statistics().rejected == 1

    served(talk, timeout=0.1)


def test_more_clients_wait() -> None:
    async def talk(both: Pair, server: SocksServer, port: int) -> None:
        first, second = await Talk.to(server), await Talk.to(server)
        second.writer.write(GREETING)
        await first.say(GREETING, 2)
        assert server.statistics().clients == 1
        await first.close()
        assert await second.reader.readexactly(2) == b"\5\0"
        await second.close()

    served(talk, clients=1)


def test_closing_ends_all() -> None:
    async def main() -> None:
        with pair() as both, upper_server(both) as port:
            async with SocksServer(both.right, port=0) as server:
                client = await Talk.to(server)
                await client.say(GREETING, 2)
                await client.say(b"\5\1\0" + ipv4(LEFT, port), 10)
                idle = await Talk.to(server)
            assert await client.rest() == b""
            assert await idle.rest() == b""
            with pytest.raises(RuntimeError, match="isn't started"):
                _nowhere = server.address
            await server.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"user": "me"}, "both user and password"),
        ({"user": "me", "password": ""}, "1 to 255 bytes"),
        ({"user": "me", "password": "x" * 256}, "1 to 255 bytes"),
        ({"clients": 0}, "clients is a whole number, at least 1, not 0"),
        ({"idle": 0}, "idle must be over 0 seconds, not 0"),  # which once kept the loop busy
        ({"timeout": float("nan")}, "timeout must be over 0 seconds, not nan"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pair() as both, pytest.raises(ValueError, match=words):
        SocksServer(both.left, **options)
