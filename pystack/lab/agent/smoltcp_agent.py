"""The agent of the Host `smoltcp`: the one inside mitmproxy_rs, the server's side alone.

    python smoltcp_agent.py COMMANDS WIRE FOLDER

It makes a TUN by itself, in a namespace where nothing else is. A TUN carries no Ethernet: the
headers are ours, and so are the answers to ARP and neighbour solicitations, without which the
tester would not get at it. It accepts every connection to any port, so that a socket that
listens is ours too, and gets those that are for its port.
"""
# ruff: noqa: D102 - a socket's methods are those of the module `socket`

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import ipaddress
import itertools
import socket
import struct
import sys
import threading
from collections import deque
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pystack.lab.agent.agent import checksum
    from pystack.lab.agent.fresh import FRAME, FreshAgent, main
    from pystack.lab.agent.loopback import own_loopback
    from pystack.lab.agent.tables import Tables
else:  # run as a program, with this folder first on the path and no package
    from agent import checksum
    from fresh import FRAME, FreshAgent, main
    from loopback import own_loopback
    from tables import Tables

TUN = "lab0"
ETH_P_ALL, SOL_PACKET, PACKET_IGNORE_OUTGOING = 3, 263, 23
TURN_S = 0.02
START_S = 5.0


class SmoltcpSocket:
    """A socket of ours, over what mitmproxy_rs calls streams."""

    def __init__(self, agent: SmoltcpAgent, kind: int, stream: Any = None) -> None:
        self._agent = agent
        self._kind = kind
        self._stream = stream
        self._reading: concurrent.futures.Future[bytes] | None = None
        self._name: tuple[Any, ...] = ("", 0)
        self.arrived: deque[Any] = deque()  # connections, or datagrams with where they are from
        self.peers: dict[Any, Any] = {}

    def setblocking(self, _flag: bool) -> None:
        """It is none that waits."""

    def bind(self, address: tuple[Any, ...]) -> None:
        self._name = (address[0], int(address[1]) or next(self._agent.ports), *address[2:])
        if (self._kind, self._name[1]) in self._agent.bound:
            raise OSError(errno.EADDRINUSE, "in use")
        self._agent.bound[self._kind, self._name[1]] = self

    def listen(self, _backlog: int) -> None:
        """Connections to its port are accepted anyway."""

    def accept(self) -> tuple[SmoltcpSocket, Any]:
        if not self.arrived:
            raise BlockingIOError(errno.EAGAIN, "no connection yet")
        stream = self.arrived.popleft()
        return SmoltcpSocket(self._agent, self._kind, stream), stream.get_extra_info("peername")

    def connect(self, _address: tuple[Any, ...]) -> None:
        raise OSError(errno.ENOSYS, "outgoing connections: it is only a server")

    def _connected(self) -> Any:
        if self._stream is None:
            raise OSError(errno.ENOTCONN, "not connected")
        return self._stream

    def send(self, data: bytes, _flags: int = 0) -> int:
        self._connected().write(data)
        self._agent.run(self._stream.drain)
        return len(data)

    def sendto(self, data: bytes, address: tuple[Any, ...]) -> int:
        stream = self.peers.get(address[:2])
        if stream is None:
            raise OSError(errno.ENOSYS, "datagrams to a host that has sent none")
        stream.write(data)
        self._agent.run(stream.drain)
        return len(data)

    def recv(self, size: int, _flags: int = 0) -> bytes:
        if self._kind == socket.SOCK_DGRAM:
            return self.recvfrom(size)[0]
        if self._reading is None:
            self._reading = self._agent.run(self._connected().read, size)
        try:
            data = self._reading.result(TURN_S)
        except concurrent.futures.TimeoutError:
            raise BlockingIOError(errno.EAGAIN, "no data yet") from None
        self._reading = None
        return data

    def recvfrom(self, size: int, _flags: int = 0) -> tuple[bytes, Any]:
        if not self.arrived:
            raise BlockingIOError(errno.EAGAIN, "no datagram yet")
        data, peer = self.arrived.popleft()
        return data[:size], peer

    def shutdown(self, how: int) -> None:
        if how == socket.SHUT_RD:
            raise OSError(errno.ENOSYS, "shutdown of the direction that comes in")
        self._connected().write_eof()
        self._agent.run(self._stream.drain)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._agent.bound.pop((self._kind, self._name[1]), None)

    def getsockname(self) -> Any:
        return self._name if self._stream is None else self._stream.get_extra_info("sockname")

    def getpeername(self) -> Any:
        return self._connected().get_extra_info("peername")

    def getsockopt(self, *_words: int) -> int:
        raise OSError(errno.ENOSYS, "socket options")

    setsockopt = getsockopt

    def fileno(self) -> int:
        raise OSError(errno.ENOSYS, "poll")


