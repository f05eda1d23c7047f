"""The socket as an object: copies of it, descriptors, files on it, what it can't do."""

from __future__ import annotations

import copy
import gc
import io
import os
import pickle
import socket
import sys
import tempfile
import weakref
from typing import Any

from differential import LOCAL, Place, differential

# --- files ------------------------------------------------------------------------------------


@differential
def file_reads_lines(p: Place) -> Any:
    near, far = p.pair()
    far.sendall(b"one\ntwo\r\nthree")
    far.close()
    with near.makefile("rb") as file:
        return file.readline(), list(file), file.read()


@differential
def file_reads_text(p: Place) -> Any:
    near, far = p.pair()
    far.sendall("héllo\r\nwörld\n".encode())
    far.close()
    with near.makefile("r", encoding="utf-8") as file:
        return file.mode, file.encoding, file.readlines()


@differential
def file_newlines(p: Place) -> Any:
    near, far = p.pair()
    far.sendall(b"a\r\nb\rc\n")
    far.close()
    with near.makefile("r", newline="") as file:
        return file.readlines()


@differential
def file_writes(p: Place) -> Any:
    near, far = p.pair()
    with near.makefile("wb") as file:
        early = file.write(b"abc"), p.tried(far.recv, 9)
        file.flush()
        flushed = far.recv(9)
        file.write(b"def")
    return early, flushed, far.recv(9)


@differential
def file_writes_text(p: Place) -> Any:
    near, far = p.pair()
    with near.makefile("w", encoding="latin-1", newline="\r\n") as file:
        file.write("ä\n")
    return far.recv(9)


@differential
def file_both_ways(p: Place) -> Any:
    near, far = p.pair()
    with near.makefile("rwb") as file:
        file.write(b"abc")
        file.flush()
        far.sendall(far.recv(9).upper())
        return type(file).__name__, file.read(3), file.readable(), file.writable()


@differential
def file_without_a_buffer(p: Place) -> Any:
    near, far = p.pair()
    with near.makefile("rwb", buffering=0) as file:
        file.write(b"abc")
        far.sendall(b"xyz")
        p.settle()
        return type(file).__name__, file.mode, far.recv(9), file.read(9), file.seekable()


@differential
def file_modes(p: Place) -> Any:
    near, _far = p.pair()
    outcomes = []
    for mode in ("r", "w", "rw", "wr", "b", "rb", "wb", "rwb", "", "bb", "br", "a", "rt", "U"):
        for buffering in (None, -1, 0, 1, 100):
            try:
                with near.makefile(mode, buffering) as file:
                    outcomes.append((type(file).__name__, getattr(file, "mode", None)))
            except (ValueError, TypeError) as error:
                outcomes.append(type(error).__name__)
    return outcomes


@differential
def file_keeps_the_connection(p: Place) -> Any:
    near, far = p.pair()
    file = near.makefile("rb")
    near.close()
    far.sendall(b"abc")
    heard = file.read(3), p.tried(near.recv, 1), p.tried(far.recv, 1)
    file.close()
    return heard, p.tried(far.recv, 1)


@differential
def file_of_a_closed_socket(p: Place) -> Any:
    near, _far = p.pair()
    near.close()
    return p.tried(near.makefile, "rb")


@differential
def file_without_waiting(p: Place) -> Any:
    near, far = p.pair()
    near.setblocking(False)
    with near.makefile("rb") as file, near.makefile("rb", 0) as raw:
        none = p.tried(file.read, 3), p.tried(raw.read, 3), p.tried(raw.readinto, bytearray(3))
        far.sendall(b"ab")
        p.settle()
        return none, file.read(9)


@differential
def file_of_a_full_socket(p: Place) -> Any:
    near, _far = p.pair()
    near.setblocking(False)
    with near.makefile("wb", 0) as raw:
        while raw.write(bytes(65536)) is not None:
            pass
        return raw.write(b"x")


@differential
def file_attributes(p: Place) -> Any:
    near, _far = p.pair()
    with near.makefile("rwb", 0) as raw:
        return (
            raw.readable(), raw.writable(), raw.seekable(), raw.name == near.fileno(),
            raw.fileno() == near.fileno(), raw.closed, raw.isatty(), p.tried(raw.tell),
            p.tried(raw.seek, 0), p.tried(raw.truncate),
        )  # fmt: skip


@differential
def file_after_its_end(p: Place) -> Any:
    near, _far = p.pair()
    file = near.makefile("rb")
    file.close()
    return p.tries(lambda: file.read(1), file.fileno, file.close, lambda: file.closed)


