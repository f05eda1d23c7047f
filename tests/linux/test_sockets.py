"""What sockets of the engine linux take beyond those of the others: all options, MPTCP, SCTP."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterator

import pytest
from failing import fails_with
from lockstep import Lockstep, lockstep

import pystack
from pystack.sockets import Socket

TCP, SOL, IP, IPV6 = socket.IPPROTO_TCP, socket.SOL_SOCKET, socket.IPPROTO_IP, socket.IPPROTO_IPV6
CONGESTION, INFO, ULP = 13, 11, 31
SO_ATTACH_FILTER, SO_DETACH_FILTER, SO_GET_FILTER, SO_PEEK_OFF = 26, 27, 26, 42
MPTCP, SCTP = 262, 132
SOL_MPTCP, MPTCP_INFO = 284, 1
MPTCP_OPTION, SCTP_IN_IP = 30, 132

SERVER = ("10.0.0.2", 80)


@pytest.fixture
def net(engine: str) -> Iterator[pystack.Stack]:
    with pystack.Stack(engine=engine) as made:
        yield made


@pytest.fixture
def pair(engine: str) -> Iterator[Lockstep]:
    with lockstep(engines=(engine, engine)) as made:
        yield made


def udp(net: pystack.Stack) -> Socket:
    made = net.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    made.settimeout(60)
    return made


# --- options -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [b"cubic", b"reno", b"bbr", b"dctcp"])
def test_congestion_control(net: pystack.Stack, name: bytes) -> None:
    with net.socket() as sock:
        sock.setsockopt(TCP, CONGESTION, name)
        assert sock.getsockopt(TCP, CONGESTION, 16) == name.ljust(16, b"\0")
        with net.sockets.create_server(("127.0.0.1", 0)) as listener:
            listener.setsockopt(TCP, CONGESTION, name)  # DCTCP wants it at both ends
            sock.connect(listener.getsockname())
            with listener.accept()[0] as far:
                sock.sendall(bytes(100_000))
                assert far.recv(1) == b"\0"
                assert sock.getsockopt(TCP, CONGESTION, 16).rstrip(b"\0") == name


def test_what_linux_refuses(net: pystack.Stack) -> None:
    with net.socket() as sock:
        for wanted, level, name, value in (
            (errno.ENOENT, TCP, CONGESTION, b"nosuch"),
            (errno.ENOPROTOOPT, TCP, 999, 1),
            (errno.EINVAL, SOL, socket.SO_KEEPALIVE, b"x"),
            (errno.ENOPROTOOPT, 999, 1, 1),
            (errno.ENOENT, TCP, ULP, b"nosuch"),
            (errno.ENODEV, SOL, socket.SO_BINDTODEVICE, b"eth7"),
        ):
            with fails_with(wanted):
                sock.setsockopt(level, name, value)
        with fails_with(errno.EFAULT):
            sock.setsockopt(TCP, CONGESTION, None, 4)


def test_tcp_info_is_whole(pair: Lockstep) -> None:
    near, far = connected(pair, 0, 0)
    near.send(bytes(5000))
    assert pair.run(lambda: near.tcp_info().bytes_acked >= 5000)
    raw, info = near.getsockopt(TCP, INFO, 1024), near.tcp_info()
    assert len(raw) >= 248
    assert (raw[0], raw[6] & 15) == (1, info.send_wscale)
    rto, _ato, mss = struct.unpack_from("3I", raw, 8)
    acked, pacing = struct.unpack_from("Q", raw, 120)[0], struct.unpack_from("Q", raw, 104)[0]
    assert (rto, mss, acked) == (info.rto_us, info.send_mss, info.bytes_acked)
    assert 0 < pacing < (1 << 64) - 1  # of what a typed field says nothing
    near.close()
    far.close()


def program(*instructions: tuple[int, int, int, int]) -> tuple[bytes, ctypes.Array[ctypes.c_char]]:
    """A `struct sock_fprog`, and what it points to."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in instructions))
    return struct.pack("@HP", len(instructions), ctypes.addressof(code)), code


DROP = (0x06, 0, 0, 0)  # BPF_RET | BPF_K


def test_filters(net: pystack.Stack) -> None:
    value, _code = program(DROP)
    with udp(net) as near, udp(net) as far:
        far.setsockopt(SOL, SO_ATTACH_FILTER, value)
        assert far.getsockopt(SOL, SO_GET_FILTER, 8) == struct.pack("HBBI", *DROP)
        near.sendto(b"dropped", far.getsockname())
        far.setsockopt(SOL, SO_DETACH_FILTER, 0)
        near.sendto(b"taken", far.getsockname())
        assert far.recv(100) == b"taken"
        with fails_with(errno.EFAULT):  # a pointer to nowhere ends nothing
            far.setsockopt(SOL, SO_ATTACH_FILTER, struct.pack("@HP", 1, 8))
        with fails_with(errno.EINVAL):
            far.setsockopt(SOL, SO_ATTACH_FILTER, b"short")


