"""A peer that makes each of its TCP segments by hand, and reads the answers, in virtual time.

Numbers are places in the stream: the first byte that the peer sends is 0, wherever its initial
sequence number is.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import pystack
from pystack.hypercalls import ManualClock
from pystack.nic import Nic, wire
from pystack.sockets import Socket

MAC, PEER_MAC = "02:00:00:00:00:02", "02:00:00:00:00:01"
HOST, PEER = "192.0.2.2", "192.0.2.1"
PORT, PEER_PORT = 80, 4000
MODULUS = 1 << 32
FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16, "U": 32}
MSS, SACK_PERMITTED, SCALE = b"\x02\x04\x05\xb4", b"\x01\x01\x04\x02", b"\x01\x03\x03\x07"


def checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = int.from_bytes(data, "big") % 0xFFFF
    return ~total & 0xFFFF


def option(options: bytes, wanted: int) -> bytes | None:
    """The value of an option."""
    while options and options[0]:
        length = 1 if options[0] == 1 else options[1]
        if options[0] == wanted:
            return options[2:length]
        options = options[length:]
    return None


class Answer(NamedTuple):
    """A segment of the Stack's."""

    flags: str
    ack: int
    window: int  # as it stands in the header
    blocks: list[tuple[int, int]]


@dataclass
class Peer:
    """One end of a connection to a listener of the Stack's, `sock` being the other.

    `first_window` is that of the SYN-ACK.
    """

    stack: pystack.Stack
    clock: ManualClock
    end: Nic
    isn: int = 1000
    port: int = PEER_PORT
    host_sequence: int = 0
    shift: int = 0
    first_window: int = 0
    sock: Any = None

    def frame(
        self,
        flags: str,
        sequence: int,
        data: bytes = b"",
        options: bytes = b"",
        to: int = PORT,
    ) -> bytes:
        """A frame with one segment; the sequence number is as it stands in the header."""
        header = struct.pack(
            "!HHIIBBHHH",
            self.port, to, sequence % MODULUS, self.host_sequence if "A" in flags else 0,
            (5 + len(options) // 4) << 4, sum(FLAGS[flag] for flag in flags), 65535, 0, 0,
        )  # fmt: skip
        ends = socket.inet_aton(PEER) + socket.inet_aton(HOST)
        segment = header + options + data
        total = checksum(ends + struct.pack("!HH", 6, len(segment)) + segment)
        segment = segment[:16] + struct.pack("!H", total) + segment[18:]
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0, 64, 6, 0) + ends
        ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
        macs = bytes.fromhex((MAC + PEER_MAC).replace(":", ""))
        return macs + b"\x08\x00" + ip + segment

    def read(self, frame: bytes) -> Answer:
        """What a frame of the Stack's says."""
        segment = frame[34:]
        sequence, ack, offset, bits, window = struct.unpack("!IIBBH", segment[4:16])
        options = segment[20 : offset // 16 * 4]
        if bits & FLAGS["S"]:
            self.host_sequence = (sequence + 1) % MODULUS
            scale = option(options, 3)
            self.shift = scale[0] if scale else 0
        found = option(options, 5) or b""
        edges = [(edge - self.isn - 1) % MODULUS for (edge,) in struct.iter_unpack("!I", found)]
        flags = "".join(flag for flag, bit in FLAGS.items() if bits & bit)
        return Answer(
            flags,
            (ack - self.isn - 1) % MODULUS,
            window << (0 if "S" in flags else self.shift),
            list(zip(edges[::2], edges[1::2], strict=True)),
        )

    def answers(self) -> list[Answer]:
        """What the Stack has sent since."""
        self.stack.step()
        frames = iter(lambda: self.end.receive(0), None)
        return [self.read(frame) for frame in frames if frame[23] == 6]

    def send(self, place: int, data: bytes = b"", flags: str = "A") -> list[Answer]:
        """Sends a segment. Returns what comes back at once."""
        self.end.send(self.frame(flags, self.isn + 1 + place, data))
        return self.answers()

    def pass_time(self, seconds: float) -> list[Answer]:
        """What comes meanwhile."""
        self.clock.advance(seconds)
        return self.answers()

    def received(self) -> bytes:
        """All that can be read now."""
        got = bytearray()
        try:
            while piece := self.sock.recv(1 << 20):
                got += piece
        except BlockingIOError:
            pass
        return bytes(got)

    def handshake(self, options: bytes) -> None:
        """Opens the connection; nobody has accepted it yet."""
        self.end.send(self.frame("S", self.isn, options=options))
        answer = self.answers()[0]
        assert answer.flags == "SA"
        self.first_window = answer.window
        self.send(0)


@contextmanager
def listening(
    buffer: int | None = None, *, isn: int = 1000, mtu: int = 65500, **settings: Any
) -> Iterator[tuple[Peer, Socket]]:
    """A Stack with a listener of which `SO_RCVBUF` was set to `buffer`, and a peer."""
    clock = ManualClock()
    ours, theirs = wire(mtu=mtu)
    with pystack.Stack(threaded=False, clock=clock, seed=1, **settings) as stack:
        stack.attach(ours, HOST + "/24", mac=MAC)
        stack.neighbours.add(PEER, PEER_MAC)
        with stack.socket() as listener:
            if buffer is not None:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            listener.bind((HOST, PORT))
            listener.listen()
            listener.setblocking(False)
            clock.advance(1.0)
            peer = Peer(stack, clock, theirs, isn)
            peer.answers()
            try:
                yield peer, listener
            finally:
                if peer.sock is not None:
                    peer.sock.close()
                stack.close(abrupt=True)


@contextmanager
def connected(
    buffer: int | None = None,
    *,
    options: bytes = MSS + SACK_PERMITTED,
    isn: int = 1000,
    mtu: int = 65500,
    **settings: Any,
) -> Iterator[Peer]:
    """The same, the connection open and accepted."""
    with listening(buffer, isn=isn, mtu=mtu, **settings) as (peer, listener):
        peer.handshake(options)
        peer.sock = listener.accept()[0]
        peer.sock.setblocking(False)
        yield peer
