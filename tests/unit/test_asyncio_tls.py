"""asyncio's stock loop and TLS on a Stack's sockets, under `installed()`."""

from __future__ import annotations

import asyncio
import http.client
import random
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from pair import RIGHT, Pair, pair


@pytest.fixture(scope="module")
def it() -> Iterator[Pair]:
    with pair() as made:
        yield made


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for server.test, its key, and the authority that signed it."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    issued = authority.issue_cert("server.test")
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    return folder


def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "server.pem")
    context.set_alpn_protocols(["echo/1"])
    return context


def client_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificate / "authority.pem"))
    context.set_alpn_protocols(["echo/2", "echo/1"])
    return context


# --- asyncio ---------------------------------------------------------------------------------


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_streams(it: Pair, certificate: Path, secure: bool) -> None:
    data = random.Random(1).randbytes(3_000_000)

    async def main() -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while piece := await reader.read(65536):
                writer.write(piece[::-1] if len(piece) < 100 else piece)
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(
            echo, "127.0.0.1", 0, ssl=server_context(certificate) if secure else None
        )
        port = server.sockets[0].getsockname()[1]
        assert [row for row in it.left.connections() if row.local[1] == port]
        context = client_context(certificate) if secure else None
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname="server.test" if secure else None
        )
        writer.write(b"abc")
        assert await reader.readexactly(3) == b"cba"
        writer.write(data)
        assert await reader.readexactly(len(data)) == data
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    with it.left.installed():
        asyncio.run(asyncio.wait_for(main(), 60))


def test_back_pressure_holds(it: Pair) -> None:
    async def main() -> None:
        released = asyncio.Event()

        async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await released.wait()
            got = 0
            while piece := await reader.read(1 << 20):
                got += len(piece)
            writer.write(str(got).encode())
            writer.close()

        server = await asyncio.start_server(slow, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        sent = 0

        async def fill() -> None:
            nonlocal sent
            while True:
                writer.write(bytes(65536))
                sent += 65536
                await writer.drain()

        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(fill(), 0.5)
        assert sent < 16 << 20
        released.set()
        writer.write_eof()
        assert int(await reader.read()) == sent
        writer.close()
        server.close()
        await server.wait_closed()

    with it.left.installed():
        asyncio.run(asyncio.wait_for(main(), 60))


def test_datagram_endpoints(it: Pair) -> None:
    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, address: Any) -> None:
            self.transport.sendto(data.upper(), address)

    class Client(asyncio.DatagramProtocol):
        def __init__(self, answer: asyncio.Future[bytes]) -> None:
            self.answer = answer

        def datagram_received(self, data: bytes, _address: Any) -> None:
            self.answer.set_result(data)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
        answer: asyncio.Future[bytes] = loop.create_future()
        client, _ = await loop.create_datagram_endpoint(
            lambda: Client(answer), remote_addr=server.get_extra_info("sockname")
        )
        client.sendto(b"hello")
        assert await answer == b"HELLO"
        client.close()
        server.close()

    with it.left.installed():
        asyncio.run(asyncio.wait_for(main(), 30))


def test_the_loops_socket_calls(it: Pair, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(range(256)) * 1000)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with it.left.sockets.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            client = it.left.socket()
            client.setblocking(False)
            accepting = asyncio.ensure_future(loop.sock_accept(listener))
            await loop.sock_connect(client, listener.getsockname())
            server, _peer = await accepting
            await loop.sock_sendall(client, b"x" * 500_000)
            got = 0
            while got < 500_000:
                got += len(await loop.sock_recv(server, 65536))
            with (tmp_path / "f").open("rb") as file:
                sending = asyncio.ensure_future(loop.sock_sendfile(client, file))
                whole = b""
                while len(whole) < 256_000:
                    whole += await loop.sock_recv(server, 65536)
                assert await sending == 256_000
            assert whole == bytes(range(256)) * 1000
            client.close()
            server.close()

    with it.left.installed():
        asyncio.run(asyncio.wait_for(main(), 30))


# --- TLS on blocking sockets -----------------------------------------------------------------


def secured(it: Pair, certificate: Path, **options: Any) -> tuple[Any, Any]:
    client, server = it.connected()
    outcome: dict[str, Any] = {}

    def accept() -> None:
        try:
            outcome["server"] = server_context(certificate).wrap_socket(server, server_side=True)
        except BaseException as error:
            outcome["server"] = error
            server.close()

    with it.left.installed():
        thread = threading.Thread(target=accept)
        thread.start()
        options.setdefault("server_hostname", "server.test")
        context = options.pop("context", None) or client_context(certificate)
        try:
            wrapped = context.wrap_socket(client, **options)
        finally:
            thread.join()
    return wrapped, outcome["server"]


