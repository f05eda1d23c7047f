"""TCP_INFO: Linux's layout beside Linux, and what its figures say of losses and of waiting."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from by_hand import FAR, MSS, SACK, ByHand, Segment, by_hand

import pystack
from pystack.sockets import Socket

TCP, TCP_INFO, SIZE = socket.IPPROTO_TCP, 11, 248
LAYOUT = struct.Struct("=8B24I4Q6IQ3Q2I2Q6I2HI")
# linux/tcp.h, struct tcp_info, without "tcpi_"
FIELDS = """
state ca_state retransmits probes backoff options scales limits
rto ato snd_mss rcv_mss unacked sacked lost retrans fackets
last_data_sent last_ack_sent last_data_recv last_ack_recv
pmtu rcv_ssthresh rtt rttvar snd_ssthresh snd_cwnd advmss reordering rcv_rtt rcv_space total_retrans
pacing_rate max_pacing_rate bytes_acked bytes_received segs_out segs_in notsent_bytes min_rtt
data_segs_in data_segs_out delivery_rate busy_time rwnd_limited sndbuf_limited delivered
delivered_ce bytes_sent bytes_retrans dsack_dups reord_seen rcv_ooopack snd_wnd rcv_wnd rehash
total_rto total_rto_recoveries total_rto_time
"""
NAMES = FIELDS.split()
OPEN, DISORDER, RECOVERY, LOSS = 0, 1, 3, 4
MSS_BYTES = 1460


def info(sock: Any) -> dict[str, int]:
    """What the socket says."""
    data = sock.getsockopt(TCP, TCP_INFO, SIZE)
    return dict(zip(NAMES, LAYOUT.unpack(data), strict=True))


@pytest.fixture(scope="module")
def sockets() -> Iterator[Any]:
    with pystack.Stack() as net:
        yield net.sockets


ROUNDS = 10
ALIKE = (
    "state", "ca_state", "retransmits", "probes", "options", "unacked", "sacked", "lost", "retrans",
    "total_retrans", "bytes_received", "notsent_bytes", "data_segs_in", "data_segs_out",
    "delivered_ce", "bytes_sent", "bytes_retrans", "dsack_dups", "reord_seen", "rcv_ooopack",
    "rehash", "total_rto", "snd_ssthresh", "max_pacing_rate",
)  # fmt: skip


def exchange(module: Any) -> list[dict[str, int]]:
    with module.create_server(("127.0.0.1", 0)) as listener:
        near = module.create_connection(listener.getsockname())
        far, _ = listener.accept()
    near.setsockopt(TCP, socket.TCP_NODELAY, 1)
    for _ in range(ROUNDS):
        near.sendall(b"x" * 100)
        far.recv(100, socket.MSG_WAITALL)
        far.sendall(b"y" * 10)
        near.recv(10, socket.MSG_WAITALL)
    told = [info(near), info(far)]
    near.close()
    far.close()
    return told


def test_beside_the_kernel(sockets: Any) -> None:
    """Of one exchange, the same where it does not hang on buffers, time and chance."""
    for ours, kernels in zip(exchange(sockets), exchange(socket), strict=True):
        assert {name: ours[name] for name in ALIKE} == {name: kernels[name] for name in ALIKE}
        for name in ("rto", "ato", "snd_mss", "rtt", "snd_cwnd", "pmtu", "min_rtt"):
            assert (ours[name] > 0) == (kernels[name] > 0), name
        for name in ("last_data_sent", "last_data_recv", "last_ack_recv"):
            assert ours[name] < 1000, name
        # Linux counts the SYN of the side that connected.
        assert ours["bytes_acked"] in (kernels["bytes_acked"], kernels["bytes_acked"] - 1)
        assert ours["delivered"] in (kernels["delivered"], kernels["delivered"] - 1)
        assert ROUNDS <= ours["segs_in"] <= 2 * ROUNDS + 2
        assert ROUNDS <= ours["segs_out"] <= 2 * ROUNDS + 2


@pytest.mark.parametrize("length", [1, 8, 104, 200, 248])
def test_a_part_of_it(sockets: Any, length: int) -> None:
    for module in (sockets, socket):
        with module.socket() as sock:
            assert len(sock.getsockopt(TCP, TCP_INFO, length)) == length


def connected(it: ByHand, window: int = 65535) -> tuple[Socket, Segment]:
    """A connection with SACK, and the segment that the peer sends next, an ACK."""
    sock = it.net.socket(socket.AF_INET)
    sock.setblocking(False)
    assert sock.connect_ex((FAR, 80)) == errno.EINPROGRESS
    (syn,) = it.sent()
    answer = Segment(80, syn.sport, "SA", 1000, syn.seq + 1, options=MSS + SACK)
    answer.window = window
    it.give(answer)
    following = Segment(80, syn.sport, "A", 1001, syn.seq + 1)
    following.window = window
    return sock, following


def block(left: int, right: int) -> bytes:
    """A SACK option."""
    return b"\x01\x01\x05\x0a" + struct.pack("!II", left % (1 << 32), right % (1 << 32))


def test_a_loss() -> None:
    with by_hand() as it:
        sock, ack = connected(it)
        sock.send(bytes(8 * MSS_BYTES))
        it.sent()
        first = ack.ack
        told = info(sock)
        assert (told["unacked"], told["sacked"], told["ca_state"]) == (8, 0, OPEN)
        it.clock.advance(0.05)
        ack.options = block(first + 2 * MSS_BYTES, first + 3 * MSS_BYTES)
        it.give(ack)
        told = info(sock)
        assert (told["sacked"], told["lost"], told["ca_state"]) == (1, 0, DISORDER)
        assert told["delivered"] == 1
        ack.options = block(first + 2 * MSS_BYTES, first + 6 * MSS_BYTES)
        it.give(ack)
        it.over(0.1, 0.01)
        told = info(sock)
        assert told["ca_state"] == RECOVERY
        assert told["sacked"] == 4
        assert told["retrans"] >= 2
        assert told["lost"] + told["retrans"] >= 2
        assert told["total_retrans"] >= 2
        assert told["bytes_retrans"] == told["total_retrans"] * MSS_BYTES
        assert told["bytes_sent"] == 8 * MSS_BYTES + told["bytes_retrans"]
        ack.options = b""
        ack.ack = first + 8 * MSS_BYTES
        it.give(ack)
        told = info(sock)
        assert (told["unacked"], told["sacked"], told["ca_state"], told["delivered"]) == (
            0,
            0,
            OPEN,
            8,
        )
        sock.close()


def test_a_timeout() -> None:
    with by_hand() as it:
        sock, _ = connected(it)
        sock.send(b"lost")
        it.over(3)
        told = info(sock)
        assert told["ca_state"] == LOSS
        assert told["total_rto"] >= 2
        assert told["total_rto_recoveries"] == 1
        assert told["backoff"] == told["retransmits"] > 0
        assert 3000 <= told["last_ack_recv"] <= 3050
        assert told["last_data_recv"] == told["last_ack_recv"]
        assert told["last_data_sent"] < 3000
        sock.close()


def test_what_keeps_it_from_sending() -> None:
    with by_hand() as it:
        sock, ack = connected(it, window=2000)
        it.over(1)
        assert info(sock)["busy_time"] == 0
        sock.send(b"x" * 100)
        it.over(0.1)  # the path
        ack.ack += 100
        it.give(ack)
        it.over(1)  # nothing
        sock.send(bytes(5000))
        it.over(0.1, 0.01)  # the window
        told = info(sock)
        assert told["busy_time"] == told["rwnd_limited"] + 100_000
        assert 100_000 <= told["rwnd_limited"] <= 110_000
        assert told["sndbuf_limited"] == 0
        assert 0 < told["notsent_bytes"] < 5000
        sock.close()


def test_the_send_buffer() -> None:
    with by_hand() as it:
        sock, _ = connected(it)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2000)
        sock.setsockopt(TCP, socket.TCP_NODELAY, 1)
        with pytest.raises(BlockingIOError):
            while True:
                sock.send(bytes(1000))
        it.over(0.1, 0.01)
        told = info(sock)
        assert 100_000 <= told["sndbuf_limited"] == told["busy_time"] <= 110_000
        assert told["notsent_bytes"] == 0
        sock.close()


def test_what_comes_out_of_order() -> None:
    with by_hand() as it:
        sock, ack = connected(it)
        ack.flags, ack.data = "PA", bytes(10)
        ack.seq += 10
        it.give(ack)
        assert (info(sock)["rcv_ooopack"], info(sock)["bytes_received"]) == (1, 0)
        ack.seq -= 10
        it.give(ack)
        told = info(sock)
        assert (told["rcv_ooopack"], told["bytes_received"], told["data_segs_in"]) == (1, 20, 2)
        sock.close()


def test_a_listener(sockets: Any) -> None:
    for module in (sockets, socket):
        with module.create_server(("127.0.0.1", 0), backlog=7) as listener:
            near = module.create_connection(listener.getsockname())
            told = info(listener)
            assert (told["state"], told["unacked"], told["sacked"]) == (10, 1, 7)
            near.close()


def test_typed() -> None:
    with by_hand() as it:
        sock, _ = connected(it)
        sock.send(b"abc")
        told = sock.tcp_info()
        assert (told.bytes_sent, told.data_segments_out, told.unacked_segments) == (3, 1, 1)
        assert told.send_ssthresh == 0xFFFFFFFF
        sock.close()
