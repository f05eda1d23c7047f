"""Calls that wait: until something comes, the timeout is over, or another thread does something."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from typing import Any

from differential import LOCAL, RESET, Place, differential
from quiet import BOUND_S

STREAM, DGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM


def waiting_pair(p: Place, timeout: float | None = None) -> tuple[Any, Any]:
    near, far = p.pair()
    near.settimeout(timeout)
    return near, far


# --- the timeout ------------------------------------------------------------------------------


@differential
def recv_times_out(p: Place) -> Any:
    near, _far = waiting_pair(p, 0.4)
    return p.took(near.recv, 1)


@differential
def recv_of_a_datagram_times_out(p: Place) -> Any:
    u = p.udp()
    u.settimeout(0.4)
    return p.took(u.recvfrom, 1)


@differential
def accept_times_out(p: Place) -> Any:
    listener = p.listener()
    listener.settimeout(0.4)
    return p.took(listener.accept)


@differential
def sendall_times_out(p: Place) -> Any:
    near, _far = waiting_pair(p, 0.4)
    return p.took(near.sendall, bytes(50_000_000))


@differential
def sendall_s_timeout_is_for_the_whole(p: Place) -> Any:
    near, far = waiting_pair(p, 0.6)
    far.settimeout(BOUND_S)
    done = threading.Event()

    def sip() -> None:
        while not done.wait(0.02):
            far.recv(65536)

    reader = threading.Thread(target=sip)
    reader.start()
    try:
        return p.took(near.sendall, bytes(500_000_000))
    finally:
        done.set()
        reader.join()


@differential
def connect_times_out(p: Place) -> Any:
    listener = p.listener(backlog=0)
    for _ in range(3):
        one = p.socket()
        one.setblocking(False)
        one.connect_ex(listener.getsockname())
        p.settle()
    last = p.socket()
    last.settimeout(0.4)
    return p.took(last.connect, listener.getsockname())


@differential
def connect_ex_times_out(p: Place) -> Any:
    listener = p.listener(backlog=0)
    for _ in range(3):
        one = p.socket()
        one.setblocking(False)
        one.connect_ex(listener.getsockname())
        p.settle()
    last = p.socket()
    last.settimeout(0.4)
    return p.took(last.connect_ex, listener.getsockname())


@differential
def readline_times_out_and_is_over(p: Place) -> Any:
    near, far = p.pair()
    file = p.keep(near.makefile("rb"))
    far.sendall(b"half a line")
    return p.tries(file.readline, file.readline, lambda: file.read(1))


@differential
def a_receive_limit(p: Place) -> Any:
    near, _far = waiting_pair(p)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 400_000))
    return p.took(near.recv, 1), near.getsockopt(1, socket.SO_RCVTIMEO, 16)


@differential
def a_receive_limit_for_accept(p: Place) -> Any:
    listener = p.listener()
    listener.settimeout(None)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 400_000))
    return p.took(listener.accept)


@differential
def a_send_limit(p: Place) -> Any:
    near, _far = waiting_pair(p)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 200_000))
    return p.tried(near.sendall, bytes(50_000_000))  # the limit is for each part of it


@differential
def a_receive_limit_with_a_timeout(p: Place) -> Any:
    near, _far = waiting_pair(p, 0.8)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 200_000))
    return p.took(near.recv, 1)


@differential
def without_waiting(p: Place) -> Any:
    near, _far = waiting_pair(p, 0)
    listener, u, fresh = p.listener(), p.udp(), p.socket()
    for one in (listener, u, fresh):
        one.setblocking(False)
    return p.tries(
        lambda: near.recv(1), listener.accept, lambda: u.recv(1),
        lambda: fresh.connect((LOCAL, 1)), lambda: near.recv_into(bytearray(3)),
        lambda: near.recvmsg(3), lambda: near.recv(3, socket.MSG_WAITALL),
    )  # fmt: skip


@differential
def dontwait(p: Place) -> Any:
    near, far = waiting_pair(p)
    flag = socket.MSG_DONTWAIT
    none = p.tried(near.recv, 1, flag)
    far.sendall(b"abc")
    p.settle()
    return none, p.tries(
        lambda: near.recv(2, flag), lambda: near.recv(2, flag | socket.MSG_WAITALL)
    )


@differential
def dontwait_with_a_timeout(p: Place) -> Any:
    near, _far = waiting_pair(p, 0.3)
    return p.took(near.recv, 1, socket.MSG_DONTWAIT)


@differential
def dontwait_to_send(p: Place) -> Any:
    near, _far = waiting_pair(p)
    while True:
        came = p.tried(near.send, bytes(1_000_000), socket.MSG_DONTWAIT)
        if came[0] == "raises":
            return came


# --- what another thread does -----------------------------------------------------------------


@differential
def settimeout_during_a_wait(p: Place) -> Any:
    near, far = waiting_pair(p)
    out = p.thread(near.recv, 1)
    near.settimeout(0.1)
    time.sleep(0.3)  # so long it would not wait with the new one
    p.quiet()
    early = list(out)
    far.sendall(b"x")
    return early, p.joined(out), near.gettimeout()


@differential
def settimeout_during_a_timed_wait(p: Place) -> Any:
    near, _far = waiting_pair(p, 0.5)
    out = p.thread(lambda: p.took(near.recv, 1))
    near.settimeout(30)
    return p.joined(out)


@differential
def setblocking_during_a_wait(p: Place) -> Any:
    near, far = waiting_pair(p)
    out = p.thread(near.recv, 1)
    near.setblocking(False)
    p.quiet()
    early = list(out)
    far.sendall(b"x")
    return early, p.joined(out)


@differential
def shutdown_during_a_recv(p: Place) -> Any:
    near, _far = waiting_pair(p)
    out = p.thread(near.recv, 1)
    near.shutdown(socket.SHUT_RD)
    return p.joined(out)


@differential
def shutdown_of_writing_during_a_recv(p: Place) -> Any:
    near, far = waiting_pair(p)
    out = p.thread(near.recv, 1)
    near.shutdown(socket.SHUT_WR)
    p.quiet()
    early = list(out)
    far.sendall(b"x")
    return early, p.joined(out)


@differential
def shutdown_during_a_timed_recv(p: Place) -> Any:
    near, _far = waiting_pair(p, 5)
    out = p.thread(near.recv, 1)
    near.shutdown(socket.SHUT_RDWR)
    return p.joined(out)


@differential
def shutdown_during_a_send(p: Place) -> Any:
    near, _far = waiting_pair(p)
    out = p.thread(near.sendall, bytes(50_000_000))
    near.shutdown(socket.SHUT_WR)
    return p.joined(out)


@differential
def shutdown_during_an_accept(p: Place) -> Any:
    listener = p.listener()
    listener.settimeout(None)
    out = p.thread(listener.accept)
    listener.shutdown(socket.SHUT_RD)
    return p.joined(out)


@differential
def shutdown_of_writing_during_an_accept(p: Place) -> Any:
    listener = p.listener()
    listener.settimeout(None)
    out = p.thread(lambda: p.keep(listener.accept()[0]).gettimeout())
    listener.shutdown(socket.SHUT_WR)
    p.quiet()
    early = list(out)
    p.socket().connect(listener.getsockname())
    return early, p.joined(out)


@differential
def shutdown_of_a_datagram_socket_during_a_recv(p: Place) -> Any:
    u = p.udp(connect=p.udp())
    u.settimeout(None)
    out = p.thread(u.recv, 1)
    u.shutdown(socket.SHUT_RD)
    return p.joined(out)


@differential
def close_during_a_recv(p: Place) -> Any:
    near, far = waiting_pair(p)
    out = p.thread(near.recv, 1)
    near.close()
    p.quiet()
    early = list(out), p.tried(far.recv, 1), near.fileno()
    far.sendall(b"x")
    return early, p.joined(out), p.tried(far.recv, 1)


@differential
def close_during_a_recv_whose_peer_ends(p: Place) -> Any:
    near, far = waiting_pair(p)
    out = p.thread(near.recv, 1)
    near.close()
    far.close()
    return p.joined(out)


@differential
def close_during_a_timed_recv(p: Place) -> Any:
    near, _far = waiting_pair(p, 0.3)
    out = p.thread(near.recv, 1)
    near.close()
    return p.joined(out)[:2]


@differential
def close_during_an_accept(p: Place) -> Any:
    listener = p.listener()
    listener.settimeout(None)
    where = listener.getsockname()
    out = p.thread(lambda: p.keep(listener.accept()[0]).gettimeout())
    listener.close()
    p.quiet()
    early = list(out)
    client = p.socket()
    connected = p.tried(client.connect, where)
    p.quiet()
    return early, connected, [one[0] for one in out], p.tried(p.socket().connect, where)


@differential
def close_during_a_send(p: Place) -> Any:
    near, far = waiting_pair(p)
    far.settimeout(BOUND_S)
    out = p.thread(near.send, bytes(50_000_000))
    near.close()
    p.quiet()
    early = list(out)
    got = 0
    while got < 50_000_000 and (data := far.recv(1 << 20)):
        got += len(data)
    return early, got == 50_000_000, p.joined(out)


@differential
def close_during_a_recv_of_a_datagram(p: Place) -> Any:
    u, other = p.udp(), p.udp()
    u.settimeout(None)
    where = u.getsockname()
    out = p.thread(u.recv, 9)
    u.close()
    p.quiet()
    early = list(out)
    other.sendto(b"x", where)
    return early, p.joined(out)


@differential
def detach_during_a_recv(p: Place) -> Any:
    near, far = waiting_pair(p)
    out = p.thread(near.recv, 1)
    again = p.keep(p.module.socket(fileno=near.detach()))
    far.sendall(b"x")
    return p.joined(out), again.getpeername() == far.getsockname()


@differential
def the_peer_closes_during_a_recv(p: Place) -> Any:
    near, far = waiting_pair(p)
    out = p.thread(near.recv, 1)
    far.close()
    return p.joined(out)


@differential
def the_peer_resets_during_a_recv(p: Place) -> Any:
    near, far = waiting_pair(p)
    out = p.thread(near.recv, 1)
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    far.close()
    return p.joined(out)


@differential
def the_peer_resets_during_a_send(p: Place) -> Any:
    near, far = waiting_pair(p)
    out = p.thread(near.sendall, bytes(50_000_000))
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    far.close()
    return p.joined(out)


@differential
def the_peer_closes_during_a_send(p: Place) -> Any:
    near, far = waiting_pair(p)
    out = p.thread(near.sendall, bytes(50_000_000))
    far.close()
    return p.joined(out)


@differential
def two_threads_wait_for_one_byte(p: Place) -> Any:
    near, far = waiting_pair(p)
    first, second = p.thread(near.recv, 1), p.thread(near.recv, 1)
    far.sendall(b"x")
    p.quiet()
    count = len(first) + len(second)
    far.sendall(b"y")
    p.quiet()
    return count, sorted(map(str, first + second))


@differential
def two_threads_accept(p: Place) -> Any:
    listener = p.listener()
    listener.settimeout(None)

    def accept() -> Any:
        made, _ = listener.accept()
        return p.keep(made).gettimeout()

    outs = [p.thread(accept), p.thread(accept)]
    p.socket().connect(listener.getsockname())
    p.quiet()
    count = sum(map(len, outs))
    p.socket().connect(listener.getsockname())
    p.quiet()
    return count, outs


@differential
def one_sends_while_another_receives(p: Place) -> Any:
    near, far = waiting_pair(p)
    out = p.thread(near.recv, 3)
    near.sendall(b"abc")
    far.sendall(far.recv(3).upper())
    return p.joined(out)


@differential
def a_dup_is_closed_during_a_recv(p: Place) -> Any:
    near, far = waiting_pair(p)
    other = near.dup()
    out = p.thread(near.recv, 1)
    other.close()
    far.sendall(b"x")
    return p.joined(out)


@differential
def a_dup_is_shut_during_a_recv(p: Place) -> Any:
    near, _far = waiting_pair(p)
    other = p.keep(near.dup())
    out = p.thread(near.recv, 1)
    other.shutdown(socket.SHUT_RD)
    return p.joined(out)


@differential
def select_wakes_for_another_thread_s_shutdown(p: Place) -> Any:
    near, _far = waiting_pair(p)
    out = p.thread(lambda: len(select.select([near], [], [], 5)[0]))
    near.shutdown(socket.SHUT_RD)
    return p.joined(out)


@differential
def a_connect_in_steps(p: Place) -> Any:
    listener, s = p.listener(), p.socket()
    s.setblocking(False)
    where = listener.getsockname()
    first = s.connect_ex(where)
    ready = select.select([], [s], [], 2)[1] == [s]
    return first, ready, s.getsockopt(1, socket.SO_ERROR), s.connect_ex(where), s.connect_ex(where)


@differential
def a_connect_in_steps_is_refused(p: Place) -> Any:
    s = p.socket()
    s.setblocking(False)
    first = s.connect_ex((LOCAL, 1))
    ready = select.select([], [s], [], 2)[1] == [s]
    errors = [s.getsockopt(1, socket.SO_ERROR) for _ in range(2)]
    return first in (115, 111), ready, errors if first == 115 else [111, 0]


@differential
def a_refused_connect_in_steps_told_by_connect(p: Place) -> Any:
    s = p.socket()
    s.settimeout(p.patience_s)
    listener = p.listener()
    return (
        s.connect_ex((LOCAL, 1)),
        s.connect_ex(listener.getsockname()),
        s.connect_ex(listener.getsockname()),
    )


@differential
def a_blocking_connect_again_after_a_refusal(p: Place) -> Any:
    s = p.socket()
    listener = p.listener()
    return s.connect_ex((LOCAL, 1)), s.connect_ex((LOCAL, 1)), s.connect_ex(listener.getsockname())


@differential
def close_with_a_linger(p: Place) -> Any:
    near, far = waiting_pair(p)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 2))
    near.sendall(b"abc")
    return p.took(near.close), far.recv(9), far.recv(9)


@differential
def close_with_a_linger_nobody_reads(p: Place) -> Any:
    near, _far = waiting_pair(p)
    near.setblocking(False)
    try:
        while True:
            near.send(bytes(65536))
    except BlockingIOError:
        pass
    near.setblocking(True)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 1))
    return p.took(near.close)


@differential
def close_with_a_linger_and_unread_data(p: Place) -> Any:
    near, far = p.pair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 60))
    far.sendall(b"unread")
    p.settle()
    return p.tried(near.close), p.tried(far.recv, 9)


@differential
def close_with_a_linger_of_less_than_nothing(p: Place) -> Any:
    near, far = p.pair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, -1))
    near.send(b"abc")
    return p.tried(near.close), p.tried(far.recv, 9), p.tried(far.recv, 9)


@differential
def close_of_a_listener_with_a_linger(p: Place) -> Any:
    listener = p.listener()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 1))
    return p.tried(listener.close)


@differential
def close_with_unread_data_resets(p: Place) -> Any:
    near, far = p.pair()
    far.sendall(b"unread")
    p.settle()
    near.close()
    p.settle()
    return p.tries(lambda: far.recv(9), lambda: far.send(b"x"))