def test_tls_both_ways(it: Pair, certificate: Path) -> None:
    client, server = secured(it, certificate)
    with client, server:
        assert client.version() in ("TLSv1.3", "TLSv1.2")
        assert client.selected_alpn_protocol() == server.selected_alpn_protocol() == "echo/1"
        assert ("DNS", "server.test") in client.getpeercert()["subjectAltName"]
        data = random.Random(2).randbytes(2_000_000)
        thread = threading.Thread(target=client.sendall, args=(data,))
        thread.start()
        got = bytearray()
        while len(got) < len(data):
            got += server.recv(50_000)
        thread.join()
        assert bytes(got) == data
        with server.makefile("rwb") as file:
            client.sendall(b"line\n")
            assert file.readline() == b"line\n"
            file.write(b"back\n")
            file.flush()
        buffer = bytearray(5)
        assert client.recv_into(buffer) == 5
        assert buffer == b"back\n"
        with pytest.raises(ValueError, match="flags"):
            client.recv(1, socket.MSG_PEEK)


def test_tls_ends_orderly(it: Pair, certificate: Path) -> None:
    client, server = secured(it, certificate)
    thread = threading.Thread(target=server.unwrap)
    thread.start()
    plain = client.unwrap()
    thread.join()
    plain.sendall(b"in the clear")
    assert server.recv(100) == b"in the clear"
    client.close()
    server.close()
    client, server = secured(it, certificate)
    server.close()
    assert client.recv(1) == b""
    client.close()


def test_certificates_are_checked(it: Pair, certificate: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        secured(it, certificate, server_hostname="other.test")
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
        secured(it, certificate, context=ssl.create_default_context())
    client, server = it.connected()
    with client, server, it.left.installed():
        with pytest.raises(ValueError, match="server_hostname"):
            client_context(certificate).wrap_socket(client)
        assert client.fileno() >= 0  # still the caller's


def test_tls_does_not_block_when_told_so(it: Pair, certificate: Path) -> None:
    client, server = secured(it, certificate)
    with client, server:
        client.setblocking(False)
        with pytest.raises(ssl.SSLWantReadError):
            client.recv(1)
        client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.recv(1)
        server.sendall(b"x")
        client.settimeout(30)
        assert client.recv(1) == b"x"


def test_sessions_are_taken_up_again(it: Pair, certificate: Path) -> None:
    context = client_context(certificate)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    servers = server_context(certificate)

    def talk(session: Any) -> tuple[bool, Any]:
        client, server = it.connected()
        with it.left.installed():
            thread = threading.Thread(
                target=lambda: servers.wrap_socket(server, server_side=True).close()
            )
            thread.start()
            with context.wrap_socket(
                client, server_hostname="server.test", session=session
            ) as wrapped:
                thread.join()
                return wrapped.session_reused, wrapped.session

    reused, session = talk(None)
    assert not reused
    assert talk(session)[0]


def test_https(it: Pair, certificate: Path) -> None:
    with it.right.sockets.create_server((RIGHT, 443)) as listener, it.left.installed():

        def serve() -> None:
            sock, _peer = listener.accept()
            with server_context(certificate).wrap_socket(sock, server_side=True) as secure:
                secure.recv(65536)
                secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")

        thread = threading.Thread(target=serve)
        thread.start()
        context = client_context(certificate)
        context.check_hostname = False
        connection = http.client.HTTPSConnection(RIGHT, 443, timeout=10, context=context)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"secret"
        connection.close()
        thread.join()


def test_uvloop(it: Pair) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with it.left.sockets.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            client = it.left.socket()
            client.setblocking(False)
            seen = asyncio.Event()
            loop.add_reader(listener.fileno(), seen.set)
            await loop.sock_connect(client, listener.getsockname())
            await asyncio.wait_for(seen.wait(), 30)
            loop.remove_reader(listener.fileno())
            server, _peer = listener.accept()
            server.setblocking(False)
            await loop.sock_sendall(client, b"x" * 300_000)
            got = 0
            while got < 300_000:
                got += len(await loop.sock_recv(server, 65536))
            client.close()
            server.close()

    uvloop.run(asyncio.wait_for(main(), 30))
