"""Flows to any address: what is offered, what each decision sends, and what bounds them."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

import pytest
from by_hand import FAR, FAR6, MSS, OURS, SACK, SCALE_7, ByHand, Segment, by_hand, timestamp
from growth import need
from pair import LEFT, LEFT6, routed, whole

import pystack
from pystack.intercept import EchoFlow, Intercept, TcpFlow, UdpFlow
from pystack.tables import TcpState

pytestmark = pytest.mark.sanitize

AWAY, AWAY6 = "198.51.100.7", "2001:db8::7"
BOTH = [(AWAY, FAR), (AWAY6, FAR6)]
ALL = MSS + SACK + timestamp(7000) + SCALE_7


def syn(host: str = AWAY, source: str = FAR, sport: int = 5000, seq: int = 1000) -> Segment:
    return Segment(sport, 80, "S", seq, options=ALL, src=source, dst=host)


def last_of(it: ByHand, answer: Segment, data: bytes = b"") -> Segment:
    """What completes the handshake of a SYN-ACK."""
    stamps = answer.stamps
    assert answer.flags == "SA"
    return Segment(
        answer.dport, answer.sport, "A", answer.ack, answer.seq + 1, data,
        options=b"" if stamps is None else timestamp(stamps[1], stamps[0]),
        src=answer.dst, dst=answer.src,
    )  # fmt: skip


def errors(it: ByHand) -> list[tuple[str, int, int, bytes]]:
    """The ICMP messages that the Stack sends at once: source, type, code, what follows."""
    it.net.step()
    found = []
    while (frame := it.end.receive(0)) is not None:
        packet = frame[14:]
        if packet[0] >> 4 == 4 and packet[9] == 1:
            found.append((str(ip_address(packet[12:16])), packet[20], packet[21], packet[24:]))
        elif packet[0] >> 4 == 6 and packet[6] == 58 and packet[40] in (1, 129):
            found.append((str(ip_address(packet[8:24])), packet[40], packet[41], packet[44:]))
    return found


@contextmanager
def taking(it: ByHand, **options: Any) -> Iterator[Intercept]:
    with it.net.intercept(**options) as taken:
        yield taken


# --- TCP -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("host", "source"), BOTH)
def test_a_connection_to_any_address_is_accepted(host: str, source: str) -> None:
    with by_hand() as it, taking(it) as taken:
        assert it.give(syn(host, source)) == []  # nobody has decided
        flow = taken.get(0)
        assert isinstance(flow, TcpFlow)
        assert flow.destination[:2] == (host, 80)
        assert flow.source[:2] == (source, 5000)
        assert (flow.ttl, flow.interface) == (64, it.net.interfaces[1].index)
        with flow.accept() as sock:
            sock.setblocking(False)
            assert sock.getsockname()[:2] == (host, 80)
            assert sock.getpeername()[:2] == (source, 5000)
            with pytest.raises(BlockingIOError):
                sock.recv(1)
            (answer,) = it.sent()
            assert (answer.src, answer.flags) == (host, "SA")
            assert None not in (answer.option(2), answer.option(3), answer.stamps)
            it.give(last_of(it, answer, b"hello"))
            assert sock.recv(10) == b"hello"
            sock.send(b"answer")
            assert b"".join(one.data for one in it.sent()) == b"answer"


def test_a_syn_that_comes_again_is_of_the_same_flow() -> None:
    with by_hand() as it, taking(it) as taken:
        it.give(syn(), syn())
        flow = taken.get(0)
        with pytest.raises(BlockingIOError):
            taken.get(0)
        it.give(syn())
        assert taken.statistics().undecided == 1
        flow.drop()
        assert it.give(syn(), syn(seq=7)) == []
        with pytest.raises(BlockingIOError):
            taken.get(0)
        it.over(80, 5)  # it is forgotten in the end
        it.give(syn())
        taken.get(0).refuse()


def test_a_syn_ack_is_sent_again_and_given_up() -> None:
    with by_hand() as it, taking(it) as taken:
        it.give(syn())
        with taken.get(0).accept() as sock:
            sock.setblocking(False)
            assert [one.flags for _at, one in it.over(8, 0.5)] == ["SA"] * 4
            assert [one.state for one in it.net.connections()].count(TcpState.SYN_RECEIVED) == 1
            it.over(300, 5)
            with pytest.raises(TimeoutError):
                sock.recv(1)


def test_a_reset_in_the_handshake_ends_the_socket() -> None:
    with by_hand() as it, taking(it) as taken:
        it.give(syn())
        with taken.get(0).accept() as sock:
            sock.setblocking(False)
            (answer,) = it.sent()
            it.give(Segment(5000, 80, "R", answer.ack, dst=AWAY))
            with pytest.raises(ConnectionResetError):
                sock.send(b"x")


def test_a_source_that_gives_up_takes_its_flow_along() -> None:
    with by_hand() as it, taking(it) as taken:
        it.give(syn())
        flow = taken.get(0)
        it.give(Segment(5000, 80, "R", 1001, dst=AWAY))
        with pytest.raises(ConnectionAbortedError, match="its source gave up"):
            flow.accept()
        assert it.net.counters()["intercept.aborted"] == 1


def test_a_socket_closed_in_its_handshake_is_reset() -> None:
    with by_hand() as it, taking(it) as taken:
        it.give(syn())
        sock = taken.get(0).accept()
        it.sent()
        sock.close()
        assert [one.flags for one in it.sent()] == ["R"]
        assert taken.statistics().open == 0


def test_a_shutdown_in_the_handshake_follows_it() -> None:
    with by_hand() as it, taking(it) as taken:
        it.give(syn())
        with taken.get(0).accept() as sock:
            sock.shutdown(socket.SHUT_WR)
            (answer,) = it.sent()
            assert "F" in "".join(one.flags for one in it.give(last_of(it, answer)))


def test_what_belongs_to_no_connection_is_reset() -> None:
    with by_hand() as it, taking(it):
        assert [one.flags for one in it.give(Segment(5000, 80, "A", 1, 1, dst=AWAY))] == ["R"]
        assert it.net.counters()["intercept.flows"] == 0


# --- refusals ------------------------------------------------------------------------------------

REFUSALS = [
    (errno.EHOSTUNREACH, (3, 1), (1, 3)),
    (errno.ENETUNREACH, (3, 0), (1, 0)),
    (errno.EACCES, (3, 13), (1, 1)),
    (errno.EPERM, (3, 13), (1, 1)),
]


@pytest.mark.parametrize(("code", "v4", "v6"), REFUSALS)
@pytest.mark.parametrize(("host", "source"), BOTH)
def test_a_refusal_is_the_icmp_error_that_says_it(
    code: int, v4: tuple[int, int], v6: tuple[int, int], host: str, source: str
) -> None:
    with by_hand() as it, taking(it) as taken:
        it.give(syn(host, source))
        taken.get(0).refuse(code)
        ((sender, kind, what, quoted),) = errors(it)
        assert (kind, what) == (v6 if ":" in host else v4)
        assert sender in (OURS, "fd00::2")
        ports = 4 + (40 if ":" in host else 20)
        assert struct.unpack_from("!HHI", quoted, ports) == (5000, 80, 1000)
        assert taken.statistics().undecided == 0


@pytest.mark.parametrize(("host", "source"), BOTH)
def test_a_refused_connection_is_reset(host: str, source: str) -> None:
    with by_hand() as it, taking(it) as taken:
        it.give(syn(host, source))
        taken.get(0).refuse()
        (answer,) = it.sent()
        assert (answer.flags, answer.src, answer.ack) == ("RA", host, 1001)


def test_what_no_answer_says_is_refused_by_value() -> None:
    with by_hand() as it, taking(it) as taken:
        it.give(syn())
        flow = taken.get(0)
        with pytest.raises(ValueError, match=r"ENOENT \(2\).*ECONNREFUSED"):
            flow.refuse(errno.ENOENT)
        assert not flow.decided
        flow.refuse()
        flow.refuse()  # nothing more
        with pytest.raises(OSError, match="was decided on"):
            flow.accept()


# --- datagrams and echoes ------------------------------------------------------------------------


@pytest.mark.parametrize("v6", [False, True])
def test_datagrams_to_any_address(v6: bool) -> None:
    with routed() as both, both.right.intercept() as taken:
        host, source = (AWAY6, LEFT6) if v6 else (AWAY, LEFT)
        family = socket.AF_INET6 if v6 else socket.AF_INET
        with both.left.socket(family, socket.SOCK_DGRAM) as client:
            client.settimeout(10)
            client.connect((host, 53))
            for number in range(3):
                client.send(b"%d" % number)
            flow = taken.get(10)
            assert isinstance(flow, UdpFlow)
            assert (flow.destination[:2], flow.source[0], flow.data) == ((host, 53), source, b"0")
            with flow.accept() as sock:
                sock.settimeout(10)
                assert [sock.recv(10) for _ in range(3)] == [b"0", b"1", b"2"]
                sock.send(b"answer")
                assert client.recv(10) == b"answer"
                client.send(b"more")
                assert sock.recvfrom(10)[0] == b"more"
            client.send(b"again")  # the socket is closed: a flow of its own
            refused = taken.get(10)
            assert isinstance(refused, UdpFlow)
            assert refused.data == b"again"
            refused.refuse()
            with pytest.raises(ConnectionRefusedError):
                client.recv(10)


def test_two_sources_of_one_destination_are_two_flows() -> None:
    with routed() as both, both.right.intercept() as taken:
        clients = [both.left.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(8)]
        socks = []
        for number, client in enumerate(clients):
            client.settimeout(10)
            client.sendto(b"%d" % number, (AWAY, 53))
            flow = taken.get(10)
            assert isinstance(flow, UdpFlow)
            socks.append(flow.accept())
        for number, sock in enumerate(socks):
            sock.settimeout(10)
            sock.send(b"to " + sock.recv(10))
            assert clients[number].recv(10) == b"to %d" % number
        assert taken.statistics().open == 8
        for one in (*clients, *socks):
            one.close()


def test_a_datagrams_flow_holds_so_many_and_no_more() -> None:
    with routed() as both, both.right.intercept() as taken:
        with both.left.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for number in range(40):
                client.sendto(b"%d" % number, (AWAY, 53))
            flow = taken.get(10)
            assert isinstance(flow, UdpFlow)
            lost = 0
            while lost < 24:
                lost = both.right.counters()["intercept.lost_datagrams"]
            with flow.accept() as sock:
                sock.setblocking(False)
                assert [sock.recv(10) for _ in range(16)] == [b"%d" % one for one in range(16)]
                with pytest.raises(BlockingIOError):
                    sock.recv(10)


@pytest.mark.parametrize("host", [AWAY, AWAY6])
def test_echo_requests(host: str) -> None:
    with routed() as both, both.right.intercept(tcp=False, udp=False) as taken:
        seen: list[EchoFlow] = []

        def answer() -> None:
            for flow in taken:
                assert isinstance(flow, EchoFlow)
                seen.append(flow)
                flow.accept()

        thread = threading.Thread(target=answer)
        thread.start()
        assert both.left.ping(host, count=2, size=2000, interval=0.01, timeout=30).received == 2
        taken.close()
        thread.join()
        assert [one.destination[:2] for one in seen] == [(host, 0)] * 2
        assert len({one.sequence for one in seen}) == 2
        assert {len(one.data) for one in seen} == {2000}


# --- whose is what -------------------------------------------------------------------------------


def test_the_stacks_own_addresses_are_its_own() -> None:
    with by_hand() as it, taking(it) as taken, it.listen() as listener:
        sock, _last = it.open(listener, 6000)
        sock.close()
        it.sent()
        assert it.give(syn()) == []  # the listener's wildcard is of our addresses alone
        flow = taken.get(0)
        assert flow.destination == (AWAY, 80)
        flow.drop()
        assert [one.flags for one in it.give(Segment(5000, 81, "S", 1))] == ["RA"]


def test_protocols_that_are_not_asked_for_are_left_alone() -> None:
    with by_hand() as it, taking(it, tcp=False) as taken:
        assert it.give(syn()) == []
        with pytest.raises(BlockingIOError):
            taken.get(0)


@pytest.mark.parametrize("host", [AWAY, AWAY6])
def test_errors_about_what_it_sends_reach_the_socket(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with routed() as both, both.right.intercept(tcp=False, icmp=False) as taken:
        with both.left.socket(family, socket.SOCK_DGRAM) as client:
            client.bind(("", 5000))
            client.sendto(b"x", (host, 53))
            flow = taken.get(10)
        assert isinstance(flow, UdpFlow)
        with flow.accept() as sock:  # the client's port is closed by now
            sock.settimeout(10)
            assert sock.recv(10) == b"x"
            with pytest.raises(ConnectionRefusedError):
                sock.send(b"y")
                sock.recv(10)


def test_accepted_connections_outlive_the_intercept() -> None:
    with by_hand() as it:
        with taking(it) as taken:
            it.give(syn())
            sock = taken.get(0).accept()
            (answer,) = it.sent()
            it.give(last_of(it, answer), syn(sport=5001))
        sock.setblocking(False)
        segment = last_of(it, answer, b"still here")
        it.give(segment)
        assert sock.recv(20) == b"still here"
        it.sent()
        assert it.give(syn(sport=5002)) == []  # it is nobody's any more
        sock.close()
        flags = "".join(one.flags for one in it.sent())
        assert "F" in flags
        with taking(it) as again:
            assert again.statistics().undecided == 0


def test_resets_and_half_closes_carry_through() -> None:
    with routed() as both, both.right.intercept() as taken:
        client = both.left.socket()
        client.settimeout(10)
        thread = threading.Thread(target=client.connect, args=((AWAY, 80),))
        thread.start()
        flow = taken.get(10)
        assert isinstance(flow, TcpFlow)
        sock = flow.accept()
        thread.join()
        sock.settimeout(10)
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert whole(sock, 100) == b"question"
        sock.sendall(b"answer")
        assert client.recv(10) == b"answer"
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        with pytest.raises(ConnectionResetError):
            client.recv(10)
        client.close()


# --- bounds --------------------------------------------------------------------------------------


def test_a_flood_of_syns_pushes_out_the_oldest() -> None:
    with by_hand() as it, taking(it, undecided=64) as taken:
        it.give(syn())
        oldest = taken.get(0)
        before = it.net.arena.used_bytes
        for start in range(0, 4096, 32):
            it.give(
                *(
                    syn(source=f"10.1.{(start + n) // 200}.{(start + n) % 200 + 1}")
                    for n in range(32)
                )
            )
        assert taken.statistics().undecided == 64
        assert it.net.counters()["intercept.overflows"] == 4097 - 64
        assert it.net.arena.used_bytes - before < 64 * 2048
        with pytest.raises(ConnectionAbortedError, match="newer ones pushed it out"):
            oldest.accept()
        rest = [taken.get(0) for _ in range(64)]
        assert rest[-1].source[0] == "10.1.20.96"
        for flow in rest:
            flow.drop()


def test_what_nobody_decides_is_dropped_in_time() -> None:
    with by_hand() as it, taking(it, decide=5) as taken:
        it.give(syn())
        flow = taken.get(0)
        it.over(4)
        assert taken.statistics().undecided == 1
        it.over(2)
        assert taken.statistics().undecided == taken.statistics().held_bytes == 0
        with pytest.raises(ConnectionAbortedError, match="its time was over"):
            flow.accept()
        flow.refuse()  # there is nobody to tell
        it.give(syn())  # its source goes on: a new one
        again = taken.get(0)
        assert again.source == (FAR, 5000)
        again.drop()
        assert it.net.counters()["intercept.expired"] == 1


def test_a_flow_that_nobody_has_is_dropped() -> None:
    with by_hand() as it, taking(it) as taken:
        it.give(syn())
        with pytest.warns(ResourceWarning, match=r"TcpFlow undecided 10.0.0.1:5000 .* was dropped"):
            taken.get(0)
        assert taken.statistics().silent == 1


def test_no_more_than_so_many_are_open() -> None:
    with by_hand() as it, taking(it, open=1) as taken:
        it.give(syn())
        with taken.get(0).accept() as sock:
            it.give(syn(sport=5001))
            with pytest.raises(BlockingIOError):
                taken.get(0)
            assert it.net.counters()["intercept.over_limit"] == 1
            sock.close()
        it.give(syn(sport=5001))
        taken.get(0).refuse()


def test_memory_comes_back() -> None:
    with by_hand() as it:
        it.net.intercept().close()
        before = it.net.arena.used_bytes
        with taking(it) as taken:
            for port in range(5000, 5100):
                it.give(syn(sport=port))
            flows = [taken.get(0) for _ in range(100)]
            for flow in flows[:30]:
                flow.refuse()
            for flow in flows[30:60]:
                flow.drop()
            for flow in flows[60:90]:
                sock = flow.accept()
                assert isinstance(sock, pystack.sockets.Socket)
                sock.close()
        it.sent()
        assert it.net.arena.used_bytes - before < 16384  # the table of sockets has grown
        for flow in flows[90:]:
            flow.drop()


# --- its own life --------------------------------------------------------------------------------


def test_there_is_one_at_a_time() -> None:
    with pystack.Stack() as net, net.intercept() as taken:
        with pytest.raises(OSError, match="another Intercept of this Stack is open") as caught:
            net.intercept()
        assert caught.value.errno == errno.EADDRINUSE
        taken.close()
        taken.close()
        assert taken.closed
        for call in (taken.get, taken.fileno, taken.statistics):
            with pytest.raises(OSError, match=r"closed|descriptor"):
                call()
        net.intercept().close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"undecided": 0}, "undecided is .* from 1 to .*, not 0"),
        ({"open": 2**32}, "open is .*, not 4294967296"),
        ({"decide": 0}, "decide is a number of seconds .*, not 0"),
        ({"tcp": False, "udp": False, "icmp": False}, "name a protocol"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pystack.Stack() as net, pytest.raises(ValueError, match=words):
        net.intercept(**options)


@pytest.mark.parametrize("stack", [False, True])
def test_who_waits_hears_of_the_end(stack: bool) -> None:
    net = pystack.Stack()
    taken = net.intercept()
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.extend(taken))
    thread.start()
    with pytest.raises(TimeoutError):
        taken.get(0.05)
    (net if stack else taken).close()
    thread.join(10)
    assert not thread.is_alive()
    assert found == []
    taken.close()
    net.close()


@pytest.mark.parametrize("end", ["intercept", "stack", "elsewhere", "cancel"])
def test_tasks_that_wait_hear_of_the_end(end: str) -> None:
    async def main() -> None:
        with pystack.Stack() as net:
            taken = net.intercept()

            async def collect() -> list[object]:
                return [flow async for flow in taken]

            tasks = [asyncio.ensure_future(collect()) for _ in range(3)]
            await asyncio.sleep(0.02)
            if end == "intercept":
                taken.close()
            elif end == "stack":
                net.close()
            elif end == "elsewhere":
                await asyncio.get_running_loop().run_in_executor(None, taken.close)
            else:
                tasks[0].cancel()
                await asyncio.wait([tasks[0]])
                taken.close()
                assert tasks.pop(0).cancelled()
            assert await asyncio.wait_for(asyncio.gather(*tasks), 10) == [[]] * len(tasks)
            taken.close()

    asyncio.run(main())


def test_flows_reach_a_loop() -> None:
    async def main() -> None:
        with routed() as both, both.right.intercept() as taken:
            loop = asyncio.get_running_loop()
            asked = loop.run_in_executor(
                None, lambda: both.left.sockets.create_connection((AWAY6, 80), 10)
            )
            async for flow in taken:
                assert isinstance(flow, TcpFlow)
                with flow.accept() as sock, await asked as client:
                    assert sock.getpeername() == client.getsockname()
                break

    asyncio.run(main())


def test_a_child_takes_no_flows() -> None:
    with pystack.Stack() as net, net.intercept() as taken:
        child = os.fork()
        if child == 0:  # pragma: no cover
            code = 1
            try:
                taken.get(0)
            except OSError as error:
                code = 0 if error.errno == errno.EREMOTE else 2
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("engine", ["gvisor", "linux"])
def test_engines_that_cannot_say_so(engine: str) -> None:
    need(engine)
    with pystack.Stack(engine=engine) as net:
        with pytest.raises(OSError, match="lwip alone") as caught:
            net.intercept()
        assert caught.value.errno == errno.EOPNOTSUPP
