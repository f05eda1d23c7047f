"""Whether a proxy's flows come back to it: the kernel routes what leaves into the wire itself.

The kernel is asked by hand: pyroute2's calls can't be made inside a loop that runs.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

__all__ = ["Circles", "device_towards"]

_RTM_NEWROUTE, _RTM_GETROUTE, _NLM_F_REQUEST = 24, 26, 1
_RTA_DST, _RTA_OIF = 1, 4
_HEADER, _ROUTE = struct.Struct("=IHHII"), struct.Struct("=8BI")
_ATTRIBUTE = struct.Struct("=HH")
# Looks in a second: destinations have routes of their own, which may come while it runs, so that no
# number of flows that leave well says so of the next. A flow in a circle comes again and again.
_LOOKS = 16


def device_towards(address: str) -> str | None:
    """The device by which the kernel sends to an address (rtnetlink(7)); None: it can't be told."""
    one = ipaddress.ip_address(address.partition("%")[0])
    family = socket.AF_INET if one.version == 4 else socket.AF_INET6
    body = _ROUTE.pack(family, one.max_prefixlen, *bytes(7))
    body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(one.packed), _RTA_DST) + one.packed
    head = _HEADER.pack(_HEADER.size + len(body), _RTM_GETROUTE, _NLM_F_REQUEST, 1, 0)
    with contextlib.suppress(AttributeError, OSError):  # not Linux, or not allowed
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
            kernel.sendto(head + body, (0, 0))
            answer = kernel.recv(65536)
        if _HEADER.unpack_from(answer)[1] == _RTM_NEWROUTE:
            return _device_in(answer)
    return None


def _device_in(answer: bytes) -> str | None:
    place = _HEADER.size + _ROUTE.size
    while place + _ATTRIBUTE.size <= len(answer):
        length, kind = _ATTRIBUTE.unpack_from(answer, place)
        if kind == _RTA_OIF:
            index = answer[place + _ATTRIBUTE.size : place + length]
            return socket.if_indextoname(int.from_bytes(index, sys.byteorder))
        place += max(_ATTRIBUTE.size, (length + 3) & ~3)
    return None


class Circles:
    """Maps flows to their destinations, and says once if they would come back.

    Args:
        wire: The device that the Stack is on.
        proxy: The address of the proxy that flows leave by; None: they leave directly.
        say: Takes the words.
    """

    def __init__(self, wire: str, proxy: str | None, say: Callable[[str], None]) -> None:
        self._wire, self._proxy, self._say = wire, proxy, say
        self._looks, self._since, self._has_said = _LOOKS, time.monotonic(), False
        if proxy is not None:
            self._look(proxy)

    def __call__(self, flow: Any) -> tuple[str, int]:
        """Where a flow is for."""
        host, port = flow.destination[:2]
        if not self._has_said and self._may_look():
            self._look(self._proxy or host)
        return host, port

    def _may_look(self) -> bool:
        now = time.monotonic()
        if now >= self._since + 1:
            self._looks, self._since = _LOOKS, now
        self._looks -= 1
        return self._looks >= 0

    def _look(self, address: str) -> None:
        if device_towards(address) == self._wire:
            self._has_said = True
            self._say(
                f"the kernel sends to {address} by {self._wire}, which is the wire itself: flows "
                "go in circles. Name the device that they are to leave by: --device"
            )
