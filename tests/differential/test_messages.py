"""Scattered buffers, flags, ancillary data; datagrams of every kind; both versions of IP."""

from __future__ import annotations

import array
import itertools
import socket
import struct
from typing import Any

from differential import LOCAL, LOCAL6, MAPPED, Place, differential, needs_root

DGRAM, RAW = socket.SOCK_DGRAM, socket.SOCK_RAW
IP, IPV6, SOL = socket.IPPROTO_IP, socket.IPPROTO_IPV6, socket.SOL_SOCKET
IP_PKTINFO, IP_RECVTTL, IP_RECVTOS = 8, 12, 13


def pinned(made: Any) -> Any:
    """What recvmsg gave, without the sender's port."""
    data, ancillary, flags, where = made
    return data, ancillary, flags, where and (where[0], *where[2:])


def two(p: Place, host: str = LOCAL) -> tuple[Any, Any]:
    """A UDP socket that is connected to another."""
    far = p.udp(host)
    return p.udp(host, connect=far), far


# --- streams ----------------------------------------------------------------------------------


@differential
def stream_scattered(p: Place) -> Any:
    near, far = p.pair()
    sent = near.sendmsg([b"ab", bytearray(b"cd"), memoryview(b"efgh")[1:3], array.array("H", [1])])
    p.settle()
    buffers = [bytearray(1), bytearray(), bytearray(3), bytearray(9)]
    return sent, far.recvmsg_into(buffers)[0], buffers


@differential
def stream_into_an_array(p: Place) -> Any:
    near, far = p.pair()
    near.sendall(bytes(range(16)))
    p.settle()
    numbers = array.array("I", [0] * 6)
    return far.recv_into(numbers), far.recv_into(memoryview(numbers)[4:]), numbers.tobytes()


@differential
def stream_peek_and_scatter(p: Place) -> Any:
    near, far = p.pair()
    near.sendall(b"abcdef")
    p.settle()
    first, second = [bytearray(2), bytearray(2)], [bytearray(4), bytearray(4)]
    return (
        far.recvmsg_into(first, 0, socket.MSG_PEEK)[0], first,
        far.recvmsg_into(second)[0], second,
    )  # fmt: skip


@differential
def stream_trunc_drops(p: Place) -> Any:
    near, far = p.pair()
    near.sendall(b"abcdef")
    p.settle()
    buffer = bytearray(b"....")
    return far.recv_into(buffer, 4, socket.MSG_TRUNC), buffer, far.recv(9)


@differential
def stream_trunc_and_peek(p: Place) -> Any:
    near, far = p.pair()
    near.sendall(b"abcdef")
    p.settle()
    return far.recv_into(bytearray(4), 4, socket.MSG_TRUNC | socket.MSG_PEEK), far.recv(9)


@differential
def stream_recvfrom_has_no_sender(p: Place) -> Any:
    near, far = p.pair()
    near.sendall(b"abc")
    p.settle()
    return far.recvfrom(1), far.recvfrom_into(bytearray(1)), far.recvmsg(1)


@differential
def stream_sendto_ignores_the_address(p: Place) -> Any:
    near, far = p.pair()
    return near.sendto(b"abc", ("192.0.2.1", 9)), far.recv(9)


@differential
def stream_ancillary_data(p: Place) -> Any:
    near, _far = p.pair()
    kinds = (
        (SOL, 1),
        (SOL, 2),
        (SOL, 99),
        (IP, 2),
        (IP, 99),
        (IPV6, 50),
        (17, 103),
        (6, 1),
        (99, 1),
    )
    return [p.tried(near.sendmsg, [b"x"], [(*kind, bytes(4))]) for kind in kinds]


@differential
def stream_urgent(p: Place) -> Any:
    near, far = p.pair()
    near.send(b"abc", socket.MSG_OOB)
    near.send(b"de")
    p.settle()
    return p.tries(
        lambda: far.recv(9), lambda: far.recv(9, socket.MSG_OOB),
        lambda: far.recv(9, socket.MSG_OOB), lambda: far.recv(9),
    )  # fmt: skip


@differential
def stream_urgent_peeked(p: Place) -> Any:
    near, far = p.pair()
    near.send(b"!", socket.MSG_OOB)
    p.settle()
    both = socket.MSG_OOB | socket.MSG_PEEK
    return p.tries(
        lambda: far.recv(9, both), lambda: far.recv(0, socket.MSG_OOB),
        lambda: far.recv(9, socket.MSG_OOB), lambda: far.recv(9, both),
    )  # fmt: skip


