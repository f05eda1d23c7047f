"""The one DNS message that is made and read in Python."""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import pystack
from pystack.sockets.reverse import ask, question, read_answer

ASKED = question("192.0.2.7", 0x1234)
POINTER = b"\xc0\x0c"


def answer(*records: bytes, code: int = 0, identifier: int = 0x1234) -> bytes:
    header = struct.pack(">6H", identifier, 0x8180 | code, 1, len(records), 0, 0)
    return header + ASKED[12:] + b"".join(records)


def record(data: bytes, kind: int = 12, owner: bytes = POINTER) -> bytes:
    return owner + struct.pack(">2HIH", kind, 1, 60, len(data)) + data


NAME = b"\x04host\x07example\x00"


def test_a_question_is_as_the_rfc_has_it() -> None:
    assert ASKED[12:] == b"\x017\x012\x010\x03192\x07in-addr\x04arpa\x00\x00\x0c\x00\x01"
    assert question("2001:db8::1%eth0", 1)[12:].startswith(b"\x011\x010\x010")
    assert question("::1", 1).endswith(b"\x03ip6\x04arpa\x00\x00\x0c\x00\x01")
    with pytest.raises(ValueError, match="localhost"):
        question("localhost", 1)


def test_answers_are_read() -> None:
    assert read_answer(answer(record(NAME)), ASKED) == "host.example"
    assert read_answer(answer(record(b"\x04host" + POINTER)), ASKED) == (
        "host.7.2.0.192.in-addr.arpa"
    )
    other = b"\x05other\x00"
    chain = (record(other, kind=5), record(NAME), record(NAME, owner=other.upper()))
    assert read_answer(answer(*chain), ASKED) == "host.example"
    assert read_answer(answer(record(NAME, owner=other)), ASKED) is None
    assert read_answer(answer(record(b"\x09host.evil\x00")), ASKED) == "host\\.evil"
    assert read_answer(answer(code=3), ASKED) is None
    assert read_answer(answer(), ASKED) is None
    with pytest.raises(OSError, match="RCODE 2"):
        read_answer(answer(code=2), ASKED)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        ASKED,
        answer(record(NAME), identifier=1),
        answer(record(NAME))[:-3],
        answer(record(NAME)).replace(b"in-addr", b"in-adds"),
        answer(record(b"\xc0\xff")),
        answer(record(NAME, owner=b"\xc0\x2b")),
        answer(record(b"\x40" + b"x" * 64 + b"\0")),
        answer(record((b"\x3f" + b"x" * 63) * 5 + b"\0")),
        answer(POINTER),
        answer(record(NAME + b"x")),
        answer(record(NAME, owner=NAME))[:-1],
        b"\x12\x34\xa9" + answer(record(NAME))[3:],
    ],
)
def test_what_is_wrong_is_refused(message: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_answer(message, ASKED)


@given(st.binary(max_size=80))
@example(b"\xc0\x2b\x00\x0c")
def test_nothing_else_comes_of_garbage(tail: bytes) -> None:
    for count in (1, 65535):
        message = bytearray(answer() + tail)
        message[6:8] = count.to_bytes(2, "big")
        try:
            found = read_answer(bytes(message), ASKED)
        except (ValueError, OSError):
            continue
        assert found is None or len(found) < 1100


@pytest.mark.parametrize("text", ["::1q", "::1::2", "1:1:1:1:1:1:1:1:1", "1.2.3.4:80"])
def test_what_has_a_colon_is_an_address_or_nothing(text: str) -> None:
    with pystack.Stack() as net, pytest.raises(socket.gaierror) as caught:
        net.sockets.gethostbyaddr(text)
    assert caught.value.errno == socket.EAI_NONAME


@pytest.mark.parametrize(
    ("code", "passed_over"),
    [
        (errno.EMFILE, False),
        (errno.EOWNERDEAD, False),
        (errno.EBADF, False),
        (errno.ENETUNREACH, True),
        (errno.ECONNREFUSED, True),
    ],
)
def test_only_servers_out_of_reach_are_passed_over(code: int, passed_over: bool) -> None:
    def make_socket(_family: int, _kind: int) -> None:
        raise OSError(code, "said so")

    servers = [ipaddress.IPv4Address("192.0.2.1")]
    with pytest.raises(OSError) as caught:
        ask(make_socket, servers, "192.0.2.7", time.monotonic)
    expected = socket.EAI_AGAIN if passed_over else code
    assert (isinstance(caught.value, socket.gaierror), caught.value.errno) == (
        passed_over,
        expected,
    )
