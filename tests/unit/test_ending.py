"""The end of a Stack loses nothing that was accepted for sending."""

from __future__ import annotations

import errno
import gc
import hashlib
import logging
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from lockstep import lockstep
from pair import LEFT, RIGHT, Pair, pair
from peer import ACK, RST, Peer

import pystack
from pystack.world import Host, World

# Sockets that nothing refers to any more are among the ways to end.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed <pystack:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SIZE = 5_000_000
DATA = random.Random(11).randbytes(SIZE)


class Sink:
    """A slow reader on the right: it waits, and then reads to the end."""

    def __init__(self, net: pystack.Stack, pause: float = 0.3, rate: float = 20e6) -> None:
        self.listener = net.sockets.create_server((RIGHT, 80))
        self.listener.settimeout(20)
        self.got, self.end = b"", ""
        self._pause, self._rate = pause, rate
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        with self.listener.accept()[0] as sock:
            sock.settimeout(20)
            time.sleep(self._pause)
            pieces, size, began = [], 0, time.monotonic()
            try:
                while piece := sock.recv(65536):
                    pieces.append(piece)
                    size += len(piece)
                    time.sleep(max(0, began + size / self._rate - time.monotonic()))
                self.end = "end"
            except OSError as error:
                self.end = errno.errorcode[error.errno] if error.errno else type(error).__name__
            self.got = b"".join(pieces)

    def outcome(self) -> tuple[bool, str]:
        """Whether all came, and how it ended."""
        self._thread.join(60)
        self.listener.close()
        return hashlib.sha256(self.got).digest() == hashlib.sha256(DATA).digest(), self.end


@contextmanager
def sink(**options: Any) -> Iterator[tuple[pystack.Stack, Sink]]:
    """A Stack on the left, which the test ends, and what reads from it."""
    a, b = pystack.nic.wire()
    with pystack.Stack() as right:
        right.attach(b, f"{RIGHT}/24")
        left = pystack.Stack(**options)
        left.attach(a, f"{LEFT}/24")
        reader = Sink(right)
        yield left, reader
        reader.outcome()
    assert left.closed
    assert left.arena.live_blocks == 0


def sent(net: pystack.Stack, room: int | None = 2 * SIZE) -> Any:
    """A socket that has accepted all."""
    sock = net.sockets.create_connection((RIGHT, 80), 30)
    sock.settimeout(None)
    if room is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
    sock.sendall(DATA)
    return sock


def lingering(sock: Any, seconds: int) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, seconds))


def left_open(net: pystack.Stack) -> Any:
    return sent(net)


def closed(net: pystack.Stack) -> None:
    sent(net).close()


def closed_with_a_usual_buffer(net: pystack.Stack) -> None:
    sent(net, None).close()


def shut_down(net: pystack.Stack) -> Any:
    sock = sent(net)
    sock.shutdown(socket.SHUT_WR)
    return sock


def told_to_linger(net: pystack.Stack) -> Any:
    sock = sent(net)
    lingering(sock, 10)
    return sock


def lingered_too_short(net: pystack.Stack) -> None:
    sock = sent(net)
    lingering(sock, 1)
    sock.close()


def closed_without_waiting(net: pystack.Stack) -> None:
    sock = sent(net)
    sock.setblocking(False)
    lingering(sock, 10)
    sock.close()


def corked(net: pystack.Stack) -> Any:
    sock = net.sockets.create_connection((RIGHT, 80), 30)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * SIZE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    sock.settimeout(None)
    sock.sendall(DATA)
    return sock


def collected(net: pystack.Stack) -> None:
    sent(net)
    gc.collect()


def of_a_file(net: pystack.Stack) -> None:
    sock = net.sockets.create_connection((RIGHT, 80), 30)
    sock.settimeout(None)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * SIZE)
    with sock.makefile("wb") as file:
        file.write(DATA)
    sock.close()


def half_closed_by_the_peer_too(net: pystack.Stack) -> Any:
    sock = sent(net)
    sock.shutdown(socket.SHUT_RD)
    return sock


@pytest.mark.parametrize("threaded", [True, False], ids=["threaded", "unthreaded"])
@pytest.mark.parametrize(
    "how",
    [left_open, closed, closed_with_a_usual_buffer, shut_down, told_to_linger, lingered_too_short,
     closed_without_waiting, corked, collected, of_a_file, half_closed_by_the_peer_too],
)  # fmt: skip
def test_closing_delivers_all(how: Callable[[pystack.Stack], Any], threaded: bool) -> None:
    with sink(threaded=threaded) as (net, reader):
        kept = how(net)
        net.close()
        assert reader.outcome() == (True, "end")
        del kept


