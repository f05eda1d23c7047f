"""Options that change nothing a Stack does, and are taken and read back as Linux has them.

They are about what a Stack doesn't have (interrupts to poll for, queueing disciplines, security
labels, packet marks that a rule would look at), or about other kinds of socket. None
needs a privilege: the Stack's owner owns its network.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pystack.sockets.descriptors import OpenSocket

__all__ = ["get", "keep"]

IP, IPV6, SOL = int(socket.IPPROTO_IP), int(socket.IPPROTO_IPV6), int(socket.SOL_SOCKET)
TCP = int(socket.IPPROTO_TCP)
STREAM, DATAGRAM, RAW = int(socket.SOCK_STREAM), int(socket.SOCK_DGRAM), int(socket.SOCK_RAW)
ALL = (STREAM, DATAGRAM, RAW)


def _flag(value: int) -> int:
    return int(value != 0)


def _any(value: int) -> int:
    return value


def _from_zero(value: int) -> int:
    if value < 0:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return value


def _zero_or_one(value: int) -> int:
    if value not in (0, 1):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return value


def _never(code: int) -> Callable[[int], int]:
    def refuse(_value: int) -> int:
        raise OSError(code, os.strerror(code))

    return refuse


class _Kept(NamedTuple):
    initial: int
    take: Callable[[int], int]
    kinds: tuple[int, ...] = ALL


_UNKNOWN = _never(errno.ENOPROTOOPT)
_INVALID = _never(errno.EINVAL)

# The numbers are Linux's (asm-generic/socket.h, linux/in.h, linux/in6.h).
_TABLE: dict[tuple[int, int], list[_Kept]] = {
    (SOL, 1): [_Kept(0, _flag)],  # SO_DEBUG
    (SOL, 19): [_Kept(1, _UNKNOWN)],  # SO_SNDLOWAT
    (SOL, 36): [_Kept(0, _any)],  # SO_MARK
    (SOL, 41): [_Kept(0, _flag)],  # SO_WIFI_STATUS
    (SOL, 43): [_Kept(0, _flag)],  # SO_NOFCS
    (SOL, 46): [_Kept(0, _from_zero)],  # SO_BUSY_POLL
    (SOL, 49): [_Kept(-1, _any)],  # SO_INCOMING_CPU
    (SOL, 56): [_Kept(0, _UNKNOWN)],  # SO_INCOMING_NAPI_ID
    (SOL, 69): [_Kept(0, _flag)],  # SO_PREFER_BUSY_POLL
    (IP, 3): [_Kept(0, _UNKNOWN, (STREAM, DATAGRAM))],  # IP_HDRINCL
    (IP, 18): [_Kept(0, _flag)],  # IP_PASSSEC
    (IP, 22): [_Kept(0, _flag, (RAW,)), _Kept(0, _UNKNOWN, (STREAM, DATAGRAM))],  # IP_NODEFRAG
    (IP, 24): [_Kept(0, _flag)],  # IP_BIND_ADDRESS_NO_PORT: a port costs nothing here
    (IP, 32): [_Kept(0, _INVALID, (STREAM,))],  # IP_MULTICAST_IF
    (IP, 33): [_Kept(1, _INVALID, (STREAM,))],  # IP_MULTICAST_TTL
    (IP, 34): [_Kept(1, _flag, (STREAM,))],  # IP_MULTICAST_LOOP
    (IP, 52): [_Kept(0, _UNKNOWN, (STREAM, DATAGRAM))],  # IP_PROTOCOL
    (IPV6, 17): [_Kept(0, _UNKNOWN, (STREAM,))],  # IPV6_MULTICAST_IF
    (IPV6, 18): [_Kept(1, _UNKNOWN, (STREAM,))],  # IPV6_MULTICAST_HOPS
    (IPV6, 19): [_Kept(1, _zero_or_one, (STREAM,))],  # IPV6_MULTICAST_LOOP
    (IPV6, 22): [_Kept(0, _UNKNOWN)],  # IPV6_ROUTER_ALERT
    (IPV6, 29): [_Kept(1, _flag, (STREAM,))],  # IPV6_MULTICAST_ALL
    # TCP_FASTOPEN_CONNECT: the handshake comes first, as on Linux without a cookie.
    (TCP, 30): [_Kept(0, _zero_or_one, (STREAM,))],
}


def _find(opened: OpenSocket, key: tuple[int, int]) -> _Kept | None:
    for one in _TABLE.get(key, ()):
        if opened.type in one.kinds:
            return one
    return None


def get(opened: OpenSocket, key: tuple[int, int]) -> int | None:
    """The option's value; None: it isn't one of these."""
    one = _find(opened, key)
    return None if one is None else opened.kept.get(key, one.initial)


def keep(opened: OpenSocket, key: tuple[int, int], value: int) -> bool:
    """Keeps it; False: it isn't one of these.

    Raises:
        OSError: EINVAL, ENOPROTOOPT; as Linux says of the value, or of any.
    """
    one = _find(opened, key)
    if one is None:
        return False
    opened.kept[key] = one.take(value)
    return True