class SmoltcpAgent(FreshAgent):
    """smoltcp."""

    release = "in mitmproxy_rs 0.11.5"

    def __init__(self, wire: socket.socket, folder: str) -> None:
        super().__init__(wire)
        sys.path.insert(0, folder)
        # It depends on a package that redirects this machine's own traffic, which is unwanted here.
        sys.modules["mitmproxy_linux"] = ModuleType("mitmproxy_linux")
        self.bound: dict[tuple[int, int], SmoltcpSocket] = {}
        self.ports = itertools.count(50000)
        self._loop = asyncio.new_event_loop()
        self._kept: list[Any] = []

    def run(self, call: Any, *words: Any) -> concurrent.futures.Future[Any]:
        """Has the loop call something, and wait for what comes of it."""

        async def wait() -> Any:
            return await call(*words)

        return asyncio.run_coroutine_threadsafe(wait(), self._loop)

    def begin(self, plan: dict[str, str]) -> None:
        own_loopback()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        tun = import_module("mitmproxy_rs.tun")
        made = self.run(tun.create_tun_interface, self._connection, self._datagrams, TUN)
        self._kept.append(made.result(START_S))
        kernel = Tables([TUN])
        kernel._write(f"net.ipv6.conf.{TUN}.disable_ipv6", "1")
        kernel.do_interface("0", "mtu", plan["mtu"])
        kernel.do_interface("0", "up")
        self._end = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self._end.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self._end.bind((TUN, ETH_P_ALL))
        self._macs = [bytes.fromhex(plan[one].replace(":", "")) for one in ("mac", "tester_mac")]
        self._own4 = ipaddress.ip_interface(plan["host4"]).ip.packed
        self._own6 = ipaddress.ip_interface(plan["host6"]).ip.packed
        threading.Thread(target=self._in, daemon=True).start()
        threading.Thread(target=self._out, daemon=True).start()

    async def _connection(self, stream: Any) -> None:
        sock = self.bound.get((socket.SOCK_STREAM, stream.get_extra_info("sockname")[1]))
        if sock is None:
            stream.close()
        else:
            sock.arrived.append(stream)

    async def _datagrams(self, stream: Any) -> None:
        sock = self.bound.get((socket.SOCK_DGRAM, stream.get_extra_info("sockname")[1]))
        if sock is None:
            stream.close()
            return
        peer = stream.get_extra_info("peername")
        sock.peers[peer[:2]] = stream
        while data := await stream.read(FRAME):
            sock.arrived.append((data, peer))

    # --- Ethernet --------------------------------------------------------------------------------

    def _in(self) -> None:
        """From the tester to the TUN."""
        own, _tester = self._macs
        while True:
            frame = self.wire.recv(FRAME)
            kind, packet = frame[12:14], frame[14:]
            if kind == b"\x08\x06" and packet[6:8] == b"\0\1" and packet[24:28] == self._own4:
                reply = packet[:6] + b"\0\2" + own + self._own4 + packet[8:18]
                self.send_frame(packet[8:14] + own + kind + reply)
            elif kind == b"\x86\xdd" and packet[6] == 58 and packet[40] == 135:
                if packet[48:64] == self._own6:
                    self._advertise(frame[6:12], packet[8:24])
            elif kind in (b"\x08\x00", b"\x86\xdd") and (frame[:6] == own or frame[0] & 1):
                self._end.sendto(packet, (TUN, int.from_bytes(kind, "big")))

    def _advertise(self, mac: bytes, asker: bytes) -> None:
        """Answers a neighbour solicitation."""
        own = self._macs[0]
        message = b"\x88\0\0\0\x60\0\0\0" + self._own6 + b"\2\1" + own
        pseudo = self._own6 + asker + struct.pack("!II", len(message), 58)
        total = checksum(pseudo + message).to_bytes(2, "big")
        header = struct.pack("!IHBB", 0x60000000, len(message), 58, 255) + self._own6 + asker
        self.send_frame(mac + own + b"\x86\xdd" + header + message[:2] + total + message[4:])

    def _out(self) -> None:
        """From the TUN to the tester."""
        own, tester = self._macs
        while True:
            packet = self._end.recv(FRAME)
            kind = b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00"
            self.send_frame(tester + own + kind + packet)

    def make(self, family: int, kind: int, protocol: int) -> Any:
        if kind == socket.SOCK_RAW:
            raise OSError(errno.ENOSYS, "raw sockets")
        return SmoltcpSocket(self, kind)


if __name__ == "__main__":
    main(SmoltcpAgent)
