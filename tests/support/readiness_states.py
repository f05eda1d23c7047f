"""The states that a socket can be in, each with a way to come to it.

Each is a function of a `Place`, which makes the kernel's sockets or a Stack's, and gives the socket
that is to be looked at.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from readiness_place import LOCAL, Place, reset, shut

STATES: dict[str, Callable[[Place], Any]] = {}


def state(function: Callable[[Place], Any]) -> Callable[[Place], Any]:
    """Puts one into the table by its name."""
    STATES[function.__name__.replace("_", " ").strip()] = function
    return function


@state
def fresh(p: Place) -> Any:
    return p.socket()


@state
def bound(p: Place) -> Any:
    sock = p.socket()
    sock.bind((LOCAL, 0))
    return sock


@state
def fresh_and_shut_for_reading(p: Place) -> Any:
    return shut(p.socket(), socket.SHUT_RD)


@state
def fresh_and_shut_for_writing(p: Place) -> Any:
    return shut(p.socket(), socket.SHUT_WR)


@state
def fresh_and_shut(p: Place) -> Any:
    return shut(p.socket(), socket.SHUT_RDWR)


@state
def listening(p: Place) -> Any:
    return p.listener()


@state
def one_waits(p: Place) -> Any:
    sock = p.listener()
    p.connect(sock)
    return sock


@state
def two_wait(p: Place) -> Any:
    sock = p.listener()
    p.connect(sock)
    p.connect(sock)
    return sock


@state
def one_of_two_accepted(p: Place) -> Any:
    sock = two_wait(p)
    p.keep(sock.accept()[0])
    return sock


@state
def two_of_two_accepted(p: Place) -> Any:
    sock = one_of_two_accepted(p)
    p.keep(sock.accept()[0])
    return sock


@state
def listener_shut_for_reading(p: Place) -> Any:
    return shut(p.listener(), socket.SHUT_RD)


@state
def listener_shut_for_writing(p: Place) -> Any:
    return shut(p.listener(), socket.SHUT_WR)


@state
def listener_shut(p: Place) -> Any:
    return shut(p.listener(), socket.SHUT_RDWR)


@state
def connecting(p: Place) -> Any:
    return p.connecting()


@state
def connecting_and_shut_for_writing(p: Place) -> Any:
    return shut(p.connecting(), socket.SHUT_WR)


@state
def refused(p: Place) -> Any:
    sock = p.socket()
    sock.setblocking(False)
    sock.connect_ex(p.nowhere())
    return sock


@state
def refused_error_taken(p: Place) -> Any:
    sock = refused(p)
    p.settle()
    sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return sock


@state
def refused_and_told(p: Place) -> Any:
    sock = p.socket()
    sock.connect_ex(p.nowhere())
    return sock


@state
def connected(p: Place) -> Any:
    return p.pair()[0]


@state
def accepted(p: Place) -> Any:
    return p.pair()[1]


@state
def data_unread(p: Place) -> Any:
    near, far = p.pair()
    far.send(b"data")
    return near


@state
def data_read(p: Place) -> Any:
    near = data_unread(p)
    near.recv(100)
    return near


@state
def less_than_the_low_water_mark(p: Place) -> Any:
    near, far = p.pair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 10)
    far.send(b"data")
    return near


@state
def no_room(p: Place) -> Any:
    near, _far = p.pair()
    p.fill(near)
    return near


@state
def no_room_and_data(p: Place) -> Any:
    near, far = p.pair()
    far.send(b"data")
    p.fill(near)
    return near


@state
def room_again(p: Place) -> Any:
    near, far = p.pair()
    p.fill(near)
    far.settimeout(0.3)
    with suppress(TimeoutError):
        while far.recv(1 << 20):
            pass
    return near


@state
def no_room_and_the_peer_ended(p: Place) -> Any:
    near, far = p.pair()
    p.fill(near)
    far.shutdown(socket.SHUT_WR)
    return near


@state
def close_wait(p: Place) -> Any:
    near, far = p.pair()
    far.shutdown(socket.SHUT_WR)
    return near


@state
def close_wait_and_data(p: Place) -> Any:
    near, far = p.pair()
    far.send(b"data")
    far.shutdown(socket.SHUT_WR)
    return near


@state
def close_wait_and_all_read(p: Place) -> Any:
    near = close_wait_and_data(p)
    near.recv(4, socket.MSG_WAITALL)
    near.recv(1)
    return near


@state
def close_wait_and_shut_for_reading(p: Place) -> Any:
    return shut(close_wait(p), socket.SHUT_RD)


@state
def last_ack(p: Place) -> Any:
    near = close_wait(p)
    near.recv(1)
    return shut(near, socket.SHUT_WR)


@state
def last_ack_and_data(p: Place) -> Any:
    return shut(close_wait_and_data(p), socket.SHUT_WR)


@state
def shut_for_reading(p: Place) -> Any:
    return shut(p.pair()[0], socket.SHUT_RD)


@state
def shut_for_reading_and_data(p: Place) -> Any:
    return shut(data_unread(p), socket.SHUT_RD)


@state
def data_after_shut_for_reading(p: Place) -> Any:
    near, far = p.pair()
    near.shutdown(socket.SHUT_RD)
    far.send(b"data")
    return near


@state
def fin_wait(p: Place) -> Any:
    return shut(p.pair()[0], socket.SHUT_WR)


@state
def fin_wait_and_data(p: Place) -> Any:
    return shut(data_unread(p), socket.SHUT_WR)


@state
def shut_in_both_directions(p: Place) -> Any:
    return shut(p.pair()[0], socket.SHUT_RDWR)


@state
def shut_in_both_directions_and_data(p: Place) -> Any:
    return shut(data_unread(p), socket.SHUT_RDWR)


@state
def shut_one_after_the_other(p: Place) -> Any:
    return shut(shut(p.pair()[0], socket.SHUT_WR), socket.SHUT_RD)


@state
def time_wait(p: Place) -> Any:
    near, far = p.pair()
    near.shutdown(socket.SHUT_WR)
    far.recv(1)
    far.close()
    return near


@state
def time_wait_and_read(p: Place) -> Any:
    near = time_wait(p)
    near.recv(1)
    return near


@state
def simultaneous_close(p: Place) -> Any:
    near, far = p.pair()
    near.shutdown(socket.SHUT_WR)
    far.shutdown(socket.SHUT_WR)
    return near


@state
def was_reset(p: Place) -> Any:
    near, far = p.pair()
    reset(far)
    return near


@state
def reset_error_taken(p: Place) -> Any:
    near = was_reset(p)
    p.settle()
    near.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return near


@state
def reset_error_received(p: Place) -> Any:
    near = was_reset(p)
    with suppress(OSError):
        near.recv(1)
    return near


@state
def reset_error_received_twice(p: Place) -> Any:
    near = reset_error_received(p)
    with suppress(OSError):
        near.recv(1)
    return near


@state
def reset_with_data(p: Place) -> Any:
    near, far = p.pair()
    far.send(b"data")
    reset(far)
    return near


@state
def reset_with_data_error_taken(p: Place) -> Any:
    near = reset_with_data(p)
    p.settle()
    near.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return near


@state
def reset_in_close_wait(p: Place) -> Any:
    near, far = p.pair()
    far.shutdown(socket.SHUT_WR)
    p.settle()
    reset(far)
    return near


@state
def reset_in_fin_wait(p: Place) -> Any:
    near, far = p.pair()
    near.shutdown(socket.SHUT_WR)
    p.settle()
    reset(far)
    return near


@state
def reset_by_unread_data(p: Place) -> Any:
    near, far = p.pair()
    near.send(b"data")
    p.settle()
    far.close()
    return near


@state
def sent_to_who_is_gone(p: Place) -> Any:
    near, far = p.pair()
    far.close()
    p.settle()
    near.send(b"data")
    return near


@state
def reset_without_room(p: Place) -> Any:
    near, far = p.pair()
    p.fill(near)
    reset(far)
    return near


@state
def urgent(p: Place) -> Any:
    near, far = p.pair()
    far.send(b"!", socket.MSG_OOB)
    return near


@state
def urgent_behind_data(p: Place) -> Any:
    near, far = p.pair()
    far.send(b"data!", socket.MSG_OOB)
    return near


@state
def urgent_before_data(p: Place) -> Any:
    near, far = p.pair()
    far.send(b"!", socket.MSG_OOB)
    far.send(b"data")
    return near


@state
def urgent_taken(p: Place) -> Any:
    near = urgent(p)
    p.settle()
    near.recv(1, socket.MSG_OOB)
    return near


@state
def urgent_behind_data_taken(p: Place) -> Any:
    near = urgent_behind_data(p)
    p.settle()
    near.recv(1, socket.MSG_OOB)
    return near


@state
def urgent_behind_data_that_was_read(p: Place) -> Any:
    near = urgent_behind_data(p)
    p.settle()
    near.recv(100)
    return near


@state
def urgent_inline(p: Place) -> Any:
    near, far = p.pair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    far.send(b"!", socket.MSG_OOB)
    return near


@state
def datagrams_fresh(p: Place) -> Any:
    return p.socket(socket.SOCK_DGRAM)


@state
def datagrams_bound(p: Place) -> Any:
    sock = p.socket(socket.SOCK_DGRAM)
    sock.bind((LOCAL, 0))
    return sock


def send_to(p: Place, sock: Any) -> Any:
    """Sends it a datagram."""
    p.socket(socket.SOCK_DGRAM).sendto(b"data", sock.getsockname())
    return sock


@state
def datagrams_unread(p: Place) -> Any:
    return send_to(p, datagrams_bound(p))


@state
def datagrams_read(p: Place) -> Any:
    sock = datagrams_unread(p)
    sock.recv(100)
    return sock


@state
def an_empty_datagram(p: Place) -> Any:
    sock = datagrams_bound(p)
    p.socket(socket.SOCK_DGRAM).sendto(b"", sock.getsockname())
    return sock


@state
def datagrams_connected(p: Place) -> Any:
    sock = p.socket(socket.SOCK_DGRAM)
    sock.connect(p.nowhere())
    return sock


@state
def datagram_refused(p: Place) -> Any:
    sock = datagrams_connected(p)
    sock.send(b"data")
    return sock


@state
def datagram_refused_error_taken(p: Place) -> Any:
    sock = datagram_refused(p)
    p.settle()
    sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return sock


@state
def datagram_refused_again(p: Place) -> Any:
    sock = datagram_refused_error_taken(p)
    sock.send(b"data")
    return sock


@state
def datagram_refused_error_received(p: Place) -> Any:
    sock = datagram_refused(p)
    p.settle()
    with suppress(OSError):
        sock.recv(1)
    return sock


@state
def datagrams_connected_shut_for_reading(p: Place) -> Any:
    return shut(datagrams_connected(p), socket.SHUT_RD)


@state
def datagrams_connected_shut_for_writing(p: Place) -> Any:
    return shut(datagrams_connected(p), socket.SHUT_WR)


@state
def datagrams_connected_shut(p: Place) -> Any:
    return shut(datagrams_connected(p), socket.SHUT_RDWR)


@state
def datagrams_fresh_shut_for_reading(p: Place) -> Any:
    return shut(datagrams_bound(p), socket.SHUT_RD)


@state
def datagrams_fresh_shut(p: Place) -> Any:
    return shut(datagrams_bound(p), socket.SHUT_RDWR)


@state
def raw_fresh(p: Place) -> Any:
    return p.socket(socket.SOCK_RAW, socket.IPPROTO_ICMP)
