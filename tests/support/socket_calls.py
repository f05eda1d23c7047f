"""Sequences of socket calls, made on the kernel's sockets and on a Stack's, and what they come to.

A sequence is a list of calls by name, of sockets by number in the order in which they were opened
(modulo how many there are, so that any number means one). All sockets are non-blocking.
"""

from __future__ import annotations

import itertools
import random
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from quiet import settle

import pystack

# What is under way on a loopback has arrived by then; the second is for what a delayed
# acknowledgement holds.
SETTLE_S, PATIENT_S = 0.004, 0.06
EPHEMERAL = 32768
ADDRESSES = {4: ("127.0.0.1", "0.0.0.0", "127.0.0.2"), 6: ("::1", "::", "::ffff:127.0.0.1")}
SIZES = (0, 1, 5, 100, 1400, 20_000)
FLAGS = {
    "0": 0,
    "MSG_PEEK": socket.MSG_PEEK,
    "MSG_OOB": socket.MSG_OOB,
    "MSG_DONTWAIT": socket.MSG_DONTWAIT,
    "MSG_TRUNC": socket.MSG_TRUNC,
    "MSG_NOSIGNAL": socket.MSG_NOSIGNAL,
    "MSG_MORE": socket.MSG_MORE,
}
OPTIONS: dict[str, tuple[int, int, tuple[int, ...]]] = {
    name: (getattr(socket, level), getattr(socket, name), values)
    for level, name, values in (
        ("SOL_SOCKET", "SO_REUSEADDR", (0, 1)),
        ("SOL_SOCKET", "SO_REUSEPORT", (0, 1)),
        ("SOL_SOCKET", "SO_KEEPALIVE", (0, 1, 2)),
        ("SOL_SOCKET", "SO_OOBINLINE", (0, 1)),
        ("SOL_SOCKET", "SO_BROADCAST", (0, 1)),
        ("SOL_SOCKET", "SO_RCVLOWAT", (1, 3, 0, -1)),
        ("SOL_SOCKET", "SO_PRIORITY", (0, 5, 7)),
        ("SOL_SOCKET", "SO_ERROR", ()),
        ("SOL_SOCKET", "SO_TYPE", ()),
        ("SOL_SOCKET", "SO_ACCEPTCONN", ()),
        ("SOL_SOCKET", "SO_DOMAIN", ()),
        ("SOL_SOCKET", "SO_PROTOCOL", ()),
        ("IPPROTO_TCP", "TCP_NODELAY", (0, 1)),
        ("IPPROTO_TCP", "TCP_CORK", (0, 1)),
        ("IPPROTO_TCP", "TCP_KEEPIDLE", (1, 60, 0, 40000)),
        ("IPPROTO_TCP", "TCP_USER_TIMEOUT", (0, 1000, -1)),
        ("IPPROTO_TCP", "TCP_QUICKACK", (0, 1)),
        ("IPPROTO_TCP", "TCP_DEFER_ACCEPT", (0,)),
        ("IPPROTO_IP", "IP_TTL", (1, 64, 0, 256, -1)),
        ("IPPROTO_IP", "IP_TOS", (0, 8, 255)),
        ("IPPROTO_IP", "IP_RECVTOS", (0, 1)),
        ("IPPROTO_IP", "IP_MULTICAST_LOOP", (0, 1)),
        ("IPPROTO_IPV6", "IPV6_V6ONLY", (0, 1)),
        ("IPPROTO_IPV6", "IPV6_UNICAST_HOPS", (1, 64, -1, 256)),
        ("IPPROTO_IPV6", "IPV6_TCLASS", (0, 8, 255, 256)),
        ("IPPROTO_IPV6", "IPV6_RECVTCLASS", (0, 1)),
    )
}
EVENTS = {
    name: getattr(select, name)
    for name in ("POLLIN", "POLLOUT", "POLLPRI", "POLLRDHUP", "POLLERR", "POLLHUP")
}

PORTS = (1, 2)  # a Run's own, behind a number that is of nobody before
FIRST_PORTS = itertools.cycle(range(20_000, EPHEMERAL - 10, 4))

