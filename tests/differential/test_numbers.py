"""A socket's number in the calls of the module `os` and `fcntl`, and sockets made of numbers."""

from __future__ import annotations

import array
import fcntl
import os
import select
import socket
import stat
import tempfile
import termios
import warnings
from typing import Any

from differential import Place, differential

MOST_PIECES = 1024  # IOV_MAX


@differential
def sockets_of_odd_numbers(p: Place) -> Any:
    numbers = (-1, -5, 1 << 31, (1 << 32) - 1, 1 << 63, 99999, "x", 1.5, True)
    return [p.tried(lambda: p.module.socket(fileno=number) is None) for number in numbers]  # noqa: B023


@differential
def a_number_beyond_an_int_is_cut(p: Place) -> Any:
    near, _far = p.pair()
    with p.installed():
        taken = p.module.socket(fileno=(1 << 32) + near.detach())
    return p.keep(taken).getpeername() == _far.getsockname()


@differential
def what_is_said_of_a_number(p: Place) -> Any:
    near, _far = p.pair()
    outcomes = []
    for said in (
        {"family": 10}, {"type": 2}, {"proto": 17}, {"type": 1 | socket.SOCK_NONBLOCK},
        {"type": 1 | socket.SOCK_CLOEXEC}, {"type": 1 << 40}, {"family": "x"},
    ):  # fmt: skip
        number = near.dup().detach()
        try:
            made = p.module.socket(**said, fileno=number)
        except (TypeError, OverflowError) as error:
            outcomes.append((type(error).__name__, p.tried(p.module.close, number)))
        else:
            outcomes.append((int(made.family), int(made.type), made.proto, made.gettimeout()))
            made.close()
    return outcomes


@differential
def no_socket_s_number(p: Place) -> Any:
    with open(os.devnull, "rb") as file:  # noqa: PTH123
        return (
            p.tried(lambda: p.module.socket(fileno=file.fileno()) is None),
            p.tried(p.module.fromfd, file.fileno(), 2, 1),
            p.tried(p.module.fromfd, -1, 2, 1),
            p.tried(p.module.fromfd, "x", 2, 1),
            p.tried(p.module.close, -1),
            p.tried(p.module.close, "x"),
            p.tried(p.module.dup, -1),
        )


@differential
def as_many_pieces_as_there_may_be(p: Place) -> Any:
    near, far = p.pair()
    near.settimeout(None)
    outcomes = []
    for count in (MOST_PIECES, MOST_PIECES + 1):
        outcomes += p.tries(
            lambda: os.writev(near.fileno(), [b"x"] * count),  # noqa: B023
            lambda: near.sendmsg([b"x"] * count),  # noqa: B023
            lambda: os.readv(far.fileno(), [bytearray(1)] * count),  # noqa: B023
            lambda: far.recvmsg_into([bytearray(1)] * count)[0],  # noqa: B023
        )
    return outcomes, p.tried(far.recvmsg_into, [bytearray(1)] * (MOST_PIECES + 1))


@differential
def odd_reads_and_writes(p: Place) -> Any:
    near, _far = p.pair()
    fd = near.fileno()
    return p.tries(
        lambda: os.read(fd, -1), lambda: os.read(fd, 0), lambda: os.readv(fd, []),
        lambda: os.writev(fd, []), lambda: os.write(fd, b""), lambda: os.write(fd, "x"),
        lambda: os.readv(fd, [b"x"]), lambda: os.writev(fd, ["x"]), lambda: os.write(fd),
    )  # fmt: skip


@differential
def calls_that_are_for_files(p: Place) -> Any:
    near, _far = p.pair()
    fd = near.fileno()
    return p.tries(
        lambda: os.lseek(fd, 0, 0), lambda: os.ftruncate(fd, 0), lambda: os.fsync(fd),
        lambda: os.pread(fd, 1, 0), lambda: os.pwrite(fd, b"x", 0), lambda: os.isatty(fd),
        lambda: os.preadv(fd, [bytearray(1)], 0), lambda: os.posix_fadvise(fd, 0, 0, 0),
        lambda: os.lockf(fd, os.F_TLOCK, 0), lambda: stat.S_ISSOCK(os.fstat(fd).st_mode),
        lambda: os.path.realpath(f"/proc/self/fd/{fd}").startswith("/proc"),
    )  # fmt: skip


@differential
def files_are_sent_and_sockets_are_not(p: Place) -> Any:
    (near, far), (other, other_far) = p.pair(), p.pair()
    far.send(b"abc")
    p.settle()
    with tempfile.TemporaryFile() as file:
        return (
            p.tried(os.sendfile, other.fileno(), near.fileno(), 0, 3),
            p.tried(os.sendfile, other.fileno(), near.fileno(), None, 3),
            p.tried(os.sendfile, file.fileno(), near.fileno(), None, 3),
            p.tried(other_far.recv, 9),
            p.tried(near.recv, 9),
        )


