"""The agent of the Host `pytcp`: PyTCP, whose rings get our wire where they would have a TAP.

    python pytcp_agent.py COMMANDS WIRE FOLDER

FOLDER is where PyTCP was put.
"""
# ruff: noqa: D102 - a socket's methods are those of the module `socket`

from __future__ import annotations

import errno
import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pystack.lab.agent.fresh import FreshAgent, main
else:  # run as a program, with this folder first on the path and no package
    from fresh import FreshAgent, main

PING_IDENTIFIER = 0x5053
UNRESOLVED = re.compile(r"\[Errno (\d+)\]")


def part(name: str) -> Any:
    """A module of PyTCP's, which is there once its folder is on the path."""
    return import_module(f"pytcp.{name}")


def address_of(text: str) -> Any:
    """An address as PyTCP has it."""
    if ":" in text:
        return part("lib.ip6_address").Ip6Address(text)
    return part("lib.ip4_address").Ip4Address(text)


def checked(call: Callable[..., Any], *words: Any) -> Any:
    """Calls PyTCP, whose errors have their number in the text alone.

    Raises:
        OSError: With its number.
    """
    try:
        return call(*words)
    except OSError as error:
        found = UNRESOLVED.search(str(error))
        if error.errno is None and found:
            raise OSError(int(found[1]), str(error)) from error
        raise


class PytcpSocket:
    """One of PyTCP's sockets, which wait; this one never does."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._listens = False
        self._connecting: threading.Thread | None = None
        self._failed: OSError | None = None

    def setblocking(self, _flag: bool) -> None:
        """It is none that waits."""

    def bind(self, address: tuple[Any, ...]) -> None:
        checked(self._inner.bind, address[:2])

    def listen(self, _backlog: int) -> None:
        self._listens = True
        checked(self._inner.listen)

    def accept(self) -> tuple[PytcpSocket, Any]:
        if not self._inner._event_tcp_session_established.acquire(blocking=False):
            raise BlockingIOError(errno.EAGAIN, "no connection yet")
        self._inner._event_tcp_session_established.release()
        made, address = self._inner.accept()
        return PytcpSocket(made), address

    def connect(self, address: tuple[Any, ...]) -> None:
        if self._is_datagram:
            checked(self._inner.connect, address[:2])
            return
        if self._connecting is None:
            self._connecting = threading.Thread(target=self._connect, args=(address[:2],))
            self._connecting.daemon = True
            self._connecting.start()
            self._connecting.join(0.01)
            if self._failed is None:
                raise BlockingIOError(errno.EINPROGRESS, "connecting")
        if self._connecting.is_alive():
            raise BlockingIOError(errno.EALREADY, "connecting")
        if self._failed is not None:
            raise self._failed

    def _connect(self, address: tuple[Any, ...]) -> None:
        try:
            checked(self._inner.connect, address)
        except OSError as error:
            self._failed = error

    @property
    def _is_datagram(self) -> bool:
        return int(self._inner.type) == socket.SOCK_DGRAM

    def send(self, data: bytes, _flags: int = 0) -> int:
        return int(checked(self._inner.send, data))

    def sendto(self, data: bytes, address: tuple[Any, ...]) -> int:
        checked(self._inner.sendto, data, address[:2])  # it says 0 while it resolves the address
        return len(data)

    def recv(self, size: int, _flags: int = 0) -> bytes:
        if self._is_datagram:
            return bytes(self._datagram(self._inner.recv)[:size])
        session = self._inner.tcp_session
        if session is None:
            raise OSError(errno.ENOTCONN, "not connected")
        if self._failed is not None:
            raise self._failed
        # What it waits for, and would take.
        if not session._event_rx_buffer.acquire(blocking=False):
            raise BlockingIOError(errno.EAGAIN, "no data yet")
        session._event_rx_buffer.release()
        return bytes(self._inner.recv(size))

    def recvfrom(self, size: int, _flags: int = 0) -> tuple[bytes, Any]:
        if not self._is_datagram:
            return self.recv(size), None
        data, address = self._datagram(self._inner.recvfrom)
        return data[:size], address

    def _datagram(self, call: Callable[..., Any]) -> Any:
        try:
            return checked(lambda: call(timeout=0.001))
        except part("lib.socket").ReceiveTimeout:
            raise BlockingIOError(errno.EAGAIN, "no datagram yet") from None

    def shutdown(self, how: int) -> None:
        """Its `close` is TCP's CLOSE: the other direction goes on."""
        if how == socket.SHUT_RD:
            raise OSError(errno.ENOSYS, "shutdown of the direction that comes in")
        self._inner.close()

    def close(self) -> None:
        if self._is_datagram or self._inner.tcp_session is not None:
            self._inner.close()

    def getsockname(self) -> tuple[str, int]:
        return str(self._inner.local_ip_address), self._inner.local_port

    def getpeername(self) -> tuple[str, int]:
        return str(self._inner.remote_ip_address), self._inner.remote_port

    def getsockopt(self, *_words: int) -> int:
        raise OSError(errno.ENOSYS, "socket options")

    setsockopt = getsockopt

    def fileno(self) -> int:
        raise OSError(errno.ENOSYS, "poll")