Call = tuple[str, tuple[Any, ...]]


def sequence(seed: int) -> list[Call]:
    """The calls of a seed: what is done, and to which of the sockets."""
    chance = random.Random(seed)
    family = chance.choice((4, 4, 6))
    ports = PORTS
    kinds = chance.choice((("tcp",), ("tcp",), ("udp",), ("tcp", "udp")))
    calls: list[Call] = []

    # A socket that turns from one family to the other, or a datagram socket that is connected to
    # nobody's port, does on Linux what its tables happen to hold.
    near = ADDRESSES[family]
    if family == 6:
        near = near[:2] if chance.random() < 0.7 else near[2:]
    near += near[:1] * 3
    numbers = ports if "udp" in kinds else (0, *ports, *ports)

    def where() -> tuple[str, int]:
        return chance.choice(near), chance.choice(numbers)

    def some() -> int:
        return chance.randrange(8)

    calls += [("open", (chance.choice(kinds), family)) for _ in range(chance.randrange(1, 3))]
    if kinds != ("udp",) and chance.random() < 0.75:  # a pair that is connected, most often
        port = ports[0]
        address = near[0]
        calls[:] = [("open", ("tcp", family)), ("open", ("tcp", family))]
        calls += [("bind", (0, address, port)), ("listen", (0, 5)), ("connect", (1, address, port))]
        calls += [("accept", (0,))]
        focus = [0, 1, 1, 1, 2, 2, 2]
    elif kinds == ("udp",) and chance.random() < 0.6:
        address = near[0]
        calls[:] = [("open", ("udp", family)), ("open", ("udp", family))]
        calls += [("bind", (0, address, ports[0])), ("connect", (1, address, ports[0]))]
        focus = [0, 1]
    else:
        focus = []

    def one() -> int:
        return chance.choice(focus) if focus and chance.random() < 0.8 else some()

    def size() -> int:
        return chance.choice(SIZES)

    def flag() -> str:
        return chance.choice(("0", "0", "0", *FLAGS))

    def name() -> tuple[str, int]:
        return chance.choice(near), chance.choice((0, *ports))

    def setting() -> tuple[str, int]:
        option = chance.choice([option for option, told in OPTIONS.items() if told[2]])
        return option, chance.choice(OPTIONS[option][2])

    # How often each is called, and with what.
    steps: dict[str, tuple[int, Callable[[], tuple[Any, ...]]]] = {
        "open": (3, lambda: (chance.choice(kinds), family)),
        "bind": (5, lambda: (some(), *name())),
        "listen": (4, lambda: (one(), chance.choice((0, 1, 5, -1)))),
        "accept": (6, lambda: (one(),)),
        "connect": (8, lambda: (one(), *where())),
        "connect_ex": (2, lambda: (one(), *where())),
        "send": (14, lambda: (one(), size(), flag())),
        "recv": (14, lambda: (one(), size(), flag())),
        "sendto": (3, lambda: (one(), size(), *where())),
        "recvfrom": (3, lambda: (one(), size(), "0")),
        "recvmsg": (2, lambda: (one(), size(), chance.choice((0, 100)), flag())),
        "sendmsg": (2, lambda: (one(), size())),
        "recv_into": (2, lambda: (one(), size())),
        "shutdown": (4, lambda: (one(), chance.choice((0, 1, 2, 2, 3)))),
        "end": (2, lambda: (one(),)),
        "reset": (1, lambda: (one(),)),
        "getsockname": (3, lambda: (one(),)),
        "getpeername": (3, lambda: (one(),)),
        "poll": (6, lambda: (one(),)),
        "dup": (1, lambda: (one(),)),
        "fileno": (1, lambda: (one(),)),
        "getsockopt": (4, lambda: (one(), chance.choice(tuple(OPTIONS)))),
        "setsockopt": (5, lambda: (one(), *setting())),
    }
    weights = [weight for weight, _ in steps.values()]
    for chosen in chance.choices(tuple(steps), weights, k=chance.randrange(3, 25)):
        calls.append((chosen, steps[chosen][1]()))
    return [call for number, call in enumerate(calls) if not urgent_again(calls[:number], call)]


