"""A name server on a Stack, as a protocol of an asyncio loop."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pystack

NO_SUCH_NAME = 3


class _Server(asyncio.DatagramProtocol):
    def __init__(self, names: dict[str, list[str]]) -> None:
        self._names = names

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, question: bytes, peer: Any) -> None:
        labels, place = [], 12
        while question[place]:
            end = place + 1 + question[place]
            labels.append(question[place + 1 : end].decode())
            place = end
        kind = int.from_bytes(question[place + 1 : place + 3], "big")
        known = self._names.get(".".join(labels).lower())
        found = [ipaddress.ip_address(one) for one in known or ()]
        answers = [one.packed for one in found if kind == (1 if one.version == 4 else 28)]
        code = NO_SUCH_NAME if known is None else 0
        header = question[:2] + bytes([0x84, code, 0, 1, 0, len(answers), 0, 0, 0, 0])
        record = b"\xc0\x0c" + kind.to_bytes(2, "big") + bytes([0, 1, 0, 0, 0, 60])
        body = b"".join(record + len(one).to_bytes(2, "big") + one for one in answers)
        self._transport.sendto(header + question[12 : place + 5] + body, peer)


@asynccontextmanager
async def name_server(
    net: pystack.Stack, address: str, names: dict[str, list[str]]
) -> AsyncIterator[None]:
    """Answers for these names' addresses, for the block."""
    transport, _protocol = await net.datagram_endpoint(lambda: _Server(names), (address, 53))
    try:
        yield
    finally:
        transport.close()
