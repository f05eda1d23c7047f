"""A server that listens on several sockets: what a loop makes for several addresses at once."""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["Servers"]


class Servers(asyncio.AbstractServer):
    """Several servers as one."""

    def __init__(self) -> None:
        self._each: list[asyncio.Server] = []

    def add(self, server: asyncio.Server) -> None:
        """Takes one more in."""
        self._each.append(server)

    def simplest(self) -> asyncio.AbstractServer:
        """The only one, or all."""
        return self._each[0] if len(self._each) == 1 else self

    @property
    def sockets(self) -> tuple[Any, ...]:
        """Those it listens on."""
        return tuple(sock for one in self._each for sock in one.sockets)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop that serves."""
        return self._each[0].get_loop()

    def is_serving(self) -> bool:
        """Whether it accepts connections."""
        return any(one.is_serving() for one in self._each)

    async def start_serving(self) -> None:
        """Accepts connections from now on."""
        for one in self._each:
            await one.start_serving()

    async def serve_forever(self) -> None:
        """Accepts connections until it is cancelled, and closes then."""
        await asyncio.gather(*(one.serve_forever() for one in self._each))

    def close(self) -> None:
        """Listens no more; connections stay."""
        for one in self._each:
            one.close()

    async def wait_closed(self) -> None:
        """Waits until it is closed, as `asyncio.Server.wait_closed` of this Python."""
        await asyncio.gather(*(one.wait_closed() for one in self._each))
