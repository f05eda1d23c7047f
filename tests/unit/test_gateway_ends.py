"""A gateway whose engine fails, that is cancelled, or that another thread speaks to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import pytest

import pystack
from pystack.embed.gateway import Gateway

PATIENCE_S = 20.0


@asynccontextmanager
async def entered(**options: Any) -> AsyncIterator[tuple[Gateway, pystack.Stack, list[Any]]]:
    """A gateway on the running loop, its guest, and what the loop's handler is told."""
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, what: told.append(what))
    ours, theirs = pystack.nic.wire()
    with pystack.Stack() as guest:
        guest.attach(theirs, "10.0.2.100/24", gateway="10.0.2.2")
        async with Gateway(ours, nameservers=(), subnet6=None, **options) as gateway:
            yield gateway, guest, told


async def some_turns() -> None:
    """So many that whatever is readable has been found so."""
    for _ in range(50):
        await asyncio.sleep(0)


def datagrams(sockets: Any, cleanup: ExitStack, *at: Any) -> Any:
    """A datagram socket of the kernel's or a Stack's, bound if there is an address."""
    one = cleanup.enter_context(sockets.socket(socket.AF_INET, socket.SOCK_DGRAM))
    one.settimeout(PATIENCE_S)
    if at:
        one.bind(at)
    return one


def test_an_engine_that_fails_ends_what_it_carried() -> None:
    async def main() -> None:
        async with entered() as (gateway, guest, told):
            with ExitStack() as cleanup:
                await fail(gateway, guest, cleanup)
                await some_turns()
        # Once, by the task that takes new flows.
        assert [one["message"][:30] for one in told] == ["the gateway takes no new flows"]

    async def fail(gateway: Gateway, guest: pystack.Stack, cleanup: ExitStack) -> None:
        away = asyncio.to_thread
        # A flow of a published port's, whose far side is the Stack's.
        published = gateway.publish("127.0.0.1:0:5353/udp")
        inside = datagrams(guest.sockets, cleanup, "0.0.0.0", 5353)
        near = datagrams(socket, cleanup)
        near.sendto(b"x", ("127.0.0.1", published.forward.port))
        await away(inside.recvfrom, 10)
        # One of an offered port's, whose listener is.
        outside = datagrams(socket, cleanup, "127.0.0.1", 0)
        gateway.offer(9, "127.0.0.1", outside.getsockname()[1], "udp")
        inside.sendto(b"x", ("10.0.2.2", 9))
        _, flow = await away(outside.recvfrom, 10)
        at = ("127.0.0.1", gateway.publish("127.0.0.1:0:80").forward.port)
        gateway.offer(80, "127.0.0.1", 1)

        assert gateway.net is not None
        with pytest.raises(pystack.StackPanic):
            gateway.net.fail("on purpose")
        await some_turns()
        near.sendto(b"again", ("127.0.0.1", published.forward.port))
        outside.sendto(b"an answer", flow)
        with pytest.raises(ConnectionResetError):  # as it connects, or once it has
            one = cleanup.enter_context(await away(socket.create_connection, at, PATIENCE_S))
            await away(one.recv, 10)

    asyncio.run(main())