class PytcpAgent(FreshAgent):
    """PyTCP."""

    release = "2.7.6"

    def __init__(self, wire: socket.socket, folder: str) -> None:
        super().__init__(wire)
        sys.path.insert(0, folder)
        self._config, self._stack = part("config"), part("lib.stack")
        self._config.LOG_CHANEL = set()

    def begin(self, plan: dict[str, str]) -> None:
        """Its addresses are there at once, without the probes that it would send first."""
        v4, v6 = part("lib.ip4_address"), part("lib.ip6_address")
        stack, handler = self._stack, self._stack.packet_handler
        self._config.TAP_MTU = int(plan["mtu"])
        handler.assign_mac_address(part("lib.mac_address").MacAddress(plan["mac"]))
        host4, host6 = v4.Ip4Host(plan["host4"]), v6.Ip6Host(plan["host6"])
        host4.gateway = v4.Ip4Address(plan["tester4"])
        host6.gateway = v6.Ip6Address(plan["tester_link_local"])  # it takes no other
        handler.ip4_host.append(host4)
        nap, time.sleep = time.sleep, lambda _seconds: None  # each part begins with one
        stack.timer._run_thread = True
        for cache in (stack.arp_cache, stack.nd_cache):
            cache.start()
        for ring in (stack.rx_ring, stack.tx_ring):
            ring.start(self.wire.fileno())
        handler.start()
        handler._assign_ip6_multicast(v6.Ip6Address("ff02::1"))
        link_local = v6.Ip6Network("fe80::/64").eui64(handler.mac_unicast)
        link_local.gateway = None
        handler._assign_ip6_host(link_local)
        handler._assign_ip6_host(host6)
        time.sleep = nap
        stack.timer.start()
        time.sleep(0.05)  # its reports of groups joined are out

    def make(self, family: int, kind: int, protocol: int) -> Any:
        theirs = part("lib.socket")
        if kind not in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            raise OSError(errno.ENOSYS, "raw sockets")
        domain = theirs.AF_INET4 if family == socket.AF_INET else theirs.AF_INET6
        which = theirs.SOCK_STREAM if kind == socket.SOCK_STREAM else theirs.SOCK_DGRAM
        return PytcpSocket(theirs.socket(domain, which))

    def do_ping(self, destination: str, size: str = "56") -> None:
        handler, v6 = self._stack.packet_handler, ":" in destination
        target = address_of(destination)
        send = handler.send_icmp6_packet if v6 else handler.send_icmp4_packet
        send(
            local_ip_address=part("lib.ip_helper").pick_local_ip_address(target),
            remote_ip_address=target,
            type=128 if v6 else 8, ec_id=PING_IDENTIFIER, ec_seq=1, ec_data=bytes(int(size)),
        )  # fmt: skip

    def do_neighbour(
        self, what: str, _port: str = "", address: str = "", mac: str = ""
    ) -> list[str]:
        """Its two caches."""
        caches = (self._stack.arp_cache._arp_cache, self._stack.nd_cache._nd_cache)
        if what == "list":
            return [
                f"{key},{one.mac_address},{'permanent' if one.permanent else 'reachable'}"
                for cache in caches
                for key, one in list(cache.items())
            ]
        if what == "flush":
            for cache in caches:
                cache.clear()
            return []
        v6, key = ":" in address, address_of(address)
        if what == "delete":
            del caches[v6][key]
            return []
        kind = self._stack.nd_cache if v6 else self._stack.arp_cache
        caches[v6][key] = kind.CacheEntry(part("lib.mac_address").MacAddress(mac), True)
        return []


if __name__ == "__main__":
    main(PytcpAgent)
