"""A flow to an address that is not the Stack's, and what is decided on it."""

from __future__ import annotations

import errno
import os
import socket
import warnings
from typing import Any

from pystack._native import StackHandle, ffi, lib
from pystack._native.handle import reap
from pystack.sockets import Socket
from pystack.sockets.address import SocketAddress, from_c

__all__ = ["EchoFlow", "Flow", "TcpFlow", "UdpFlow"]

_GONE = {
    errno.ECONNABORTED: "the flow is gone: its time was over, its source gave up, newer ones pushed"
    " it out, or it was decided on before"
}
_ANSWERS = "ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EACCES and EPERM"


class Flow:
    """A flow that waits for a decision: `accept`, `refuse` or `drop`.

    One that nobody decides on is dropped when its time is over, and so is one that is garbage
    collected first (`ResourceWarning`).

    Attributes:
        protocol: "tcp", "udp" or "icmp" (both ICMP and ICMPv6).
        family: AF_INET or AF_INET6.
        source: The address that it comes from, as a socket's: host and port, for IPv6 flow label
            and scope, too. An echo request has port 0.
        destination: The address that it is for.
        interface: The index of the interface that it came by.
        ttl: Time to live, or hop limit, of its first packet.
        tos: Type of service, or traffic class.
        decided: Whether it was accepted, refused or dropped.
    """

    __slots__ = (
        "__weakref__",
        "_handle",
        "_id",
        "_taker",
        "decided",
        "destination",
        "family",
        "interface",
        "source",
        "tos",
        "ttl",
    )

    protocol = ""

    def __init__(self, handle: StackHandle, taker: int, raw: Any) -> None:
        self.decided = False
        self._handle = handle
        self._taker = taker
        self._id = int(raw.id)
        self.family = socket.AF_INET6 if raw.destination.family == lib.PS_INET6 else socket.AF_INET
        self.source: SocketAddress = from_c(raw.source, self.family)
        self.destination: SocketAddress = from_c(raw.destination, self.family)
        self.interface = int(raw.interface)
        self.ttl = int(raw.ttl)
        self.tos = int(raw.tos)

    def refuse(self, code: int = errno.ECONNREFUSED) -> None:
        """Tells the source that it can't be.

        ECONNREFUSED is a RST for TCP, else "port unreachable" from the destination's own address.
        For any protocol EHOSTUNREACH is "host unreachable" (IPv6: "address unreachable"),
        ENETUNREACH "network unreachable" ("no route"), EACCES and EPERM "administratively
        prohibited": from an address of the Stack's, if it has one there (RFC 792, RFC 1812 5.2.7,
        RFC 4443 3.1). ICMP errors are sent at the rate that the Stack's settings allow. Does
        nothing where the flow is gone.

        Args:
            code: The errno.

        Raises:
            ValueError: No answer says that.
        """
        self._refuse(code)

    def drop(self) -> None:
        """Meets the flow with silence: what its source sends again is not offered again."""
        self._refuse(0)

    def _refuse(self, code: int) -> None:
        if self.decided:
            return
        result = lib.ps_intercept_refuse(self._handle.pointer, self._taker, self._id, code)
        if result == -errno.EINVAL:
            shown = f"{errno.errorcode.get(code, 'no errno')} ({code})"
            raise ValueError(f"no answer to {self.protocol} says {shown}, but {_ANSWERS} are said")
        self.decided = True
        if result != -errno.EBADF:  # closed: everything was dropped
            self._handle.check(result)

    def _accept(self) -> int:
        if self.decided:
            raise OSError(errno.EALREADY, f"{os.strerror(errno.EALREADY)}: {self!r} was decided on")
        number = self._handle.made(
            lib.ps_intercept_accept(self._handle.pointer, self._taker, self._id)
        )
        if number == -errno.EBADF and not self._handle.closed:
            number = -errno.ECONNABORTED  # the Intercept is closed, the Stack isn't
        self.decided = number >= 0 or number == -errno.ECONNABORTED
        return self._handle.check(number, _GONE)

    def _socket(self, kind: int, protocol: int) -> Socket:
        return Socket._ps_of_number(self._handle, self._accept(), int(self.family), kind, protocol)

    def __del__(self) -> None:
        if getattr(self, "decided", True) or self._handle.closed:
            return
        pointer, taker = self._handle.pointer, self._taker
        if lib.ps_ready(pointer, taker) == -errno.EBADF:
            return  # the Intercept is closed, and has dropped it
        warnings.warn(f"{self!r} was dropped", ResourceWarning, stacklevel=2, source=self)
        self.decided = True
        reap(lib.ps_intercept_refuse, pointer, taker, self._id, 0)

    def __repr__(self) -> str:
        state = "" if self.decided else " undecided"
        return f"<{type(self).__name__}{state} {_shown(self.source)} to {_shown(self.destination)}>"


def _shown(address: SocketAddress) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


class TcpFlow(Flow):
    """A TCP connection whose SYN is not answered yet. Further SYNs are of the same flow."""

    __slots__ = ()
    protocol = "tcp"

    def accept(self) -> Socket:
        """Answers the SYN.

        Returns:
            The connection: `getsockname` is the flow's destination, `getpeername` its source. It
            comes at once, with the handshake under way: a call that sends or receives waits for
            that, and hears how it ended (ETIMEDOUT, ECONNRESET). Its timeout is
            `socket.getdefaulttimeout`.

        Raises:
            ConnectionAbortedError: The flow is gone.
            OSError: EALREADY, it was decided on; ENOMEM.
        """
        return self._socket(int(socket.SOCK_STREAM), int(socket.IPPROTO_TCP))


class UdpFlow(Flow):
    """Datagrams from one address and port to another.

    Attributes:
        data: The first datagram's data. The socket receives it, too.
    """

    __slots__ = ("data",)
    protocol = "udp"

    def __init__(self, handle: StackHandle, taker: int, raw: Any, data: bytes) -> None:
        super().__init__(handle, taker, raw)
        self.data = data

    def accept(self) -> Socket:
        """Takes the datagrams, those that have come and those to come.

        Returns:
            A socket bound to the destination and connected to the source. When it is closed the
            next datagram is a new flow.

        Raises:
            ConnectionAbortedError: The flow is gone.
            OSError: EALREADY, it was decided on; ENOMEM.
        """
        return self._socket(int(socket.SOCK_DGRAM), int(socket.IPPROTO_UDP))


class EchoFlow(Flow):
    """An echo request: each is a flow by itself.

    Attributes:
        data: What it carries.
        identifier: Its identifier.
        sequence: Its sequence number.
    """

    __slots__ = ("data", "identifier", "sequence")
    protocol = "icmp"

    def __init__(self, handle: StackHandle, taker: int, raw: Any, data: bytes) -> None:
        super().__init__(handle, taker, raw)
        self.data = data
        self.identifier = int(raw.identifier)
        self.sequence = int(raw.sequence)

    def accept(self) -> None:
        """Sends the echo reply, as if from the destination.

        Raises:
            ConnectionAbortedError: The flow is gone.
            OSError: EALREADY, it was decided on.
        """
        self._accept()


def flow_of(handle: StackHandle, taker: int, raw: Any, data: Any) -> TcpFlow | UdpFlow | EchoFlow:
    """What the engine described, its data in a buffer."""
    if raw.protocol == socket.IPPROTO_TCP:
        return TcpFlow(handle, taker, raw)
    content = bytes(ffi.buffer(data, min(int(raw.size), len(data))))
    kind = UdpFlow if raw.protocol == socket.IPPROTO_UDP else EchoFlow
    return kind(handle, taker, raw, content)
