"""Names of addresses, by a PTR question to a Stack's name servers (RFC 1035 3.5, RFC 3596 2.5).

lwIP's own resolver asks for addresses alone, so this one message is made and read here.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
import struct
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

__all__ = ["Server", "ask", "question", "read_answer"]

Server: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"

PORT = 53
CNAME, PTR, IN = 5, 12, 1
HEADER = 12  # bytes before the question
RECURSION_DESIRED = 0x0100
TRIES, TIMEOUT_S = 2, 3.0  # for each server, as resolv.conf(5) has `attempts` and about `timeout`
LARGEST = 4096
NO_SUCH_NAME = 3


def question(address: str, identifier: int) -> bytes:
    """The DNS message that asks for the name of an address.

    Raises:
        ValueError: It is no address.
    """
    name = ipaddress.ip_address(address.partition("%")[0]).reverse_pointer
    labels = b"".join(bytes((len(one),)) + one.encode() for one in name.split("."))
    header = struct.pack(">6H", identifier, RECURSION_DESIRED, 1, 0, 0, 0)
    return header + labels + b"\0" + struct.pack(">2H", PTR, IN)


def _name(message: bytes, place: int) -> tuple[str, int]:
    """The name at a place in a message, and where what follows it begins (RFC 1035 4.1.4).

    Raises:
        ValueError: It leaves the message, or its pointers go in a circle.
    """
    labels: list[str] = []
    end = -1
    size = 0
    while True:
        length = message[place] if place < len(message) else 0xFF
        if length == 0:
            return ".".join(labels), end if end >= 0 else place + 1
        if length >= 0xC0 and place + 1 < len(message):
            target = (length & 0x3F) << 8 | message[place + 1]
            if target >= place:  # it may only point back, so that it comes to an end
                raise ValueError("a name that points forward")
            end = place + 2 if end < 0 else end
            place = target
            continue
        label = message[place + 1 : place + 1 + length]
        size += length + 1
        if length > 63 or len(label) != length or size > 254:
            raise ValueError("a name that is cut, or too long")
        labels.append(label.decode("ascii", "backslashreplace").replace(".", "\\."))
        place += 1 + length


def read_answer(message: bytes, asked: bytes) -> str | None:
    """The first name in an answer; None: there is no such name.

    Args:
        message: What came.
        asked: The question, whose identifier and question section it has to repeat. Records of
            other names are passed over, but for those that a CNAME leads to (RFC 2317).

    Raises:
        ValueError: It is no answer to this question, or malformed.
        OSError: The server says that it failed.
    """
    repeated = message[:2] == asked[:2] and message[4:6] == asked[4:6]
    if len(message) < len(asked) or not repeated or message[2] & 0xF8 != 0x80:
        raise ValueError("no answer to this question")
    if message[12 : len(asked)].lower() != asked[12:].lower():
        raise ValueError("an answer to another question")
    code = message[3] & 0x0F
    if code == NO_SUCH_NAME:
        return None
    if code != 0:
        raise OSError(f"the name server failed (RCODE {code})")
    place, wanted = len(asked), _name(asked, HEADER)[0].lower()
    for _ in range(int.from_bytes(message[6:8], "big")):
        owner, place = _name(message, place)
        if place + 10 > len(message):
            raise ValueError("a record that is cut")
        kind, network, _ttl, length = struct.unpack_from(">2HIH", message, place)
        place += 10
        if place + length > len(message):
            raise ValueError("a record that is cut")
        if network == IN and owner.lower() == wanted and kind in (PTR, CNAME):
            name, end = _name(message, place)
            if end != place + length:
                raise ValueError("a name that is shorter or longer than its record")
            if kind == PTR:
                return name
            wanted = name.lower()
        place += length
    return None


def ask(
    make_socket: Callable[[int, int], Any],
    servers: Iterable[Server],
    address: str,
) -> str | None:
    """Asks name servers, one after the other, for the name of an address.

    Args:
        make_socket: Makes a socket of a family and a type.
        servers: The name servers' addresses.
        address: The address.

    Returns:
        The name; None: it has none, or there are no servers to ask.

    Raises:
        socket.gaierror: EAI_AGAIN, no server gave an answer.
    """
    known = list(servers)
    if not known:
        return None
    for server in known * TRIES:
        family = socket.AF_INET if server.version == 4 else socket.AF_INET6
        message = question(address, secrets.randbelow(1 << 16))
        try:
            with make_socket(family, socket.SOCK_DGRAM) as asker:
                asker.connect((str(server), PORT))
                asker.send(message)
                deadline = time.monotonic() + TIMEOUT_S
                while (left := deadline - time.monotonic()) > 0:
                    asker.settimeout(left)
                    try:
                        return read_answer(asker.recv(LARGEST), message)
                    except ValueError:
                        continue  # somebody's guess; the true answer may still come
        except OSError:
            continue  # no route, refused, no answer, or it failed: the next server
    raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
