"""asyncio's calls, streams and transports."""

from __future__ import annotations

import asyncio
import socket
import ssl
import tempfile
from typing import Any

import trustme
from differential import LOCAL, LOCAL6, RESET, Place
from in_loops import differential, nonblocking_pair, outcome
from quiet import BOUND_S

AUTHORITY = trustme.CA()
SERVER = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
AUTHORITY.issue_cert("server.test").configure_cert(SERVER)
CLIENT = ssl.create_default_context()
AUTHORITY.configure_trust(CLIENT)


# --- loop.sock_* ------------------------------------------------------------------------------


@differential
async def sock_recv_and_sendall(p: Place) -> Any:
    loop = asyncio.get_running_loop()
    near, far = nonblocking_pair(p)
    waits = await outcome(loop.sock_recv(near, 9))
    await loop.sock_sendall(far, b"abc")
    got = await loop.sock_recv(near, 9)
    buffer = bytearray(9)
    await loop.sock_sendall(far, b"defg")
    count = await loop.sock_recv_into(near, buffer)
    far.close()
    return waits, got, count, buffer, await loop.sock_recv(near, 9)


@differential
async def sock_sendall_of_much(p: Place) -> Any:
    loop = asyncio.get_running_loop()
    near, far = nonblocking_pair(p)
    data = bytes(range(256)) * 20_000
    sending = asyncio.ensure_future(loop.sock_sendall(near, data))
    got = bytearray()
    while len(got) < len(data):
        got += await loop.sock_recv(far, 1 << 20)
    return await sending, bytes(got) == data


@differential
async def sock_accept_and_connect(p: Place) -> Any:
    loop = asyncio.get_running_loop()
    listener, client = p.listener(), p.socket()
    listener.setblocking(False)
    client.setblocking(False)
    waits = await outcome(loop.sock_accept(listener))
    accepting = asyncio.ensure_future(loop.sock_accept(listener))
    await loop.sock_connect(client, listener.getsockname())
    made, where = await accepting
    p.keep(made)
    return waits, where == client.getsockname(), made.gettimeout()


@differential
async def sock_connect_fails(p: Place) -> Any:
    loop = asyncio.get_running_loop()
    found = []
    for where in ((LOCAL, 1), ("a b", 1), (LOCAL, -1), (LOCAL6, 1)):
        s = p.socket()
        s.setblocking(False)
        found.append(await outcome(loop.sock_connect(s, where)))
    return found


@differential
async def sock_calls_of_a_blocking_socket(p: Place) -> Any:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    near, _far = p.pair()
    return [await outcome(call) for call in (loop.sock_recv(near, 1), loop.sock_sendall(near, b""))]


@differential
async def sock_datagrams(p: Place) -> Any:
    loop = asyncio.get_running_loop()
    one, other = p.udp(), p.udp()
    for s in (one, other):
        s.setblocking(False)
    sent = await loop.sock_sendto(one, b"abc", other.getsockname())
    data, where = await loop.sock_recvfrom(other, 9)
    buffer = bytearray(9)
    await loop.sock_sendto(one, b"defg", other.getsockname())
    count, again = await loop.sock_recvfrom_into(other, buffer)
    return sent, data, where == one.getsockname() == again, count, buffer


@differential
async def sock_sendfile(p: Place) -> Any:
    loop = asyncio.get_running_loop()
    near, far = nonblocking_pair(p)
    with tempfile.TemporaryFile() as file:
        file.write(bytes(range(200)))
        file.flush()
        sent = await outcome(loop.sock_sendfile(near, file, 10, 100))
        got = await loop.sock_recv(far, 999)
        return sent, len(got), got[:2], file.tell()


@differential
async def a_cancelled_recv_takes_nothing(p: Place) -> Any:
    loop = asyncio.get_running_loop()
    near, far = nonblocking_pair(p)
    task = asyncio.ensure_future(loop.sock_recv(near, 9))
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await loop.sock_sendall(far, b"abc")
    return task.cancelled(), await loop.sock_recv(near, 9)


