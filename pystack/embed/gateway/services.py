"""What a gateway serves on its own addresses: DHCP, router advertisements, DHCPv6 and DNS."""

from __future__ import annotations

import asyncio
import errno
import random
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any

from pystack._native.address import mac_to_bytes
from pystack.embed.ending import ended
from pystack.embed.gateway import router
from pystack.embed.gateway.dhcp import DhcpServer
from pystack.embed.gateway.dns import DNS_PORT, Forwarder, serve_tcp, serve_udp
from pystack.embed.gateway.plan import Plan
from pystack.errors import StackPanic
from pystack.interface import Interface
from pystack.serving import dhcp6_message
from pystack.serving.dhcp_message import CLIENT_PORT, SERVER_PORT
from pystack.stack import Stack

__all__ = ["Services"]

_AT_ONCE = 8  # so that a flood of messages leaves flows their turn
_LARGEST = 0xFFFF
_ANSWER_WAIT_S = 0.5  # at most, before a solicitation is answered (RFC 4861 6.2.6)
_LEAST_BETWEEN_S = 3.0  # two advertisements to all (6.2.6), once the first few are out
_FIRST_FEW = 3
_BACKLOG = 64


class Services:
    """Sockets on the gateway's Stack, and who answers there.

    Args:
        net: The Stack.
        interface: The guests'.
        plan: The network.
        dhcp: The server; None: none.
        forwarder: The DNS forwarder; None: none.
        search: The domains in which guests look names up.
    """

    def __init__(
        self,
        net: Stack,
        interface: Interface,
        plan: Plan,
        *,
        dhcp: DhcpServer | None,
        forwarder: Forwarder | None,
        search: Sequence[str],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._net, self._interface, self._plan = net, interface, plan
        self._dhcp, self._forwarder, self._search = dhcp, forwarder, search
        self._mac = mac_to_bytes(interface.mac or "02:00:00:00:00:02")
        self._cleanup = ExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._advertise: asyncio.TimerHandle | None = None
        self._advertised = 0
        self._last = float("-inf")

    def open(self) -> None:
        """Begins to serve.

        Raises:
            OSError: What the Stack's sockets raise.
        """
        if self._dhcp is not None and self._interface.mac is not None:
            self._serve_dhcp(self._dhcp)
        if self._plan.network6 is not None and self._interface.mac is not None:
            self._serve_router()
        if self._forwarder is not None:
            self._serve_dns(self._forwarder)

    async def close(self) -> None:
        """Ends it; hosts are told that the router is one no longer (RFC 4861 6.2.5)."""
        if self._advertise is not None:
            self._advertise.cancel()
            self._advertise_now(lifetime_s=0)
        await ended(self._tasks)
        self._cleanup.close()

    def _socket(self, family: int, kind: int, protocol: int = 0) -> Any:
        one = self._net.sockets.socket(family, kind, protocol)
        self._cleanup.callback(one.close)
        one.setblocking(False)
        return one

    def _read(self, one: Any, take: Callable[[bytes, Any], None]) -> None:
        """Has a function called for each of a socket's messages."""

        def read() -> None:
            for _ in range(_AT_ONCE):
                try:
                    message, peer = one.recvfrom(_LARGEST)
                except OSError as error:
                    if error.errno in (errno.EAGAIN, errno.EINTR, errno.EBADF):
                        return
                    continue
                except StackPanic:  # told to whoever uses the Stack; there is nothing to read
                    self._loop.remove_reader(one)
                    return
                take(message, peer)

        self._loop.add_reader(one, read)
        self._cleanup.callback(self._loop.remove_reader, one)

    # --- DHCP ----------------------------------------------------------------------------------

    def _serve_dhcp(self, server: DhcpServer) -> None:
        one = self._socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        one.bind(("0.0.0.0", SERVER_PORT))

        def take(message: bytes, _peer: Any) -> None:
            found = server.datagram(message)
            if found is not None:
                answer, target = found
                to = "255.255.255.255" if target is None else str(target)
                with suppress(OSError, StackPanic):  # the client asks again
                    one.sendto(answer, (to, CLIENT_PORT))

        self._read(one, take)

    # --- IPv6 ----------------------------------------------------------------------------------

    def _join(self, one: Any, group: str) -> None:
        index = struct.pack("@I", self._interface.index)
        packed = socket.inet_pton(socket.AF_INET6, group)
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, packed + index)

    def _serve_router(self) -> None:
        raw = self._socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        self._join(raw, router.ALL_ROUTERS)
        self._raw = raw

        def solicited(message: bytes, _peer: Any) -> None:
            if router.is_solicitation(message):
                self._soon()

        self._read(raw, solicited)
        self._later(0.0)
        server = self._socket(socket.AF_INET6, socket.SOCK_DGRAM)
        server.bind(("::", dhcp6_message.SERVER_PORT))
        self._join(server, dhcp6_message.SERVERS)
        dns = self._plan.dns6
        assert dns is not None

        def asked(message: bytes, peer: Any) -> None:
            reply = router.dhcp6_reply(message, dns, mac=self._mac, search=self._search)
            if reply is not None:
                with suppress(OSError, StackPanic):
                    server.sendto(reply, peer)

        self._read(server, asked)

    def _later(self, seconds: float) -> None:
        if self._advertise is not None:
            self._advertise.cancel()
        self._advertise = self._loop.call_later(seconds, self._advertise_now)

    def _soon(self) -> None:
        """Answers a solicitation; many get one answer, to all."""
        wait = random.uniform(0, _ANSWER_WAIT_S)
        now = self._loop.time()
        due = now + wait
        if self._advertised > _FIRST_FEW:
            due = max(due, self._last + _LEAST_BETWEEN_S)
        if self._advertise is None or self._advertise.when() > due:
            self._later(due - now)

    def _advertise_now(self, lifetime_s: int | None = None) -> None:
        plan = self._plan
        assert plan.network6 is not None
        assert plan.dns6 is not None
        told = {} if lifetime_s is None else {"lifetime_s": lifetime_s}
        to_all = (router.ALL_NODES, 0, 0, self._interface.index)
        # Its address is being checked still, the link is down, or the Stack has failed.
        with suppress(OSError, StackPanic):
            message = router.advertisement(
                plan.network6, plan.dns6, mac=self._mac, mtu=self._interface.mtu,
                search=self._search, **told,
            )  # fmt: skip
            self._raw.sendto(message, to_all)
        if lifetime_s is None:
            self._advertised, self._last = self._advertised + 1, self._loop.time()
            self._later(router.ADVERTISE_S)

    # --- DNS -----------------------------------------------------------------------------------

    def _serve_dns(self, forwarder: Forwarder) -> None:
        for address in (self._plan.dns, self._plan.dns6):
            if address is None:
                continue
            family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
            where = (str(address), DNS_PORT)
            datagrams = self._socket(family, socket.SOCK_DGRAM)
            datagrams.bind(where)
            listener = self._socket(family, socket.SOCK_STREAM)
            listener.bind(where)
            listener.listen(_BACKLOG)
            for serving in (serve_udp(datagrams, forwarder), serve_tcp(listener, forwarder)):
                self._tasks.append(self._loop.create_task(serving))
