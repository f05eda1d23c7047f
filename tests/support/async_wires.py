"""Wires that an asyncio loop carries, and Stacks at their ends."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

import pystack
from pystack.nic import Async

LEFT, RIGHT = "10.0.0.1", "10.0.0.2"
DATA = os.urandom(3 << 20)
# A task that is cancelled leaves its streams to the garbage collector.
unclosed = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """In a loop of its own, whose exception handler has nothing to say."""

    async def watched() -> Any:
        loop, told = asyncio.get_running_loop(), []
        loop.set_exception_handler(lambda _loop, context: told.append(context))
        result = await asyncio.wait_for(work, 60)
        gc.collect()
        await asyncio.sleep(0)
        assert not told
        return result

    try:
        return asyncio.run(watched())
    finally:
        gc.collect()  # what is left unclosed is this test's, not the next one's


async def by_streams() -> tuple[Any, Any]:
    """Two reader and writer pairs: the ends of a stream."""
    first, second = [await asyncio.open_connection(sock=one) for one in socket.socketpair()]
    return first, second


async def by_queues() -> tuple[Any, Any]:
    """The same as functions, of which each gives or takes one frame."""
    queues = asyncio.Queue[bytes](8), asyncio.Queue[bytes](8)
    return (queues[0].get, queues[1].put), (queues[1].get, queues[0].put)


@asynccontextmanager
async def joined(
    ways: Callable[[], Any] = by_streams, **options: Any
) -> AsyncIterator[tuple[pystack.Stack, pystack.Stack, Async, Async]]:
    """Two Stacks with a loop between them."""
    (near, far), made = await ways(), []
    try:
        async with pystack.Stack() as left, pystack.Stack() as right:
            for net, way, address in ((left, near, LEFT), (right, far, RIGHT)):
                made.append(Async(*way, **options))
                net.linger = 0.5  # for those whose peer has been cancelled
                net.attach(made[-1], f"{address}/24", f"fd00::{address[-1]}/64")
            yield left, right, *made
    finally:
        for one in made:
            one.close()
            await one.wait_closed()
    assert left.arena.live_blocks == right.arena.live_blocks == 0
    assert len(asyncio.all_tasks()) <= 2  # the test, and what watches it


async def fetched(net: pystack.Stack, port: int, host: str = RIGHT) -> bytes:
    reader, writer = await net.open_connection(host, port)
    data = await reader.read()
    writer.close()
    await writer.wait_closed()
    return data


async def giving(net: pystack.Stack, data: bytes) -> Any:
    """A server that sends this to each client."""

    async def give(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    return await net.start_server(give, RIGHT, 80)
