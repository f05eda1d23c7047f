"""How a listening socket takes connections."""

from __future__ import annotations

import os
import socket
from typing import Any

from pystack._native import ffi, lib
from pystack.sockets import address as addresses
from pystack.sockets.address import SocketAddress
from pystack.sockets.descriptors import Descriptor, OpenSocket
from pystack.sockets.receiving import ReceivingSocket

__all__ = ["AcceptingSocket"]


class AcceptingSocket(ReceivingSocket):
    """What of a socket the taking of connections needs."""

    __slots__ = ("_descriptor", "_proto")

    _descriptor: Descriptor | None
    _proto: int

    def _file_waits(self) -> bool:
        return self._descriptor is not None and os.get_blocking(self._descriptor.fd)

    def _take_connection(self) -> tuple[OpenSocket, Descriptor | None, SocketAddress]:
        """A connection, and its peer's address.

        Who doesn't wait watches descriptors, and will want this one's: without one, the connection
        goes on waiting, as the kernel's does.
        """
        remote = ffi.new("struct ps_address *")
        if self._timeout == 0 and self._descriptor is not None:
            return self._take_shown(remote)
        accepted = self._accept_number(remote)
        opened = self._opened(accepted)
        return opened, None, addresses.from_c(remote, self._family)

    def _take_shown(self, remote: Any) -> tuple[OpenSocket, Descriptor, SocketAddress]:
        fd = ffi.new("int *")
        accepted = self._handle.check(
            lib.ps_accept_shown(self._handle.pointer, self._number, remote, fd)
        )
        opened = self._opened(accepted)
        if socket.getdefaulttimeout() is not None:
            os.set_blocking(fd[0], False)
        return opened, Descriptor(opened, fd[0]), addresses.from_c(remote, self._family)

    def _accept(self) -> tuple[int, SocketAddress]:
        """As `_socket.socket` has it: a connection's descriptor, which holds it, and the peer."""
        remote = ffi.new("struct ps_address *")
        while True:
            try:
                _opened, descriptor, peer = self._take_shown(remote)
            except BlockingIOError:
                if self._timeout == 0:
                    raise
                limit = self._open.receive_timeout if self._timeout is None else self._timeout
                self._wait(lib.PS_READY_READ, limit)
            else:
                return descriptor.release(), peer

    def _accept_number(self, remote: Any) -> int:
        pointer, number = self._handle.pointer, self._number
        limit = self._open.receive_timeout
        at_once = -1 if self._timeout is None and limit is None else 0
        accepted = lib.ps_accept(pointer, number, remote, at_once)
        if accepted < 0 or self._handle.answers.raised is not None:
            accepted = self._settle(
                accepted,
                lambda timeout_us: lib.ps_accept(pointer, number, remote, timeout_us),
                limit,
                lib.PS_READY_READ,
            )
        return int(accepted)

    def _opened(self, number: int) -> OpenSocket:
        opened = OpenSocket(self._handle, number, self._family, self._type, self._proto)
        opened.inherit(self._open)
        return opened
