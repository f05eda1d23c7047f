"""Name resolution on a Stack's own sockets, for engines that have no resolver (RFC 1035, RFC 3596).

Also makes and reads DNS messages for other callers in Python.
"""

from __future__ import annotations

import errno
import ipaddress
import re
import secrets
import socket
import struct
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pystack.serving.dns_message import AAAA, A, read_labels

__all__ = ["CNAME", "PORT", "Answer", "Server", "look_up", "make_question", "read_answer"]

Server: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"

PORT = 53
CNAME, IN = 5, 1
LARGEST = 4096
_HEADER_BYTES = 12  # before the question
_RECURSION_DESIRED = 0x0100
_TRUNCATED = 0x02  # in the third byte
_LONGEST_NAME = 255  # bytes, as it stands in a message
_NO_SUCH_NAME = 3
WAITS_S = (1.0, 1.0, 2.0, 3.0)  # after each try; as lwIP's resolver waits
_FORGED_MAXIMUM = 100  # messages of a try that answer something else
SIZES = {A: 4, AAAA: 16}
# The records that have the addresses of a family.
KINDS = {4: (A,), 6: (AAAA,), 0: (AAAA, A)}

# The server is unreachable or its port closed: try the next one.
UNREACHABLE = {
    errno.EADDRNOTAVAIL,
    errno.ECONNREFUSED,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
}


@dataclass(frozen=True)
class Answer:
    """What a server said.

    Attributes:
        code: The RCODE; 0: no error.
        truncated: Whether the rest has to be fetched over TCP.
        data: Start and end in the message of each answer's data.
    """

    code: int
    truncated: bool
    data: tuple[tuple[int, int], ...]

    @property
    def final(self) -> bool:
        """Whether no other server need be asked."""
        return self.code in (0, _NO_SUCH_NAME)


def make_question(name: str, kind: int, identifier: int) -> bytes:
    """A DNS query for a name's records of one type.

    Raises:
        ValueError: A label is empty or longer than 63 bytes, or the name than 255.
    """
    labels = [label.encode("ascii") for label in name.removesuffix(".").split(".")]
    if not all(0 < len(label) < 64 for label in labels):
        raise ValueError(f"{name!r} has a label that is empty or longer than 63 bytes")
    encoded = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    if len(encoded) > _LONGEST_NAME:
        raise ValueError(f"{name!r} is longer than {_LONGEST_NAME} bytes in a message")
    header = struct.pack(">6H", identifier, _RECURSION_DESIRED, 1, 0, 0, 0)
    return header + encoded + struct.pack(">2H", kind, IN)


def read_name(message: bytes, place: int) -> tuple[str, int]:
    """The name at an offset in a message, and the offset behind it (RFC 1035 4.1.4).

    Raises:
        ValueError: It runs past the message, or its pointers loop.
    """
    labels, end = read_labels(message, place)
    decoded = [label.decode("ascii", "backslashreplace").replace(".", "\\.") for label in labels]
    return ".".join(decoded), end


def read_answer(message: bytes, asked: bytes) -> Answer:
    """Reads the answer to a question.

    Args:
        message: The message received.
        asked: The question. The answer has to repeat its identifier and question section; records
            of other names are skipped, except those that an earlier CNAME points to.

    Raises:
        ValueError: It does not answer this question, or is malformed.
    """
    repeated = message[:2] == asked[:2] and message[4:6] == asked[4:6]
    if len(message) < len(asked) or not repeated or message[2] & 0xF8 != 0x80:
        raise ValueError("not an answer to this question")
    if message[_HEADER_BYTES : len(asked)].lower() != asked[_HEADER_BYTES:].lower():
        raise ValueError("an answer to another question")
    code, truncated = message[3] & 0x0F, bool(message[2] & _TRUNCATED)
    if code != 0:
        return Answer(code, truncated, ())
    place, wanted = len(asked), read_name(asked, _HEADER_BYTES)[0].lower()
    kind_wanted = int.from_bytes(asked[-4:-2], "big")
    found: list[tuple[int, int]] = []
    try:
        for _ in range(int.from_bytes(message[6:8], "big")):
            owner, place = read_name(message, place)
            if place + 10 > len(message):
                raise ValueError("a truncated record")
            kind, network, _ttl, length = struct.unpack_from(">2HIH", message, place)
            place += 10
            if place + length > len(message):
                raise ValueError("a truncated record")
            if network == IN and owner.lower() == wanted and kind in (kind_wanted, CNAME):
                if kind == kind_wanted:
                    found.append((place, place + length))
                else:
                    wanted = read_whole_name(message, place, place + length).lower()
            place += length
    except ValueError:
        if not truncated:
            raise
        # Of a truncated answer, the whole records count.
    return Answer(code, truncated, tuple(found))


def read_whole_name(message: bytes, place: int, end: int) -> str:
    """The name that fills a record's data.

    Raises:
        ValueError: It is malformed, or longer or shorter than that.
    """
    name, after = read_name(message, place)
    if after != end:
        raise ValueError("a name shorter or longer than its record")
    return name


