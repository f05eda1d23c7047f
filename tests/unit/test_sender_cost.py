"""What a peer's acknowledgements cost a TCP sender: bounded, whatever is in flight."""

from __future__ import annotations

import random
import socket
import struct
import time

from peer import ACK, Peer

SEGMENT = 48
ACKS = 1000


def cost_of_selecting(flight: int) -> float:
    """Seconds of processor time that an acknowledgement takes, each with four blocks at random."""
    peer = Peer()
    with peer.connect(b"\2\4\0\x30\1\3\3\x0e\4\2\1\1") as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
        acked = sent = 0
        while sent - acked < flight * SEGMENT:
            acked = sent
            peer.send(ACK, acked)  # the congestion window grows
            try:
                while True:
                    sock.send(bytes(65536))
            except BlockingIOError:
                pass
            peer.net.step()
            sent = max(peer.at(one) + len(one.data) for one in peer.frames())
        rng = random.Random(1)
        options = []
        for _ in range(ACKS):
            edges = [acked + SEGMENT * rng.randrange(1, flight) for _ in range(4)]
            numbers = [(peer.start + edge + more) for edge in edges for more in (0, SEGMENT)]
            options.append(b"\1\1\5\x22" + struct.pack("!8I", *(n % (1 << 32) for n in numbers)))
        began = time.process_time()
        for one in options:
            peer.send(ACK, acked, options=one)
        took = time.process_time() - began
    peer.close()
    return took / ACKS


def test_what_a_block_costs_does_not_grow_with_what_is_in_flight() -> None:
    # 2 measured; a walk along the segments costs 75 times as much.
    assert cost_of_selecting(32_000) < 8 * cost_of_selecting(200)