@differential
def stream_urgent_inline(p: Place) -> Any:
    near, far = p.pair()
    far.setsockopt(SOL, socket.SO_OOBINLINE, 1)
    near.send(b"ab")
    near.send(b"!", socket.MSG_OOB)
    near.send(b"cd")
    p.settle()
    return p.tries(lambda: far.recv(9, socket.MSG_OOB), lambda: far.recv(9), lambda: far.recv(9))


@differential
def stream_urgent_twice(p: Place) -> Any:
    near, far = p.pair()
    near.send(b"a1", socket.MSG_OOB)
    near.send(b"b2", socket.MSG_OOB)
    p.settle()
    return p.tries(
        lambda: far.recv(9, socket.MSG_OOB), lambda: far.recv(9), lambda: far.recv(9),
        lambda: far.recv(9, socket.MSG_OOB),
    )  # fmt: skip


@differential
def stream_more_is_joined(p: Place) -> Any:
    near, far = p.pair()
    near.send(b"ab", socket.MSG_MORE)
    near.send(b"cd")
    p.settle()
    return far.recv(9)


@differential
def stream_errqueue_is_empty(p: Place) -> Any:
    near, _far = p.pair()
    return p.tried(near.recvmsg, 9, 99, 0x2000)


@differential
def stream_large(p: Place) -> Any:
    near, far = p.pair()
    far.settimeout(5)
    near.settimeout(5)
    data = bytes(range(256)) * 8192
    out = p.thread(near.sendall, data)
    got = bytearray()
    while len(got) < len(data):
        got += far.recv(1 << 20)
    return p.joined(out)[:2], bytes(got) == data


# --- datagrams --------------------------------------------------------------------------------


@differential
def datagrams_keep_their_borders(p: Place) -> Any:
    near, far = two(p)
    for data in (b"a", b"", b"bcd", bytes(9000)):
        near.send(data)
    p.settle()
    return [len(far.recv(65536)) for _ in range(4)]


@differential
def a_datagram_scattered(p: Place) -> Any:
    near, far = two(p)
    near.sendmsg([b"ab", b"", b"cdef"])
    p.settle()
    buffers = [bytearray(1), bytearray(2)]
    got, ancillary, flags, where = far.recvmsg_into(buffers)
    return got, buffers, ancillary, flags, where == near.getsockname()


@differential
def a_datagram_cut(p: Place) -> Any:
    near, far = two(p)
    for _ in range(3):
        near.send(b"abcdef")
    p.settle()
    trunc = socket.MSG_TRUNC
    return pinned(far.recvmsg(3)), far.recv_into(bytearray(3), 3, trunc), far.recvfrom(2)[0]


@differential
def a_peeked_datagram_stays(p: Place) -> Any:
    near, far = two(p)
    near.send(b"abcdef")
    p.settle()
    flags = socket.MSG_PEEK
    return far.recv(3, flags), pinned(far.recvmsg(3, 0, flags | socket.MSG_TRUNC)), far.recv(9)


@differential
def the_length_of_a_datagram(p: Place) -> Any:
    """It is asked for by how much comes, of which only what was to be received means anything."""
    near, far = two(p)
    for size in (0, 6, 6, 6, 6):
        near.send(b"abcdef"[:size])
    p.settle()
    peek, trunc = socket.MSG_PEEK, socket.MSG_TRUNC
    told = [len(far.recv(1, peek | trunc)), far.recv(9)]
    told += [len(far.recv(1, peek | trunc)), len(far.recvfrom(0, peek | trunc)[0])]
    told += [far.recv(0, peek | trunc), len(far.recv(3, trunc)), far.recv(3, trunc)[:3]]
    return [*told, len(far.recvfrom(2, trunc)[0]), len(far.recv(9, trunc))]


@differential
def a_datagram_in_parts(p: Place) -> Any:
    near, far = two(p)
    near.send(b"ab", socket.MSG_MORE)
    early = p.tried(far.recv, 9)
    near.send(b"cd")
    return early, p.tried(far.recv, 9)


