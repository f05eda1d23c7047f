"""Echo requests by the kernel: by its ping sockets (icmp(7)), else by raw ones.

One socket a family serves all requests: the kernel's ping socket has one identifier, so they are
told apart by sequence number and destination.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import sys

from pystack.dial.watching import watching
from pystack.embed.ending import in_time
from pystack.embed.proxy.upstream import bind_to_device
from pystack.serving.frame import checksum
from pystack.sockets.early import kernel_socket

__all__ = ["Pinger"]

_HEADER = struct.Struct("!BBHHH")
_ERROR = struct.Struct("=IBBBB")  # the beginning of struct sock_extended_err
_WAIT = 5.0
_MOST = 4096  # requests under way, of one family
_IN_A_ROW = 64


def _constant(name: str, value: int) -> int:
    return int(getattr(socket, name, value))


class _Family:
    """The socket of one family."""

    def __init__(self, version: int, device: str | None) -> None:
        self.version = version
        self.loop = asyncio.get_running_loop()
        self.watching = watching(self.loop)
        self.family = socket.AF_INET if version == 4 else socket.AF_INET6
        protocol = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
        self.request, self.reply = (8, 0) if version == 4 else (128, 129)
        self.is_raw = False
        try:
            self.socket = kernel_socket(self.family, socket.SOCK_DGRAM, protocol)
        except PermissionError:
            try:
                self.socket = kernel_socket(self.family, socket.SOCK_RAW, protocol)
            except PermissionError:
                raise PermissionError(
                    errno.EACCES,
                    "this user may send no echo requests: put its group into"
                    " net.ipv4.ping_group_range, or give it CAP_NET_RAW",
                ) from None
            self.is_raw = True
        self.socket.setblocking(False)
        try:
            bind_to_device(self.socket, device)
        except OSError:
            self.socket.close()
            raise
        if sys.platform.startswith("linux"):
            level, name = (
                (socket.IPPROTO_IP, _constant("IP_RECVERR", 11))
                if version == 4
                else (socket.IPPROTO_IPV6, _constant("IPV6_RECVERR", 25))
            )
            self.socket.setsockopt(level, name, 1)
        self.identifier = os.getpid() & 0xFFFF  # a raw socket's; a ping socket has its own
        self.last = 0
        self.waiting: dict[tuple[str, int], asyncio.Future[None]] = {}
        self.watching.add_reader(self.socket.fileno(), self.on_readable)

    async def echo(self, host: str, data: bytes, ttl: int) -> None:
        if len(self.waiting) >= _MOST:
            raise OSError(errno.ENOBUFS, f"{_MOST} echo requests are under way already")
        self.last = (self.last + 1) & 0xFFFF
        key = (host, self.last)
        if key in self.waiting:
            raise OSError(errno.ENOBUFS, f"65536 echo requests to {host} are under way")
        packet = _HEADER.pack(self.request, 0, 0, self.identifier, self.last) + data
        if self.is_raw and self.version == 4:
            packet = packet[:2] + struct.pack("!H", checksum(packet)) + packet[4:]
        future = self.waiting[key] = self.loop.create_future()
        try:
            level, name = (
                (socket.IPPROTO_IP, socket.IP_TTL)
                if self.version == 4
                else (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)
            )
            self.socket.setsockopt(level, name, ttl)
            self.socket.sendto(packet, (host, 0))
            await in_time(future, _WAIT)
        except asyncio.TimeoutError:
            raise TimeoutError(errno.ETIMEDOUT, f"no reply from {host}") from None
        finally:
            del self.waiting[key]

    def on_readable(self) -> None:
        for _ in range(_IN_A_ROW):
            try:
                data, sender = self.socket.recvfrom(65535)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self.read_errors()
                continue
            if self.is_raw and self.version == 4:
                data = data[(data[0] & 15) * 4 :]
            if len(data) < _HEADER.size:
                continue
            kind, _code, _sum, identifier, sequence = _HEADER.unpack_from(data)
            if kind == self.reply and (not self.is_raw or identifier == self.identifier):
                self.settle((str(sender[0]).partition("%")[0], sequence), None)

    def read_errors(self) -> None:
        """Takes what the network said of our requests from the socket's queue (IP_RECVERR)."""
        flag = _constant("MSG_ERRQUEUE", 0x2000)
        for _ in range(_IN_A_ROW):
            try:
                data, ancillary, _flags, about = self.socket.recvmsg(2048, 512, flag)
            except OSError:
                return
            for _level, _name, value in ancillary:
                if len(value) < _ERROR.size or len(data) < _HEADER.size:
                    continue
                code = _ERROR.unpack_from(value)[0]
                sequence = _HEADER.unpack_from(data)[4]
                host = str(about[0]).partition("%")[0]
                self.settle((host, sequence), OSError(code, os.strerror(code)))

    def settle(self, key: tuple[str, int], error: OSError | None) -> None:
        future = self.waiting.get(key)
        if future is None or future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def close(self) -> None:
        if self.socket.fileno() >= 0:
            self.watching.remove_reader(self.socket.fileno())
            self.socket.close()
        for future in self.waiting.values():
            if not future.done():
                future.set_exception(OSError(errno.ECANCELED, "the upstream was closed"))


class Pinger:
    """Sends echo requests and waits for their replies. Needs a running loop.

    Args:
        device: See `Direct`.
    """

    def __init__(self, device: str | None = None) -> None:
        self._device = device
        self._families: dict[int, _Family] = {}

    async def echo(self, host: str, data: bytes, ttl: int) -> None:
        """Returns when the reply has come; see `Upstream.echo`."""
        version = 6 if ":" in host else 4
        if version not in self._families:
            self._families[version] = _Family(version, self._device)
        await self._families[version].echo(host, data, ttl)

    def close(self) -> None:
        """Closes the sockets; requests under way fail with ECANCELED."""
        while self._families:
            self._families.popitem()[1].close()
