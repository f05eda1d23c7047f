"""What a segment's header can say, true or not: it ends no Stack, and nothing is read behind it."""

from __future__ import annotations

import random
import socket

import pytest
from segments import HOST, MSS, PORT, SACK_PERMITTED, SCALE, Peer, connected, listening

import pystack
from pystack.hypercalls import ManualClock
from pystack.nic import Layer, wire

pytestmark = pytest.mark.sanitize

PEER = "192.0.2.1"
TIMESTAMPS = b"\x01\x01\x08\x0a" + bytes(range(8))
KINDS = (2, 3, 4, 5, 8, 19, 28, 30, 34, 99, 254, 255)


@pytest.mark.parametrize("kind", KINDS)
def test_an_option_that_ends_with_the_header(kind: int) -> None:
    """On a wire of packets, where the header ends what was received."""
    clock = ManualClock()
    ours, theirs = wire(layer=Layer.IP)
    with pystack.Stack(threaded=False, clock=clock, seed=1) as stack:
        stack.attach(ours, HOST + "/24")
        with stack.socket() as listener:
            listener.bind((HOST, PORT))
            listener.listen(100)
            peer = Peer(stack, clock, theirs)
            for size in (4, 8, 40):
                for length in (b"", b"\x00", b"\x01", b"\x02", b"\x03", b"\x0a", b"\x28", b"\xff"):
                    peer.port += 1
                    options = bytes([kind]) + length
                    options = b"\x01" * (size - len(options)) + options
                    theirs.send(peer.frame("S", peer.isn, options=options)[14:])
                    stack.step()
                    answer = theirs.receive(0)
                    assert answer is not None
                    assert answer[33] == 0x12  # SYN and ACK


@pytest.mark.parametrize("seed", range(20))
def test_options_that_lie_in_a_connection(seed: int) -> None:
    rng = random.Random(seed)
    for offer in (MSS, MSS + SACK_PERMITTED + SCALE):
        with connected(options=offer, isn=(1 << 32) - 500) as peer:
            for place in range(0, 1000, 10):
                options = bytearray(
                    rng.choice([TIMESTAMPS, rng.randbytes(4 * rng.randrange(1, 11))])
                )
                for _ in range(rng.randrange(4)):
                    options[rng.randrange(len(options))] = rng.choice([0, 1, 2, 5, 8, 10, 40, 255])
                sequence = peer.isn + 1 + place
                peer.end.send(peer.frame("A", sequence, b"0123456789", bytes(options)))
                peer.answers()
            assert peer.received() == b"0123456789" * 100


@pytest.mark.parametrize("scale", [SCALE, b""])
def test_a_lower_buffer_before_the_answer_to_our_syn(scale: bytes) -> None:
    with listening() as (peer, _), peer.stack.socket() as client:
        client.setblocking(False)
        client.connect_ex((PEER, peer.port))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        (syn,) = peer.answers()  # and no acknowledgement: there is nothing yet
        assert syn.flags == "S"
        port = client.getsockname()[1]
        peer.end.send(peer.frame("SA", peer.isn, options=MSS + scale, to=port))
        if not scale:
            peer.shift = 0
        (ack,) = peer.answers()
        # What the SYN has said of a window without a shift holds (RFC 9293 3.8.6).
        assert (ack.flags, ack.ack, ack.window) == ("A", 0, 4096 if scale else 65535)


def test_a_syn_again_agrees_to_nothing_more() -> None:
    with listening() as (peer, listener):
        peer.end.send(peer.frame("S", peer.isn, options=MSS))
        peer.answers()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        peer.handshake(MSS + SACK_PERMITTED + SCALE)
        assert peer.shift == 0
        peer.sock = listener.accept()[0]
        assert peer.send(10, b"early")[0].blocks == []