@differential
def datagrams_of_strangers(p: Place) -> Any:
    near, far = two(p)
    p.udp().sendto(b"stranger", near.getsockname())
    far.sendto(b"friend", near.getsockname())
    return p.tries(lambda: near.recv(9), lambda: near.recv(9))


@differential
def a_connection_dissolved(p: Place) -> Any:
    """connect(2): an address of AF_UNSPEC, which the module can't give, is a new connect here."""
    near, far = two(p)
    other = p.udp()
    near.connect(other.getsockname())
    far.sendto(b"old", near.getsockname())
    other.sendto(b"new", near.getsockname())
    return near.recv(9), near.getpeername() == other.getsockname()


@differential
def datagrams_with_pktinfo(p: Place) -> Any:
    near, far = two(p)
    for option in (IP_PKTINFO, IP_RECVTTL, IP_RECVTOS):
        far.setsockopt(IP, option, 1)
    near.setsockopt(IP, socket.IP_TTL, 9)
    near.setsockopt(IP, socket.IP_TOS, 0x20)
    near.send(b"abc")
    p.settle()
    return [item for item in far.recvmsg(9, 200)[1] if item[:2] != (IP, IP_PKTINFO)]


@differential
def ancillary_data_without_room(p: Place) -> Any:
    near, far = two(p)
    far.setsockopt(IP, IP_RECVTTL, 1)
    for _ in range(4):
        near.send(b"abc")
    p.settle()
    sizes = (0, 8, socket.CMSG_LEN(1), socket.CMSG_SPACE(4))
    return [pinned(far.recvmsg(9, size)) for size in sizes]


@differential
def ancillary_data_sent(p: Place) -> Any:
    near, far = two(p)
    far.setsockopt(IP, IP_RECVTTL, 1)
    far.setsockopt(IP, IP_RECVTOS, 1)
    near.sendmsg([b"a"], [(IP, socket.IP_TTL, struct.pack("i", 5))])
    near.sendmsg([b"a"], [(IP, socket.IP_TOS, struct.pack("i", 8)), (IP, 2, struct.pack("i", 6))])
    p.settle()
    return [far.recvmsg(9, 200)[1] for _ in range(2)]


@differential
def ancillary_data_of_all_kinds(p: Place) -> Any:
    near, _far = two(p)
    kinds = (
        (SOL, 1),
        (SOL, 2),
        (SOL, 99),
        (IP, 99),
        (IPV6, 50),
        (IPV6, 99),
        (17, 99),
        (6, 1),
        (99, 1),
    )
    return [p.tried(near.sendmsg, [b"x"], [(*kind, bytes(4))]) for kind in kinds]


@differential
def ancillary_data_out_of_range(p: Place) -> Any:
    near, _far = two(p)
    return [
        p.tried(near.sendmsg, [b"x"], [(IP, kind, data)])
        for kind in (1, 2)
        for data in (b"", b"\1", b"\1\0", struct.pack("i", -1), struct.pack("i", 256), bytes(8))
    ]


@differential
def ancillary_data_of_six(p: Place) -> Any:
    near, far = two(p, LOCAL6)
    for option in (51, 66):  # IPV6_RECVHOPLIMIT, IPV6_RECVTCLASS
        far.setsockopt(IPV6, option, 1)
    near.sendmsg([b"a"], [(IPV6, 52, struct.pack("i", 7)), (IPV6, 67, struct.pack("i", 0x28))])
    near.send(b"b")
    p.settle()
    return [pinned(far.recvmsg(9, 200)) for _ in range(2)]


@differential
def the_source_chosen_by_ancillary_data(p: Place) -> Any:
    far, near = p.udp(), p.socket(socket.AF_INET, DGRAM)
    info = struct.pack("i4s4s", 0, socket.inet_aton("127.0.0.9"), bytes(4))
    sent = p.tried(near.sendmsg, [b"a"], [(IP, IP_PKTINFO, info)], 0, far.getsockname())
    return sent, p.tried(lambda: far.recvfrom(9)[1][0])


@differential
def segments_of_one_send(p: Place) -> Any:
    near, far = two(p)
    sent = p.tried(near.sendmsg, [bytes(25)], [(17, 103, struct.pack("H", 10))])
    p.settle()
    return sent, [p.tried(lambda: len(far.recv(99))) for _ in range(4)]