def test_the_end_of_a_with_delivers_all_after_an_exception() -> None:
    with sink() as (net, reader):
        with pytest.raises(LookupError), net:
            sent(net)
            raise LookupError
        assert reader.outcome() == (True, "end")


# --- how the kernel closes ------------------------------------------------------------------------


def test_what_was_not_read_makes_a_reset() -> None:
    with pair() as it:
        client, server = it.connected()
        server.sendall(b"never read")
        while client.recv(4, socket.MSG_PEEK) != b"neve":
            pass
        it.left.close()
        with pytest.raises(ConnectionResetError):
            server.recv(1)
        server.close()


def test_a_linger_of_nothing_makes_a_reset() -> None:
    with pair() as it:
        client, server = it.connected()
        lingering(client, 0)
        it.left.close()
        with pytest.raises(ConnectionResetError):
            server.recv(1)
        server.close()


def test_who_was_not_accepted_is_reset() -> None:
    with pair() as it:
        with it.right.sockets.create_server((RIGHT, 80)) as listener:
            client = it.left.sockets.create_connection((RIGHT, 80), 30)
            while listener.getsockname() not in [
                one.local for one in it.right.connections() if one.remote is not None
            ] and not [one for one in it.right.connections() if one.state == "ESTABLISHED"]:
                time.sleep(0.01)
            it.right.close()
        client.settimeout(30)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        client.close()


def flags_sent(frames: list[bytes]) -> list[int]:
    """The flags of the TCP segments among frames."""
    return [f[14 + (f[14] & 15) * 4 + 13] for f in frames if f[12:14] == b"\x08\x00" and f[23] == 6]


def test_what_has_delivered_all_goes_without_a_word() -> None:
    frames: list[bytes] = []

    class Watch:
        def frame_out(self, _interface: int, frame: bytes) -> bool:
            frames.append(frame)
            return True

    a, b = pystack.nic.wire()
    with pystack.Stack() as right:
        right.attach(b, f"{RIGHT}/24")
        listener = right.sockets.create_server((RIGHT, 80))
        left = pystack.Stack(frame_out=Watch())
        left.attach(a, f"{LEFT}/24")
        first = left.sockets.create_connection((RIGHT, 80), 30)
        held = listener.accept()[0]  # is never closed: the left's stays in FIN-WAIT-2
        second = left.sockets.create_connection((RIGHT, 80), 30)
        for sock in (first, second):
            sock.sendall(b"all")
            sock.close()
        listener.accept()[0].close()  # the left's goes into TIME-WAIT
        left.close()
        assert held.recv(10) == b"all"
        assert held.recv(10) == b""
        assert not [flags for flags in flags_sent(frames) if flags & 4]
        held.close()
        listener.close()


def test_a_reset_is_within_the_window_that_the_peer_has_closed() -> None:
    peer = Peer()
    sock = peer.connect(window=1000)
    sock.send(b"x" * 5000)
    peer.run(0.1)
    peer.send(ACK, 1000, window=0)
    peer.run(3.0)  # the window is asked for
    peer.frames()
    lingering(sock, 0)
    sock.close()
    resets = [frame for frame in peer.frames() if frame.flags & RST]
    assert [peer.at(frame) for frame in resets] == [1000]
    peer.close()


SCALE_8 = b"\1\3\3\x08"


@pytest.mark.parametrize(("window", "reset_at"), [(1, 1000), (0, 500)], ids=["rounded", "shrunk"])
def test_a_reset_follows_what_was_sent_where_a_scaled_window_is_rounded_down(
    window: int, reset_at: int
) -> None:
    peer = Peer()
    sock = peer.connect(SCALE_8 + b"\2\4\5\xb4", window=1000)
    peer.send(ACK, 0, window=4)
    sock.send(b"x" * 1000)
    peer.send(ACK, 500, window=window)  # it has 524 left: two units, or one after rounding twice
    assert sum(len(frame.data) for frame in peer.frames()) == 1000
    lingering(sock, 0)
    sock.close()
    resets = [frame for frame in peer.frames() if frame.flags & RST]
    assert [peer.at(frame) for frame in resets] == [reset_at]
    peer.close()


# --- where nobody takes it ----------------------------------------------------------------------


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def logger() -> tuple[logging.Logger, list[str]]:
    handler, made = Lines(), logging.Logger("test")
    made.addHandler(handler)
    return made, handler.lines


