"""A DNS forwarder: guests ask the gateway, which asks the machine's resolvers (RFC 5625).

Messages pass as they are, whatever they ask, so that what the resolvers do reaches guests: EDNS,
DNSSEC, types that nobody has heard of. Only the gateway's own names are answered here.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from pystack.embed.ending import ended, in_time
from pystack.errors import StackPanic
from pystack.serving.dns_answer import address_records, make_answer, read_query
from pystack.serving.dns_message import read_labels, wire_name
from pystack.sockets.early import kernel_socket

__all__ = ["DNS_PORT", "Forwarder", "serve_tcp", "serve_udp"]

DNS_PORT = 53

_HEADER = struct.Struct(">6H")
_RESPONSE, _OPCODE, _RECURSION, _AVAILABLE = 0x8000, 0x7800, 0x0100, 0x0080
_FAILED = 2  # SERVFAIL
_TRY_S = 2.0  # that a resolver has for an answer over UDP
_ROUNDS = 2
_CONNECT_S, _ANSWER_S, _IDLE_S = 5.0, 10.0, 10.0  # over TCP; RFC 7766 6.2.3
_MOST_QUESTIONS, _MOST_CONNECTIONS, _AT_ONCE = 512, 64, 32
_PAUSE_S = 0.1
_LARGEST = 0xFFFF


def _at(server: str, port: int) -> tuple[int, Any]:
    """The family and the address of a resolver, as a socket takes it.

    Raises:
        ValueError: It is no address.
    """
    try:
        found = socket.getaddrinfo(
            server, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
        )
    except socket.gaierror:
        raise ValueError(f"name server {server!r} is not an IP address") from None
    return int(found[0][0]), found[0][4]


class Forwarder:
    """What is known here, and who is asked for the rest.

    Args:
        servers: The resolvers, numeric, in the order in which they are asked.
        names: The gateway's own names, each with its addresses.
        port: The resolvers'.

    Raises:
        ValueError: A server that is no address; a name that is none.
    """

    def __init__(
        self,
        servers: Sequence[str],
        names: Mapping[str, Sequence[IPv4Address | IPv6Address | str]],
        *,
        port: int = DNS_PORT,
    ) -> None:
        self._servers = [_at(one, port) for one in servers]
        self._names = {
            wire_name(name): [ip_address(one).packed for one in addresses]
            for name, addresses in names.items()
        }

    def own(self, query: bytes) -> bytes | None:
        """The answer to a question about a name of the gateway's; None: it's about another."""
        asked = read_query(query)
        addresses = None if asked is None else self._names.get(asked.name)
        if asked is None or addresses is None:
            return None
        return make_answer(asked, address_records(addresses, asked.kind))

    @staticmethod
    def failure(query: bytes) -> bytes:
        """Says that nobody has answered (SERVFAIL)."""
        flags = int.from_bytes(query[2:4], "big") & (_OPCODE | _RECURSION)
        try:
            _, place = read_labels(query, _HEADER.size)
            question = query[_HEADER.size : place + 4]
        except ValueError:
            question = b""
        counts = (1 if question else 0, 0, 0, 0)
        said = _RESPONSE | flags | _AVAILABLE | _FAILED
        return query[:2] + struct.pack(">5H", said, *counts) + question

    async def ask(self, query: bytes) -> bytes:
        """The answer to a question, over UDP; a failure if no resolver gives one."""
        for _ in range(_ROUNDS):
            for family, address in self._servers:
                with suppress(OSError, asyncio.TimeoutError):
                    return await in_time(_exchange(family, address, query), _TRY_S)
        return self.failure(query)

    async def connect(self) -> socket.socket | None:
        """A connection to the first resolver that takes one; None: none does."""
        loop = asyncio.get_running_loop()
        for family, address in self._servers:
            connection = kernel_socket(family, socket.SOCK_STREAM)
            try:
                connection.setblocking(False)
                result = connection.connect_ex(address)
                if result == errno.EINPROGRESS:
                    await in_time(_writable(loop, connection), _CONNECT_S)
                    result = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if result == 0:
                    return connection
            except (OSError, asyncio.TimeoutError):
                pass
            except BaseException:
                connection.close()
                raise
            connection.close()
        return None


async def _writable(loop: asyncio.AbstractEventLoop, one: socket.socket) -> None:
    ready = asyncio.Event()
    loop.add_writer(one, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(one)


async def _exchange(family: int, address: Any, query: bytes) -> bytes:
    """A question and its answer, from a port that nobody can guess (RFC 5452 9.2)."""
    loop = asyncio.get_running_loop()
    with kernel_socket(family, socket.SOCK_DGRAM) as one:
        one.setblocking(False)
        one.connect(address)
        one.send(query)
        while True:
            answer = await loop.sock_recv(one, _LARGEST)
            if answer[:2] == query[:2] and len(answer) >= _HEADER.size and answer[2] & 0x80:
                return answer


def _is_question(message: bytes) -> bool:
    return len(message) > _HEADER.size and not message[2] & 0x80


async def serve_udp(server: Any, forwarder: Forwarder) -> None:
    """Answers what comes to a datagram socket of a Stack's, until it is cancelled."""
    loop = asyncio.get_running_loop()
    asking: set[asyncio.Task[None]] = set()

    async def pass_on(query: bytes, guest: Any) -> None:
        answer = await forwarder.ask(query)
        # Its neighbour has gone: it asks again, or doesn't. Or the Stack has failed.
        with suppress(OSError, StackPanic):
            server.sendto(answer, guest)

    def read() -> None:
        for _ in range(_AT_ONCE):
            try:
                query, guest = server.recvfrom(_LARGEST)
            except OSError:
                return
            except StackPanic:  # told to whoever uses the Stack; there is nothing to read
                loop.remove_reader(server)
                return
            if not _is_question(query):
                continue
            answer = forwarder.own(query)
            if answer is None and len(asking) < _MOST_QUESTIONS:
                task = loop.create_task(pass_on(query, guest))
                asking.add(task)
                task.add_done_callback(asking.discard)
                continue
            with suppress(OSError, StackPanic):
                server.sendto(answer or forwarder.failure(query), guest)

    server.setblocking(False)
    loop.add_reader(server, read)
    try:
        await loop.create_future()
    finally:
        loop.remove_reader(server)
        await ended(asking)


