"""What carries a tunnel's datagrams: the kernel's UDP, a Stack's, or memory."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from pystack.errors import StackPanic

__all__ = [
    "LARGEST_DATAGRAM", "Datagrams", "Endpoint", "KernelUdp", "MemoryDatagrams", "StackUdp",
    "carrier", "datagram_pair",
]  # fmt: skip

Endpoint = tuple[str, int]
"""An address, as text and never a name, and a port."""
Buffer = bytes | memoryview

LARGEST_DATAGRAM = 65535 - 20 - 8
"""Bytes in a UDP datagram over IPv4."""

# udp(7); the module socket doesn't have them.
_UDP, _UDP_SEGMENT, _UDP_GRO = 17, 103, 104
_MOST_SEGMENTS, _MOST_BYTES = 64, 65000
# The device or the kernel can't; or a segment is longer than the path's MTU (EMSGSIZE, once
# EINVAL), where a datagram by itself goes in fragments.
_NO_SEGMENTS = (errno.EIO, errno.EINVAL, errno.EOPNOTSUPP, errno.EMSGSIZE)
_ROOM, _LARGEST_READ, _MOST_AT_ONCE = 1 << 17, 1 << 16, 128
# As much as the kernel allows: bursts wait here while the Stack is at work.
_KERNELS_BUFFER = 4 << 20
_MOST_KNOWN = 4096
_MOST_QUEUED = 4096


class Datagrams(Protocol):
    """Sends and receives datagrams, and never waits.

    `send` and `receive` are called on the thread that is inside the Stack whose NIC this carries.
    """

    def descriptor(self) -> int:
        """What is readable when `receive` has something; -1: it calls `wake`."""
        ...

    def bind(self, wake: Callable[[], None]) -> None:
        """Called once, with what is to be called when something has come; from any thread."""
        ...

    def send(self, datagrams: Sequence[Buffer], to: Endpoint) -> int:
        """Sends datagrams to one place; how many were taken.

        An `OSError` means that this and the rest were not; the tunnel counts them.
        """
        ...

    def receive(self) -> tuple[Sequence[Buffer], Endpoint] | None:
        """Datagrams that have come from one place, good until the next call; None: there are none.

        Raises:
            OSError: An error that belongs to something sent before; the tunnel goes on.
        """
        ...

    def resolve(self, host: str, port: int) -> Endpoint:
        """Where a name is, or an address. May wait.

        Raises:
            ValueError: It is no port, or nothing that can be a name.
            OSError: It isn't known (`socket.gaierror`).
        """
        ...

    @property
    def local(self) -> Endpoint:
        """Where it is bound."""
        ...

    def close(self) -> None:
        """Ends it. May be called again."""
        ...


def _plain(host: str) -> str:
    return host[7:] if host.startswith("::ffff:") and "." in host else host


class KernelUdp:
    """The kernel's UDP (udp(7)), of both families; many datagrams a system call where it can.

    Inside `installed()` make it within `pystack.outside()`.

    Args:
        host: The address to bind to; empty: all.
        port: 0: the kernel chooses one.

    Raises:
        OSError: EADDRINUSE and as bind(2) has them.
    """

    def __init__(self, host: str = "", port: int = 0) -> None:
        self._socket = self._bound(host, port)
        self._socket.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self._socket.setsockopt(socket.SOL_SOCKET, option, _KERNELS_BUFFER)
        self._mapped = self._socket.family == socket.AF_INET6
        self._segments = True
        with contextlib.suppress(OSError):  # before Linux 5.0, or another system
            self._socket.setsockopt(_UDP, _UDP_GRO, 1)
        self._room = memoryview(bytearray(_ROOM + _LARGEST_READ))
        self._ahead: tuple[Sequence[Buffer], Endpoint] | None = None
        self._ways: dict[Endpoint, tuple[str, int]] = {}
        self._known: dict[Any, Endpoint] = {}

    @staticmethod
    def _bound(host: str, port: int) -> socket.socket:
        families = [socket.AF_INET6, socket.AF_INET]
        if host:
            families = [socket.AF_INET6 if ":" in host else socket.AF_INET]
        failure = OSError(errno.EAFNOSUPPORT, "there is no UDP here")
        for family in families:
            try:
                made = socket.socket(family, socket.SOCK_DGRAM)
            except OSError as error:
                failure = error
                continue
            try:
                if family == socket.AF_INET6:
                    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, bool(host))
                made.bind((host, port))
            except OSError as error:
                made.close()
                failure = OSError(error.errno, f"UDP port {port}: {error.strerror}")
                if error.errno not in (errno.EADDRNOTAVAIL, errno.ENOPROTOOPT):
                    break
                continue
            return made
        raise failure

    def descriptor(self) -> int:
        """Its descriptor."""
        return self._socket.fileno()

    def bind(self, wake: Callable[[], None]) -> None:
        """Nothing: the descriptor tells."""

    def _way(self, to: Endpoint) -> tuple[str, int]:
        found = self._ways.get(to)
        if found is None:
            if len(self._ways) >= _MOST_KNOWN:
                self._ways.clear()
            host = f"::ffff:{to[0]}" if self._mapped and ":" not in to[0] else to[0]
            found = self._ways[to] = host, to[1]
        return found

    def send(self, datagrams: Sequence[Buffer], to: Endpoint) -> int:
        """Sends datagrams; runs of one size in one call (UDP_SEGMENT)."""
        way, sent = self._way(to), 0
        while sent < len(datagrams):
            size = len(datagrams[sent])
            most = min(_MOST_SEGMENTS, _MOST_BYTES // max(size, 1)) if self._segments else 1
            run = _run(datagrams[sent : sent + most], size)
            try:
                if len(run) == 1:
                    self._socket.sendto(run[0], way)
                else:
                    control = [(_UDP, _UDP_SEGMENT, struct.pack("=H", size))]
                    self._socket.sendmsg(run, control, 0, way)
            except OSError as error:
                if len(run) > 1 and error.errno in _NO_SEGMENTS:
                    self._segments = False
                    continue
                if error.errno in (errno.EAGAIN, errno.ENOBUFS):
                    return sent
                raise
            sent += len(run)
        return sent

    def receive(self) -> tuple[Sequence[Buffer], Endpoint] | None:
        """What has come from one place: calls of the kernel's until there is no more, or no room.

        Each gives what the kernel has put together (UDP_GRO).
        """
        if self._ahead is not None:
            found, self._ahead = self._ahead, None
            return found
        datagrams: list[Buffer] = []
        first, at = None, 0
        while at < _ROOM and len(datagrams) < _MOST_AT_ONCE:
            try:
                part = self._room[at : at + _LARGEST_READ]
                size, control, _flags, source = self._socket.recvmsg_into([part], 64)
            except BlockingIOError:
                break
            come = _split(part[:size], control)
            if first is not None and source != first:
                self._ahead = come, self._place(source)
                break
            first = source
            datagrams += come
            at += size
        return (datagrams, self._place(first)) if datagrams else None

    def _place(self, source: Any) -> Endpoint:
        place = self._known.get(source)
        if place is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            place = self._known[source] = (_plain(source[0]), source[1])
        return place

    def resolve(self, host: str, port: int) -> Endpoint:
        """As getaddrinfo(3) has it."""
        family = 0 if self._mapped else socket.AF_INET
        return _looked_up(socket.getaddrinfo, host, port, family)

    @property
    def local(self) -> Endpoint:
        """Where it is bound."""
        name = self._socket.getsockname()
        return _plain(name[0]), int(name[1])

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()


@contextlib.contextmanager
def carrier(transport: Datagrams | None, host: str, port: int) -> Iterator[Datagrams]:
    """What carries a NIC that is being made: what is given, or the kernel's UDP.

    The latter is closed when that fails.
    """
    if transport is not None:
        yield transport
        return
    made = KernelUdp(host, port)
    try:
        yield made
    except BaseException:
        made.close()
        raise


def _split(data: memoryview, control: Sequence[tuple[int, int, bytes]]) -> list[Buffer]:
    """The datagrams that the kernel has put together."""
    size = step = len(data)
    for level, kind, value in control:
        if level == _UDP and kind == _UDP_GRO:
            (step,) = struct.unpack_from("=i", value)
    if step >= size or step <= 0:
        return [data]
    return [data[at : at + step] for at in range(0, size, step)]


def _run(datagrams: Sequence[Buffer], size: int) -> Sequence[Buffer]:
    """Those in front that are of one size; the last of them may be smaller."""
    sizes = list(map(len, datagrams))
    if sizes.count(size) >= len(sizes) - 1 and sizes[-1] <= size:
        return datagrams
    end = next(number for number, other in enumerate(sizes) if other != size)
    return datagrams[: end + 1] if sizes[end] < size else datagrams[:end]


def _looked_up(getaddrinfo: Callable[..., Any], host: str, port: int, family: int) -> Endpoint:
    """The first address.

    Raises:
        ValueError: It is no port, or nothing that can be a name.
        OSError: It isn't known (`socket.gaierror`).
    """
    if not 1 <= port <= 65535:
        raise ValueError(f"a port is from 1 to 65535, not {port!r}")
    try:
        name = getaddrinfo(host, port, family, socket.SOCK_DGRAM)[0][4]
    except UnicodeError:
        text = f"{host!r} is no name of a host: its labels have 1 to 63 characters"
        raise ValueError(text) from None
    return str(name[0]), int(name[1])


class StackUdp:
    """UDP of a Stack: a tunnel inside what another Stack carries.

    It has to be another Stack than the one that the tunnel is attached to. In a World a thread of
    the host's waits for what comes; elsewhere the socket's descriptor tells.

    Args:
        net: The Stack, or a World's host.
        host: The address to bind to; by its family, that of all it sends and receives.
        port: 0: the Stack chooses one.

    Attributes:
        net: The Stack.
    """

    def __init__(self, net: Any, host: str = "0.0.0.0", port: int = 0) -> None:
        self.net = net
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._waiter: Callable[..., Any] | None = getattr(net, "thread", None)
        self._queue: deque[tuple[bytes, Endpoint]] = deque(maxlen=_MOST_QUEUED)
        self._socket = net.socket(self._family, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(self._waiter is not None)
            self._socket.bind((host, port))
        except BaseException:
            self._socket.close()
            raise

    def descriptor(self) -> int:
        """That of its socket; in a World none."""
        return -1 if self._waiter is not None else int(self._socket.fileno())

    def bind(self, wake: Callable[[], None]) -> None:
        """In a World, starts the thread; elsewhere the descriptor tells."""
        if self._waiter is not None:
            self._waiter(self._wait, wake, name="tunnel")

    def _wait(self, wake: Callable[[], None]) -> None:
        """Until the socket is closed."""
        with contextlib.suppress(OSError):
            while True:
                self._queue.append(self._come(0))
                wake()

    def _come(self, flags: int) -> tuple[bytes, Endpoint]:
        try:
            data, source = self._socket.recvfrom(65535, flags)
        except StackPanic as panic:
            raise OSError(errno.EBADF, str(panic)) from panic
        return data, (str(source[0]), int(source[1]))

    def send(self, datagrams: Sequence[Buffer], to: Endpoint) -> int:
        """Sends datagrams."""
        sent = 0
        for one in datagrams:
            try:
                self._socket.sendto(one, socket.MSG_DONTWAIT, to)
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.ENOBUFS):
                    break
                raise
            sent += 1
        return sent

    def receive(self) -> tuple[Sequence[Buffer], Endpoint] | None:
        """The next datagram."""
        if self._waiter is not None:
            if not self._queue:
                return None
            data, source = self._queue.popleft()
        else:
            try:
                data, source = self._come(socket.MSG_DONTWAIT)
            except BlockingIOError:
                return None
        return [data], source

    def resolve(self, host: str, port: int) -> Endpoint:
        """As the Stack's `sockets.getaddrinfo` has it."""
        return _looked_up(self.net.sockets.getaddrinfo, host, port, self._family)

    @property
    def local(self) -> Endpoint:
        """Where it is bound."""
        name = self._socket.getsockname()
        return str(name[0]), int(name[1])

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()


