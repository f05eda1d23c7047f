"""asyncio on a Stack: `Stack.aio`, and the part of `Stack` that leads there.

asyncio is imported when it is first used.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from pystack.sockets import SocketModule

if TYPE_CHECKING:
    import asyncio
    import ssl

    from pystack.dial.plane import Dialing

__all__ = ["StackDialing"]

Self = TypeVar("Self", bound="StackDialing")


class StackDialing:
    """The part of `Stack` for tasks of an asyncio loop."""

    if TYPE_CHECKING:  # Stack has it
        sockets: SocketModule

    @property
    def aio(self) -> Dialing:
        """What asyncio's functions are for the kernel's sockets, for this Stack's."""
        from pystack.dial.plane import Dialing  # noqa: PLC0415

        return Dialing(self)

    async def open_connection(
        self, host: str, port: int, *, limit: int = 1 << 16, **options: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """As `asyncio.open_connection`; see `Dialing.open_connection`."""
        return await self.aio.open_connection(host, port, limit=limit, **options)

    async def start_server(
        self,
        handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any],
        host: str | None = None,
        port: int = 0,
        *,
        limit: int = 1 << 16,
        **options: Any,
    ) -> asyncio.AbstractServer:
        """As `asyncio.start_server`; see `Dialing.start_server`."""
        return await self.aio.start_server(handle, host, port, limit=limit, **options)

    async def create_connection(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str,
        port: int,
        *,
        ssl: ssl.SSLContext | bool | None = None,
        **options: Any,
    ) -> tuple[asyncio.Transport, Any]:
        """As a loop's `create_connection`; see `Dialing.create_connection`."""
        return await self.aio.create_connection(protocol_factory, host, port, ssl=ssl, **options)

    async def create_server(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | None = None,
        port: int = 0,
        **options: Any,
    ) -> asyncio.AbstractServer:
        """As a loop's `create_server`; see `Dialing.create_server`."""
        return await self.aio.create_server(protocol_factory, host, port, **options)

    async def datagram_endpoint(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        local_addr: tuple[str, int] | None = None,
        remote_addr: tuple[str, int] | None = None,
        **options: Any,
    ) -> tuple[asyncio.DatagramTransport, Any]:
        """As a loop's `create_datagram_endpoint`; see `Dialing.datagram_endpoint`."""
        return await self.aio.datagram_endpoint(
            protocol_factory, local_addr, remote_addr, **options
        )

    async def __aenter__(self: Self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aio.close()