@dataclass
class _Question:
    """A question not settled yet."""

    message: bytes
    kind: int
    settled: bool = False
    truncated: bool = False
    failed: bool = False
    addresses: list[Server] = field(default_factory=list)

    def take(self, message: bytes) -> bool:
        """Reads a message; returns whether this server has nothing more to say.

        Raises:
            ValueError: It does not answer this question.
        """
        answer = read_answer(message, self.message)
        if not answer.final:
            self.failed = True
            return True
        self.settled, self.truncated = True, answer.truncated
        for begin, end in answer.data:
            if end - begin == SIZES[self.kind]:
                self.addresses.append(ipaddress.ip_address(message[begin:end]))
        return True


def _receive(asker: Any, question: _Question, deadline: float, now: Callable[[], float]) -> bool:
    """Waits for a server's answer; False: timed out.

    Raises:
        OSError: The server is unreachable, or any other error of the socket.
    """
    for _ in range(_FORGED_MAXIMUM):
        # An answer that has arrived counts, even after the deadline.
        asker.settimeout(max(0.0, deadline - now()))
        try:
            return question.take(asker.recv(LARGEST))
        except ValueError:
            continue  # forged or stale; the real one may still come
        except (TimeoutError, BlockingIOError):
            return False
    return False


def _ask_server(
    make_socket: Callable[[int, int], Any],
    server: Server,
    questions: list[_Question],
    until: float | None,
    now: Callable[[], float],
) -> None:
    """Asks one server the open questions, and again while it is silent."""
    family = socket.AF_INET if server.version == 4 else socket.AF_INET6
    with ExitStack() as sockets:
        pending: list[tuple[Any, _Question]] = []
        for question in questions:
            # A port and an identifier for each question and server (RFC 5452 9.2).
            question.message = secrets.token_bytes(2) + question.message[2:]
            pending.append(
                (sockets.enter_context(make_socket(family, socket.SOCK_DGRAM)), question)
            )
        try:
            for asker, _question in pending:
                asker.connect((str(server), PORT))
            for wait in WAITS_S:
                for asker, question in pending:
                    asker.send(question.message)
                end = now() + wait
                end = end if until is None else min(end, until)
                pending = [one for one in pending if not _receive(*one, end, now)]
                if not pending or (until is not None and now() >= until):
                    return
        except OSError as error:
            if error.errno not in UNREACHABLE:
                raise


def look_up(
    make_socket: Callable[[int, int], Any],
    servers: Iterable[Server],
    name: str,
    family: int,
    timeout: float | None,
    now: Callable[[], float],
) -> list[Server] | int:
    """Asks name servers, one after the other, for the addresses of a name.

    A server that fails or is unreachable is given up at once, a silent one after four tries in
    seven seconds. Each question has its own random port and identifier, and only the server that
    was asked can answer it.

    Args:
        make_socket: Makes a socket of a family and a type.
        servers: The name servers' addresses.
        name: A host name in ASCII, or an address literal.
        family: 4, 6, or 0 for both.
        timeout: Seconds in total; None: until every server has had its tries.
        now: The time that the sockets' calls time out by, in seconds.

    Returns:
        The addresses, in the answers' order; or an errno: ENOENT, no such name, or no address of
        this family; ENETUNREACH, no name server; EAGAIN, no answer in `timeout`; ETIMEDOUT, no
        server answered; EREMOTEIO, those that answered failed; EMSGSIZE, the answer was truncated
        before its first address.

    Raises:
        OSError: Any error of the sockets but that a server can't be reached.
    """
    known = list(servers)
    try:
        literal = ipaddress.ip_address(name)
    except ValueError:
        if ":" in name:
            return errno.ENOENT
        if re.fullmatch(r"[0-9.]*", name):  # no host has such a name, but a server is to say so
            return errno.ENOENT if known else errno.ENETUNREACH
    else:
        return [literal] if family in (0, literal.version) else errno.ENOENT
    plain = name.removesuffix(".").lower()
    if plain == "localhost":  # RFC 6761 6.3
        both = [ipaddress.ip_address(one) for one in ("::1", "127.0.0.1")]
        return [one for one in both if family in (0, one.version)]
    try:
        questions = [_Question(make_question(name, kind, 0), kind) for kind in KINDS[family]]
    except ValueError:
        return errno.ENOENT
    if not known:
        return errno.ENETUNREACH
    until = None if timeout is None else now() + timeout
    for server in known:
        unsettled = [one for one in questions if not one.settled]
        if not unsettled or (until is not None and now() >= until):
            break
        _ask_server(make_socket, server, unsettled, until, now)
    return _outcome(questions, until, now)


def _outcome(
    questions: list[_Question], until: float | None, now: Callable[[], float]
) -> list[Server] | int:
    found = [address for question in questions for address in question.addresses]
    if found:
        return found
    if any(one.truncated for one in questions):
        return errno.EMSGSIZE
    if all(one.settled for one in questions):
        return errno.ENOENT
    if until is not None and now() >= until:
        return errno.EAGAIN
    return errno.EREMOTEIO if any(one.failed for one in questions) else errno.ETIMEDOUT