def unread(it: Pair) -> tuple[Any, Any]:
    """A connection with more under way than the right's buffer takes."""
    client, server = it.connected()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * SIZE)
    client.sendall(DATA)
    return client, server


def test_a_peer_that_reads_nothing_is_waited_for_no_longer_than_said() -> None:
    log, lines = logger()
    with pair(log=log) as it:
        _client, server = unread(it)
        began = time.monotonic()
        it.left.close(linger=0.4)  # net.linger is 60 s
        assert 0.3 < time.monotonic() - began < 30
        assert [line for line in lines if "unacknowledged: no peer takes them" in line]
        # What had come is there, and then it is known not to be all.
        with pytest.raises(ConnectionResetError):
            while server.recv(65536):
                pass
        server.close()


@contextmanager
def unread_in_a_world() -> Iterator[tuple[World, Host, Host, Any]]:
    """A connection with a closed window, in time that no other program takes away.

    Yields the World, who sends, who reads, and the reader's socket.
    """
    with World() as world:
        left, right = world.host("left"), world.host("right")
        world.link(left, right)
        listener = right.sockets.create_server((RIGHT, 80))
        client = left.sockets.create_connection((RIGHT, 80), 30)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * SIZE)
        client.sendall(DATA)
        world.sleep(5)  # a probe has filled what was left of the window
        yield world, left, right, listener.accept()[0]


def test_a_window_probe_is_no_progress() -> None:
    with unread_in_a_world() as (world, left, _right, server):
        before, began = server.tcp_info().segments_in, world.now
        left.close(linger=30)
        assert world.now - began == pytest.approx(30, abs=0.01)
        assert server.tcp_info().segments_in - before > 1  # probes, and a reset


def test_to_wait_for_nothing_loses_with_a_line() -> None:
    log, lines = logger()
    with pair(log=log) as it:
        client, server = unread(it)
        it.left.close(linger=0)
        assert [line for line in lines if "unacknowledged: linger is 0" in line]
        with pytest.raises(ConnectionResetError):
            while server.recv(65536):
                pass
        client.close()
        server.close()


def test_progress_makes_the_wait_as_long_as_it_takes() -> None:
    with unread_in_a_world() as (world, left, right, server):
        began, got = world.now, [0]

        def read() -> None:
            while piece := server.recv(200_000, socket.MSG_WAITALL):
                got[0] += len(piece)
                time.sleep(0.4)  # the World's

        thread = right.thread(read)
        left.close(linger=3)
        assert world.now - began > 4  # the last of it waits in the right's buffer
        thread.join()
        assert got == [SIZE]


@pytest.mark.parametrize("gone", ["closed", "detached", "down", "shut"])
def test_nobody_is_waited_for_who_is_not_there(gone: str) -> None:
    log, lines = logger()
    a, b = pystack.nic.wire()
    right = pystack.Stack()
    far = right.attach(b, f"{RIGHT}/24")
    left = pystack.Stack(log=log)
    near = left.attach(a, f"{LEFT}/24")
    listener = right.sockets.create_server((RIGHT, 80))
    client = left.sockets.create_connection((RIGHT, 80), 30)
    server = listener.accept()[0]
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * SIZE)
    client.sendall(DATA)
    {
        "closed": lambda: right.close(abrupt=True),
        "detached": far.detach,
        "down": lambda: setattr(near, "up", False),
        "shut": lambda: (right.close(abrupt=True), b.close()),
    }[gone]()
    left.close()  # which `linger` would end with another line
    assert [line for line in lines if line.endswith("unacknowledged: no peer is left")]
    server.close()
    listener.close()
    right.close()


def test_a_wire_that_a_program_reads_is_heard() -> None:
    a, b = pystack.nic.wire()
    c, d = pystack.nic.wire()
    over = threading.Event()

    def carry() -> None:
        while not over.is_set():
            for source, to in ((b, c), (c, b)):
                while (frame := source.receive(0)) is not None:
                    with suppress(OSError):  # ENOBUFS: the next wire is full, and loses it
                        to.send(frame)
            time.sleep(0.001)

    carrier = threading.Thread(target=carry)
    with pystack.Stack() as right:
        right.attach(d, f"{RIGHT}/24")
        reader = Sink(right)
        carrier.start()
        with pystack.Stack() as left:
            left.attach(a, f"{LEFT}/24")
            sent(left)
        assert reader.outcome() == (True, "end")
        over.set()
        carrier.join()


