"""Sockets whose connection never came to be, or is over: what calls come to afterwards.

Each function is run on the kernel's sockets and on a Stack's, and has to come to the same. Left
out, for it stays different: a UDP socket with SO_RCVTIMEO after SHUT_RD gives nothing at once on
Linux, and waits its time here; a connect after a refusal that was told and a shutdown is EINVAL on
Linux, and ECONNABORTED here.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from compare import outcome
from quiet import BOUND_S, settle, waits

import pystack

LOCAL = "127.0.0.1"
NOBODY = (LOCAL, 9)
NOW = struct.pack("ii", 1, 0)  # SO_LINGER
HOW = (socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR)
SHORT_S = 0.2  # of calls that wait for what never comes
FASTOPEN = 0x20000000


def error_of(sock: Any) -> int:
    """The error that is pending, which is told once."""
    number: int = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return number


def calls(sock: Any, *names: str) -> list[Any]:
    """What these calls come to, one after the other."""
    table: dict[str, Callable[[], Any]] = {
        "recv": lambda: sock.recv(9),
        "send": lambda: sock.send(b"x"),
        "error": lambda: error_of(sock),
        "peer": lambda: sock.getpeername()[0],
        "name": lambda: sock.getsockname()[0],
        "connect": lambda: sock.connect(NOBODY),
        "listen": sock.listen,
        "rd": lambda: sock.shutdown(socket.SHUT_RD),
        "wr": lambda: sock.shutdown(socket.SHUT_WR),
        "both": lambda: sock.shutdown(socket.SHUT_RDWR),
    }
    return [outcome(table[name]) for name in names]


def pair(module: Any, timeout: float | None = None) -> tuple[Any, Any]:
    """A connection; `timeout`: of the socket that connects, while it does."""
    with module.create_server((LOCAL, 0)) as listener:
        near = module.socket()
        near.settimeout(timeout)
        near.connect(listener.getsockname())
        far, _ = listener.accept()
    for one in (near, far):
        one.settimeout(SHORT_S)
    return near, far


def full_listener(module: Any) -> list[Any]:
    """A listener that takes no connection any more, and what fills it."""
    listener = module.socket()
    listener.bind((LOCAL, 0))
    listener.listen(0)
    kept = [listener]
    for _ in range(4):
        one = module.socket()
        one.setblocking(False)
        outcome(one.connect, listener.getsockname())
        kept.append(one)
    settle(module)
    return kept


def close(*sockets: Any) -> None:
    for sock in sockets:
        sock.close()


# --- what is tried -------------------------------------------------------------------------------

TRIED: dict[str, Callable[[Any], Any]] = {}


def shut_while_connecting(module: Any, how: int, timeout: float | None) -> Any:
    kept = full_listener(module)
    where = kept[0].getsockname()
    sock = module.socket()
    sock.settimeout(timeout)
    heard: list[Any] = []
    thread = threading.Thread(target=lambda: heard.append(outcome(sock.connect, where)))
    thread.start()
    waits(thread)
    told = [outcome(sock.shutdown, how)]
    thread.join(BOUND_S)
    told += heard
    sock.settimeout(SHORT_S)
    told += calls(sock, "peer", "name", "error", "recv", "send", "both", "connect")
    close(sock, *kept)
    return told


def shut_in_steps(module: Any, how: int) -> Any:
    kept = full_listener(module)
    sock = module.socket()
    sock.setblocking(False)
    told = [outcome(sock.connect, kept[0].getsockname()), outcome(sock.shutdown, how)]
    told += calls(sock, "error", "recv", "send")
    told += [outcome(sock.connect, kept[0].getsockname()) for _ in range(2)]
    told += [outcome(sock.shutdown, how)]
    close(sock, *kept)
    return told


for how_ in HOW:
    TRIED[f"shut in steps {how_!r}"] = lambda module, how=how_: shut_in_steps(module, how)
    for timeout_ in (None, 3):
        TRIED[f"shut while connecting {how_!r}, timeout {timeout_}"] = (
            lambda module, how=how_, timeout=timeout_: shut_while_connecting(module, how, timeout)
        )


def both_ended(module: Any, far_first: bool, how: int, which: int) -> Any:
    ends = pair(module)
    for end in reversed(ends) if far_first else ends:
        end.shutdown(socket.SHUT_WR)
        settle(module)
    sock = ends[which]
    told = [outcome(sock.shutdown, how)]
    told += calls(sock, "peer", "recv", "send", "error", "both", "connect", "listen")
    close(*ends)
    return told


for far_first_, how_, which_ in product((False, True), HOW, (0, 1)):
    TRIED[f"both ended, {'far' if far_first_ else 'near'} first, {how_!r}, end {which_}"] = (
        lambda module, far_first=far_first_, how=how_, which=which_: both_ended(
            module, far_first, how, which
        )
    )


def after_reset(module: Any, timeout: float | None, *names: str) -> Any:
    near, far = pair(module, timeout)
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOW)
    far.close()
    settle(module)
    told = calls(near, *names)
    near.close()
    return told


def after_refusal(module: Any, timeout: float | None, *names: str) -> Any:
    sock = module.socket()
    sock.settimeout(timeout)
    told = [outcome(sock.connect, NOBODY)]
    settle(module)
    told += calls(sock, *names)
    sock.close()
    return told


SEQUENCES = (
    ("connect", "connect", "connect", "recv"),
    ("error", "connect", "connect", "connect", "recv"),
    ("rd", "wr", "both", "peer", "error", "both", "recv", "send"),
    ("recv", "recv", "send", "error", "connect", "recv"),
    ("send", "send", "recv", "both", "peer", "error"),
    ("listen", "error", "listen"),
)
for names_ in SEQUENCES:
    for timeout_ in (None, 3):
        TRIED[f"reset, timeout {timeout_}: {' '.join(names_)}"] = (
            lambda module, timeout=timeout_, names=names_: after_reset(module, timeout, *names)
        )
    for timeout_ in (None, 0, 3):
        TRIED[f"refused, timeout {timeout_}: {' '.join(names_)}"] = (
            lambda module, timeout=timeout_, names=names_: after_refusal(module, timeout, *names)
        )


def shut_when_fresh(module: Any, how: int) -> Any:
    with module.create_server((LOCAL, 0)) as listener, module.socket() as sock:
        sock.settimeout(SHORT_S)
        told = [outcome(sock.shutdown, how), *calls(sock, "recv", "send", "peer")]
        told.append(outcome(sock.connect, listener.getsockname()))
        far, _ = listener.accept()
        far.settimeout(SHORT_S)
        told += calls(sock, "send", "recv")
        told += calls(far, "recv", "send", "recv")
        told += calls(sock, "recv", "wr")
        told += calls(far, "recv")
        far.close()
    return told


def datagrams_shut(module: Any, how: int, connected: bool) -> Any:
    with (
        module.socket(type=socket.SOCK_DGRAM) as sock,
        module.socket(type=socket.SOCK_DGRAM) as other,
    ):
        for one in (sock, other):
            one.bind((LOCAL, 0))
        sock.settimeout(SHORT_S)
        if connected:
            sock.connect(other.getsockname())
        told = []
        other.sendto(b"one", sock.getsockname())
        settle(module)
        told += [outcome(sock.shutdown, how), *calls(sock, "recv", "recv", "send")]
        told += [outcome(sock.sendto, b"x", other.getsockname()), outcome(sock.shutdown, how)]
        other.sendto(b"two", sock.getsockname())
        settle(module)
        told += calls(sock, "recv", "recv")
        sock.setblocking(False)
        told += [outcome(sock.recv, 9), outcome(sock.recvfrom, 9), outcome(sock.recvmsg, 9)]
        sock.setblocking(True)
        told.append(outcome(sock.recv, 9, socket.MSG_DONTWAIT))
        if how != socket.SHUT_WR:
            told += [outcome(sock.recv, 9), outcome(sock.recvfrom, 9)]
    return told


for how_ in HOW:
    TRIED[f"shut when fresh, {how_!r}"] = lambda module, how=how_: shut_when_fresh(module, how)
    for connected_ in (False, True):
        TRIED[f"datagrams shut, {how_!r}, {'connected' if connected_ else 'not connected'}"] = (
            lambda module, how=how_, connected=connected_: datagrams_shut(module, how, connected)
        )


def shut_wakes_datagram_reader(module: Any) -> Any:
    with module.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind((LOCAL, 0))
        heard: list[Any] = []
        thread = threading.Thread(target=lambda: heard.append(outcome(sock.recv, 9)))
        thread.start()
        waits(thread)
        told = outcome(sock.shutdown, socket.SHUT_RD)
        thread.join(BOUND_S)
        return told, heard


def listener_shut(module: Any) -> Any:
    with module.create_server((LOCAL, 0)) as sock:
        told = calls(sock, "connect", "recv", "send", "peer", "wr", "rd", "name", "listen", "both")
        return told + calls(sock, "recv", "send", "connect")


def arrived(sock: Any, size: int) -> None:
    """Waits until so many bytes are there: some wait for an acknowledgement of those before."""
    end = time.monotonic() + BOUND_S
    while time.monotonic() < end:
        with contextlib.suppress(TimeoutError):
            if len(sock.recv(size, socket.MSG_PEEK)) == size:
                return
        time.sleep(0.01)


def fast_open(module: Any, timeout: float | None) -> Any:
    with module.create_server((LOCAL, 0)) as listener, module.socket() as sock:
        sock.settimeout(timeout)
        told = [outcome(sock.sendto, b"hello", FASTOPEN, listener.getsockname())]
        settle(module)
        told += calls(sock, "peer", "send")
        with listener.accept()[0] as far:
            far.settimeout(SHORT_S)
            arrived(far, sum(one[1] for one in told if isinstance(one[1], int)))
            told += calls(far, "recv")
        return told


def fast_open_otherwise(module: Any) -> Any:
    told = []
    with module.create_server((LOCAL, 0)) as listener:
        where = listener.getsockname()
        for call in (
            lambda one: one.send(b"x", FASTOPEN),
            lambda one: one.sendto(b"", FASTOPEN, where),
            lambda one: one.sendto(b"x", FASTOPEN, NOBODY),
            lambda one: one.sendmsg([b"a", b"b"], [], FASTOPEN, where),
            lambda one: one.sendmsg([b"a", b"b"], [], FASTOPEN | socket.MSG_DONTWAIT, where),
        ):
            with module.socket() as sock:
                told.append([outcome(call, sock), *calls(sock, "peer")])
    near, far = pair(module)
    told.append(outcome(near.sendto, b"x", FASTOPEN, NOBODY))
    told += [outcome(one.send, b"x", FASTOPEN) for one in (near, far)]
    close(near, far)
    with module.socket(type=socket.SOCK_DGRAM) as sock:
        told.append(outcome(sock.sendto, b"x", FASTOPEN, NOBODY))
    return told


TRIED["shut wakes a reader of datagrams"] = shut_wakes_datagram_reader
TRIED["listener shut"] = listener_shut
TRIED["fast open"] = lambda module: fast_open(module, None)
TRIED["fast open with a timeout"] = lambda module: fast_open(module, 3)
TRIED["fast open without waiting"] = lambda module: fast_open(module, 0)
TRIED["fast open otherwise"] = fast_open_otherwise


@pytest.fixture(scope="module")
def sockets() -> Any:
    with pystack.Stack() as net:
        yield net.sockets


@pytest.mark.parametrize("name", TRIED)
def test_as_the_kernel(sockets: Any, name: str) -> None:
    assert TRIED[name](sockets) == TRIED[name](socket)
