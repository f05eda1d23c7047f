"""Where flows go: what an upstream can do, and what several need."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import re
import socket
from collections.abc import Callable
from typing import Any, Protocol

from pystack.nic.device import encoded_name
from pystack.sockets.early import kernel_socket

__all__ = [
    "Channel",
    "Upstream",
    "bind_to_device",
    "checked_device",
    "connect_kernel",
    "read_exactly",
    "spelled",
]


_NAME = re.compile(r"[A-Za-z0-9_.-]{1,255}")


class Channel(Protocol):
    """A way for datagrams to one address and port, and back."""

    def send(self, data: bytes) -> None:
        """Sends one. It may be lost, as any datagram.

        Raises:
            OSError: What the network says of an earlier one: ECONNREFUSED.
        """

    def listen(self, received: Callable[[bytes], None], failed: Callable[[OSError], None]) -> None:
        """From now on each datagram that comes is handed over, and each error."""

    def close(self) -> None:
        """Ends it; may be called again."""


class Upstream(Protocol):
    """Takes flows to where they are for. Errors are `OSError` with the errno that a program sees.

    What one can't carry is EOPNOTSUPP: the source is told that it is prohibited.
    """

    async def connect(self, host: str, port: int) -> socket.socket:
        """A connected stream socket of the kernel's, non-blocking, to an address and port.

        Raises:
            OSError: ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EACCES, as they are told to the
                source; any other is silence.
        """

    async def datagrams(self, host: str, port: int) -> Channel:
        """A way for datagrams."""

    async def echo(self, host: str, data: bytes, ttl: int) -> None:
        """Returns when an echo reply with the same data has come.

        Raises:
            OSError: EHOSTUNREACH and others: what the network said. ETIMEDOUT, ENOBUFS: silence.
        """

    async def close(self) -> None:
        """Gives back what it holds; what is connected goes on."""


def checked_device(device: str | None) -> str | None:
    """The name of a device that flows are to leave by, once it is sure that they can.

    Raises:
        ValueError: It is no name of a device's.
        OSError: ENODEV, there is none such; EPERM, this user may not choose; EOPNOTSUPP, this
            system can't.
    """
    if device is None:
        return None
    if not device or not encoded_name(device):
        raise ValueError(f"device is a name as eth0, or None for the kernel's routes: {device!r}")
    with kernel_socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            bind_to_device(probe, device)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            there = ", ".join(name for _index, name in socket.if_nameindex()) or "none"
            words = f"{os.strerror(errno.ENODEV)}: {device!r}; this machine has {there}"
            raise OSError(errno.ENODEV, words) from None
    return device


def bind_to_device(made: socket.socket, device: str | None) -> None:
    """Has a socket of the kernel's leave by a device; None: by its routes.

    Raises:
        OSError: ENODEV, there is none such; EOPNOTSUPP, this system can't.
    """
    if device is None:
        return
    option = getattr(socket, "SO_BINDTODEVICE", None)
    if option is None:
        raise OSError(errno.EOPNOTSUPP, "this system binds no socket to a device")
    try:
        made.setsockopt(socket.SOL_SOCKET, option, device.encode() + b"\0")
    except OSError as error:
        raise OSError(error.errno, f"the device {device!r}: {error.strerror}") from None


def spelled(host: str, port: int) -> str:
    """An address without its scope, or a name as IDNA puts it (RFC 3490): what a proxy is told.

    Raises:
        OSError: EINVAL, it is neither, or the port is none.
    """
    if not 0 <= port < 65536:
        raise OSError(errno.EINVAL, f"a port is from 0 to 65535, not {port!r}")
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(host.partition("%")[0]))
    try:
        name = host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise OSError(errno.EINVAL, f"{host!r} is no name: {error}") from None
    if not _NAME.fullmatch(name):
        raise OSError(errno.EINVAL, f"{host!r} is no name: 1 to 255 letters, digits, -, _ and dots")
    return name


async def connect_kernel(
    host: str, port: int, kind: int = socket.SOCK_STREAM, device: str | None = None
) -> socket.socket:
    """A socket of the kernel's, connected and non-blocking; a name's addresses are tried in turn.

    Args:
        host: An address, or a name that the system resolves.
        port: The port.
        kind: SOCK_STREAM or SOCK_DGRAM.
        device: The kernel's device to leave by, whatever its routes say (SO_BINDTODEVICE).

    Raises:
        OSError: What connect(2) says, of the last address.
        socket.gaierror: There is no such name.
    """
    loop = asyncio.get_running_loop()
    version = 6 if ":" in host else 4
    where: list[tuple[int, tuple[Any, ...]]] = []
    try:
        socket.inet_pton(socket.AF_INET6 if version == 6 else socket.AF_INET, host)
        where.append((socket.AF_INET6 if version == 6 else socket.AF_INET, (host, port)))
    except OSError:
        try:
            found = await loop.getaddrinfo(host, port, type=kind)
        except ValueError as error:  # among them UnicodeError: no IDNA makes a name of it
            raise socket.gaierror(socket.EAI_NONAME, f"{host!r}: {error}") from None
        where += [(int(one[0]), one[4]) for one in found]
    last: OSError | None = None
    for family, address in where:
        made = kernel_socket(family, kind)
        try:
            made.setblocking(False)
            bind_to_device(made, device)
            if kind == socket.SOCK_STREAM:
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await loop.sock_connect(made, address)
            else:
                made.connect(address)
        except OSError as error:
            made.close()
            last = error
        except BaseException:
            made.close()
            raise
        else:
            return made
    assert last is not None
    raise last


async def read_exactly(connection: socket.socket, size: int) -> bytes:
    """So many bytes.

    Raises:
        ConnectionResetError: The stream ended before.
    """
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < size:
        more = await loop.sock_recv(connection, size - len(data))
        if not more:
            raise ConnectionResetError("the proxy closed the connection")
        data += more
    return data