async def _exactly(stream: Any, size: int) -> bytes:
    """So many bytes of a stream's.

    Raises:
        EOFError: It has ended.
    """
    loop = asyncio.get_running_loop()
    parts = b""
    while len(parts) < size:
        part = await loop.sock_recv(stream, size - len(parts))
        if not part:
            raise EOFError
        parts += part
    return parts


async def _message(stream: Any) -> bytes:
    """A message behind its length (RFC 1035 4.2.2)."""
    return await _exactly(stream, int.from_bytes(await _exactly(stream, 2), "big"))


async def _ask_over(resolver: socket.socket, query: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(resolver, len(query).to_bytes(2, "big") + query)
    return await _message(resolver)


async def _serve_connection(guest: Any, forwarder: Forwarder) -> None:
    loop = asyncio.get_running_loop()
    resolver: socket.socket | None = None
    guest.setblocking(False)
    try:
        while True:
            query = await in_time(_message(guest), _IDLE_S)
            if not _is_question(query):
                return
            answer = forwarder.own(query)
            for _ in range(2):  # a resolver closes what has been idle, just as it is asked
                if answer is not None:
                    break
                resolver = resolver or await forwarder.connect()
                if resolver is None:
                    break
                try:
                    answer = await in_time(_ask_over(resolver, query), _ANSWER_S)
                except (OSError, EOFError, asyncio.TimeoutError):
                    resolver.close()
                    resolver = None
            answer = answer or forwarder.failure(query)
            data = len(answer).to_bytes(2, "big") + answer
            await in_time(loop.sock_sendall(guest, data), _IDLE_S)
    except (OSError, EOFError, asyncio.TimeoutError, StackPanic):
        pass
    finally:
        guest.close()
        if resolver is not None:
            resolver.close()


async def serve_tcp(listener: Any, forwarder: Forwarder) -> None:
    """Answers what comes over connections to a listener of a Stack's, until it is cancelled."""
    loop = asyncio.get_running_loop()
    serving: set[asyncio.Task[None]] = set()
    listener.setblocking(False)
    try:
        while True:
            try:
                guest, _ = await loop.sock_accept(listener)
            except StackPanic:
                return
            except OSError as error:
                if error.errno == errno.EBADF:
                    return
                await asyncio.sleep(_PAUSE_S)  # descriptors or memory are used up
                continue
            if len(serving) >= _MOST_CONNECTIONS:
                guest.close()
                continue
            task = loop.create_task(_serve_connection(guest, forwarder))
            serving.add(task)
            task.add_done_callback(serving.discard)
    finally:
        await ended(serving)
