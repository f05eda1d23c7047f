"""A next hop that nobody answers for: who hears of it, and when (RFC 1122 2.3.2.2, RFC 4861 7.2.2).

Linux asks three times, a second apart, and then tells the sockets whose packets wait by an ICMP
error to itself; what it gives was seen on Linux 6.18.
"""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest
from link import Link, link
from scapy.all import ARP, IP, TCP, Ether, ICMPv6ND_NS

ADDRESSES = ("192.0.2.2/24", "2001:db8::2/64")
ABSENT = {socket.AF_INET: "192.0.2.9", socket.AF_INET6: "2001:db8::9"}
RECVERR = {socket.AF_INET: (0, 11), socket.AF_INET6: (41, 25)}
GIVES_UP_S = 3.0
PEER, PEER_MAC, MAC = "192.0.2.1", "02:00:00:00:00:01", "02:00:00:00:00:02"
PATIENCE_MS = 6000


def error_of(sock: Any) -> int:
    number: int = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return number


def first_error(it: Link, sock: Any, seconds: float) -> tuple[float, int] | None:
    """When the socket has an error first, and which."""
    for tenth in range(round(seconds * 10)):
        it.run(0.1)
        if number := error_of(sock):
            return (tenth + 1) / 10, number
    return None


FAMILIES = (socket.AF_INET, socket.AF_INET6)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_connect_ends(family: int) -> None:
    with link(*ADDRESSES) as it, it.net.socket(family) as sock:
        sock.setblocking(False)
        assert sock.connect_ex((ABSENT[family], 80)) == errno.EINPROGRESS
        assert first_error(it, sock, GIVES_UP_S - 0.1) is None
        asked = [frame for frame in it.sent() if ARP in frame or ICMPv6ND_NS in frame]
        assert len(asked) == 3
        assert first_error(it, sock, 6) == (0.1, errno.EHOSTUNREACH)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("connected", [False, True])
@pytest.mark.parametrize("asks", [False, True])
def test_datagrams(family: int, connected: bool, asks: bool) -> None:
    """It may be gone only for now: who did not ask for such errors does not hear of it."""
    where = (ABSENT[family], 80)
    with link(*ADDRESSES) as it, it.net.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        if asks:
            sock.setsockopt(*RECVERR[family], 1)
        if connected:
            sock.connect(where)
            sock.send(b"x")
        else:
            sock.sendto(b"x", where)
        told = first_error(it, sock, 6)
        if not asks:
            assert told is None
            return
        assert told == (GIVES_UP_S, errno.EHOSTUNREACH)
        data, ancillary, _, peer = sock.recvmsg(9, 200, socket.MSG_ERRQUEUE)
        assert (data, peer[:2]) == (b"x", where)
        (_, _, error), *_ = ancillary
        assert error[4:7] == (b"\x02\x03\x01" if family == socket.AF_INET else b"\x03\x01\x03")


@pytest.mark.parametrize("looks", [False, True])
def test_a_connection_goes_on(looks: bool) -> None:
    """SO_ERROR tells, once; what ends it later is that, unless it has been told."""
    with link(*ADDRESSES) as it, it.net.socket() as listener:
        listener.bind(("", 80))
        listener.listen()
        head = Ether(src=PEER_MAC, dst=MAC) / IP(src=PEER, dst="192.0.2.2")
        it.send(
            Ether(src=PEER_MAC, dst=MAC)
            / ARP(op=1, psrc=PEER, hwsrc=PEER_MAC, pdst="192.0.2.2", hwdst=MAC)
        )
        it.send(head / TCP(sport=9, dport=80, flags="S", seq=1))
        (answer,) = [frame[TCP] for frame in it.sent() if TCP in frame]
        it.send(head / TCP(sport=9, dport=80, flags="A", seq=2, ack=answer.seq + 1))
        sock, _ = listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, PATIENCE_MS)
        it.net.neighbours.flush()
        sock.send(b"hello")
        if looks:
            assert first_error(it, sock, 5) == (GIVES_UP_S, errno.EHOSTUNREACH)
            assert error_of(sock) == 0
            it.run(1)
            with pytest.raises(BlockingIOError):
                sock.recv(1)
        it.run(8)
        with pytest.raises(OSError, match=r".") as raised:
            sock.recv(1)
        assert raised.value.errno == (errno.ETIMEDOUT if looks else errno.EHOSTUNREACH)
        sock.close()
