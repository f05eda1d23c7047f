"""The manual's page of what is not implemented: what it says is refused is refused, and is all."""

from __future__ import annotations

import errno
import re
import socket
import struct
from collections.abc import Callable, Iterator
from importlib import resources

import pytest

import pystack

PAGE = resources.files("pystack").joinpath("manual/not_implemented.md").read_text("utf-8")
STREAM, DGRAM, RAW = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW
V4, V6 = socket.AF_INET, socket.AF_INET6
SOCKET, T, I4, I6 = socket.SOL_SOCKET, socket.IPPROTO_TCP, socket.IPPROTO_IP, socket.IPPROTO_IPV6

# Linux's numbers: the module `socket` has not all of them.
REFUSED = {
    "TCP_REPAIR": (V4, STREAM, T, 19),
    "TCP_MD5SIG": (V4, STREAM, T, 14),
    "TCP_AO_ADD_KEY": (V4, STREAM, T, 38),
    "TCP_SAVE_SYN": (V4, STREAM, T, 27),
    "TCP_THIN_LINEAR_TIMEOUTS": (V4, STREAM, T, 16),
    "TCP_THIN_DUPACK": (V4, STREAM, T, 17),
    "TCP_ULP": (V4, STREAM, T, 31),
    "TCP_ZEROCOPY_RECEIVE": (V4, STREAM, T, 35),
    "TCP_TX_DELAY": (V4, STREAM, T, 37),
    "SO_ATTACH_FILTER": (V4, DGRAM, SOCKET, 26),
    "SO_ATTACH_BPF": (V4, DGRAM, SOCKET, 50),
    "SO_DETACH_FILTER": (V4, DGRAM, SOCKET, 27),
    "SO_LOCK_FILTER": (V4, DGRAM, SOCKET, 44),
    "SO_ATTACH_REUSEPORT_CBPF": (V4, DGRAM, SOCKET, 51),
    "SO_ATTACH_REUSEPORT_EBPF": (V4, DGRAM, SOCKET, 52),
    "SO_DETACH_REUSEPORT_BPF": (V4, DGRAM, SOCKET, 68),
    "SO_MAX_PACING_RATE": (V4, STREAM, SOCKET, 47),
    "SO_ZEROCOPY": (V4, STREAM, SOCKET, 60),
    "SO_TIMESTAMPING": (V4, DGRAM, SOCKET, 37),
    "SO_PEEK_OFF": (V4, DGRAM, SOCKET, 42),
    "SO_TXTIME": (V4, DGRAM, SOCKET, 61),
    "IP_OPTIONS": (V4, DGRAM, I4, 4),
    "IP_RECVOPTS": (V4, DGRAM, I4, 6),
    "IP_MSFILTER": (V4, DGRAM, I4, 41),
    "IPV6_RECVPATHMTU": (V6, DGRAM, I6, 60),
    "IPV6_HOPOPTS": (V6, DGRAM, I6, 54),
    "IPV6_RTHDR": (V6, DGRAM, I6, 57),
    "IPV6_DSTOPTS": (V6, DGRAM, I6, 59),
    "IPV6_FLOWINFO_SEND": (V6, DGRAM, I6, 33),
    "IPV6_ADDR_PREFERENCES": (V6, DGRAM, I6, 72),
    "IPV6_JOIN_ANYCAST": (V6, DGRAM, I6, 27),
    "ICMP_FILTER": (V4, RAW, 255, 1),
    "ICMP6_FILTER": (V6, RAW, 58, 1),
}
STORED = {"TCP_FASTOPEN", "TCP_FASTOPEN_CONNECT"}
OTHERS = {"TCP_CONGESTION", "MSG_FASTOPEN", "UDP_SEGMENT"}  # tried below, or elsewhere


@pytest.fixture
def stack() -> Iterator[pystack.Stack]:
    with pystack.Stack() as made:
        yield made


@pytest.fixture
def far(stack: pystack.Stack) -> pystack.nic.NIC:
    """The far end of a Stack's wire, which has seen its interface come up."""
    near, far = pystack.nic.wire()
    stack.attach(near, "192.0.2.1/24", "2001:db8::1/64")
    return far


def seen(far: pystack.nic.NIC, found: Callable[[bytes], bool]) -> bytes:
    """The first frame that is what is looked for."""
    while True:
        frame = far.receive(30)
        assert frame is not None, "there was none"
        if found(bytes(frame)):
            return bytes(frame)


