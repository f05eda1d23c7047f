"""The agent of the Host `lwipv6`: Debian's liblwipv6, a descendant of lwIP 1.1 with IPv6.

    python lwipv6_agent.py COMMANDS WIRE LIBRARY

It opens a TAP by itself; the other end of that is an interface of the kernel's, in a namespace
where nothing else is, and frames go between it and our wire.
"""
# ruff: noqa: D102 - a socket's methods are those of the module `socket`

from __future__ import annotations

import concurrent.futures
import ctypes
import errno
import ipaddress
import itertools
import os
import select
import socket
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pystack.lab.agent.fresh import FRAME, FreshAgent, main
    from pystack.lab.agent.loopback import own_loopback
    from pystack.lab.agent.tables import Tables
else:  # run as a program, with this folder first on the path and no package
    from fresh import FRAME, FreshAgent, main
    from loopback import own_loopback
    from tables import Tables

TAP = "lab0"
ETH_P_ALL, SOL_PACKET, PACKET_IGNORE_OUTGOING = 3, 263, 23
NETIF_BYTES = 512  # of its struct netif, where its MAC is looked for
USUAL_MAC = bytes((2, 2, 3, 4, 5, 6))
TURN_S = 0.02  # how long a call is waited for

_pointer = ctypes.c_void_p


def _packed(address: str) -> Any:
    """An address as it has them: IPv4's are mapped into IPv6's."""
    given = ipaddress.ip_address(address)
    return ctypes.create_string_buffer(
        given.packed if given.version == 6 else bytes(10) + b"\xff\xff" + given.packed, 16
    )


def _mask(prefix: int) -> Any:
    return ctypes.create_string_buffer(((1 << 128) - (1 << 128 - prefix)).to_bytes(16, "big"), 16)


def _sockaddr(address: tuple[Any, ...]) -> bytes:
    host, port = ipaddress.ip_address(address[0]), int(address[1])
    if host.version == 4:
        return struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", port, host.packed)
    return struct.pack("=H", socket.AF_INET6) + struct.pack("!HI16sI", port, 0, host.packed, 0)


def _from_sockaddr(raw: bytes) -> tuple[Any, ...]:
    (family,) = struct.unpack_from("=H", raw)
    (port,) = struct.unpack_from("!H", raw, 2)
    if family == socket.AF_INET:
        return str(ipaddress.IPv4Address(raw[4:8])), port
    return str(ipaddress.IPv6Address(raw[8:24])), port, 0, 0


class Library:
    """liblwipv6, with its errors as exceptions."""

    def __init__(self, path: str) -> None:
        self._library = ctypes.CDLL(path, use_errno=True)
        for name in ("lwip_add_stack", "lwip_add_tapif", "lwip_version"):
            getattr(self._library, name).restype = _pointer
        for name in ("lwip_recvfrom", "lwip_send", "lwip_sendto"):
            getattr(self._library, name).restype = ctypes.c_ssize_t

    def __call__(self, name: str, *words: Any) -> int:
        result = getattr(self._library, f"lwip_{name}")(*words)
        if result is None or result < 0:
            code = ctypes.get_errno() or errno.EIO
            raise OSError(code, f"{name}: {os.strerror(code)}")
        return int(result)