def test_options_that_change_what_is_received(net: pystack.Stack) -> None:
    with udp(net) as near, udp(net) as far:
        near.sendto(b"abcdef", far.getsockname())
        far.setsockopt(SOL, SO_PEEK_OFF, 2)
        assert far.recv(2, socket.MSG_PEEK) == b"cd"
        assert far.recv(2, socket.MSG_PEEK) == b"ef"
        assert far.getsockopt(SOL, SO_PEEK_OFF) == 6


def test_ancillary_data_of_any_kind(net: pystack.Stack) -> None:
    """IPV6_RECVHOPOPTS and IPV6_HOPOPTS, of which the host knows nothing (RFC 3542)."""
    with (
        net.socket(socket.AF_INET6, socket.SOCK_DGRAM) as near,
        net.socket(socket.AF_INET6, socket.SOCK_DGRAM) as far,
    ):
        far.bind(("::1", 0))
        far.settimeout(60)
        far.setsockopt(IPV6, socket.IPV6_RECVHOPOPTS, 1)
        options = bytes([0, 0, 1, 4, 0, 0, 0, 0])  # PadN
        near.sendmsg([b"x"], [(IPV6, socket.IPV6_HOPOPTS, options)], 0, far.getsockname())
        data, ancillary, _flags, _sender = far.recvmsg(10, 500)
        assert data == b"x"
        assert [(level, kind) for level, kind, _ in ancillary] == [(IPV6, socket.IPV6_HOPOPTS)]
        assert ancillary[0][2][1:] == options[1:]
        with fails_with(errno.ENOBUFS):
            near.sendmsg([b"x"], [(IPV6, socket.IPV6_HOPOPTS, bytes(300))], 0, far.getsockname())
        with fails_with(errno.EINVAL):
            near.sendmsg([b"x"], [(IPV6, socket.IPV6_HOPOPTS, b"")], 0, far.getsockname())


def test_in_a_child(net: pystack.Stack) -> None:
    with net.socket() as sock:
        child = os.fork()
        if child == 0:
            ended = 1
            try:
                sock.setsockopt(TCP, CONGESTION, b"bbr")
                raw = sock.getsockopt(TCP, CONGESTION, 16)
                ended = 0 if raw == b"bbr".ljust(16, b"\0") else 2
            finally:
                os._exit(ended)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert sock.getsockopt(TCP, CONGESTION, 16).rstrip(b"\0") == b"bbr"


def test_a_refused_connect_is_told_once(net: pystack.Stack) -> None:
    """connect(2): what comes after a refusal, on the same socket and on another one."""
    with net.sockets.create_server(("127.0.0.1", 0)) as listener:
        open_port = listener.getsockname()
        with net.socket() as sock:
            with udp(net) as nobody:
                closed = nobody.getsockname()
            for _ in range(2):
                assert sock.connect_ex(closed) == errno.ECONNREFUSED
            assert sock.connect_ex(open_port) == 0
        with net.socket() as other:
            assert other.connect_ex(open_port) == 0


# --- MPTCP and SCTP ----------------------------------------------------------------------------


def connected(
    pair: Lockstep, protocol: int, accepted_as: int, kind: int = socket.SOCK_STREAM
) -> tuple[Socket, Socket]:
    listener = pair.server.socket(socket.AF_INET, kind, accepted_as)
    listener.setblocking(False)
    listener.bind(SERVER)
    listener.listen()
    near = pair.client.socket(socket.AF_INET, kind, protocol)
    near.setblocking(False)
    assert near.connect_ex(SERVER) == errno.EINPROGRESS
    made: list[Socket] = []

    def accept() -> bool:
        try:
            made.append(listener.accept()[0])
        except BlockingIOError:
            return False
        return True

    assert pair.run(accept)
    listener.close()
    assert near.connect_ex(SERVER) in (0, errno.EISCONN)
    made[0].setblocking(False)
    return near, made[0]


def exchanged(pair: Lockstep, near: Socket, far: Socket) -> None:
    for one, other in ((near, far), (far, near)):
        one.send(b"over there")
        got: list[bytes] = []

        def receive(other: Socket = other, got: list[bytes] = got) -> bool:
            try:
                got.append(other.recv(100))
            except BlockingIOError:
                return False
            return True

        assert pair.run(receive)
        assert got == [b"over there"]


def tcp_options(frame: bytes) -> set[int]:
    """The kinds of options in a frame with TCP over IPv4."""
    if frame[12:14] != b"\x08\x00" or frame[23] != TCP:
        return set()
    segment = frame[14 + (frame[14] & 15) * 4 :]
    left, found = segment[20 : (segment[12] >> 4) * 4], set()
    while left and left[0] != 0:
        found.add(left[0])
        left = left[1:] if left[0] == 1 else left[left[1] :]
    return found


