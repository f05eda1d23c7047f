"""Name resolution, on an engine that does it itself and on one that Python does it for."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest
from name_server import CNAME, a, name, record
from pair import LEFT, RIGHT, Pair, pair

import pystack
from pystack import names
from pystack._native.engines import engine_path

A, AAAA = 1, 28
SERVFAIL, NXDOMAIN, REFUSED = 2, 3, 5
FOUR, SIX = "198.51.100.1", "2001:db8::1"
EVIL = "198.51.100.66"

# A question's bytes and its type, to the messages that answer it.
Says = Callable[[bytes, int], list[bytes]]


@pytest.fixture(params=["lwip", "gvisor", "linux"])
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name != "lwip":
        try:
            engine_path(name)
        except OSError as error:
            pytest.skip(str(error.strerror))
    return name


@pytest.fixture
def both(engine: str) -> Iterator[Pair]:
    with pair(engines=(engine, "lwip")) as made:
        yield made


def message(asked: bytes, *records: bytes, flags: int = 0x8180, identifier: bytes = b"") -> bytes:
    head = struct.pack(">5H", flags, 1, len(records), 0, 0)
    return (identifier or asked[:2]) + head + asked[12:] + b"".join(records)


def aaaa(address: str) -> bytes:
    return record(b"\xc0\x0c", AAAA, socket.inet_pton(socket.AF_INET6, address))


def honest(asked: bytes, kind: int) -> list[bytes]:
    return [message(asked, a(FOUR) if kind == A else aaaa(SIX))]


@contextmanager
def server(place: Pair, says: Says, address: str = RIGHT) -> Iterator[list[Any]]:
    """A name server on the right Stack, and what it was asked: who asked, and the bytes."""
    heard: list[Any] = []
    with place.right.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 53))

        def serve() -> None:
            while (got := sock.recvfrom(512))[0] != b"end":
                asked, peer = got
                heard.append((peer, asked))
                for one in says(asked, asked[-3]):
                    sock.sendto(one, peer)

        thread = Thread(target=serve)
        thread.start()
        try:
            yield heard
        finally:
            with place.left.socket(socket.AF_INET, socket.SOCK_DGRAM) as ender:
                ender.sendto(b"end", (address, 53))
            thread.join(30)
            assert not thread.is_alive()


def found(
    place: Pair, text: str = "a.example.com", family: int = 0, timeout: float = 20
) -> set[str]:
    return {str(one) for one in place.left.resolve(text, family, timeout=timeout)}


def test_a_name_has_addresses_of_both_families(both: Pair) -> None:
    both.left.nameservers = [RIGHT]
    with server(both, honest) as heard:
        assert found(both) == {FOUR, SIX}
        assert found(both, family=socket.AF_INET) == {FOUR}
        assert found(both, family=socket.AF_INET6) == {SIX}
        assert {asked[-3] for _peer, asked in heard} == {A, AAAA}
        assert {peer[0] for peer, _asked in heard} == {LEFT}
        assert len({peer[1] for peer, _asked in heard}) > 1
        assert len({asked[:2] for _peer, asked in heard}) > 1


def test_the_module_socket_and_ping_use_it(both: Pair) -> None:
    both.left.nameservers = [RIGHT]
    with server(both, lambda asked, kind: [message(asked, *([a(RIGHT)] if kind == A else []))]):
        infos = both.left.sockets.getaddrinfo("b.example.com", 80, type=socket.SOCK_STREAM)
        assert [info[4] for info in infos] == [(RIGHT, 80)]
        assert both.left.sockets.gethostbyname("b.example.com") == RIGHT
        assert both.left.ping("b.example.com", timeout=30).received == 1


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([record(b"\xc0\x0c", CNAME, name("b.x")), a(FOUR, name("b.x"))], {FOUR}),
        ([a(EVIL, name("evil.com")), a(FOUR)], {FOUR}),
        ([a(FOUR, name("A.Example.COM"))], {FOUR}),
        ([record(b"\xc0\x0c", A, b"\1\2\3\4\5"), a(FOUR)], {FOUR}),
        ([record(b"\xc0\x0c", A, b"\1\2\3\4", cls=3), a(FOUR)], {FOUR}),
    ],
    ids=["alias", "another owner", "letters", "a long address", "another class"],
)
def test_whose_records_count(both: Pair, records: list[bytes], expected: set[str]) -> None:
    both.left.nameservers = [RIGHT]
    with server(both, lambda asked, _kind: [message(asked, *records)]):
        assert found(both, family=socket.AF_INET) == expected


def test_forged_answers_are_waited_past(both: Pair) -> None:
    def says(asked: bytes, _kind: int) -> list[bytes]:
        other = bytes((asked[0] ^ 1, asked[1]))
        return [
            message(asked, a(EVIL), identifier=other),
            message(asked[:12] + name("evil.com") + asked[-4:], a(EVIL)),
            message(asked, a(EVIL), flags=0x0100),
            b"",
            message(asked, a(FOUR)),
        ]

    both.left.nameservers = [RIGHT]
    with server(both, says):
        assert found(both, family=socket.AF_INET) == {FOUR}


@pytest.mark.parametrize("code", [SERVFAIL, REFUSED])
def test_a_server_that_fails_is_left_for_the_next(both: Pair, code: int) -> None:
    second = "10.0.0.9"
    both.right_interface.addresses.add(f"{second}/24")
    both.left.nameservers = [RIGHT, second]
    with (
        server(both, lambda asked, _kind: [message(asked, flags=0x8180 | code)]) as heard,
        server(both, honest, second),
    ):
        assert found(both) == {FOUR, SIX}
        assert heard


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        ({"flags": 0x8180 | NXDOMAIN}, socket.EAI_NONAME, "not known"),
        ({}, socket.EAI_NONAME, "not known"),
        ({"flags": 0x8180 | SERVFAIL}, socket.EAI_AGAIN, "the name server failed"),
        ({"flags": 0x8380}, socket.EAI_FAIL, "truncated"),
    ],
    ids=["no name", "no record", "failure", "truncated"],
)
def test_how_a_lookup_fails(both: Pair, answer: Any, error: int, words: str) -> None:
    both.left.nameservers = [RIGHT]
    with server(both, lambda asked, _kind: [message(asked, **answer)]):
        with pytest.raises(socket.gaierror, match=words) as caught:
            found(both)
    assert caught.value.errno == error


def test_a_silent_server_is_asked_again(both: Pair) -> None:
    asked_of: list[bytes] = []

    def says(asked: bytes, kind: int) -> list[bytes]:
        asked_of.append(asked)
        return honest(asked, kind) if len(asked_of) > 1 else []

    both.left.nameservers = [RIGHT]
    with server(both, says):
        assert found(both, family=socket.AF_INET) == {FOUR}
    assert len(asked_of) == 2


def test_without_a_server_or_in_too_short_a_time(both: Pair) -> None:
    with pytest.raises(socket.gaierror, match="no name server"):
        found(both)
    both.left.nameservers = [RIGHT]
    with (
        server(both, lambda _asked, _kind: []),
        pytest.raises(socket.gaierror, match="no answer in time") as caught,
    ):
        found(both, timeout=0.2)
    assert caught.value.errno == socket.EAI_AGAIN


def test_a_lookup_drives_a_stack_without_a_thread(engine: str) -> None:
    ours, theirs = pystack.nic.wire()
    with pystack.Stack(engine=engine, threaded=False) as net, pystack.Stack() as far:
        near_interface = net.attach(ours, f"{LEFT}/24")
        far_interface = far.attach(theirs, f"{RIGHT}/24")
        net.nameservers = [RIGHT]
        with server(Pair(net, far, near_interface, far_interface), honest):
            assert {str(one) for one in net.resolve("a.example.com", timeout=20)} == {FOUR, SIX}


def test_a_child_looks_names_up(both: Pair) -> None:
    both.left.nameservers = [RIGHT]
    with server(both, honest):
        child = os.fork()
        if child == 0:
            try:
                right = both.left.sockets.gethostbyname("a.example.com") == FOUR
            except OSError:
                right = False
            os._exit(0 if right else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_literals_and_localhost_ask_nobody(both: Pair) -> None:
    assert found(both, "192.0.2.7") == {"192.0.2.7"}
    assert found(both, "2001:db8::7") == {"2001:db8::7"}
    assert "127.0.0.1" in found(both, "localhost", socket.AF_INET)
    for wrong in ("::1q", "1.2.3.4.5"):
        with pytest.raises(socket.gaierror):
            found(both, wrong)


@pytest.mark.parametrize("wrong", ["a..b", ".", "x" * 64, ".".join(["x" * 63] * 4)])
def test_a_name_that_fits_no_message(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"label|bytes"):
        names.make_question(wrong, A, 1)