class Lwipv6Socket:
    """One of its sockets. Its calls wait, so they are made when there is something to get."""

    ports = itertools.count(50000)

    def __init__(self, library: Library, number: int, kind: int) -> None:
        self._library = library
        self._number = number
        self._kind = kind
        self._calls: dict[str, concurrent.futures.Future[Any]] = {}
        self._bound: tuple[Any, ...] = ()

    def setblocking(self, _flag: bool) -> None:
        """It is none that waits."""

    def _ready(self, event: int) -> bool:
        one = ctypes.create_string_buffer(struct.pack("=ihh", self._number, event, 0), 8)
        self._library("poll", one, 1, 0)
        return bool(struct.unpack("=ihh", one.raw)[2])

    def _await(self, event: int) -> None:
        if not self._ready(event):
            raise BlockingIOError(errno.EAGAIN, "not yet")

    def _later(self, call: str, *words: Any) -> int:
        """Makes a call that may wait; asked again, it gives what came of it."""
        made = self._calls.get(call)
        if made is None:
            made = self._calls[call] = concurrent.futures.Future()

            def run(future: concurrent.futures.Future[Any] = made) -> None:
                try:
                    future.set_result(self._library(call, self._number, *words))
                except OSError as error:
                    future.set_exception(error)

            threading.Thread(target=run, daemon=True).start()
        try:
            found = made.result(TURN_S)
        except concurrent.futures.TimeoutError:
            raise BlockingIOError(errno.EINPROGRESS, f"{call} is under way") from None
        finally:
            if made.done():
                del self._calls[call]
        return int(found)

    def bind(self, address: tuple[Any, ...]) -> None:
        # It assigns no port on request, and forgets a datagram socket's name.
        port = int(address[1]) or next(Lwipv6Socket.ports)
        raw = _sockaddr((address[0], port))
        self._library("bind", self._number, raw, len(raw))
        self._bound = (address[0], port, *address[2:])

    def listen(self, backlog: int) -> None:
        self._library("listen", self._number, backlog)

    def accept(self) -> tuple[Lwipv6Socket, Any]:
        if "accept" not in self._calls:
            self._await(select.POLLIN)
        made = Lwipv6Socket(self._library, self._later("accept", None, None), self._kind)
        return made, made.getpeername()

    def connect(self, address: tuple[Any, ...]) -> None:
        raw = _sockaddr(address)
        self._later("connect", raw, len(raw))

    def send(self, data: bytes, flags: int = 0) -> int:
        """It waits until there is room for all; meanwhile there is none for more."""
        if "send" in self._calls:
            self._later("send")
        try:
            return self._later("send", data, len(data), flags)
        except BlockingIOError:
            return len(data)

    def sendto(self, data: bytes, address: tuple[Any, ...]) -> int:
        raw = _sockaddr(address)
        return self._library("sendto", self._number, data, len(data), 0, raw, len(raw))

    def recv(self, size: int, flags: int = 0) -> bytes:
        return self.recvfrom(size, flags)[0]

    def recvfrom(self, size: int, flags: int = 0) -> tuple[bytes, Any]:
        if "connect" in self._calls:
            self._later("connect")
        if "recvfrom" not in self._calls:
            self._await(select.POLLIN)
            self._place = (ctypes.create_string_buffer(size), ctypes.create_string_buffer(28))
            self._length = ctypes.c_uint32(28)
        data, raw = self._place
        got = self._later("recvfrom", data, size, flags, raw, ctypes.byref(self._length))
        return data.raw[:got], _from_sockaddr(raw.raw)

    def shutdown(self, how: int) -> None:
        self._library("shutdown", self._number, how)

    def close(self) -> None:
        with suppress(BlockingIOError):
            self._later("close")

    def _name(self, call: str) -> tuple[Any, ...]:
        raw, size = ctypes.create_string_buffer(28), ctypes.c_uint32(28)
        self._library(call, self._number, raw, ctypes.byref(size))
        return _from_sockaddr(raw.raw)

    def getsockname(self) -> tuple[Any, ...]:
        return self._bound or self._name("getsockname")

    def getpeername(self) -> tuple[Any, ...]:
        return self._name("getpeername")

    def getsockopt(self, level: int, name: int) -> int:
        value, size = ctypes.c_int(0), ctypes.c_uint32(4)
        self._library(
            "getsockopt", self._number, level, name, ctypes.byref(value), ctypes.byref(size)
        )
        return value.value

    def setsockopt(self, level: int, name: int, value: int | bytes) -> None:
        raw = struct.pack("=i", value) if isinstance(value, int) else value
        self._library("setsockopt", self._number, level, name, raw, len(raw))

    def fileno(self) -> int:
        raise OSError(errno.ENOSYS, "poll")


class Lwipv6Agent(FreshAgent):
    """liblwipv6."""

    release = "1.5a"

    def __init__(self, wire: socket.socket, library: str) -> None:
        super().__init__(wire)
        self._path = library

    def begin(self, plan: dict[str, str]) -> None:
        own_loopback()
        self._library = call = Library(self._path)
        self._stack = _pointer(call("add_stack", 0))
        interface = _pointer(call("add_tapif", self._stack, TAP.encode(), 0))
        # It has no call that changes its MAC: it is written where it is found.
        at = ctypes.string_at(interface.value or 0, NETIF_BYTES).index(USUAL_MAC)
        ctypes.memmove((interface.value or 0) + at, bytes.fromhex(plan["mac"].replace(":", "")), 6)
        kernel = Tables([TAP])
        for name in ("disable_ipv6", "accept_ra"):
            kernel._write(f"net.ipv6.conf.{TAP}.{name}", str(int(name == "disable_ipv6")))
        kernel.do_interface("0", "up")
        self._end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._end.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self._end.bind((TAP, 0))
        for address in (plan["host4"], plan["host6"]):
            given = ipaddress.ip_interface(address)
            prefix = given.network.prefixlen + (96 if given.version == 4 else 0)
            call("add_addr", interface, _packed(str(given.ip)), _mask(prefix))
        call("ifup_flags", interface, 0)
        for any_, prefix, gateway in (("0.0.0.0", 96, "tester4"), ("::", 0, "tester6")):
            way = _packed(plan[gateway])
            call("add_route", self._stack, _packed(any_), _mask(prefix), way, interface, 0)
        threading.Thread(target=self._in, daemon=True).start()
        threading.Thread(target=self._out, daemon=True).start()

    def _in(self) -> None:
        while True:
            self._end.send(self.wire.recv(FRAME))

    def _out(self) -> None:
        while True:
            self.send_frame(self._end.recv(FRAME))

    def make(self, family: int, kind: int, protocol: int) -> Any:
        number = self._library("msocket", self._stack, family, kind, protocol)
        return Lwipv6Socket(self._library, number, kind)


if __name__ == "__main__":
    main(Lwipv6Agent)