def test_mptcp(pair: Lockstep) -> None:
    near, far = connected(pair, MPTCP, MPTCP)
    assert near.proto == MPTCP
    exchanged(pair, near, far)
    # struct mptcp_info (linux/mptcp.h): flags, of which bit 0 says that it fell back to TCP, and
    # the token, which only a connection of MPTCP's has.
    flags, token = struct.unpack_from("2I", near.getsockopt(SOL_MPTCP, MPTCP_INFO, 200), 8)
    assert not flags & 1
    assert token
    near.close()
    far.close()


def test_mptcp_meets_a_peer_without_it(engine: str) -> None:
    with lockstep(engines=(engine, "lwip")) as pair:
        near, far = connected(pair, MPTCP, 0)
        exchanged(pair, near, far)
        with fails_with(errno.EOPNOTSUPP):  # it is plain TCP now
            near.getsockopt(SOL_MPTCP, MPTCP_INFO, 200)
        near.close()
        far.close()


def test_mptcp_on_the_wire(engine: str) -> None:
    class Watch:
        def frame_out(self, interface: int, frame: bytes) -> bool:
            seen.append(frame)
            return True

    seen: list[bytes] = []
    left, right = pystack.nic.wire()
    with (
        pystack.Stack(engine=engine, frame_out=Watch()) as client,
        pystack.Stack(engine=engine) as server,
    ):
        client.attach(left, "10.0.0.1/24")
        server.attach(right, "10.0.0.2/24")
        with server.socket(proto=MPTCP) as listener, client.socket(proto=MPTCP) as near:
            listener.bind(SERVER)
            listener.listen()
            near.connect(SERVER)
            near.sendall(b"x")
            with listener.accept()[0] as far:
                assert far.recv(1) == b"x"
    assert any(MPTCP_OPTION in tcp_options(frame) for frame in seen)


def test_sctp_one_to_one(pair: Lockstep) -> None:
    near, far = connected(pair, SCTP, SCTP)
    exchanged(pair, near, far)
    near.send(b"one")
    near.send(b"two")
    pair.run(seconds=1)
    assert [far.recv(100), far.recv(100)] == [b"one", b"two"]  # messages, not a stream of bytes
    near.close()
    pair.run(seconds=1)
    assert far.recv(100) == b""
    far.close()


def test_sctp_one_to_many(pair: Lockstep) -> None:
    server = pair.server.socket(socket.AF_INET, socket.SOCK_SEQPACKET, SCTP)
    client = pair.client.socket(socket.AF_INET, socket.SOCK_SEQPACKET, SCTP)
    assert server.type == socket.SOCK_SEQPACKET
    server.setblocking(False)
    client.setblocking(False)
    server.bind(SERVER)
    server.listen()
    client.sendto(b"hello", SERVER)
    pair.run(seconds=1)
    data, _ancillary, flags, sender = server.recvmsg(100, 500)
    assert data == b"hello"
    assert flags & socket.MSG_EOR
    assert sender is not None
    assert sender[0] == "10.0.0.1"
    server.sendto(b"back", sender)
    pair.run(seconds=1)
    assert client.recvfrom(100) == (b"back", SERVER)
    client.close()
    server.close()


def test_sctp_on_the_module(net: pystack.Stack) -> None:
    with (
        net.sockets.socket(socket.AF_INET, socket.SOCK_STREAM, SCTP) as listener,
        net.sockets.socket(socket.AF_INET, socket.SOCK_STREAM, SCTP) as near,
    ):
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        near.connect(listener.getsockname())
        with listener.accept()[0] as far:
            far.sendall(b"served")
            assert near.recv(100) == b"served"


@pytest.mark.parametrize("protocol", [MPTCP, SCTP])
def test_other_engines_say_who_has_it(protocol: int) -> None:
    with pystack.Stack() as net, pytest.raises(OSError, match="linux") as raised:
        net.socket(proto=protocol)
    assert raised.value.errno == errno.EPROTONOSUPPORT


@pytest.mark.parametrize(("memory_mib", "most"), [(256, 1 << 20), (24, 1 << 18), (13, 1 << 17)])
def test_what_a_buffer_may_grow_to_follows_the_memory(
    engine: str, memory_mib: int, most: int
) -> None:
    with pystack.Stack(engine=engine, threaded=False, memory_limit=memory_mib << 20) as net:
        assert net.sysctl["net.ipv4.tcp_rmem"] == f"4096\t131072\t{most}"
        assert net.sysctl["net.ipv4.tcp_wmem"] == f"4096\t16384\t{most}"
