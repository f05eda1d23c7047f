"""asyncio: what is cancelled, closed or refused under way, and copies of descriptors in a loop."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import trustme
from differential import LOCAL, LOCAL6, Place, said
from in_loops import differential, nonblocking_pair, outcome

AUTHORITY = trustme.CA()
SERVER = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
AUTHORITY.issue_cert("server.test").configure_cert(SERVER)
CLIENT = ssl.create_default_context()
AUTHORITY.configure_trust(CLIENT)
LONG_S = 20


def close(*ends: Any) -> None:
    for one in ends:
        one.close()


@differential
async def a_cancelled_accept_takes_nothing(p: Place) -> Any:
    loop = asyncio.get_running_loop()
    listener = p.listener()
    listener.setblocking(False)
    early = await outcome(loop.sock_accept(listener))
    client = p.socket()
    client.setblocking(False)
    await loop.sock_connect(client, listener.getsockname())
    made, _ = await loop.sock_accept(listener)
    return early, p.keep(made).gettimeout()


@differential
async def a_cancelled_connect_leaves_the_socket(p: Place) -> Any:
    loop = asyncio.get_running_loop()
    one = p.socket()
    one.setblocking(False)
    task = asyncio.ensure_future(loop.sock_connect(one, p.listener().getsockname()))
    await asyncio.sleep(0)
    task.cancel()
    (came,) = await asyncio.gather(task, return_exceptions=True)
    return type(came).__name__ if came else None, one.fileno() > 0


@differential
async def closed_while_it_is_waited_for(p: Place) -> Any:
    loop = asyncio.get_running_loop()
    near, far = nonblocking_pair(p)
    task = asyncio.ensure_future(loop.sock_recv(near, 9))
    await asyncio.sleep(0)
    near.close()
    far.send(b"abc")
    p.settle()
    return await outcome(task)


@differential
async def read_by_a_copy(p: Place) -> Any:
    loop = asyncio.get_running_loop()
    near, far = nonblocking_pair(p)
    copy = p.keep(near.dup())
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    loop.add_reader(copy.fileno(), lambda: heard.put_nowait(copy.recv(9)))
    far.send(b"one")
    first = await heard.get()
    near.close()
    far.send(b"two")
    return first, await heard.get(), loop.remove_reader(copy), loop.remove_reader(copy)


@differential
async def pipes_that_are_sockets(p: Place) -> Any:
    loop = asyncio.get_running_loop()
    near, far = nonblocking_pair(p)
    reader = asyncio.StreamReader()
    reading, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), near)
    writing, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, near.dup())
    await loop.sock_sendall(far, b"through a pipe")
    far.shutdown(socket.SHUT_WR)
    heard = await asyncio.wait_for(reader.read(), LONG_S)
    writing.write(b"and back")
    came = await asyncio.wait_for(loop.sock_recv(far, 99), LONG_S)
    close(reading, writing)
    return heard, came, await outcome(loop.sock_recv(far, 99), LONG_S)


@differential
async def a_group_that_fails_closes_its_connections(p: Place) -> Any:
    del p
    server_ends: asyncio.Queue[Any] = asyncio.Queue()
    server = await asyncio.start_server(lambda *ends: server_ends.put(ends), LOCAL, 0)

    async def client() -> None:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            await reader.read()
        finally:
            writer.close()

    tasks = [asyncio.create_task(client()) for _ in range(3)]
    far = [await server_ends.get() for _ in tasks]
    for task in tasks:
        task.cancel()
    came = await asyncio.gather(*tasks, return_exceptions=True)
    ends = [await asyncio.wait_for(reader.read(), LONG_S) for reader, _writer in far]
    close(server, *(writer for _reader, writer in far))
    await asyncio.sleep(0)
    return [type(one).__name__ for one in came], ends


@differential
async def streams_when_closed(p: Place) -> Any:
    del p
    server_ends: asyncio.Queue[Any] = asyncio.Queue()
    server = await asyncio.start_server(lambda *ends: server_ends.put(ends), LOCAL, 0)
    address = server.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(*address)
    far_reader, far = await server_ends.get()
    writer.write(b"abc")
    writer.close()
    came = [
        await outcome(writer.wait_closed()), writer.is_closing(), await outcome(reader.read()),
        await outcome(far_reader.read()), writer.get_extra_info("socket").fileno(),
    ]  # fmt: skip
    far.close()
    server.close()
    came += [await outcome(server.wait_closed()), server.is_serving(), len(server.sockets)]
    return came, await outcome(asyncio.open_connection(*address))


@differential
async def a_server_whose_task_is_cancelled(p: Place) -> Any:
    del p
    server = await asyncio.start_server(lambda _, w: w.close(), LOCAL, 0, start_serving=False)
    address = server.sockets[0].getsockname()
    task = asyncio.ensure_future(server.serve_forever())
    await asyncio.sleep(0)
    reader, writer = await asyncio.open_connection(*address)
    heard = await reader.read()
    writer.close()
    task.cancel()
    (came,) = await asyncio.gather(task, return_exceptions=True)
    late = await outcome(asyncio.open_connection(*address))
    return heard, type(came).__name__, server.is_serving(), late


@differential
async def servers_that_can_not_be(p: Place) -> Any:
    busy = p.listener()
    outcomes = []
    attempts: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...] = (
        (busy.getsockname(), {}), ((LOCAL, busy.getsockname()[1]), {"reuse_port": True}),
        (("256.1.1.1", 0), {}), (([LOCAL, LOCAL6], 0), {}), ((None, 0), {}), ((LOCAL, -1), {}),
        ((LOCAL, 70000), {}), ((), {}), ((LOCAL, 0), {"sock": busy}), (("192.0.2.1", 0), {}),
        ((LOCAL, "no such service"), {}), ((LOCAL, 0), {"family": socket.AF_INET6}),
        ((LOCAL, 0), {"backlog": 0}), ((), {"sock": p.udp()}),
    )  # fmt: skip
    for arguments, options in attempts:
        try:
            server = await asyncio.start_server(lambda *_: None, *arguments, **options)
        except Exception as error:
            outcomes.append(said(error))
        else:
            outcomes.append(sorted((s.family, s.getsockname()[0]) for s in server.sockets))
            server.close()
    return outcomes


@differential
async def connections_that_can_not_be(p: Place) -> Any:
    listener = p.listener()
    port = listener.getsockname()[1]
    listener.close()
    outcomes = []
    attempts: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...] = (
        ((LOCAL, port), {}), ((LOCAL, port), {"local_addr": (LOCAL, 0)}),
        ((LOCAL, port), {"local_addr": ("192.0.2.1", 0)}),
        ((LOCAL, port), {"local_addr": (LOCAL6, 0)}), ((LOCAL, None), {}), ((None, None), {}),
        ((LOCAL, "x"), {}), ((LOCAL, 70000), {}), ((LOCAL, -3), {}),
        ((LOCAL6, port), {"family": socket.AF_INET}), ((LOCAL.encode(), port), {}),
        ((LOCAL, port), {"sock": p.socket()}), ((), {"sock": p.udp()}),
    )  # fmt: skip
    for arguments, options in attempts:
        try:
            await asyncio.open_connection(*arguments, **options)
        except Exception as error:
            outcomes.append(said(error))
        else:
            outcomes.append(())
    return outcomes


class Halves(asyncio.BufferedProtocol):
    """Receives into a buffer of its own, half of it at a time."""

    def __init__(self) -> None:
        self.buffer, self.heard = bytearray(64), b""
        self.over: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def get_buffer(self, _hint: int) -> memoryview:
        return memoryview(self.buffer)[:32]

    def buffer_updated(self, count: int) -> None:
        self.heard += self.buffer[:count]

    def eof_received(self) -> None:
        self.over.set_result(self.heard)


@differential
async def a_buffered_protocol(p: Place) -> Any:
    loop = asyncio.get_running_loop()
    near, far = nonblocking_pair(p)
    transport, protocol = await loop.create_connection(Halves, sock=near)
    await loop.sock_sendall(far, bytes(range(200)))
    far.close()
    heard = await asyncio.wait_for(protocol.over, LONG_S)
    transport.close()
    return heard


@differential
async def two_loops_one_after_the_other(p: Place) -> Any:
    del p

    async def once() -> bytes:
        server = await asyncio.start_server(lambda _, w: (w.write(b"x"), w.close()), LOCAL, 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        heard = await reader.read()
        writer.close()
        server.close()
        await server.wait_closed()
        return heard

    return await once(), await asyncio.to_thread(asyncio.run, once())


@differential
async def a_socket_that_becomes_tls(p: Place) -> Any:
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(
        lambda _, w: (w.write(b"x" * 300_000), w.close()), LOCAL, 0, ssl=SERVER
    )
    address = server.sockets[0].getsockname()
    one = p.module.socket()
    one.setblocking(False)
    await loop.sock_connect(one, address)
    reader, writer = await asyncio.open_connection(
        sock=one, ssl=CLIENT, server_hostname="server.test"
    )
    heard = len(await asyncio.wait_for(reader.read(), LONG_S))
    close(writer, server)
    return heard, writer.get_extra_info("ssl_object").version()
