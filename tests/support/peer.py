"""A TCP peer by hand, in virtual time: its frames are packed here, and the Stack's taken apart.

It has one connection to a Stack that listens, over IPv4 or IPv6. A test says each segment that it
sends; what came is kept by `Peer.frames`.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import pystack
from pystack.hypercalls import ManualClock
from pystack.nic import Descriptor, Framing, PythonNic

MAC, PEER_MAC = "02:00:00:00:00:02", "02:00:00:00:00:01"
PORT, PEER_PORT = 80, 4000
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
TURN = 1 << 32
STAMP = b"\1\1\x08\x0a"


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) & ~1]))
    total += data[-1] << 8 if len(data) % 2 else 0
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def stamp(value: int, echo: int = 0) -> bytes:
    """The timestamp option (RFC 7323 3.2)."""
    return STAMP + struct.pack("!II", value % TURN, echo)


@dataclass
class Segment:
    """What a frame of the Stack's has in it; `cut`: the wire cuts it into segments of that size."""

    seq: int
    ack: int
    flags: int
    window: int
    options: bytes
    data: bytes
    size: int  # of the IP packet, or of each that it is cut into
    is_fragment: bool = False
    cut: int = 0


class Peer:
    """The peer, and the Stack that it is connected to.

    Args:
        v6: Whether over IPv6.
        offload: Whether the wire cuts long segments (virtio headers).
        mtu: Of the interface.
        seed: Of the Stack.
    """

    def __init__(
        self, *, v6: bool = False, offload: bool = False, mtu: int = 1500, seed: int = 1
    ) -> None:
        self.v6, self.offload = v6, offload
        self.family = socket.AF_INET6 if v6 else socket.AF_INET
        self.host, self.address = ("fd00::2", "fd00::1") if v6 else ("10.0.0.2", "10.0.0.1")
        self.clock = ManualClock(1000.0)
        self.net = pystack.Stack(clock=self.clock, threaded=False, seed=seed)
        self._came: list[bytes] = []
        self.nic: Any
        if offload:
            ours, self.wire = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            for end in (ours, self.wire):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
            self.wire.setblocking(False)
            self.nic = Descriptor(ours, framing=Framing.VIRTIO, mtu=mtu)
        else:
            self.nic = PythonNic(self._came.append, mtu)
        self.interface = self.net.attach(self.nic, "10.0.0.2/24", "fd00::2/64", mac=MAC)
        self.net.neighbours.add("10.0.0.1", PEER_MAC, interface=self.interface)
        self.net.neighbours.add("fd00::1", PEER_MAC, interface=self.interface)
        self.run(2.0)
        self.frames()
        self.seq, self.start, self.window = 0, 0, 65535
        self.stamps = False  # agreed; what the Stack's last one was
        self._stamp = 0

    def close(self) -> None:
        """Ends the Stack."""
        self.net.close(abrupt=True)
        if self.offload:
            self.wire.close()

    def run(self, seconds: float, step: float = 0.01) -> None:
        """Lets time pass."""
        self.net.step()
        for _ in range(max(1, round(seconds / step)) if seconds else 0):
            self.clock.advance(step)
            self.net.step()

    # --- frames ------------------------------------------------------------------------------

    def _deliver(self, protocol: int, payload: bytes, source: str = "", to: str = "") -> None:
        a = ip_address(source or self.address).packed
        b = ip_address(to or self.host).packed
        if self.v6:
            header = struct.pack("!IHBB", 6 << 28, len(payload), protocol, 255) + a + b
        else:
            header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0)
            header += a + b
            header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
        macs = bytes.fromhex((MAC + PEER_MAC).replace(":", ""))
        frame = macs + (b"\x86\xdd" if self.v6 else b"\x08\x00") + header + payload
        if self.offload:
            self.wire.send(bytes(10) + frame)
        else:
            self.nic.deliver(frame)
        self.net.step()

    def _checked(self, protocol: int, payload: bytes, at: int, source: str, to: str) -> bytes:
        a, b = ip_address(source or self.address).packed, ip_address(to or self.host).packed
        pseudo = a + b + struct.pack("!II", len(payload), protocol)
        value = checksum(pseudo + payload)
        return payload[:at] + struct.pack("!H", value) + payload[at + 2 :]

    def send(
        self,
        flags: int,
        ack: int = 0,
        *,
        seq: int | None = None,
        window: int | None = None,
        options: bytes = b"",
        data: bytes = b"",
    ) -> None:
        """Sends a segment; `ack` counts from the first byte that the Stack sends."""
        window = self.window if window is None else window
        if self.stamps and not flags & SYN:
            options = stamp(self.clock.now_us() // 1000, self._stamp) + options
        options += b"\1" * (-len(options) % 4)
        header = struct.pack(
            "!HHIIBBHHH",
            PEER_PORT,
            PORT,
            (self.seq if seq is None else seq) % TURN,
            (self.start + ack) % TURN if flags & ACK else 0,
            (5 + len(options) // 4) << 4,
            flags,
            window,
            0,
            0,
        )
        self._deliver(6, self._checked(6, header + options + data, 16, "", ""))

    def too_big(self, quoted: bytes, mtu: int) -> None:
        """A router's ICMPv6 packet too big about a packet of the Stack's."""
        message = struct.pack("!BBHI", 2, 0, 0, mtu) + quoted[:1000]
        self._deliver(58, self._checked(58, message, 2, "", ""))

    def advertise(self, mtu: int) -> None:
        """A router advertisement with an MTU."""
        message = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
        message += struct.pack("!BBHI", 5, 1, 0, mtu)
        source, to = "fe80::1", "ff02::1"
        self._deliver(58, self._checked(58, message, 2, source, to), source, to)

    def packets(self) -> list[tuple[int, bytes]]:
        """The IP packets that came since the last call, each with the size that it is cut into."""
        if not self.offload:
            found, self._came[:] = [(0, frame[14:]) for frame in self._came], []
            return found
        found = []
        while True:
            try:
                frame = self.wire.recv(1 << 17)
            except BlockingIOError:
                return found
            kind, _, size = struct.unpack("<BxHH", frame[:6])
            found.append((size if kind else 0, frame[24:]))

    def frames(self) -> list[Segment]:
        """The segments that came since the last call."""
        return [segment for cut, packet in self.packets() if (segment := self.parse(packet, cut))]

    def parse(self, packet: bytes, cut: int = 0) -> Segment | None:
        """The TCP segment in an IP packet; None: there is none."""
        segment = parse(packet, cut)
        if segment is not None and segment.options[:4] == STAMP:
            self._stamp = struct.unpack("!I", segment.options[4:8])[0]
        return segment

    # --- the connection ------------------------------------------------------------------------

    def connect(self, options: bytes = b"\2\4\5\xb4", *, window: int | None = None) -> Any:
        """Opens the connection. Returns the Stack's socket; `start` is its first byte's number."""
        with self.net.socket(self.family, socket.SOCK_STREAM) as listener:
            listener.setblocking(False)
            listener.bind((self.host, PORT))
            listener.listen(1)
            self.seq = 999
            self.send(SYN, options=options, window=window)
            answer = self.frames()[-1]
            self.start = (answer.seq + 1) % TURN
            self.stamps = STAMP in answer.options
            self.seq = 1000
            self.send(ACK, window=window)
            sock = listener.accept()[0]
        sock.setblocking(False)
        return sock

    def at(self, segment: Segment) -> int:
        """Where in the Stack's stream a segment begins."""
        return (segment.seq - self.start + TURN // 2) % TURN - TURN // 2


def parse(packet: bytes, cut: int = 0) -> Segment | None:
    """The TCP segment in an IP packet; None: there is none."""
    is_fragment = False
    if packet[0] >> 4 == 4:
        length = struct.unpack("!H", packet[2:4])[0]
        is_fragment = struct.unpack("!H", packet[6:8])[0] & 0x3FFF != 0
        protocol, at = packet[9], (packet[0] & 15) * 4
    elif packet[0] >> 4 == 6:
        length = 40 + struct.unpack("!H", packet[4:6])[0]
        protocol, at = packet[6], 40
        if protocol == 44:
            protocol, at, is_fragment = packet[40], 48, True
    else:
        return None
    if protocol != 6 or length < at + 20:
        return None
    _, _, seq, ack, offset, flags, window, _, _ = struct.unpack("!HHIIBBHHH", packet[at : at + 20])
    end = at + (offset >> 4) * 4
    data = packet[end:length]
    size = end + min(cut, len(data)) if cut else length
    return Segment(seq, ack, flags, window, packet[at + 20 : end], data, size, is_fragment, cut)