@differential
async def readers_and_writers(p: Place) -> Any:
    loop = asyncio.get_running_loop()
    near, far = nonblocking_pair(p)
    readable, writable = asyncio.Event(), asyncio.Event()
    loop.add_reader(near, readable.set)
    loop.add_writer(near, writable.set)
    await asyncio.wait_for(writable.wait(), BOUND_S)
    early = readable.is_set()
    await loop.sock_sendall(far, b"x")
    await asyncio.wait_for(readable.wait(), BOUND_S)
    removed = loop.remove_reader(near), loop.remove_writer(near), loop.remove_reader(near)
    return early, removed


# --- streams and transports -------------------------------------------------------------------


async def serving(p: Place, handle: Any, **options: Any) -> tuple[Any, Any]:
    """A server, which is closed at the end of the loop, and its address."""
    server = await asyncio.start_server(handle, LOCAL, 0, **options)
    return server, server.sockets[0].getsockname()


async def ended(writer: Any, server: Any) -> None:
    writer.close()
    try:
        await asyncio.wait_for(writer.wait_closed(), BOUND_S)
    except (OSError, asyncio.TimeoutError):
        pass
    server.close()
    await server.wait_closed()


@differential
async def streams(p: Place) -> Any:
    async def upper(reader: Any, writer: Any) -> None:
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()

    server, where = await serving(p, upper)
    reader, writer = await asyncio.open_connection(*where)
    writer.write(b"one\ntwo\n")
    lines = await reader.readline(), await reader.readexactly(4)
    writer.write_eof()
    rest = await reader.read()
    names = (
        writer.get_extra_info("peername") == where, writer.get_extra_info("sockname")[0],
        writer.get_extra_info("socket").family, writer.can_write_eof(),
        type(writer.get_extra_info("socket")).__name__,
    )  # fmt: skip
    await ended(writer, server)
    return lines, rest, names


@differential
async def streams_to_nobody(p: Place) -> Any:
    return [
        await outcome(asyncio.open_connection(*where))
        for where in ((LOCAL, 1), ("a b", 1), (LOCAL, 70000), (LOCAL, -1), (LOCAL6, 1))
    ]


@differential
async def streams_that_are_reset(p: Place) -> Any:
    def abort(_reader: Any, writer: Any) -> None:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.transport.abort()

    server, where = await serving(p, abort)
    reader, writer = await asyncio.open_connection(*where)
    came = await outcome(reader.read(), 2)
    await ended(writer, server)
    return came


@differential
async def streams_that_end_early(p: Place) -> Any:
    async def short(_reader: Any, writer: Any) -> None:
        writer.write(b"abc")
        writer.close()

    server, where = await serving(p, short)
    reader, writer = await asyncio.open_connection(*where)
    came = await outcome(reader.readexactly(9), 2), reader.at_eof()
    await ended(writer, server)
    return came


@differential
async def a_slow_reader_pauses_a_writer(p: Place) -> Any:
    paused, resume, size = asyncio.Event(), asyncio.Event(), 30_000_000
    got = 0

    async def sip(reader: Any, writer: Any) -> None:
        nonlocal got
        await resume.wait()
        while data := await reader.read(1 << 20):
            got += len(data)
        writer.close()

    server, where = await serving(p, sip)
    reader, writer = await asyncio.open_connection(*where)
    writer.write(bytes(size))
    drains = await outcome(writer.drain(), 0.2)
    paused.set()
    resume.set()
    writer.write_eof()
    await reader.read()
    await ended(writer, server)
    return drains, got == size


