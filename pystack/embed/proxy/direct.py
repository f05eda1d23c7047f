"""`Direct`: the kernel's own sockets are the upstream."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from pystack.dial.watching import watching
from pystack.embed.proxy.echo import Pinger
from pystack.embed.proxy.rooms import give_room
from pystack.embed.proxy.upstream import Channel, checked_device, connect_kernel

__all__ = ["Direct", "KernelChannel"]

_LARGEST = 65535
_IN_A_ROW = 32  # datagrams that one turn of the loop takes


class KernelChannel:
    """Datagrams over a connected UDP socket of the kernel's, which it owns."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._loop = watching(asyncio.get_running_loop())
        self._received: Callable[[bytes], None] | None = None
        self._failed: Callable[[OSError], None] | None = None

    def fileno(self) -> int:
        """The socket's descriptor; -1 once closed."""
        return self._socket.fileno()

    def set_room(self, size: int) -> None:
        """See `Roomy`."""
        give_room(self._socket, size)

    def hand_over(self, readable: Callable[[], None]) -> None:
        """From now on it is called when there is something to read, and reads that itself."""
        self._loop.add_reader(self._socket.fileno(), readable)

    def send(self, data: bytes) -> None:
        """Sends one; where the kernel has no room it is lost.

        Raises:
            OSError: ECONNREFUSED, an earlier one was; EBADF, it is closed.
        """
        try:
            self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return

    def listen(self, received: Callable[[bytes], None], failed: Callable[[OSError], None]) -> None:
        """See `Channel`."""
        if self._received is None:
            self._loop.add_reader(self._socket.fileno(), self._on_readable)
        self._received, self._failed = received, failed

    def _on_readable(self) -> None:
        for _ in range(_IN_A_ROW):
            try:
                data = self._socket.recv(_LARGEST)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if self._failed is not None:
                    self._failed(error)
                return
            if self._received is not None:
                self._received(data)
            if self._socket.fileno() < 0:  # closed by who received it
                return

    def close(self) -> None:
        """See `Channel`."""
        if self._socket.fileno() >= 0 and self._received is not None:
            self._loop.remove_reader(self._socket.fileno())
        self._received = self._failed = None
        self._socket.close()


class Direct:
    """Flows leave by the kernel, as if this process had opened them.

    Args:
        device: The kernel's device to leave by, whatever its routes say: where the default route
            leads into the Stack's own wire, flows would come back. None: by its routes.

    Raises:
        ValueError: The device is no name of one's.
        OSError: ENODEV, there is none such; EPERM, this user may not choose it; EOPNOTSUPP, this
            system can't (SO_BINDTODEVICE, socket(7)).
    """

    def __init__(self, device: str | None = None) -> None:
        self._device = checked_device(device)
        self._pinger: Pinger | None = None

    async def connect(self, host: str, port: int) -> socket.socket:
        """See `Upstream`."""
        return await connect_kernel(host, port, device=self._device)

    async def datagrams(self, host: str, port: int) -> Channel:
        """See `Upstream`."""
        return KernelChannel(await connect_kernel(host, port, socket.SOCK_DGRAM, self._device))

    async def echo(self, host: str, data: bytes, ttl: int) -> None:
        """See `Upstream`. Needs a ping socket (icmp(7), net.ipv4.ping_group_range) or a raw one.

        Raises:
            OSError: EACCES, this user may open neither.
        """
        if self._pinger is None:
            self._pinger = Pinger(self._device)
        await self._pinger.echo(host, data, ttl)

    async def close(self) -> None:
        """See `Upstream`."""
        if self._pinger is not None:
            self._pinger.close()
            self._pinger = None

    def __repr__(self) -> str:
        return "<Direct>" if self._device is None else f"<Direct by {self._device}>"