# --- sendfile ---------------------------------------------------------------------------------


def sent_of_file(p: Place, position: int, *arguments: Any) -> Any:
    near, far = p.pair()
    with tempfile.TemporaryFile() as file:
        file.write(bytes(range(200)))
        file.flush()
        file.seek(position)
        came = p.tried(near.sendfile, file, *arguments)
        near.close()
        got = far.recv(999)
        return came, len(got), got[:3], file.tell()


@differential
def sendfile_whole(p: Place) -> Any:
    return sent_of_file(p, 0)


@differential
def sendfile_begins_at_0_wherever_the_file_is(p: Place) -> Any:
    return sent_of_file(p, 200), sent_of_file(p, 50)


@differential
def sendfile_part(p: Place) -> Any:
    return sent_of_file(p, 0, 20, 30), sent_of_file(p, 0, 190, 30), sent_of_file(p, 0, 500)


@differential
def sendfile_of_memory(p: Place) -> Any:
    near, far = p.pair()
    file = io.BytesIO(b"abcdef")
    return p.tried(near.sendfile, file, 2), far.recv(9), file.tell()


@differential
def sendfile_of_nothing(p: Place) -> Any:
    near, _far = p.pair()
    with tempfile.TemporaryFile() as file:
        return p.tried(near.sendfile, file)


@differential
def sendfile_without_waiting(p: Place) -> Any:
    near, _far = p.pair()
    near.setblocking(False)
    with tempfile.TemporaryFile() as file:
        return p.tried(near.sendfile, file)


@differential
def os_sendfile(p: Place) -> Any:
    near, far = p.pair()
    with tempfile.TemporaryFile() as file:
        file.write(bytes(100))
        file.flush()
        came = p.tried(os.sendfile, near.fileno(), file.fileno(), 10, 50)
        position = file.tell()
        file.seek(90)
        more = p.tried(os.sendfile, near.fileno(), file.fileno(), None, 50)
        near.close()
        arrived = sum(map(len, iter(lambda: far.recv(999), b"")))
        return came, position, more, file.seek(0, os.SEEK_CUR), arrived


# --- copies and descriptors -------------------------------------------------------------------


@differential
def dup_shares(p: Place) -> Any:
    near, far = p.pair()
    near.settimeout(1.5)
    other = p.keep(near.dup())
    near.setsockopt(6, socket.TCP_NODELAY, 1)
    near.sendall(b"a")
    other.sendall(b"b")
    near.close()
    p.settle()
    alive = far.recv(9), p.tried(far.recv, 1)
    numbers = other.fileno() != near.fileno(), other.gettimeout(), other.getsockopt(6, 1)
    other.close()
    return alive, numbers, far.recv(1), type(other) is type(near)


@differential
def dup_of_a_listener(p: Place) -> Any:
    listener = p.listener()
    other = p.keep(listener.dup())
    where = listener.getsockname()
    listener.close()
    p.socket().connect(where)
    made, _ = other.accept()
    return p.keep(made).getsockname() == where


@differential
def dup_of_a_closed_one(p: Place) -> Any:
    s = p.socket()
    s.close()
    return p.tries(s.dup, s.detach, s.fileno, s.getsockname)


@differential
def detach_and_take(p: Place) -> Any:
    near, far = p.pair()
    number = near.detach()
    after = near.fileno(), p.tried(near.send, b"x"), near.close()
    again = p.keep(p.module.socket(fileno=number))
    again.sendall(b"abc")
    return after, far.recv(9), again.fileno() == number, again.family, again.type, again.proto


@differential
def detach_and_take_as_another_kind(p: Place) -> Any:
    near, _far = p.pair()
    again = p.keep(p.module.socket(socket.AF_INET6, socket.SOCK_DGRAM, 17, fileno=near.detach()))
    return again.family, again.type, again.proto


@differential
def fromfd_is_a_copy(p: Place) -> Any:
    near, far = p.pair()
    other = p.keep(p.module.fromfd(near.fileno(), socket.AF_INET, socket.SOCK_STREAM))
    near.close()
    other.sendall(b"abc")
    return far.recv(9), other.gettimeout()


@differential
def close_of_the_module(p: Place) -> Any:
    near, far = p.pair()
    p.module.close(near.detach())
    return far.recv(9)


