"""How a listening socket takes connections."""

from __future__ import annotations

import os
import socket
from typing import Any

from pystack._native import ffi, lib
from pystack.sockets.address import SocketAddress
from pystack.sockets.descriptors import Descriptor, OpenSocket
from pystack.sockets.receiving import ReceivingSocket

__all__ = ["AcceptingSocket"]


class AcceptingSocket(ReceivingSocket):
    """The part of a socket that accepting connections needs."""

    __slots__ = ("_ps_descriptor",)

    _ps_descriptor: Descriptor | None

    def _ps_file_waits(self) -> bool:
        return self._ps_descriptor is not None and self._ps_descriptor.is_blocking()

    def _ps_take_connection(self) -> tuple[OpenSocket, Descriptor | None, SocketAddress]:
        """A connection, and its peer's address.

        A non-blocking program polls descriptors, and will want this one's: without one, the
        connection goes on waiting, as the kernel's does.
        """
        self._ps_need_known_family()
        remote = ffi.new("struct ps_address *")
        if self._ps_timeout == 0 and self._ps_descriptor is not None:
            return self._ps_take_shown(remote)
        accepted = self._ps_accept_number(remote)
        opened = self._ps_opened(accepted)
        return opened, None, self._ps_peer(remote)

    def _ps_take_shown(self, remote: Any) -> tuple[OpenSocket, Descriptor, SocketAddress]:
        fd = ffi.new("int *")
        accepted = lib.ps_accept_shown(self._ps_handle.pointer, self._ps_number, remote, fd)
        if accepted < 0 or self._ps_handle.answers.raised is not None:
            if accepted >= 0:
                lib.ps_descriptor_close(self._ps_handle.pointer, accepted, fd[0])
                accepted = self._ps_handle.made(accepted)
            self._ps_note_end(accepted)
            self._ps_fail(accepted, lib.PS_READY_READ)
        opened = self._ps_opened(accepted)
        if socket.getdefaulttimeout() is not None:
            os.set_blocking(fd[0], False)
        return opened, Descriptor(opened, fd[0]), self._ps_peer(remote)

    def _accept(self) -> tuple[int, SocketAddress]:
        """As `_socket.socket` has it: a connection's descriptor, which holds it, and the peer."""
        remote = ffi.new("struct ps_address *")
        while True:
            try:
                _opened, descriptor, peer = self._ps_take_shown(remote)
            except BlockingIOError:
                if self._ps_timeout == 0:
                    raise
                limit = (
                    self._ps_open.receive_timeout if self._ps_timeout is None else self._ps_timeout
                )
                self._ps_wait(lib.PS_READY_READ, limit)
            else:
                return descriptor.release(), peer

    def _ps_accept_number(self, remote: Any) -> int:
        handle, number = self._ps_handle, self._ps_number
        limit = self._ps_open.receive_timeout
        at_once = -1 if self._ps_timeout is None and limit is None else 0
        accepted = handle.made(lib.ps_accept(handle.pointer, number, remote, at_once))
        if accepted < 0:
            self._ps_note_end(accepted)
            accepted = self._ps_settle(
                accepted,
                lambda timeout_us: handle.made(
                    lib.ps_accept(handle.pointer, number, remote, timeout_us)
                ),
                limit,
                lib.PS_READY_READ,
                at_once,
            )
        return int(accepted)

    def _ps_opened(self, number: int) -> OpenSocket:
        opened = OpenSocket(
            self._ps_handle, number, self._ps_family, self._ps_type, self._ps_open.proto
        )
        opened.inherit(self._ps_open)
        return opened
