"""Misuse and odd uses: the same calls on the kernel's sockets and on a Stack's, compared.

Each case is a function of a module-like object; what it returns or raises (class and errno) has
to be the same on both. The kernel's run on loopback, where nothing leaves the machine.
"""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest
from pair import whole

import pystack

Case = Callable[[Any, str, int], Any]
CASES: list[tuple[str, Case]] = []

LINGER_RESET = struct.pack("ii", 1, 0)


def case(function: Case) -> Case:
    CASES.append((function.__name__, function))
    return function


def listener(s: Any, host: str, family: int) -> Any:
    sock = s.socket(family, s.SOCK_STREAM)
    sock.settimeout(30)
    sock.bind((host, 0))
    sock.listen(5)
    return sock


def connected(s: Any, host: str, family: int) -> tuple[Any, Any]:
    with listener(s, host, family) as waiting:
        client = s.socket(family, s.SOCK_STREAM)
        client.settimeout(30)
        client.connect(waiting.getsockname())
        server, _peer = waiting.accept()
        server.settimeout(30)
    return client, server


def free_port(s: Any, host: str, family: int, kind: int = socket.SOCK_STREAM) -> int:
    with s.socket(family, kind) as sock:
        sock.bind((host, 0))
        return int(sock.getsockname()[1])


# --- opening ---------------------------------------------------------------------------------


@case
def unknown_type(s: Any, host: str, family: int) -> Any:
    return s.socket(family, 77)


@case
def wrong_protocol(s: Any, host: str, family: int) -> Any:
    return s.socket(family, s.SOCK_STREAM, s.IPPROTO_UDP)


@case
def wrong_datagram_protocol(s: Any, host: str, family: int) -> Any:
    return s.socket(family, s.SOCK_DGRAM, s.IPPROTO_TCP)


@case
def family_is_no_number(s: Any, host: str, family: int) -> Any:
    return s.socket("inet")


# --- closed sockets --------------------------------------------------------------------------


def _closed(s: Any, family: int) -> Any:
    sock = s.socket(family, s.SOCK_STREAM)
    sock.close()
    return sock


@case
def closed_send(s: Any, host: str, family: int) -> Any:
    return _closed(s, family).send(b"x")


@case
def closed_recv(s: Any, host: str, family: int) -> Any:
    return _closed(s, family).recv(1)


@case
def closed_bind(s: Any, host: str, family: int) -> Any:
    return _closed(s, family).bind((host, 0))


@case
def closed_listen(s: Any, host: str, family: int) -> Any:
    return _closed(s, family).listen()


@case
def closed_accept(s: Any, host: str, family: int) -> Any:
    return _closed(s, family).accept()


@case
def closed_connect(s: Any, host: str, family: int) -> Any:
    return _closed(s, family).connect((host, 1))


@case
def closed_connect_ex(s: Any, host: str, family: int) -> Any:
    return _closed(s, family).connect_ex((host, 1))


@case
def closed_fileno(s: Any, host: str, family: int) -> Any:
    return _closed(s, family).fileno()


@case
def closed_getsockname(s: Any, host: str, family: int) -> Any:
    return _closed(s, family).getsockname()


@case
def closed_getsockopt(s: Any, host: str, family: int) -> Any:
    return _closed(s, family).getsockopt(s.SOL_SOCKET, s.SO_TYPE)


@case
def closed_shutdown(s: Any, host: str, family: int) -> Any:
    return _closed(s, family).shutdown(s.SHUT_RDWR)


@case
def closed_settimeout(s: Any, host: str, family: int) -> Any:
    return _closed(s, family).settimeout(1)


@case
def closed_setblocking(s: Any, host: str, family: int) -> Any:
    return _closed(s, family).setblocking(False)


@case
def closed_gettimeout(s: Any, host: str, family: int) -> Any:
    return _closed(s, family).gettimeout()


@case
def closed_twice(s: Any, host: str, family: int) -> Any:
    return _closed(s, family).close()


# --- addresses -------------------------------------------------------------------------------