@differential
def dup_of_the_module(p: Place) -> Any:
    near, far = p.pair()
    other = p.keep(p.module.socket(fileno=p.module.dup(near.fileno())))
    near.close()
    other.sendall(b"abc")
    return far.recv(9)


@differential
def the_descriptor(p: Place) -> Any:
    s = p.socket()
    number = s.fileno()
    os.fstat(number)
    same = s.fileno() == number
    blocking = os.get_blocking(number)
    s.setblocking(False)
    now = os.get_blocking(number)
    s.close()
    return same, blocking, now, s.fileno(), p.tried(os.fstat, number)


@differential
def the_descriptor_s_blocking(p: Place) -> Any:
    s = p.socket()
    return [
        (s.settimeout(timeout), os.get_blocking(s.fileno()), s.getblocking())
        for timeout in (None, 0, 1.5, 0.0, None)
    ]


@differential
def inheritance(p: Place) -> Any:
    s = p.socket()
    before = s.get_inheritable(), os.get_inheritable(s.fileno())
    s.set_inheritable(True)
    copy_of_it = p.keep(s.dup())
    return before, s.get_inheritable(), copy_of_it.get_inheritable()


@differential
def accepted_ones(p: Place) -> Any:
    listener, client = p.listener(), p.socket()
    outcomes = []
    for timeout in (None, 0.5):
        listener.settimeout(timeout)
        client = p.socket()
        client.connect(listener.getsockname())
        p.settle()
        made, where = listener.accept()
        p.keep(made)
        outcomes.append((
            made.gettimeout(), made.get_inheritable(), made.family, made.type, made.proto,
            where == client.getsockname(), type(made) is type(listener),
        ))  # fmt: skip
    return outcomes


@differential
def accepted_from_a_listener_without_waiting(p: Place) -> Any:
    listener, client = p.listener(), p.socket()
    listener.setblocking(False)
    client.connect(listener.getsockname())
    p.settle()
    made, _ = listener.accept()
    return p.keep(made).gettimeout(), os.get_blocking(made.fileno())


# --- the object -------------------------------------------------------------------------------


@differential
def with_block(p: Place) -> Any:
    near, far = p.pair()
    with near as same:
        inside = same is near, near.fileno() >= 0
    return inside, near.fileno(), far.recv(1), near.__exit__(None, None, None)


@differential
def with_block_that_raises(p: Place) -> Any:
    near, far = p.pair()
    try:
        with near:
            raise KeyError
    except KeyError:
        return near.fileno(), far.recv(1)


@differential
def no_pickle_and_no_copy(p: Place) -> Any:
    s = p.socket()
    return p.tries(
        lambda: pickle.dumps(s), lambda: copy.copy(s), lambda: copy.deepcopy(s),
        lambda: pickle.dumps(s, 0),
    )  # fmt: skip


@differential
def weak_references(p: Place) -> Any:
    made = p.module.socket()
    reference = weakref.ref(made)
    alive = reference() is made
    made.close()
    del made
    gc.collect()
    return alive, reference() is None


@differential
def attributes_and_names(p: Place) -> Any:
    public = {name for name in dir(socket.socket) if not name.startswith("_")}
    s = p.socket()
    return sorted(name for name in public if hasattr(s, name)) == sorted(public)


@differential
def closed_is_closed(p: Place) -> Any:
    s = p.socket()
    s.close()
    return p.tries(
        s.close, lambda: s.bind((LOCAL, 0)), s.listen, lambda: s.send(b""), lambda: s.recv(0),
        lambda: s.recv_into(bytearray()), lambda: s.sendall(b""), lambda: s.sendmsg([]),
        lambda: s.recvmsg(0), lambda: s.settimeout(1), lambda: s.setblocking(False), s.gettimeout,
        s.getblocking, lambda: s.shutdown(2), lambda: s.connect((LOCAL, 1)),
        lambda: s.connect_ex((LOCAL, 1)), lambda: (s.family, s.type, s.proto, s.timeout),
        s.get_inheritable, lambda: s.set_inheritable(True), lambda: s.__enter__() is s,
        lambda: s.setsockopt(1, 2, 1), lambda: s.getsockopt(1, 2), s.accept,
        lambda: s.sendfile(io.BytesIO(b"x")), s.getpeername,
    )  # fmt: skip


@differential
def left_by_hand(p: Place) -> Any:
    s = p.socket()
    return s.__exit__(), s.fileno(), s.__exit__(None, None, None)