def _asleep() -> None:
    """Wakes nobody: not None, which another thread could find just when it wakes."""


class MemoryDatagrams:
    """One end of `datagram_pair`."""

    def __init__(self, local: Endpoint) -> None:
        self._local = local
        self._queue: deque[tuple[bytes, Endpoint]] = deque()
        self._wake: Callable[[], None] = _asleep
        self.far: MemoryDatagrams | None = None

    def descriptor(self) -> int:
        """None: it wakes."""
        return -1

    def bind(self, wake: Callable[[], None]) -> None:
        """Sets whom to wake."""
        self._wake = wake

    def send(self, datagrams: Sequence[Buffer], to: Endpoint) -> int:
        """Puts datagrams into the other end's queue; wherever they are for."""
        far = self.far
        if far is None:
            return len(datagrams)
        room = max(0, _MOST_QUEUED - len(far._queue))
        for one in datagrams[:room]:
            far.inject(bytes(one), self._local)
        return min(room, len(datagrams))

    def inject(self, datagram: bytes, source: Endpoint) -> None:
        """A datagram comes, from wherever a test says."""
        self._queue.append((datagram, source))
        self._wake()

    def receive(self) -> tuple[Sequence[Buffer], Endpoint] | None:
        """The next datagram."""
        if not self._queue:
            return None
        datagram, source = self._queue.popleft()
        return [datagram], source

    def resolve(self, host: str, port: int) -> Endpoint:
        """The same."""
        return host, port

    @property
    def local(self) -> Endpoint:
        """What the other end sees it as."""
        return self._local

    def close(self) -> None:
        """What is sent here is lost from now on."""
        self._queue.clear()
        self._wake = _asleep
        far = self.far
        if far is not None:
            far.far = None


def datagram_pair(
    left: Endpoint = ("192.0.2.1", 51820), right: Endpoint = ("192.0.2.2", 51820)
) -> tuple[MemoryDatagrams, MemoryDatagrams]:
    """Two ends in memory: what one sends, the other receives.

    Args:
        left: What the first is to be seen as.
        right: What the second is.
    """
    one, other = MemoryDatagrams(left), MemoryDatagrams(right)
    one.far, other.far = other, one
    return one, other
