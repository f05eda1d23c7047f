"""Names in ".local" for engines without a resolver: questions to all on a link (RFC 6762 5.1)."""

from __future__ import annotations

import errno
import ipaddress
import secrets
import socket
import struct
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from pystack.names import KINDS, LARGEST, SIZES, UNREACHABLE, WAITS_S, Server, make_question
from pystack.serving.dns_message import Message, read

__all__ = ["is_local", "look_up_local"]

_PORT = 5353
_GROUPS = {socket.AF_INET: "224.0.0.251", socket.AF_INET6: "ff02::fb"}
_SLICE_S = 0.02  # for one of several sockets that may have the answer
_FORGED_MAXIMUM = 100  # messages that a socket had and that answer something else, in a row
_HOPS = 255


def is_local(name: str) -> bool:
    """Whether a name is one of the link's (RFC 6762 3)."""
    return name.removesuffix(".").lower().endswith(".local")


@dataclass
class _Question:
    """A question not settled yet."""

    message: bytes
    kind: int
    settled: bool = False
    addresses: list[Server] = field(default_factory=list)

    def take(self, answer: Message) -> None:
        """Reads a message that may answer it: a host says what it has, or that it has none."""
        own = read(self.message)
        assert own is not None
        name = own.questions[0].name
        about = [one for one in answer.answers if one.is_of(name) and one.ttl > 0]
        if not answer.is_response or answer.identifier != own.identifier or not about:
            return
        for one in about:
            if one.kind == self.kind and len(one.data) == SIZES[one.kind]:
                self.addresses.append(ipaddress.ip_address(one.data))
        self.settled = True


@dataclass
class _Asker:
    """A socket that asks one question on one link, by one family."""

    sock: Any
    question: _Question
    where: tuple[Any, ...]

    def ask(self) -> bool:
        """Whether the question has left."""
        try:
            self.sock.sendto(self.question.message, self.where)
        except OSError as error:
            if error.errno not in UNREACHABLE | {errno.ENODEV, errno.EINVAL}:
                raise
            return False
        return True

    def hear(self, seconds: float) -> None:
        """Takes the answers that come in this time."""
        self.sock.settimeout(max(0.0, seconds))
        for _ in range(_FORGED_MAXIMUM):
            try:
                payload, source = self.sock.recvfrom(LARGEST)
            except (TimeoutError, BlockingIOError):
                return
            if source[1] == _PORT and (message := read(payload)) is not None:
                self.question.take(message)
            if self.question.settled:
                return


def _asker(sock: Any, question: _Question, family: int, link: int) -> _Asker:
    group = _GROUPS[socket.AddressFamily(family)]
    if family == socket.AF_INET:
        by = struct.pack("4s4si", b"", b"", link)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, by)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, _HOPS)
        return _Asker(sock, question, (group, _PORT))
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, link)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _HOPS)
    return _Asker(sock, question, (group, _PORT, 0, link))


def look_up_local(
    make_socket: Callable[[int, int], Any],
    links: Iterable[int],
    name: str,
    family: int,
    timeout: float | None,
    now: Callable[[], float],
) -> list[Server] | int:
    """Asks the hosts on all links, by both families, for the addresses of a name.

    The first answer settles a question; an address found, nobody is asked again.

    Args:
        make_socket: Makes a socket of a family and a type.
        links: The interfaces, by index.
        name: A host name in ".local", in ASCII.
        family: 4, 6, or 0 for both.
        timeout: Seconds in total; None: until the four tries, in seven seconds, are over.
        now: The time that the sockets' calls time out by, in seconds.

    Returns:
        The addresses; or an errno: ENOENT, no such name can be, or its host has no address of this
        family; ENETUNREACH, no link to ask on; EAGAIN, no answer in `timeout`; ETIMEDOUT, nobody
        answered.

    Raises:
        OSError: Any error of the sockets but that nobody can be reached.
    """
    try:
        questions = [_Question(make_question(name, kind, 0), kind) for kind in KINDS[family]]
    except ValueError:
        return errno.ENOENT
    until = None if timeout is None else now() + timeout
    with ExitStack() as sockets:
        askers: list[_Asker] = []
        links = list(links)
        for question in questions:
            question.message = secrets.token_bytes(2) + question.message[2:]
            for link in links:
                for by in _GROUPS:
                    sock = sockets.enter_context(make_socket(by, socket.SOCK_DGRAM))
                    askers.append(_asker(sock, question, by, link))
        return _ask(askers, questions, until, now)


def _ask(
    askers: list[_Asker],
    questions: list[_Question],
    until: float | None,
    now: Callable[[], float],
) -> list[Server] | int:
    found: list[Server] = []
    for wait in WAITS_S:
        asked = [one for one in askers if not one.question.settled and one.ask()]
        if not asked and not any(one.settled for one in questions):
            return errno.ENETUNREACH
        end = now() + wait
        end = end if until is None else min(end, until)
        while now() < end and not all(one.settled for one in questions):
            for one in asked:
                if not one.question.settled:
                    one.hear(min(_SLICE_S, end - now()))
        found = [address for question in questions for address in question.addresses]
        if found or all(one.settled for one in questions):
            break
        if until is not None and now() >= until:
            return errno.EAGAIN
    if found:
        return found
    return errno.ENOENT if any(one.settled for one in questions) else errno.ETIMEDOUT
