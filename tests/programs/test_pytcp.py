"""PyPI's pmd-pytcp and a Stack exchange IPv6 packets, as in pymobiledevice3's tunnel."""

from __future__ import annotations

import asyncio
import hashlib
import os
from typing import Any

import pytest
from pytcp_tunnel import pytcp_tunnel

import pystack
from pystack.nic import Async

pytest.importorskip("pmd_pytcp")
# Its sockets leave tasks and warnings behind that are not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:.*:ResourceWarning")

OURS, THEIRS, MTU = "fd00::1", "fd00::2", 16000
DATA = os.urandom(2 << 20)


async def between(work: Any) -> None:
    """Both, joined by queues of packets, for `work(net, their module socket)`."""
    out, back = asyncio.Queue[bytes](64), asyncio.Queue[bytes](64)
    async with pystack.Stack() as net:
        net.attach(Async(back.get, out.put, MTU), f"{OURS}/64")
        async with pytcp_tunnel(out.get, back.put, THEIRS, OURS, MTU) as theirs:
            await asyncio.wait_for(work(net, theirs), 60)
            net.close(abrupt=True)


async def whole(sock: Any, size: int) -> bytes:
    got = bytearray()
    while len(got) < size and (part := await sock.recv(1 << 16)):
        got += part
    return bytes(got)


def test_it_connects_to_a_stack_and_each_sends_what_the_other_gets() -> None:
    async def work(net: pystack.Stack, theirs: Any) -> None:
        async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            got = await reader.readexactly(len(DATA))
            writer.write(hashlib.sha256(got).digest() + DATA)
            await writer.drain()
            writer.close()

        server = await net.start_server(exchange, OURS, 1000)
        sock = theirs.socket(theirs.AF_INET6, theirs.SOCK_STREAM)
        await sock.connect((OURS, 1000))
        for begin in range(0, len(DATA), 1 << 16):
            await sock.send(DATA[begin : begin + (1 << 16)])
        answer = await whole(sock, 32 + len(DATA))
        assert answer[:32] == hashlib.sha256(DATA).digest()
        assert answer[32:] == DATA
        sock.close()
        server.close()

    asyncio.run(between(work))


def test_a_stack_connects_to_it_and_pings_it() -> None:
    async def work(net: pystack.Stack, theirs: Any) -> None:
        listener = theirs.socket(theirs.AF_INET6, theirs.SOCK_STREAM)
        listener.bind((THEIRS, 2000))
        listener.listen(backlog=4)

        async def shout() -> None:
            sock, _peer = await listener.accept()
            await sock.send((await sock.recv(100)).upper())
            sock.close()

        shouting = asyncio.ensure_future(shout())
        reader, writer = await net.open_connection(THEIRS, 2000)
        writer.write(b"hello")
        assert await reader.read() == b"HELLO"
        writer.close()
        await shouting
        assert (await net.aio.ping(THEIRS, count=3, interval=0)).received == 3

    asyncio.run(between(work))