def urgent_again(before: list[Call], call: Call) -> bool:
    """Whether it is a second urgent byte, with which Linux gives the first one to the stream."""
    return call[0] == "send" and "MSG_OOB" in call[1] and any("MSG_OOB" in one[1] for one in before)


class Run:
    """A sequence on one of the two."""

    def __init__(self, module: Any, settle_s: float) -> None:
        self._module, self._settle_s = module, settle_s
        self._first_port = next(FIRST_PORTS)
        self._sockets: list[Any] = []
        self._ports: dict[int, str] = {}
        self._sent = 0

    def outcomes(self, calls: list[Call]) -> Iterator[Any]:
        try:
            for name, arguments in calls:
                yield self._told(self._try(name, arguments))
                settle(self._module)
                time.sleep(self._settle_s)  # an acknowledgement may be delayed
        finally:
            self._close()

    def _close(self) -> None:
        for one in self._sockets:
            with suppress(OSError):  # nothing of it is to be seen by the next sequence
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with suppress(OSError):
                one.close()

    def _try(self, name: str, arguments: tuple[Any, ...]) -> Any:
        try:
            return "gives", getattr(self, "_" + name)(*arguments)
        except OSError as error:
            return "raises", type(error).__name__, error.errno
        except (ValueError, TypeError, OverflowError) as error:
            return "raises", type(error).__name__

    def _told(self, value: Any) -> Any:
        """An outcome without what has to differ: the numbers of ports."""
        if not isinstance(value, tuple):
            return value
        is_name = (
            len(value) in (2, 4)
            and isinstance(value[0], str)
            and (":" in value[0] or "." in value[0])
        )
        if not is_name or not isinstance(value[1], int):
            return tuple(map(self._told, value))
        number = value[1]
        if number >= EPHEMERAL:
            port = self._ports.setdefault(number, f"port of chance {len(self._ports)}")
        else:
            port = f"port {number - self._first_port}" if number else "port 0"
        return (value[0], port, *value[2:])

    def _port(self, number: int) -> int:
        return self._first_port + number if number else 0

    def _at(self, number: int) -> Any:
        if not self._sockets:
            raise ValueError("no socket")
        return self._sockets[number % len(self._sockets)]

    def _keep(self, one: Any) -> str:
        one.settimeout(0)
        self._sockets.append(one)
        return "a socket"

    def _open(self, kind: str, family: int) -> str:
        return self._keep(
            self._module.socket(
                socket.AF_INET if family == 4 else socket.AF_INET6,
                socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM,
            )
        )

    def _bind(self, number: int, address: str, port: int) -> Any:
        return self._at(number).bind((address, self._port(port)))

    def _listen(self, number: int, backlog: int) -> Any:
        return self._at(number).listen(backlog)

    def _accept(self, number: int) -> Any:
        one, address = self._at(number).accept()
        return self._keep(one), address

    def _connect(self, number: int, address: str, port: int) -> Any:
        return self._at(number).connect((address, self._port(port)))

    def _connect_ex(self, number: int, address: str, port: int) -> Any:
        return self._at(number).connect_ex((address, self._port(port)))

    def _data(self, count: int) -> bytes:
        self._sent += 1
        return bytes([self._sent % 256]) * count

    def _send(self, number: int, count: int, flags: str) -> Any:
        return self._at(number).send(self._data(count), FLAGS[flags])

    def _recv(self, number: int, count: int, flags: str) -> Any:
        data = self._at(number).recv(count, FLAGS[flags])
        # What TCP discards isn't written anywhere.
        return len(data) if flags == "MSG_TRUNC" else short(data)

    def _sendto(self, number: int, count: int, address: str, port: int) -> Any:
        return self._at(number).sendto(self._data(count), (address, self._port(port)))

    def _recvfrom(self, number: int, count: int, flags: str) -> Any:
        data, address = self._at(number).recvfrom(count, FLAGS[flags])
        return short(data), address

    def _recvmsg(self, number: int, count: int, room: int, flags: str) -> Any:
        data, ancillary, got, address = self._at(number).recvmsg(count, room, FLAGS[flags])
        return len(data) if flags == "MSG_TRUNC" else short(data), ancillary, got, address

    def _sendmsg(self, number: int, count: int) -> Any:
        return self._at(number).sendmsg([self._data(count), b"tail"])

    def _recv_into(self, number: int, count: int) -> Any:
        room = bytearray(count)
        got = self._at(number).recv_into(room)
        return got, short(bytes(room))

    def _shutdown(self, number: int, how: int) -> Any:
        return self._at(number).shutdown(how)

    def _end(self, number: int) -> Any:
        return self._at(number).close()

    def _reset(self, number: int) -> Any:
        one = self._at(number)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return one.close()

    def _getsockname(self, number: int) -> Any:
        return self._at(number).getsockname()

    def _getpeername(self, number: int) -> Any:
        return self._at(number).getpeername()

    def _poll(self, number: int) -> Any:
        poll = select.poll()
        poll.register(self._at(number), sum(EVENTS.values()))
        return tuple(
            tuple(name for name, bit in EVENTS.items() if mask & bit & ~self._unsaid(mask))
            for _, mask in poll.poll(0)
        )

    @staticmethod
    def _unsaid(mask: int) -> int:
        """What a Stack's descriptor, an end of an AF_UNIX pair, can't say beside something else.

        An urgent byte alone is readable too; and what has ended doesn't come back, to show an error
        or be as new.
        """
        if mask & select.POLLHUP:
            return mask & ~(select.POLLHUP | select.POLLOUT)
        if mask & select.POLLRDHUP:
            return select.POLLPRI | select.POLLIN
        return select.POLLIN if mask & select.POLLPRI else 0

    def _dup(self, number: int) -> Any:
        return self._keep(self._at(number).dup())

    def _fileno(self, number: int) -> Any:
        return self._at(number).fileno() >= 0

    def _getsockopt(self, number: int, name: str) -> Any:
        level, option, _ = OPTIONS[name]
        return self._at(number).getsockopt(level, option)

    def _setsockopt(self, number: int, name: str, value: int) -> Any:
        level, option, _ = OPTIONS[name]
        return self._at(number).setsockopt(level, option, value)