@differential
async def streams_in_tls(p: Place) -> Any:
    async def upper(reader: Any, writer: Any) -> None:
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    server, where = await serving(p, upper, ssl=SERVER)
    reader, writer = await asyncio.open_connection(
        *where, ssl=CLIENT, server_hostname="server.test"
    )
    writer.write(b"hello\n")
    line = await reader.readline(), await reader.read()
    version = writer.get_extra_info("ssl_object").version()
    await ended(writer, server)
    return line, version, writer.can_write_eof()


@differential
async def streams_in_tls_that_do_not_trust(p: Place) -> Any:
    async def nothing(_reader: Any, writer: Any) -> None:
        writer.close()

    server, where = await serving(p, nothing, ssl=SERVER)
    came = await outcome(
        asyncio.open_connection(*where, ssl=ssl.create_default_context(), server_hostname="x.test"),
        2,
    )
    server.close()
    await server.wait_closed()
    return came[:2]


class Box(asyncio.Protocol):
    """Keeps what comes."""

    def __init__(self) -> None:
        self.got = b""
        self.events: list[Any] = []
        self.over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        self.got += data

    def eof_received(self) -> bool:
        self.events.append("eof")
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.events.append(("lost", type(error).__name__))
        if not self.over.done():
            self.over.set_result(None)


@differential
async def a_transport_upgraded_to_tls(p: Place) -> Any:
    loop = asyncio.get_running_loop()

    async def upgrade(reader: Any, writer: Any) -> None:
        await reader.readline()
        writer.write(b"go\n")
        await writer.drain()
        transport = await loop.start_tls(
            writer.transport, writer.transport.get_protocol(), SERVER, server_side=True
        )
        writer._transport = transport
        writer.write(await reader.readline())
        await writer.drain()
        transport.close()

    server, where = await serving(p, upgrade)
    reader, writer = await asyncio.open_connection(*where)
    writer.write(b"STARTTLS\n")
    go = await reader.readline()
    transport = await loop.start_tls(
        writer.transport, writer.transport.get_protocol(), CLIENT, server_hostname="server.test"
    )
    writer._transport = transport
    writer.write(b"secret\n")
    line = await reader.readline()
    transport.close()
    server.close()
    await server.wait_closed()
    return go, line


@differential
async def a_transport_of_a_socket(p: Place) -> Any:
    loop = asyncio.get_running_loop()
    near, far = nonblocking_pair(p)
    transport, box = await loop.create_connection(Box, sock=near)
    await loop.sock_sendall(far, b"abc")
    transport.write(b"def")
    got = await loop.sock_recv(far, 9)
    far.close()
    await asyncio.wait_for(box.over, BOUND_S)
    return got, box.got, box.events, transport.is_closing()


@differential
async def a_transport_aborted(p: Place) -> Any:
    loop = asyncio.get_running_loop()
    near, far = nonblocking_pair(p)
    transport, box = await loop.create_connection(Box, sock=near)
    transport.write(b"x" * 100)
    transport.abort()
    await asyncio.wait_for(box.over, BOUND_S)
    return box.events, await outcome(loop.sock_recv(far, 999))


@differential
async def a_transport_whose_peer_resets(p: Place) -> Any:
    loop = asyncio.get_running_loop()
    near, far = nonblocking_pair(p)
    _transport, box = await loop.create_connection(Box, sock=near)
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    far.close()
    await asyncio.wait_for(box.over, BOUND_S)
    return box.events


@differential
async def a_transport_half_closed(p: Place) -> Any:
    loop = asyncio.get_running_loop()
    near, far = nonblocking_pair(p)
    transport, box = await loop.create_connection(Box, sock=near)
    transport.write_eof()
    end = await loop.sock_recv(far, 9)
    await loop.sock_sendall(far, b"late")
    far.close()
    await asyncio.wait_for(box.over, BOUND_S)
    return end, box.got, box.events