def test_under_a_clock_turned_by_hand_nothing_is_waited_for() -> None:
    with lockstep() as it:
        listener = it.listen()
        client = it.client.socket()
        client.setblocking(False)
        client.connect_ex((RIGHT, 80))
        assert it.run(lambda: len(it.server.connections()) > 1)
        client.send(b"x" * 100_000)
        began = time.monotonic()
        it.client.close()
        assert time.monotonic() - began < 30, "half of what it would wait for"
        listener.close()


def test_a_datagram_whose_neighbour_has_not_answered_yet_is_delivered() -> None:
    with pair() as it, it.right.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((RIGHT, 53))
        server.settimeout(30)
        with it.left.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"last words", (RIGHT, 53))
        it.left.close()
        assert server.recv(100) == b"last words"


def test_frames_that_a_wire_holds_back_are_delivered() -> None:
    a, b = pystack.nic.wire()
    with pystack.Stack() as right, right.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        right.attach(b, f"{RIGHT}/24")
        server.bind((RIGHT, 53))
        server.settimeout(30)
        slow = pystack.nic.impair(a, pystack.nic.Impairment(delay=0.1), seed=1)
        with pystack.Stack() as left:
            left.attach(slow, f"{LEFT}/24")
            left.ping(RIGHT, count=1)
            with left.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.sendto(b"last words", (RIGHT, 53))
        assert server.recv(100) == b"last words"


# --- who closes ---------------------------------------------------------------------------------


def test_several_close_at_once() -> None:
    with sink() as (net, reader):
        sent(net)
        threads = [threading.Thread(target=net.close) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert net.closed
        assert reader.outcome() == (True, "end")


def test_somebody_who_will_not_wait_ends_the_wait() -> None:
    with pair() as it:
        _client, server = unread(it)
        thread = threading.Thread(target=it.left.close)
        thread.start()
        time.sleep(0.2)
        assert thread.is_alive()
        it.left.close(abrupt=True)
        thread.join(30)
        assert not thread.is_alive()
        server.close()


def test_not_from_inside_a_hypercall() -> None:
    caught: list[OSError] = []

    class Closer:
        net: pystack.Stack

        def frame_out(self, _interface: int, _frame: bytes) -> bool:
            try:
                self.net.close()
            except OSError as error:
                caught.append(error)
            return True

    closer = Closer()
    a, _b = pystack.nic.wire()
    with pystack.Stack(frame_out=closer, threaded=False) as net:
        closer.net = net
        net.attach(a, f"{LEFT}/24")
        assert net.ping(RIGHT, count=1, timeout=0.1).received == 0
        assert not net.closed
        assert net.ping("127.0.0.1", timeout=30).received == 1
    assert {error.errno for error in caught} == {errno.EDEADLK}


def test_a_panicked_stack_is_not_waited_for() -> None:
    with pair() as it:
        _client, server = unread(it)
        with pytest.raises(pystack.StackPanic):
            it.left.fail()
        began = time.monotonic()
        it.left.close()
        assert time.monotonic() - began < 30, "half of what it would wait for"
        server.close()


def test_what_is_raised_meanwhile_is_not_lost() -> None:
    class Fails:
        bad = False

        def frame_out(self, _interface: int, _frame: bytes) -> bool:
            if self.bad:
                raise LookupError("on purpose")
            return True

    fails = Fails()
    a, b = pystack.nic.wire()
    with pystack.Stack() as right:
        right.attach(b, f"{RIGHT}/24")
        net = pystack.Stack(frame_out=fails)
        net.attach(a, f"{LEFT}/24")
        with right.sockets.create_server((RIGHT, 80)) as listener:
            client = net.sockets.create_connection((RIGHT, 80), 30)
            fails.bad = True
            with pytest.raises(LookupError):
                net.close()
            assert net.closed
            listener.accept()[0].close()
            client.close()


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_time_is_not_negative(seconds: float) -> None:
    with pystack.Stack(threaded=False) as net:
        with pytest.raises(ValueError, match="at least 0"):
            net.linger = seconds
        with pytest.raises(ValueError, match="at least 0"):
            net.close(linger=seconds)
        assert not net.closed


def test_a_collected_stack_does_not_wait_and_delivers() -> None:
    a, b = pystack.nic.wire()
    with pystack.Stack() as right:
        right.attach(b, f"{RIGHT}/24")
        reader = Sink(right)

        def use() -> None:
            net = pystack.Stack()
            net.attach(a, f"{LEFT}/24")
            sent(net).close()

        with pytest.warns(ResourceWarning, match="unclosed Stack"):
            use()
            began = time.monotonic()
            gc.collect()
        assert time.monotonic() - began < 30, "half of what it would wait for at most"
        assert reader.outcome() == (True, "end")