@case
def port_too_large(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        sock.bind((host, 65536))


@case
def port_negative(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        sock.bind((host, -1))


@case
def port_is_text(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        sock.bind((host, "80"))


@case
def address_is_text(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        sock.bind(host)


@case
def address_is_a_list(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        sock.bind([host, 0])


@case
def address_too_long(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        sock.bind((host, 0, 0, 0, 0))


@case
def host_is_a_number(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        sock.bind((1, 0))


@case
def host_has_a_null(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        sock.bind(("a\0b", 0))


@case
def host_of_the_other_family(s: Any, host: str, family: int) -> Any:
    other = "127.0.0.1" if family == s.AF_INET6 else "::1"
    with s.socket(family, s.SOCK_STREAM) as sock:
        sock.bind((other, 0))


@case
def bind_to_somebody_elses_address(s: Any, host: str, family: int) -> Any:
    other = "2001:db8::77" if family == s.AF_INET6 else "192.0.2.77"
    with s.socket(family, s.SOCK_STREAM) as sock:
        sock.bind((other, 0))


@case
def bind_twice(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        sock.bind((host, 0))
        sock.bind((host, 0))


@case
def bind_to_a_taken_port(s: Any, host: str, family: int) -> Any:
    with listener(s, host, family) as first, s.socket(family, s.SOCK_STREAM) as sock:
        sock.bind(first.getsockname())


@case
def bind_where_somebody_listens_in_spite_of_reuse(s: Any, host: str, family: int) -> Any:
    with listener(s, host, family) as first, s.socket(family, s.SOCK_STREAM) as sock:
        first.setsockopt(s.SOL_SOCKET, s.SO_REUSEADDR, 1)
        sock.setsockopt(s.SOL_SOCKET, s.SO_REUSEADDR, 1)
        sock.bind(first.getsockname())


def _attempt(function: Callable[..., Any], *arguments: Any) -> int | None:
    try:
        function(*arguments)
    except OSError as error:
        return error.errno
    return None


@case
def ports_shared_by_option(s: Any, host: str, family: int) -> Any:
    """Every pair of options, of two sockets that bind and listen at one port."""
    sets = [(), (s.SO_REUSEADDR,), (s.SO_REUSEPORT,), (s.SO_REUSEADDR, s.SO_REUSEPORT)]
    wild = "0.0.0.0" if family == s.AF_INET else "::"
    found = []
    for ours, theirs, at, early in itertools.product(sets, sets, (host, wild), (False, True)):
        with s.socket(family, s.SOCK_STREAM) as first, s.socket(family, s.SOCK_STREAM) as second:
            for sock, options in ((first, ours), (second, theirs)):
                for option in options:
                    sock.setsockopt(s.SOL_SOCKET, option, 1)
            first.bind((at, 0))
            if early:
                first.listen()
            outcome = _attempt(second.bind, (host, first.getsockname()[1]))
            later = [_attempt(sock.listen) for sock in (second, first) if outcome is None]
            found.append((ours, theirs, at, early, outcome, later))
    return found


@case
def connect_from_another_loopback_address(s: Any, host: str, family: int) -> Any:
    with listener(s, "127.0.0.1", s.AF_INET) as waiting, s.socket() as sock:
        sock.settimeout(30)
        sock.bind(("127.0.0.2", 0))
        sock.connect(waiting.getsockname())
        server, peer = waiting.accept()
        server.close()
        return peer[0]


class _Number:
    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


@case
def addresses_by_what_stands_for_numbers(s: Any, host: str, family: int) -> Any:
    numbers = [_Number(value) for value in (family, s.SOCK_STREAM, 0, s.AI_PASSIVE)]
    return s.getaddrinfo(host, 80, *numbers)


@case
def addresses_by_what_is_no_number(s: Any, host: str, family: int) -> Any:
    return s.getaddrinfo(host, 80, family, s.SOCK_STREAM, 0, 1.0)


@case
def mapped_addresses_of_a_name(s: Any, host: str, family: int) -> Any:
    found = s.getaddrinfo("192.0.2.7", 80, s.AF_INET6, s.SOCK_STREAM, 0, s.AI_V4MAPPED)
    return [entry[4] for entry in found]


@case
def name_info_in_numbers(s: Any, host: str, family: int) -> Any:
    flags = s.NI_NUMERICHOST | s.NI_NUMERICSERV
    return s.getnameinfo((host, 80), flags), s.getnameinfo((host, 80), s.NI_NUMERICHOST)


@case
def name_info_of_a_name(s: Any, host: str, family: int) -> Any:
    return s.getnameinfo(("no address", 80), s.NI_NUMERICHOST)


@case
def name_info_of_a_bad_port(s: Any, host: str, family: int) -> Any:
    return s.getnameinfo((host, 65536), s.NI_NUMERICHOST)


@case
def bind_datagram_to_a_taken_port(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_DGRAM) as first, s.socket(family, s.SOCK_DGRAM) as sock:
        first.bind((host, 0))
        sock.bind(first.getsockname())


@case
def unbound_name(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        return sock.getsockname()


@case
def bound_to_any(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        sock.bind(("", 0))
        return sock.getsockname()[0], sock.getsockname()[1] > 0


# --- connections -----------------------------------------------------------------------------


@case
def listen_twice(s: Any, host: str, family: int) -> Any:
    with listener(s, host, family) as sock:
        sock.listen(7)
        return sock.getsockopt(s.SOL_SOCKET, s.SO_ACCEPTCONN)


@case
def listen_on_a_connection(s: Any, host: str, family: int) -> Any:
    client, server = connected(s, host, family)
    with client, server:
        client.listen()


@case
def listen_on_datagrams(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_DGRAM) as sock:
        sock.listen()


@case
def accept_without_listening(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        sock.accept()


@case
def accept_nobody(s: Any, host: str, family: int) -> Any:
    with listener(s, host, family) as sock:
        sock.setblocking(False)
        sock.accept()


@case
def accept_times_out(s: Any, host: str, family: int) -> Any:
    with listener(s, host, family) as sock:
        sock.settimeout(0.01)
        sock.accept()


@case
def connect_refused(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        sock.settimeout(30)
        sock.connect((host, free_port(s, host, family)))


@case
def connect_ex_refused(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        sock.settimeout(30)
        return sock.connect_ex((host, free_port(s, host, family)))


@case
def connect_twice(s: Any, host: str, family: int) -> Any:
    client, server = connected(s, host, family)
    with client, server:
        client.connect(server.getsockname())


@case
def connect_a_listener(s: Any, host: str, family: int) -> Any:
    with listener(s, host, family) as sock:
        sock.connect(sock.getsockname())


@case
def send_unconnected(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        sock.send(b"x")


@case
def recv_unconnected(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        sock.recv(1)


@case
def peer_of_the_unconnected(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        sock.getpeername()


@case
def shutdown_unconnected(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        sock.shutdown(s.SHUT_WR)


@case
def shutdown_in_an_unknown_way(s: Any, host: str, family: int) -> Any:
    client, server = connected(s, host, family)
    with client, server:
        client.shutdown(9)


@case
def send_on_a_listener(s: Any, host: str, family: int) -> Any:
    with listener(s, host, family) as sock:
        sock.settimeout(None)
        sock.send(b"x")


@case
def recv_on_a_listener(s: Any, host: str, family: int) -> Any:
    with listener(s, host, family) as sock:
        sock.settimeout(None)
        sock.recv(1)


@case
def send_after_shutdown(s: Any, host: str, family: int) -> Any:
    client, server = connected(s, host, family)
    with client, server:
        client.shutdown(s.SHUT_WR)
        client.send(b"x")


@case
def recv_after_the_peers_shutdown(s: Any, host: str, family: int) -> Any:
    client, server = connected(s, host, family)
    with client, server:
        server.sendall(b"last")
        server.shutdown(s.SHUT_WR)
        return client.recv(10), client.recv(10), client.recv(10), client.send(b"still")


@case
def half_closed_the_other_way(s: Any, host: str, family: int) -> Any:
    client, server = connected(s, host, family)
    with client, server:
        client.shutdown(s.SHUT_WR)
        assert server.recv(1) == b""
        server.sendall(b"answer")
        return client.recv(10, s.MSG_WAITALL if False else 0)


@case
def recv_after_reset(s: Any, host: str, family: int) -> Any:
    client, server = connected(s, host, family)
    with client:
        server.setsockopt(s.SOL_SOCKET, s.SO_LINGER, LINGER_RESET)
        server.close()
        client.recv(1)


@case
def error_option_after_reset(s: Any, host: str, family: int) -> Any:
    client, server = connected(s, host, family)
    with client:
        server.setsockopt(s.SOL_SOCKET, s.SO_LINGER, LINGER_RESET)
        server.close()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        return client.getsockopt(s.SOL_SOCKET, s.SO_ERROR), client.recv(1)


@case
def close_with_unread_data_resets(s: Any, host: str, family: int) -> Any:
    client, server = connected(s, host, family)
    with client:
        client.sendall(b"unread")
        assert server.recv(1, s.MSG_PEEK) == b"u"
        server.close()
        client.recv(1)


@case
def recv_nothing_yet(s: Any, host: str, family: int) -> Any:
    client, server = connected(s, host, family)
    with client, server:
        client.setblocking(False)
        client.recv(1)


@case
def recv_dontwait(s: Any, host: str, family: int) -> Any:
    client, server = connected(s, host, family)
    with client, server:
        client.settimeout(None)
        client.recv(1, s.MSG_DONTWAIT)


@case
def recv_times_out(s: Any, host: str, family: int) -> Any:
    client, server = connected(s, host, family)
    with client, server:
        client.settimeout(0.01)
        client.recv(1)


@case
def recv_zero(s: Any, host: str, family: int) -> Any:
    client, server = connected(s, host, family)
    with client, server:
        return client.recv(0)


@case
def recv_negative(s: Any, host: str, family: int) -> Any:
    client, server = connected(s, host, family)
    with client, server:
        client.recv(-1)


@case
def recv_into_read_only(s: Any, host: str, family: int) -> Any:
    client, server = connected(s, host, family)
    with client, server:
        client.recv_into(b"abc")


@case
def recv_into_more_than_there_is_room(s: Any, host: str, family: int) -> Any:
    client, server = connected(s, host, family)
    with client, server:
        client.recv_into(bytearray(3), 4)


@case
def send_text(s: Any, host: str, family: int) -> Any:
    client, server = connected(s, host, family)
    with client, server:
        client.send("text")


@case
def send_nothing(s: Any, host: str, family: int) -> Any:
    client, server = connected(s, host, family)
    with client, server:
        return client.send(b""), client.sendall(b"")


@case
def send_other_buffers(s: Any, host: str, family: int) -> Any:
    import array

    client, server = connected(s, host, family)
    with client, server:
        client.sendall(array.array("I", [1, 2]))
        client.sendall(memoryview(b"abcdef")[1:3])
        return whole(server, 10)


@case
def peek_then_read(s: Any, host: str, family: int) -> Any:
    client, server = connected(s, host, family)
    with client, server:
        client.sendall(b"abcdef")
        return server.recv(3, s.MSG_PEEK), server.recv(3), server.recv(9)


@case
def recvfrom_of_a_stream(s: Any, host: str, family: int) -> Any:
    client, server = connected(s, host, family)
    with client, server:
        client.sendall(b"abc")
        return server.recvfrom(9)


@case
def sendto_on_a_stream(s: Any, host: str, family: int) -> Any:
    client, server = connected(s, host, family)
    with client, server:
        return client.sendto(b"abc", server.getsockname()), server.recv(3)


@case
def connect_in_steps(s: Any, host: str, family: int) -> Any:
    with listener(s, host, family) as waiting, s.socket(family, s.SOCK_STREAM) as sock:
        sock.setblocking(False)
        code = sock.connect_ex(waiting.getsockname())
        server, _peer = waiting.accept()
        server.close()
        return code, sock.connect_ex(waiting.getsockname())


# --- datagrams -------------------------------------------------------------------------------


@case
def datagram_without_destination(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_DGRAM) as sock:
        sock.send(b"x")


@case
def datagram_too_large(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_DGRAM) as sock:
        sock.sendto(bytes(65536), (host, 9))


@case
def datagram_cut(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_DGRAM) as a, s.socket(family, s.SOCK_DGRAM) as b:
        a.settimeout(30)
        a.bind((host, 0))
        for _ in range(3):
            b.sendto(b"abcdef", a.getsockname())
        got, _anc, flags, _from = a.recvmsg(3)
        return a.recv(3), got, bool(flags & s.MSG_TRUNC), a.recv(0)


@case
def datagram_refused(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_DGRAM) as sock:
        sock.settimeout(30)
        sock.connect((host, free_port(s, host, family, s.SOCK_DGRAM)))
        sock.send(b"x")
        sock.recv(1)


@case
def datagram_empty(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_DGRAM) as a, s.socket(family, s.SOCK_DGRAM) as b:
        a.settimeout(30)
        a.bind((host, 0))
        b.sendto(b"", a.getsockname())
        return a.recvfrom(10)[0]


@case
def datagram_to_port_zero(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_DGRAM) as sock:
        sock.sendto(b"x", (host, 0))


@case
def datagram_connected_elsewhere(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_DGRAM) as a, s.socket(family, s.SOCK_DGRAM) as b:
        a.bind((host, 0))
        b.bind((host, 0))
        a.connect(b.getsockname())
        assert a.getpeername() == b.getsockname()
        a.settimeout(0.01)
        with s.socket(family, s.SOCK_DGRAM) as stranger:
            stranger.sendto(b"x", a.getsockname())
        return a.recv(1)


@case
def datagram_broadcast_not_allowed(s: Any, host: str, family: int) -> Any:
    if family == s.AF_INET6:
        return None
    with s.socket(family, s.SOCK_DGRAM) as sock:
        sock.sendto(b"x", ("255.255.255.255", 9))


@case
def sendto_wants_arguments(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_DGRAM) as sock:
        sock.sendto(b"x")


# --- options ---------------------------------------------------------------------------------


@case
def unknown_option(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        sock.getsockopt(s.SOL_SOCKET, 9999)


@case
def unknown_level(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        sock.setsockopt(s.IPPROTO_TCP, 9999, 1)


@case
def tcp_option_of_datagrams(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_DGRAM) as sock:
        sock.setsockopt(s.IPPROTO_TCP, s.TCP_NODELAY, 1)


@case
def short_option(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        sock.setsockopt(s.SOL_SOCKET, s.SO_KEEPALIVE, b"\1\0")


@case
def option_is_text(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        sock.setsockopt(s.SOL_SOCKET, s.SO_KEEPALIVE, "on")


@case
def keepalive_out_of_range(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        sock.setsockopt(s.IPPROTO_TCP, s.TCP_KEEPIDLE, 0)


@case
def ttl_out_of_range(s: Any, host: str, family: int) -> Any:
    with s.socket(s.AF_INET, s.SOCK_STREAM) as sock:
        sock.setsockopt(s.IPPROTO_IP, s.IP_TTL, 256)


@case
def v6_option_of_v4(s: Any, host: str, family: int) -> Any:
    with s.socket(s.AF_INET, s.SOCK_STREAM) as sock:
        sock.setsockopt(s.IPPROTO_IPV6, s.IPV6_V6ONLY, 1)


@case
def bind_to_no_device(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_DGRAM) as sock:
        sock.setsockopt(s.SOL_SOCKET, s.SO_BINDTODEVICE, b"none")


@case
def flags_read_back(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        names = [
            (s.SOL_SOCKET, s.SO_REUSEADDR), (s.SOL_SOCKET, s.SO_KEEPALIVE),
            (s.SOL_SOCKET, s.SO_BROADCAST), (s.SOL_SOCKET, s.SO_OOBINLINE),
            (s.IPPROTO_TCP, s.TCP_NODELAY), (s.SOL_SOCKET, s.SO_REUSEPORT),
        ]  # fmt: skip
        before = [bool(sock.getsockopt(*name)) for name in names]
        for name in names:
            sock.setsockopt(*name, 1)
        return before, [bool(sock.getsockopt(*name)) for name in names]


@case
def numbers_read_back(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        values = [
            (s.IPPROTO_TCP, s.TCP_KEEPIDLE, 11), (s.IPPROTO_TCP, s.TCP_KEEPINTVL, 12),
            (s.IPPROTO_TCP, s.TCP_KEEPCNT, 13), (s.SOL_SOCKET, s.SO_RCVLOWAT, 3),
            (s.SOL_SOCKET, s.SO_SNDBUF, 20000), (s.SOL_SOCKET, s.SO_RCVBUF, 30000),
        ]  # fmt: skip
        for level, name, value in values:
            sock.setsockopt(level, name, value)
        return [sock.getsockopt(level, name) for level, name, _value in values]


@case
def kinds_read_back(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_DGRAM) as sock:
        return (
            sock.getsockopt(s.SOL_SOCKET, s.SO_TYPE),
            sock.getsockopt(s.SOL_SOCKET, s.SO_DOMAIN),
            sock.getsockopt(s.SOL_SOCKET, s.SO_PROTOCOL),
            sock.family,
            sock.type,
            sock.proto,
        )


@case
def linger_reads_back(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        before = sock.getsockopt(s.SOL_SOCKET, s.SO_LINGER, 8)
        sock.setsockopt(s.SOL_SOCKET, s.SO_LINGER, struct.pack("ii", 1, 5))
        return before, sock.getsockopt(s.SOL_SOCKET, s.SO_LINGER, 8)


@case
def join_no_group(s: Any, host: str, family: int) -> Any:
    with s.socket(s.AF_INET, s.SOCK_DGRAM) as sock:
        request = s.inet_aton("10.1.2.3") + s.inet_aton("0.0.0.0")
        sock.setsockopt(s.IPPROTO_IP, s.IP_ADD_MEMBERSHIP, request)


@case
def leave_without_joining(s: Any, host: str, family: int) -> Any:
    with s.socket(s.AF_INET, s.SOCK_DGRAM) as sock:
        request = s.inet_aton("224.1.2.3") + s.inet_aton("127.0.0.1")
        sock.setsockopt(s.IPPROTO_IP, s.IP_DROP_MEMBERSHIP, request)


@case
def timeout_negative(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        sock.settimeout(-1)


@case
def timeout_not_a_number(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        sock.settimeout(float("nan"))


@case
def timeout_is_text(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        sock.settimeout("1")


@case
def timeouts_read_back(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        found = [(sock.gettimeout(), sock.getblocking(), sock.timeout)]
        for value in (0, 1.5, None):
            sock.settimeout(value)
            found.append((sock.gettimeout(), sock.getblocking(), sock.timeout))
        sock.setblocking(False)
        return found, sock.gettimeout()


# --- files -----------------------------------------------------------------------------------


@case
def makefile_of_unknown_mode(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        sock.makefile("a")


@case
def makefile_text_unbuffered(s: Any, host: str, family: int) -> Any:
    with s.socket(family, s.SOCK_STREAM) as sock:
        sock.makefile("r", 0)


@case
def makefile_outlives_the_socket(s: Any, host: str, family: int) -> Any:
    client, server = connected(s, host, family)
    with client:
        with server.makefile("rwb") as file:
            server.close()
            client.sendall(b"line\n")
            line = file.readline()
            file.write(b"back")
            file.flush()
            got = whole(client, 4)
        return line, got, client.recv(1)


def outcome(function: Case, module: Any, host: str, family: int) -> tuple[str, Any]:
    try:
        value = function(module, host, family)
    except Exception as error:
        code = getattr(error, "errno", None)
        return "raises", (type(error).__name__, code)
    return "gives", value


@pytest.fixture(scope="module")
def net() -> Any:
    left, _right = pystack.nic.wire()
    with pystack.Stack() as made:
        made.attach(left, "10.0.0.1/24", gateway="10.0.0.2")
        yield made


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("function", [one for _name, one in CASES], ids=[name for name, _ in CASES])
def test_as_the_kernel(function: Case, family: int, net: pystack.Stack) -> None:
    host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    kernel = outcome(function, socket, host, family)
    assert outcome(function, net.sockets, host, family) == kernel