@differential
async def a_transport_that_pauses(p: Place) -> Any:
    loop = asyncio.get_running_loop()
    near, far = nonblocking_pair(p)
    transport, box = await loop.create_connection(Box, sock=near)
    transport.pause_reading()
    await loop.sock_sendall(far, b"abc")
    await asyncio.sleep(0.05)
    early = box.got
    transport.resume_reading()
    while not box.got:
        await asyncio.sleep(0.001)
    transport.close()
    await asyncio.wait_for(box.over, BOUND_S)
    return early, box.got


@differential
async def a_transport_sends_a_file(p: Place) -> Any:
    loop = asyncio.get_running_loop()
    near, far = nonblocking_pair(p)
    transport, box = await loop.create_connection(Box, sock=near)
    with tempfile.TemporaryFile() as file:
        file.write(bytes(1000))
        file.flush()
        sent = await outcome(loop.sendfile(transport, file, 100, 500), 2)
    transport.close()
    await asyncio.wait_for(box.over, BOUND_S)
    got = b""
    while data := await loop.sock_recv(far, 999):
        got += data
    return sent, len(got)


class Datagrams(asyncio.DatagramProtocol):
    """Keeps what comes."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[Any] = asyncio.Queue()

    def datagram_received(self, data: bytes, where: Any) -> None:
        self.got.put_nowait((data, where[0]))

    def error_received(self, error: Exception) -> None:
        self.got.put_nowait(type(error).__name__)


@differential
async def datagram_endpoints(p: Place) -> Any:
    loop = asyncio.get_running_loop()
    server, box = await loop.create_datagram_endpoint(Datagrams, local_addr=(LOCAL, 0))
    where = server.get_extra_info("sockname")
    client, _ = await loop.create_datagram_endpoint(Datagrams, remote_addr=where)
    client.sendto(b"abc")
    client.sendto(b"")
    client.sendto(b"def", where)
    got = [await asyncio.wait_for(box.got.get(), BOUND_S) for _ in range(2)]
    peer = client.get_extra_info("peername") == where
    client.close()
    server.close()
    await asyncio.sleep(0)
    return got, peer


@differential
async def a_datagram_endpoint_that_is_refused(p: Place) -> Any:
    loop = asyncio.get_running_loop()
    client, box = await loop.create_datagram_endpoint(Datagrams, remote_addr=(LOCAL, 9))
    client.sendto(b"abc")
    heard = await asyncio.wait_for(box.got.get(), BOUND_S)
    client.close()
    await asyncio.sleep(0)
    return heard


@differential
async def datagram_endpoints_that_can_not_be(p: Place) -> Any:
    loop = asyncio.get_running_loop()
    return [
        await outcome(loop.create_datagram_endpoint(Datagrams, **options))
        for options in (
            {"local_addr": ("192.0.2.1", 0)}, {"local_addr": ("a b", 0)}, {},
            {"local_addr": (LOCAL, 0), "remote_addr": (LOCAL6, 9)},
        )
    ]  # fmt: skip


@differential
async def servers_in_use(p: Place) -> Any:
    server, where = await serving(p, lambda _r, w: w.close())
    again = await outcome(asyncio.start_server(lambda _r, _w: None, *where))
    server.close()
    await server.wait_closed()
    return again[:3], server.is_serving(), server.sockets


@differential
async def a_server_on_both_versions(p: Place) -> Any:
    server = await asyncio.start_server(lambda _r, w: w.close(), [LOCAL, LOCAL6], 0)
    families = sorted(s.family for s in server.sockets)
    for s in server.sockets:
        reader, writer = await asyncio.open_connection(*s.getsockname()[:2])
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
    server.close()
    await server.wait_closed()
    return families


@differential
async def names_in_a_loop(p: Place) -> Any:
    loop = asyncio.get_running_loop()
    return (
        await loop.getaddrinfo(LOCAL, 80, type=socket.SOCK_STREAM),
        await loop.getnameinfo((LOCAL, 80), socket.NI_NUMERICHOST),
        await outcome(loop.getaddrinfo("a b", 80)),
    )
