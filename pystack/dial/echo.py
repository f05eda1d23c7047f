"""`ping` for tasks: the requests and answers of `pystack.probe`, awaited."""

from __future__ import annotations

import asyncio

from pystack._native.address import Address
from pystack.probe import PingReply, PingResult, Prober, check_ping
from pystack.sockets import Socket, SocketModule

__all__ = ["ping"]


async def _readable(sock: Socket, timeout: float) -> None:
    """Waits until a socket is readable, or not longer than so many seconds."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    fd = sock.fileno()
    loop.add_reader(fd, lambda: None if ready.done() else ready.set_result(None))
    try:
        await asyncio.wait([ready], timeout=timeout)
    finally:
        loop.remove_reader(fd)


async def _probe(prober: Prober, sequence: int, size: int, timeout: float) -> PingReply:
    steps = prober.exchange(sequence, size, timeout)
    try:
        left = next(steps)
        while True:
            await _readable(prober.sock, left)
            left = steps.send(prober.receive())
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def ping(
    sockets: SocketModule,
    destination: Address | str,
    *,
    count: int,
    size: int,
    interval: float,
    timeout: float,
    ttl: int | None,
) -> PingResult:
    """See `pystack.dial.plane.Dialing.ping`."""
    check_ping(count, size, interval, timeout, ttl)
    prober = Prober(sockets, destination)
    replies: list[PingReply] = []
    with prober.sock:
        prober.sock.setblocking(False)
        if ttl is not None:
            prober.set_ttl(ttl)
        for sequence in range(1, count + 1):
            started = prober.now()
            replies.append(await _probe(prober, sequence, size, timeout))
            if sequence < count:
                await asyncio.sleep(max(0.0, started + interval - prober.now()))
    return PingResult(prober.destination, tuple(replies))
