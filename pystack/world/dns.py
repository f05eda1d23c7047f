"""A name server in a World: the names of its hosts by DNS (RFC 1035), over its links."""

from __future__ import annotations

import contextlib
import functools
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, Protocol

from pystack.serving.dns_answer import NO_SUCH_NAME, address_records, make_answer, read_query
from pystack.serving.dns_message import ANY, PTR, reverse_name, wire_name
from pystack.world.names import NamesFile

__all__ = ["NameServer", "answer", "serve_datagrams", "serve_streams"]

_PORT = 53
_LARGEST = 0xFFFF
_IDLE_S = 10.0  # that a connection may wait for its next question (RFC 7766 6.2.3)
_RECEIVED = {  # by which of our addresses a datagram has come: the answer leaves by it
    (socket.IPPROTO_IP, getattr(socket, "IP_PKTINFO", 8)),
    (socket.IPPROTO_IPV6, getattr(socket, "IPV6_PKTINFO", 50)),
}


class NameServer(Protocol):
    """The host that is one."""

    def socket(self, family: Any, type: Any) -> Any:
        """A socket on it."""
        ...

    def thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Starts a thread on it."""
        ...


def _known(names: NamesFile) -> tuple[dict[bytes, list[bytes]], dict[bytes, bytes]]:
    """The addresses of each name of a hosts file, and the name of each address."""
    addresses: dict[bytes, list[bytes]] = {}
    reverse: dict[bytes, bytes] = {}
    for line in names.read_text().splitlines():
        address, name = line.split()
        packed, wire = ip_address(address).packed, wire_name(name)
        addresses.setdefault(wire, []).append(packed)
        reverse.setdefault(reverse_name(packed).lower(), wire)
    return addresses, reverse


def answer(names: NamesFile, message: bytes, *, datagram: bool) -> bytes | None:
    """The answer to a message; None: it is no query, and gets none.

    Args:
        names: The World's hosts file, read anew, since hosts and links may come at any time.
        message: What was asked.
        datagram: Whether the answer has only the room that the asker has for one.
    """
    query = read_query(message)
    if query is None:
        return None
    addresses, reverse = _known(names)
    records: list[tuple[int, bytes]] = []
    if query.name in addresses:
        records = address_records(addresses[query.name], query.kind)
    elif query.name in reverse:
        records = [(PTR, reverse[query.name])] if query.kind in (PTR, ANY) else []
    exists = query.name in addresses or query.name in reverse
    room = query.room if datagram else _LARGEST
    return make_answer(query, records, code=0 if exists else NO_SUCH_NAME, room=room)


def serve_datagrams(host: NameServer, names: NamesFile) -> None:
    """Answers over UDP, of both families, until the host ends."""
    with host.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(socket.IPPROTO_IPV6, getattr(socket, "IPV6_RECVPKTINFO", 49), 1)
        sock.bind(("::", _PORT))
        while True:
            message, received, _flags, peer = sock.recvmsg(_LARGEST, 256)
            said = answer(names, message, datagram=True)
            source = [one for one in received if one[:2] in _RECEIVED]
            if said is not None:
                with contextlib.suppress(OSError):  # an asker that is gone
                    sock.sendmsg([said], source, 0, peer)


def serve_streams(host: NameServer, names: NamesFile) -> None:
    """Answers over TCP, of both families, until the host ends; each connection has a thread."""
    with host.socket(socket.AF_INET6, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("::", _PORT))
        listener.listen()
        while True:
            one, _peer = listener.accept()
            host.thread(functools.partial(_converse, names), one)


def _converse(names: NamesFile, one: Any) -> None:
    with contextlib.suppress(OSError), one, one.makefile("rb") as asked:
        one.settimeout(_IDLE_S)
        while len(size := asked.read(2)) == 2:
            said = answer(names, asked.read(int.from_bytes(size, "big")), datagram=False)
            if said is None:
                return
            one.sendall(len(said).to_bytes(2, "big") + said)