@differential
def files_in_all_modes(p: Place) -> Any:
    near, _far = p.pair()
    outcomes = []
    for mode in ("r", "w", "rb", "wb", "r+", "rb+", "w+b", "a", "ab", "x", "xb", "rr", "q", ""):
        for buffering in (-1, 0, 1, 50):
            fd = os.dup(near.fileno())
            try:
                with warnings.catch_warnings(record=True) as warned:
                    warnings.simplefilter("always")
                    file = os.fdopen(fd, mode, buffering)
            except (ValueError, OSError) as error:
                # It closes what it was given once it has made something of it.
                outcomes.append((mode, type(error).__name__, p.tried(os.close, fd)))
            else:
                shown = file.mode, file.name == fd, file.seekable(), file.isatty()
                outcomes.append((mode, *shown, [str(one.message) for one in warned]))
                file.close()
    return outcomes


@differential
def a_file_of_each_direction(p: Place) -> Any:
    near, far = p.pair()
    near.settimeout(None)
    reader, writer = os.fdopen(os.dup(near.fileno()), "r"), os.fdopen(os.dup(near.fileno()), "w")
    near.close()
    writer.write("hello\n")
    writer.flush()
    heard = far.recv(99)
    far.sendall(b"line\nrest")
    line = reader.readline()
    far.shutdown(socket.SHUT_WR)
    rest = reader.read()
    reader.close()
    early = p.tried(far.recv, 1)
    writer.close()
    return heard, line, rest, early, p.tried(far.recv, 1)


@differential
def without_waiting_by_fcntl(p: Place) -> Any:
    near, far = p.pair()
    listener = p.listener()
    outcomes = []
    for one, call in ((near, lambda: near.recv(1)), (listener, listener.accept)):
        one.settimeout(None)
        flags = fcntl.fcntl(one.fileno(), fcntl.F_GETFL)
        fcntl.fcntl(one.fileno(), fcntl.F_SETFL, flags | os.O_NONBLOCK)
        outcomes += [p.tried(call), one.getblocking(), one.gettimeout()]
        fcntl.fcntl(one.fileno(), fcntl.F_SETFL, flags)
    out = p.thread(near.recv, 1)
    far.send(b"x")
    return outcomes, p.joined(out)


@differential
def copies_by_fcntl(p: Place) -> Any:
    near, far = p.pair()
    number = fcntl.fcntl(near.fileno(), fcntl.F_DUPFD_CLOEXEC, 100)
    with p.installed():
        copy = p.module.socket(fileno=number)
    near.close()
    early = p.tried(far.recv, 1)
    number = fcntl.fcntl(copy.fileno(), fcntl.F_DUPFD, 100)
    copy.close()
    later = p.tried(far.recv, 1)
    os.close(number)
    return early, later, p.tried(far.recv, 1)


@differential
def what_waits_by_ioctl(p: Place) -> Any:
    near, far = p.pair()
    far.send(b"hello")
    p.settle()
    counted = array.array("i", [0])
    fcntl.ioctl(near, termios.FIONREAD, counted)
    return counted[0], fcntl.ioctl(near.fileno(), termios.FIONREAD, bytes(4))


@differential
def closed_by_its_number(p: Place) -> Any:
    near, far = p.pair()
    os.close(near.fileno())
    return p.tried(far.recv, 1), p.tried(near.recv, 1), near.fileno() > 0, p.tried(near.close)


@differential
def two_objects_of_one_number(p: Place) -> Any:
    near, far = p.pair()
    with p.installed():
        other = p.module.socket(fileno=near.fileno())
    other.settimeout(0.3)
    far.send(b"xy")
    first = p.tried(other.recv, 1)
    other.close()
    return first, p.tried(near.recv, 1), p.tried(near.close), p.tried(far.recv, 1)


@differential
def watched_when_closed(p: Place) -> Any:
    near, far = p.pair()
    number, poll, epoll = near.fileno(), select.poll(), p.keep(select.epoll())
    poll.register(near, select.POLLIN)
    epoll.register(near, select.EPOLLIN)
    copy = near.dup()
    near.close()
    far.send(b"x")
    p.settle()
    outcomes = [
        [(one == number, mask) for one, mask in poll.poll(0)], len(epoll.poll(0)),
        p.tried(select.select, [near], [], [], 0), p.tried(select.select, [number], [], [], 0),
        p.tried(poll.register, near), p.tried(poll.unregister, near),
        p.tried(epoll.modify, number, select.EPOLLIN), p.tried(epoll.unregister, number),
    ]  # fmt: skip
    copy.close()
    return outcomes, epoll.poll(0)