def test_the_page_names_what_is_tried() -> None:
    named = set(re.findall(r"`((?:SO|TCP|IP|IPV6|ICMP6?|UDP|MSG)_[A-Z0-9_]+)`", PAGE))
    assert named == set(REFUSED) | STORED | OTHERS


@pytest.mark.parametrize("name", REFUSED)
def test_an_option_is_refused(stack: pystack.Stack, name: str) -> None:
    family, kind, level, number = REFUSED[name]
    protocol = 0 if kind != RAW else {V4: 1, V6: 58}[family]
    with stack.sockets.socket(family, kind, protocol) as sock:
        for value in (1, bytes(216)):
            with pytest.raises(OSError) as refused:
                sock.setsockopt(level, number, value)
            assert refused.value.errno == errno.ENOPROTOOPT


def test_congestion_control_is_reno(stack: pystack.Stack) -> None:
    with stack.sockets.socket() as sock:
        for name in (b"cubic", b"bbr"):
            with pytest.raises(FileNotFoundError):
                sock.setsockopt(T, 13, name)
        sock.setsockopt(T, 13, b"reno")
        sock.setsockopt(T, 23, 5)  # Fast Open: stored
        assert sock.getsockopt(T, 23) == 5


@pytest.mark.parametrize(
    ("kind", "protocol", "error"),
    [(STREAM, 132, errno.EPROTONOSUPPORT), (STREAM, 262, errno.EPROTONOSUPPORT),
     (socket.SOCK_SEQPACKET, 0, errno.ESOCKTNOSUPPORT), (6, 33, errno.ESOCKTNOSUPPORT)],
)  # fmt: skip
def test_no_other_transport(stack: pystack.Stack, kind: int, protocol: int, error: int) -> None:
    """SCTP, MPTCP, SOCK_SEQPACKET and DCCP."""
    with pytest.raises(OSError) as refused:
        stack.sockets.socket(V4, kind, protocol)
    assert refused.value.errno == error


def test_groups_are_joined_by_igmp_2_and_mld_1(stack: pystack.Stack, far: pystack.nic.NIC) -> None:
    group4, group6 = (socket.inet_pton(*one) for one in ((V4, "239.1.1.1"), (V6, "ff02::1234")))
    with stack.sockets.socket(V4, DGRAM) as sock:
        here = socket.inet_aton("192.0.2.1")
        sock.setsockopt(I4, socket.IP_ADD_MEMBERSHIP, group4 + here)
        report = seen(far, lambda frame: frame[12:14] == b"\x08\0" and frame[23] == 2)
    assert report[14 + 4 * (report[14] & 15)] == 0x16  # RFC 2236; version 3 has 0x22
    with stack.sockets.socket(V6, DGRAM) as sock:
        sock.setsockopt(I6, socket.IPV6_JOIN_GROUP, group6 + struct.pack("@I", 2))
        report = seen(far, lambda frame: frame[38:54] == group6)  # version 2 goes to ff02::16
    assert report[62] == 131


def test_fast_open_connects_and_then_sends() -> None:
    left, right = pystack.nic.wire()
    with pystack.Stack() as one, pystack.Stack() as two:
        one.attach(left, "192.0.2.1/24")
        two.attach(right, "192.0.2.2/24")
        with two.sockets.create_server(("192.0.2.2", 80)) as listener, one.sockets.socket() as sock:
            assert sock.sendto(b"hello", 0x20000000, ("192.0.2.2", 80)) == 5
            with listener.accept()[0] as accepted:
                assert accepted.recv(10) == b"hello"


def test_a_syn_asks_for_no_ecn(stack: pystack.Stack, far: pystack.nic.NIC) -> None:
    with stack.sockets.socket(V4, STREAM) as sock:
        sock.setblocking(False)
        sock.connect_ex(("192.0.2.9", 80))
        # The neighbour answers, and so the SYN comes.
        asked = seen(far, lambda frame: frame[12:14] == b"\x08\6" and frame[38:42][3] == 9)
        mac = b"\2\0\0\0\0\x09"
        far.send(
            asked[6:12] + mac + asked[12:20] + b"\0\2" + mac + asked[38:42] + asked[22:32]
        )  # fmt: skip
        syn = seen(far, lambda frame: frame[12:14] == b"\x08\0" and frame[23] == 6)
    assert syn[14 + 20 + 13] == 2  # SYN alone: neither ECE nor CWR
