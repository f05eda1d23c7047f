"""What an interface needs for a service, with lwIP's errors."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from pystack._native import ffi, lib
from pystack._native.address import to_c
from pystack.serving.dhcp6 import CLIENT_PORT as DHCP6_PORT
from pystack.serving.dhcp_message import CLIENT_PORT as DHCP_PORT
from pystack.serving.mdns import PORT as MDNS_PORT
from pystack.serving.port import Port

__all__ = ["Described", "need"]

_SMALLEST_DHCP_MTU = 576  # RFC 2131 2
_LONGEST_NAME = 63
_WORKS = lib.PS_IF_UP | lib.PS_IF_LINK
_ANYBODY = {lib.PS_INET: "0.0.0.0", lib.PS_INET6: "::"}
# Options by the number of `enum ps_option`, and as Linux names them.
_REUSE = (lib.PS_OPT_REUSEADDR, int(socket.SOL_SOCKET), int(socket.SO_REUSEADDR))
_ONLY6 = (lib.PS_OPT_IPV6_V6ONLY, int(socket.IPPROTO_IPV6), int(socket.IPV6_V6ONLY))


class Described:
    """What an interface is like; a copy of its `struct ps_interface`.

    Attributes:
        index: Its number.
        is_ethernet: Whether it has a MAC, and isn't the loopback.
        is_up: Whether it is up.
        works: Whether it is that, and has a link.
    """

    def __init__(self, raw: Any) -> None:
        self.index = int(raw.index)
        self.is_ethernet = raw.layer == lib.PS_LAYER_ETHERNET and not raw.flags & lib.PS_IF_LOOPBACK
        self.is_up = bool(raw.flags & lib.PS_IF_UP)
        self.works = raw.flags & _WORKS == _WORKS
        self.name = bytes(ffi.string(raw.name)).decode()
        self.mac = bytes(raw.mac)
        self.mtu = int(raw.mtu)

    def tell(self, port: Port) -> bool:
        """Passes it on; whether the interface works again."""
        worked, port.works = port.works, self.works
        port.name, port.mac, port.mtu = self.name, self.mac, self.mtu
        return port.works and not worked


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def need(pointer: Any, interface: Described, service: int, name: str | None) -> None:
    """Refuses a service that an interface can't have.

    Raises:
        OSError: See `Interface`'s methods that start them.
    """
    if not interface.is_ethernet:
        raise _error(errno.EOPNOTSUPP)
    if name is not None and not name:
        raise _error(errno.EINVAL)
    if name is not None and len(name) > _LONGEST_NAME:
        raise _error(errno.ENAMETOOLONG)
    if service == lib.PS_SERVICE_DHCP6:
        _need_port(pointer, lib.PS_INET6, DHCP6_PORT)
    elif service == lib.PS_SERVICE_MDNS:
        for family in _ANYBODY:
            _need_port(pointer, family, MDNS_PORT, shared=True)
    elif service in (lib.PS_SERVICE_DHCP, lib.PS_SERVICE_AUTOIP):
        _need_address(pointer, interface)
        if service == lib.PS_SERVICE_DHCP:
            if interface.mtu < _SMALLEST_DHCP_MTU:
                raise _error(errno.EMSGSIZE)
            _need_port(pointer, lib.PS_INET, DHCP_PORT)
    else:
        raise _error(errno.EOPNOTSUPP)


def _need_address(pointer: Any, interface: Described) -> None:
    if not interface.is_up:
        raise _error(errno.ENETDOWN)
    room = 256
    out = ffi.new("struct ps_interface_address[]", room)
    count = lib.ps_addresses(pointer, out, room)
    given = (lib.PS_ORIGIN_DHCP, lib.PS_ORIGIN_AUTOIP)
    for i in range(min(max(count, 0), room)):
        one = out[i]
        ours = one.interface == interface.index and one.address.family == lib.PS_INET
        if ours and one.origin not in given:
            raise _error(errno.EEXIST)


def _need_port(pointer: Any, family: int, number: int, *, shared: bool = False) -> None:
    """Raises OSError (EADDRINUSE) if a socket has a service's port (`shared`: for itself)."""
    handle = lib.ps_socket(pointer, family, lib.PS_DATAGRAM, 0)
    if handle < 0:
        raise _error(-handle)
    try:
        options = [_ONLY6] * (family == lib.PS_INET6) + [_REUSE] * shared
        for option in options:
            _set_option(pointer, handle, option)
        result = lib.ps_bind(pointer, handle, to_c(_ANYBODY[family], number))
    finally:
        lib.ps_close(pointer, handle)
    if result < 0:
        raise _error(-result)


def _set_option(pointer: Any, handle: int, option: tuple[int, int, int]) -> None:
    number, level, name = option
    value = ffi.new("int *", 1)
    result = lib.ps_option_set_raw(pointer, handle, level, name, value, ffi.sizeof("int"))
    if result == -errno.ENOSYS:
        result = lib.ps_option_set(pointer, handle, number, 1)
    if result < 0:
        raise _error(-result)