@differential
def copied_over_a_number(p: Place) -> Any:
    """dup2(2): the object follows, and the connection that had the number ends."""
    (a, a_far), (b, b_far) = p.pair(), p.pair()
    os.dup2(a.fileno(), b.fileno())
    told = [b.getpeername() == a_far.getsockname(), b.send(b"by b"), a_far.recv(9), b_far.recv(9)]
    a.close()
    a_far.send(b"to b")
    told += [b.recv(9), b.send(b"on"), a_far.recv(9)]
    b.close()
    return *told, a_far.recv(9)


@differential
def copied_over_a_file(p: Place) -> Any:
    near, far = p.pair()
    number = os.open(os.devnull, os.O_RDONLY)
    os.dup2(near.fileno(), number)
    near.close()
    with p.installed():
        made = p.keep(socket.socket(fileno=number))
    told = [p.tried(far.recv, 9), made.send(b"x"), far.recv(9)]
    made.close()
    return *told, far.recv(9)


@differential
def file_over_a_number(p: Place) -> Any:
    near, far = p.pair()
    number = os.open(os.devnull, os.O_RDWR)
    os.dup2(number, near.fileno())
    try:
        return far.recv(9), p.tries(lambda: near.send(b"x"), lambda: near.recv(9), near.close)
    finally:
        os.close(number)


# --- functions of the module ------------------------------------------------------------------


@differential
def create_connection(p: Place) -> Any:
    listener = p.listener()
    outcomes = []
    known: list[dict[str, Any]] = [{"all_errors": True}] if sys.version_info >= (3, 11) else []
    for arguments in ({}, {"timeout": 2}, {"timeout": None}, {"source_address": ("127.0.0.5", 0)},
                      *known):  # fmt: skip
        made = p.keep(p.module.create_connection(listener.getsockname(), **arguments))
        outcomes.append((made.gettimeout(), made.getsockname()[0], made.family))
    return outcomes


@differential
def create_connection_fails(p: Place) -> Any:
    create = p.module.create_connection
    return p.tries(
        lambda: create((LOCAL, 1)), lambda: create((LOCAL, 1), 0.5),
        lambda: create(("::1", 1)), lambda: create((LOCAL, 1), source_address=("192.0.2.1", 0)),
        lambda: create(("a b", 1)), lambda: create((LOCAL, 1), 0),
    )  # fmt: skip


@differential
def create_connection_fails_with_all_errors(p: Place) -> Any:
    try:
        p.module.create_connection((LOCAL, 1), all_errors=True)
    except Exception as error:
        return type(error).__name__, [one.errno for one in error.exceptions]


@differential
def create_server(p: Place) -> Any:
    listener = p.keep(p.module.create_server((LOCAL, 0)))
    again = p.tried(p.module.create_server, listener.getsockname())
    options = [listener.getsockopt(socket.SOL_SOCKET, name) for name in (2, 15, 30)]
    return listener.gettimeout(), options, again


@differential
def create_server_of_six(p: Place) -> Any:
    listener = p.keep(p.module.create_server(("::1", 0), family=socket.AF_INET6))
    both = p.keep(p.module.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True))
    return listener.getsockopt(41, 26), both.getsockopt(41, 26), listener.getsockname()[0]


@differential
def create_server_on_one_port(p: Place) -> Any:
    first = p.keep(p.module.create_server((LOCAL, 0), reuse_port=True))
    second = p.tried(p.module.create_server, first.getsockname(), reuse_port=True)
    return second, p.tried(p.module.create_server, first.getsockname())


@differential
def has_dualstack(p: Place) -> Any:
    return p.module.has_dualstack_ipv6(), p.module.has_ipv6


@differential
def a_pair_of_another_family(p: Place) -> Any:
    one, other = p.module.socketpair()
    p.keep(one)
    p.keep(other)
    one.sendall(b"abc")
    return other.recv(9), one.family


@differential
def ports_in_use(p: Place) -> Any:
    listener = p.listener()
    where = listener.getsockname()
    outcomes = []
    for reuse in (0, 1):
        for host in (LOCAL, "127.0.0.2", ""):
            second = p.socket()
            second.setsockopt(1, 2, reuse)
            outcomes.append(p.tried(second.bind, (host, where[1])))
    return outcomes


@differential
def a_port_after_its_listener(p: Place) -> Any:
    near, far = p.pair()
    where = far.getsockname()
    far.close()
    near.close()
    p.settle()
    plain, reusing = p.socket(), p.socket()
    reusing.setsockopt(1, 2, 1)
    return p.tried(plain.bind, where), p.tried(reusing.bind, where)