def short(data: bytes) -> Any:
    """Data by its length and what it is made of."""
    runs: list[tuple[int, int]] = []
    for byte in data:
        if runs and runs[-1][0] == byte:
            runs[-1] = byte, runs[-1][1] + 1
        else:
            runs.append((byte, 1))
    return "data", tuple(runs)


def outcomes(module: Any, calls: list[Call], settle_s: float = SETTLE_S) -> list[Any]:
    return list(Run(module, settle_s).outcomes(calls))


def first_difference(net: pystack.Stack, calls: list[Call]) -> int | None:
    """The first call that comes to something else, each time of three."""
    first: int | None = None
    for settle_s in (SETTLE_S, SETTLE_S, PATIENT_S):
        kernel, stack = (outcomes(one, calls, settle_s) for one in (socket, net.sockets))
        differing = [
            at for at, (one, other) in enumerate(zip(kernel, stack, strict=True)) if one != other
        ]
        if not differing:
            return None
        first = differing[0]
    return first


def shrunk(net: pystack.Stack, calls: list[Call], at: int) -> list[Call]:
    """The fewest calls that still differ."""
    calls = calls[: at + 1]
    place = len(calls) - 2
    while place >= 0:
        fewer = calls[:place] + calls[place + 1 :]
        if fewer and (differs := first_difference(net, fewer)) is not None:
            calls = fewer[: differs + 1]
            place = min(place, len(calls) - 1)
        place -= 1
    return calls


def report(net: pystack.Stack, calls: list[Call]) -> None:
    """Prints each call and what it comes to, on both where that differs."""
    kernel, stack = (outcomes(one, calls, PATIENT_S) for one in (socket, net.sockets))
    for (name, arguments), one, other in zip(calls, kernel, stack, strict=True):
        same = one if one == other else f"kernel {one}, Stack {other}"
        print(f"    {name}{arguments}: {same}", flush=True)
