"""The program on the Stack: it reads, pauses, writes, closes and forgets, as programs do."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from contextlib import suppress
from socket import AF_INET, AF_INET6, SOCK_DGRAM, SOCK_RAW, SOCK_STREAM
from typing import TYPE_CHECKING, Any

from adversary import ip_moves, link_moves, pattern, tcp_moves, wire
from adversary.draw import Draw
from adversary.flow import Flow, salts
from pystack._native import ffi, lib

if TYPE_CHECKING:
    from adversary.world import World

_BUFFER = bytearray(1 << 16)
_BUFFERS = (65536, 4096, 2304, 20000, 1 << 20, 2048)
_MOST_SOCKETS = 40


class End:
    """The program's end of one TCP connection.

    Attributes:
        read: Bytes so far.
        written: Bytes that the Stack said it took.
    """

    def __init__(self, sock: Any, key: tuple[int, int, int], flow: Flow | None) -> None:
        self.sock, self.key, self.flow = sock, key, flow
        self.salt_in, self.salt_out = salts(key)
        self.read = self.written = 0
        self.ended = self.deaf = self.shut = False
        if flow is not None:
            flow.program = self

    @property
    def judged(self) -> bool:
        """Whether its stream is still one of which all is known."""
        return self.flow is None or self.flow.judged


class Program:
    """All sockets of the program, and what it does with them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.net = world.net
        self.ends: list[End] = []
        self.by_key: dict[tuple[int, int, int], End] = {}
        self.listeners: list[Any] = []
        self.datagrams: list[Any] = []
        self.raw: list[Any] = []
        self.requests: list[int] = []
        self.services = True
        for family in (AF_INET, AF_INET6):
            for port in tcp_moves.LISTENING[:2]:
                self._listen(family, port, 64)
            sock = self._socket(family, SOCK_DGRAM)
            if sock is not None:
                sock.bind(("", ip_moves.UDP_OPEN))
                self.datagrams.append(sock)

    def meet(self, flow: Flow, key: tuple[int, int, int]) -> None:
        """Brings the ends of a conversation together that the program has begun."""
        end = self.by_key.get(key)
        if end is not None and end.flow is None:
            end.flow, flow.program = flow, end

    def _socket(self, family: int, kind: int, protocol: int = 0) -> Any:
        try:
            sock = self.net.socket(family, kind, protocol)
        except (OSError, MemoryError):
            return None
        sock.setblocking(False)
        if family == AF_INET6 and kind != SOCK_RAW:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return sock

    def _listen(self, family: int, port: int, backlog: int) -> None:
        sock = self._socket(family, SOCK_STREAM)
        if sock is None:
            return
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
            sock.bind(("", port))
            sock.listen(backlog)
        except OSError:
            sock.close()
        else:
            self.listeners.append(sock)

    # --- moves -----------------------------------------------------------------------------

    def accept(self, draw: Draw) -> None:
        """Takes what waits at a listener."""
        if not self.listeners:
            return
        listener = draw.pick(self.listeners)
        for _ in range(1 + draw.below(4)):
            try:
                sock, peer = listener.accept()
            except OSError:
                return
            sock.setblocking(False)
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
            key = (
                16 if listener.family == AF_INET6 else 4,
                listener.getsockname()[1],
                peer[1],
            )
            self._own(End(sock, key, self.world.flows.get(key)))

    def _own(self, end: End) -> None:
        self.ends.append(end)
        self.by_key[end.key] = end
        if len(self.ends) > _MOST_SOCKETS:
            self._close(self.ends[0])

    def connect(self, draw: Draw) -> None:
        """Calls the peer."""
        family = draw.pick((AF_INET, AF_INET6))
        sock = self._socket(family, SOCK_STREAM)
        if sock is None:
            return
        port = self.world.port()
        host = wire.PEER if family == AF_INET else wire.PEER6
        try:
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
            if draw.once_in(4):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, draw.pick(_BUFFERS))
            result = sock.connect_ex((host, port))
            own = sock.getsockname()[1]
        except OSError:
            sock.close()
            return
        if result not in (0, errno.EINPROGRESS):
            sock.close()
            return
        self._own(End(sock, (4 if family == AF_INET else 16, own, port), None))

    def _any(self, draw: Draw) -> End | None:
        return draw.pick(self.ends[::-1]) if self.ends else None

    def read(self, draw: Draw) -> None:
        """Reads some of what has come, or all, at one connection or at several."""
        if draw.below(3) == 0:
            for end in list(self.ends):
                self._read(end, 1 << 16)
            return
        end = self._any(draw)
        if end is not None:
            self._read(end, draw.pick((1 << 16, 1, 100, 1460, 5000)))

    def _read(self, end: End, most: int) -> None:
        try:
            size = end.sock.recv_into(_BUFFER, most)
        except BlockingIOError:
            return
        except OSError:
            end.deaf = True  # what it says from now on is about a connection that is gone
            return
        if size == 0:
            self._ended(end)
            return
        flow, blame = end.flow, self.world.blame
        if end.judged:
            if not pattern.same(end.salt_in, end.read, _BUFFER[:size]):
                blame("read what was not sent", f"{end.key} at {end.read}, {size} bytes")
            if flow is not None and end.read + size > flow.sent_end:
                blame("read more than was sent", f"{end.read + size} of {flow.sent_end}")
        end.read += size

    def _ended(self, end: End) -> None:
        flow = end.flow
        if end.ended or end.deaf or flow is None or not end.judged:
            return
        end.ended = True
        if end.read not in flow.fins:
            self.world.blame(
                "end of a stream that goes on", f"{end.key} at {end.read}, FIN at {flow.fins}"
            )

    def write(self, draw: Draw) -> None:
        """Writes some."""
        end = self._any(draw)
        if end is None:
            return
        size = draw.pick((100, 1, 1460, 5000, 65536, 20000, 3))
        flags = 0
        if draw.once_in(20):
            flags = draw.pick((socket.MSG_MORE, socket.MSG_OOB))
        for _ in range(1 + draw.below(3)):
            data = pattern.piece(end.salt_out, end.written, size)
            # What leaves during the call may be judged against it only afterwards: `settle`.
            try:
                end.written += end.sock.send(data, flags)
            except BlockingIOError:
                return
            except OSError:
                end.deaf = True
                return

    def close(self, draw: Draw) -> None:
        """Closes a connection, with unread data or without, gracefully or not."""
        end = self._any(draw)
        if end is None:
            return
        if draw.once_in(6):
            linger = b"\1\0\0\0" + (draw.below(2)).to_bytes(4, "little")
            if linger[4] == 0:
                with suppress(OSError):
                    end.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._close(end)

    def _close(self, end: End) -> None:
        self.ends.remove(end)
        with suppress(OSError):
            end.sock.close()

    def shut(self, draw: Draw) -> None:
        """Shuts a connection down, one way or both."""
        end = self._any(draw)
        if end is None:
            return
        how = draw.pick((socket.SHUT_WR, socket.SHUT_RD, socket.SHUT_RDWR))
        if how != socket.SHUT_WR:
            end.deaf = True
        with suppress(OSError):
            end.sock.shutdown(how)

    def options(self, draw: Draw) -> None:
        """Sets an option of a connection or of a listener."""
        sock = draw.pick(self.listeners) if self.listeners and draw.once_in(6) else None
        if sock is None:
            end = self._any(draw)
            if end is None:
                return
            sock = end.sock
        level, name, value = draw.pick(
            (
                (socket.SOL_SOCKET, socket.SO_RCVBUF, draw.pick(_BUFFERS)),
                (socket.SOL_SOCKET, socket.SO_SNDBUF, draw.pick(_BUFFERS)),
                (socket.SOL_SOCKET, socket.SO_KEEPALIVE, draw.below(2)),
                (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, draw.pick((1, 10, 7200))),
                (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, draw.pick((1, 10))),
                (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, draw.pick((1, 3))),
                (socket.IPPROTO_TCP, socket.TCP_NODELAY, draw.below(2)),
                (socket.IPPROTO_TCP, socket.TCP_CORK, draw.below(2)),
                (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, draw.pick((0, 1000, 30000))),
                (socket.IPPROTO_TCP, socket.TCP_QUICKACK, draw.below(2)),
                (socket.IPPROTO_TCP, socket.TCP_MAXSEG, draw.pick((536, 88, 1460))),
                (socket.SOL_SOCKET, socket.SO_RCVLOWAT, draw.pick((1, 1000))),
            )
        )
        with suppress(OSError):
            sock.setsockopt(level, name, value)

    def listeners_come_and_go(self, draw: Draw) -> None:
        """Closes a listener, with what waits there, or opens one."""
        if self.listeners and draw.below(2):
            self.listeners.pop(draw.below(len(self.listeners))).close()
        else:
            family = draw.pick((AF_INET, AF_INET6))
            self._listen(family, draw.pick(tcp_moves.LISTENING), draw.pick((64, 1, 0, 5)))

    def datagram(self, draw: Draw) -> None:
        """Reads datagrams, or sends one, which may need fragments."""
        if not self.datagrams:
            return
        sock = draw.pick(self.datagrams)
        if draw.below(2):
            host = wire.PEER if sock.family == AF_INET else wire.PEER6
            if draw.once_in(6):
                host = "10.0.0.99" if sock.family == AF_INET else "fd00::99"
            with suppress(OSError):
                sock.sendto(bytes(draw.pick((10, 1472, 1473, 5000, 0, 1479))), (host, 9))
            return
        for _ in range(8):
            try:
                size = sock.recv_into(_BUFFER)
            except OSError:
                return
            if not ip_moves.is_datagram(_BUFFER[:size]):
                self.world.blame("a datagram that was not sent", f"{size} bytes")

    def groups(self, draw: Draw) -> None:
        """Joins a group, or leaves it."""
        if not self.datagrams:
            return
        sock = draw.pick(self.datagrams)
        with suppress(OSError):
            if sock.family == AF_INET:
                group = socket.inet_aton(draw.pick(link_moves.GROUPS4)) + wire.OURS_BYTES
                name = draw.pick((socket.IP_ADD_MEMBERSHIP, socket.IP_DROP_MEMBERSHIP))
                sock.setsockopt(socket.IPPROTO_IP, name, group)
            else:
                group = wire.six(draw.pick(link_moves.GROUPS6)) + bytes(4)
                name = draw.pick((socket.IPV6_JOIN_GROUP, socket.IPV6_LEAVE_GROUP))
                sock.setsockopt(socket.IPPROTO_IPV6, name, group)

    def ping(self, draw: Draw) -> None:
        """Sends an echo request from a raw socket, and reads what came there."""
        v6 = draw.below(2)
        if not self.raw or (len(self.raw) < 2 and draw.once_in(3)):
            for family, protocol in ((AF_INET, wire.ICMP), (AF_INET6, wire.ICMP6)):
                sock = self._socket(family, SOCK_RAW, protocol)
                if sock is not None:
                    self.raw.append(sock)
        for sock in self.raw:
            with suppress(OSError):
                if (sock.family == AF_INET6) == bool(v6):
                    body = bytes((128 if v6 else 8, 0, 0, 0, 0, 1, 0, 1)) + bytes(
                        draw.pick((56, 1500, 4000))
                    )
                    if not v6:
                        body = body[:2] + wire.checksum(body).to_bytes(2, "big") + body[4:]
                    sock.sendto(body, (wire.PEER6 if v6 else wire.PEER, 0))
                for _ in range(8):
                    sock.recv_into(_BUFFER)
        if draw.once_in(8):
            while self.raw:
                self.raw.pop().close()

    def resolve(self, draw: Draw) -> None:
        """Asks for a name, looks for an answer, or gives up."""
        pointer = self.net._handle.pointer
        if len(self.requests) < 4 and not draw.once_in(3):
            if not self.net.nameservers:
                with suppress(OSError):
                    self.net.nameservers[:] = [wire.PEER, wire.PEER6]
            name = draw.pick((b"example.test", b"other.test", b"pystack.local", b"x.local"))
            request = lib.ps_resolve_start(pointer, name, draw.pick((0, 4, 6)))
            if request >= 0:
                self.requests.append(int(request))
        elif self.requests:
            request = self.requests.pop(0)
            out = ffi.new("struct ps_address[]", 16)
            if draw.below(2):
                lib.ps_resolve_cancel(pointer, request)
            elif lib.ps_resolve_wait(pointer, request, out, 16, 0) == -errno.EAGAIN:
                self.requests.append(request)

    def service(self, draw: Draw) -> None:
        """Switches a service on or off."""
        if not self.services:
            return
        eth, on = self.world.eth, draw.below(3) > 0
        kind = draw.below(6)
        with suppress(OSError, ValueError):
            if kind == 0:
                eth.slaac(on)
            elif kind == 1:
                eth.mdns("pystack" if on else None)
            elif kind == 2:
                rapid = draw.below(2) > 0
                eth.dhcp6(on, stateful=draw.pick((None, True, False)), rapid_commit=rapid)
            elif kind == 3:
                with suppress(OSError):
                    eth.addresses.remove(f"{wire.OURS}/24")
                eth.dhcp(on, timeout=0)
            elif kind == 4:
                eth.dhcp(False)
                eth.addresses.add(f"{wire.OURS}/24")
            else:
                eth.autoip(on)

    def interface(self, draw: Draw) -> None:
        """Changes the MTU, takes the link away for a moment, flushes neighbours."""
        eth = self.world.eth
        kind = draw.below(4)
        with suppress(OSError, ValueError):
            if kind == 0:
                eth.mtu = draw.pick((1500, 1280, 576, 1400, 1300))
            elif kind == 1:
                self.net.neighbours.flush()
            elif kind == 2:
                eth.up = False
                eth.up = True
            else:
                self.net.connections()
                self.net.counters()

    MOVES: tuple[tuple[int, Callable[..., None]], ...] = (
        (8, accept),
        (5, connect),
        (24, read),
        (20, write),
        (6, close),
        (4, shut),
        (8, options),
        (1, listeners_come_and_go),
        (6, datagram),
        (1, groups),
        (2, ping),
        (3, resolve),
        (2, service),
        (1, interface),
    )
    _LOTTERY = tuple(move for weight, move in MOVES for _ in range(weight))

    def play(self, draw: Draw) -> None:
        """One move."""
        draw.pick(self._LOTTERY)(self, draw)

    def stop(self) -> None:
        """Closes all and switches all off."""
        for end in list(self.ends):
            self._close(end)
        for socks in (self.listeners, self.datagrams, self.raw):
            while socks:
                socks.pop().close()
        for request in self.requests:
            lib.ps_resolve_cancel(self.net._handle.pointer, request)
        self.requests.clear()
        eth = self.world.eth
        for off in (eth.slaac, eth.dhcp6, eth.dhcp, eth.autoip):
            with suppress(OSError):
                off(False)
        with suppress(OSError):
            eth.mdns(None)