@differential
def broadcast_needs_leave(p: Place) -> Any:
    u = p.udp("0.0.0.0")
    before = p.tried(u.sendto, b"x", ("127.255.255.255", 9))
    u.setsockopt(SOL, socket.SO_BROADCAST, 1)
    return before, p.tried(u.sendto, b"x", ("127.255.255.255", 9))


@differential
def loopback_multicast(p: Place) -> Any:
    u = p.udp("0.0.0.0")
    member = socket.inet_aton("239.1.2.3") + socket.inet_aton("127.0.0.1")
    u.setsockopt(IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
    u.setsockopt(IP, socket.IP_ADD_MEMBERSHIP, member)
    twice = p.tried(u.setsockopt, IP, socket.IP_ADD_MEMBERSHIP, member)
    u.setsockopt(IP, socket.IP_DROP_MEMBERSHIP, member)
    again = p.tried(u.setsockopt, IP, socket.IP_DROP_MEMBERSHIP, member)
    return twice, again


@differential
def a_full_queue_drops(p: Place) -> Any:
    near, far = two(p)
    far.setsockopt(SOL, socket.SO_RCVBUF, 4096)
    return [p.tried(near.send, bytes(1000)) for _ in range(50)][-1]


@differential
def one_port_twice(p: Place) -> Any:
    first = p.udp()
    outcomes = []
    for options in ((), (socket.SO_REUSEADDR,), (socket.SO_REUSEPORT,)):
        second = p.socket(socket.AF_INET, DGRAM)
        for option in options:
            second.setsockopt(SOL, option, 1)
        outcomes.append(p.tried(second.bind, first.getsockname()))
    return outcomes


@differential
def one_port_of_both_versions(p: Place) -> Any:
    first = p.udp("0.0.0.0")
    port = first.getsockname()[1]
    outcomes = []
    for v6only in (0, 1):
        second = p.socket(socket.AF_INET6, DGRAM)
        second.setsockopt(IPV6, socket.IPV6_V6ONLY, v6only)
        outcomes.append(p.tried(second.bind, ("::", port)))
    return outcomes


# --- both versions ----------------------------------------------------------------------------


@differential
def six_hears_four(p: Place) -> Any:
    u = p.socket(socket.AF_INET6, DGRAM)
    u.setsockopt(IPV6, socket.IPV6_V6ONLY, 0)
    u.bind(("::", 0))
    u.settimeout(1)
    four = p.udp()
    four.sendto(b"abc", (LOCAL, u.getsockname()[1]))
    data, where = u.recvfrom(9)
    u.sendto(b"def", where)
    return data, where[0], where[2:], four.recv(9)


@differential
def six_only_does_not(p: Place) -> Any:
    u = p.socket(socket.AF_INET6, DGRAM)
    u.setsockopt(IPV6, socket.IPV6_V6ONLY, 1)
    u.bind(("::", 0))
    four = p.udp()
    four.sendto(b"abc", (LOCAL, u.getsockname()[1]))
    p.settle()
    return p.tries(lambda: four.recv(9), lambda: u.sendto(b"x", (MAPPED, 9)))


@differential
def a_stream_between_the_versions(p: Place) -> Any:
    listener = p.keep(
        p.module.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    )
    s = p.socket()
    s.connect((LOCAL, listener.getsockname()[1]))
    far, where = listener.accept()
    p.keep(far)
    s.sendall(b"abc")
    return where[0], where[2:], far.getsockname()[0], far.family, far.recv(9)


@differential
def a_mapped_stream(p: Place) -> Any:
    listener, s = p.listener(), p.socket(socket.AF_INET6)
    s.connect((MAPPED, listener.getsockname()[1]))
    far, where = listener.accept()
    p.keep(far)
    return s.getpeername()[0], s.getsockname()[0], where[0]


@differential
def six_in_all_its_forms(p: Place) -> Any:
    listener = p.listener(LOCAL6)
    port = listener.getsockname()[1]
    outcomes = []
    for where in ((LOCAL6, port), (LOCAL6, port, 0), (LOCAL6, port, 0, 0), (LOCAL6, port, 5, 0),
                  (LOCAL6, port, 1 << 20, 0), (LOCAL6, port, 0, -1), (LOCAL6, port, 0, 1 << 32),
                  (LOCAL6, port, 0, 0, 0), ("0:0::1", port), (LOCAL6 + "%1", port)):  # fmt: skip
        outcomes.append(p.tried(p.socket(socket.AF_INET6).connect, where))
    return outcomes


@differential
def v6only_after_bind(p: Place) -> Any:
    s = p.socket(socket.AF_INET6)
    s.bind(("::1", 0))
    return p.tries(
        lambda: s.setsockopt(IPV6, socket.IPV6_V6ONLY, 1), lambda: s.getsockopt(IPV6, 26)
    )


# --- raw sockets ------------------------------------------------------------------------------


def echo(identifier: int = 77) -> bytes:
    """An ICMP echo request."""
    header = struct.pack("!BBHHH", 8, 0, 0, identifier, 1)
    words = struct.unpack("!4H", header)
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    return header[:2] + struct.pack("!H", ~total & 0xFFFF) + header[4:]


@differential
@needs_root
def raw_ping(p: Place) -> Any:
    s = p.socket(socket.AF_INET, RAW, socket.IPPROTO_ICMP)
    s.settimeout(1)
    s.sendto(echo(), (LOCAL, 0))
    seen = []
    for _ in range(2):
        data, where = s.recvfrom(999)
        seen.append((data[0], data[9], data[20], data[24:28], where))
    return sorted(seen)


@differential
@needs_root
def raw_connected(p: Place) -> Any:
    s = p.socket(socket.AF_INET, RAW, socket.IPPROTO_ICMP)
    s.settimeout(0.3)
    s.connect((LOCAL, 5))
    return s.getpeername(), s.send(echo()), s.getsockname()[0]


@differential
@needs_root
def raw_states(p: Place) -> Any:
    s = p.socket(socket.AF_INET, RAW, socket.IPPROTO_ICMP)
    s.settimeout(0.2)
    return p.tries(
        lambda: s.send(b"x" * 8), lambda: s.recv(9), s.getpeername, s.getsockname, s.listen,
        s.accept, lambda: s.shutdown(socket.SHUT_RD), lambda: s.bind((LOCAL, 80)),
        s.getsockname, lambda: s.bind(("192.0.2.1", 0)),
        lambda: s.sendto(b"x" * 8, ("192.0.2.1", 0)),
    )  # fmt: skip


@differential
@needs_root
def raw_too_short_for_icmp(p: Place) -> Any:
    s = p.socket(socket.AF_INET, RAW, socket.IPPROTO_ICMP)
    return p.tries(lambda: s.sendto(b"x", (LOCAL, 0)), lambda: s.sendto(b"", (LOCAL, 0)))


@differential
@needs_root
def raw_protocols(p: Place) -> Any:
    return [
        p.tried(lambda proto=proto: p.socket(socket.AF_INET, RAW, proto).proto)
        for proto in (0, 1, 6, 17, 89, 254, 255, 263, -1)
    ]


@differential
@needs_root
def raw_with_a_header_of_its_own(p: Place) -> Any:
    s = p.socket(socket.AF_INET, RAW, socket.IPPROTO_RAW)
    listener = p.socket(socket.AF_INET, RAW, 200)
    listener.settimeout(0.5)
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, 200, 0,
                         socket.inet_aton(LOCAL), socket.inet_aton(LOCAL))  # fmt: skip
    sent = p.tried(s.sendto, header + b"abc", (LOCAL, 0))
    return sent, p.tried(lambda: listener.recv(99)[20:]), p.tried(s.sendto, b"x", (LOCAL, 0))


@differential
@needs_root
def raw_six(p: Place) -> Any:
    s = p.socket(socket.AF_INET6, RAW, 200)
    s.settimeout(0.5)
    s.bind((LOCAL6, 0))
    sent = p.tried(s.sendto, b"abc", (LOCAL6, 0))
    return sent, p.tried(lambda: s.recvfrom(9))


@differential
def sends_from_an_address_and_an_interface6(p: Place) -> Any:
    said = []
    with p.module.socket(socket.AF_INET6, DGRAM) as s:
        for address, interface in itertools.product(("::", "fe80::5", "fd99::9"), (0, 77, -1)):
            info = socket.inet_pton(socket.AF_INET6, address) + struct.pack("i", interface)
            item = (IPV6, 50, info)  # IPV6_PKTINFO
            said.append(p.tried(s.sendmsg, [b"a"], [item], 0, ("::1", 9)))
    return said
