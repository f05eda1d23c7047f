"""`pystack.embed.replay`: captures made here, replayed against live servers on Stacks."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from captures import CLIENT, LINK, SERVER, talk
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap, wrpcapng
from served_pages import pages

import pystack
from pystack import nic
from pystack.embed.replay import (
    CapturedFlow,
    CaptureError,
    Ending,
    Pace,
    Result,
    packets,
    read,
    stream,
)
from pystack.nic import Impairment, Layer
from pystack.scapy import share

PAGES = {"/": b"hello\n", "/big": bytes(range(256)) * 1200}
BOTH = pytest.mark.parametrize("way", [packets, stream], ids=["packets", "stream"])


@dataclass
class Place:
    """The replay's Stack and its peer."""

    net: pystack.Stack
    server: pystack.Stack


@contextmanager
def joined(
    layer: Layer = Layer.ETHERNET, around: Callable[[nic.Nic], nic.Nic] = lambda wire: wire
) -> Iterator[Place]:
    left, right = nic.wire(layer=layer)
    with pystack.Stack() as net, pystack.Stack() as server:
        net.attach(share(around(left)), "10.0.0.1/24", "fd00::1/64")
        server.attach(right, "10.0.0.2/24", "fd00::2/64")
        yield Place(net, server)


@pytest.fixture
def place() -> Iterator[Place]:
    with joined() as made:
        yield made


def whole(sock: Any) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


def captured(path: Path, address: str, client: Callable[[Any, int], None]) -> list[CapturedFlow]:
    """A capture of what a client does with the pages, as its side sees it."""
    left, right = nic.wire()
    with (
        nic.capture(left, path) as wire,
        pystack.Stack() as net,
        pystack.Stack() as server,
    ):
        net.attach(wire, "10.0.0.9/24", "fd00::9/64")
        server.attach(right, "10.0.0.2/24", "fd00::2/64")
        with pages(server, address, PAGES) as port:
            client(net, port)
    return [one for one in read(path) if one.is_tcp]


def fetch(address: str, paths: list[str]) -> Callable[[Any, int], None]:
    def client(net: Any, port: int) -> None:
        with net.sockets.create_connection((address, port), 30) as sock:
            for number, path in enumerate(paths, 1):
                last = "Connection: close\r\n" if number == len(paths) else ""
                sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{last}\r\n".encode())
                found, body = b"", PAGES.get(path, b"")
                while not found.endswith(b"\r\n\r\n" + body):
                    found += sock.recv(65536)
            whole(sock)

    return client


@contextmanager
def listening(
    net: pystack.Stack, serve: Callable[[Any], object], address: str = "10.0.0.2"
) -> Iterator[tuple[str, int]]:
    """A server of one connection on a Stack; gives where it is. What it raises is raised."""
    failures: list[BaseException] = []
    with net.sockets.create_server((address, 0), family=10 if ":" in address else 2) as listener:
        listener.settimeout(30)

        def run() -> None:
            try:
                with listener.accept()[0] as sock:
                    sock.settimeout(30)
                    serve(sock)
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        yield listener.getsockname()[:2]
        thread.join(30)
    assert not failures


# --- against what answers the same -----------------------------------------------------------


@BOTH
@pytest.mark.parametrize("address", ["10.0.0.2", "fd00::2"])
@pytest.mark.parametrize("pace", list(Pace))
def test_the_same_server_answers_the_same(
    tmp_path: Path, place: Place, way: Callable[..., Result], address: str, pace: Pace
) -> None:
    paths = ["/", "/big", "/missing", "/"]
    (flow,) = captured(tmp_path / "one.pcapng", address, fetch(address, paths))
    assert flow.from_its_beginning
    with pages(place.server, address, PAGES) as port:
        result = way(place.net, flow, (address, port), pace=pace)
    assert (result.difference, result.ending, result.answered) == (None, Ending.CLOSED, True)
    assert [one.sent.split()[1].decode() for one in result.exchanges] == paths
    assert result.exchanges[1].received.endswith(PAGES["/big"])
    assert "the answers are those of the capture" in str(result)
    assert all(one.delay is not None and one.captured_delay is not None for one in result.exchanges)
    assert place.net.counters()["tcp.out_resets"] == 0


@BOTH
def test_over_a_wire_of_ip_packets_that_loses(tmp_path: Path, way: Callable[..., Result]) -> None:
    (flow,) = captured(tmp_path / "one.pcap", "10.0.0.2", fetch("10.0.0.2", ["/", "/big"]))
    bad = Impairment(loss=0.02)
    with (
        joined(Layer.IP, lambda wire: nic.impair(wire, bad, bad, seed=4)) as place,
        pages(place.server, "10.0.0.2", PAGES) as port,
    ):
        result = way(place.net, flow, ("10.0.0.2", port), timeout=20, quiet=5)
    assert (result.difference, result.answered) == (None, True)


@BOTH
def test_another_answer_is_told(tmp_path: Path, place: Place, way: Callable[..., Result]) -> None:
    (flow,) = captured(tmp_path / "one.pcap", "10.0.0.2", fetch("10.0.0.2", ["/", "/", "/"]))
    other = {"/": b"hello, you out there\n"}  # longer
    with pages(place.server, "10.0.0.2", other) as port:
        result = way(place.net, flow, ("10.0.0.2", port), quiet=0.2)
    assert result.answered
    number, at = result.difference or (9, 9)
    assert number == 0
    assert result.received.count(b"hello, you out there\n") == 3
    assert result.exchanges[0].expected[at:] != result.exchanges[0].received[at:]
    assert "answer 1 differs from byte" in str(result)
    with pages(place.server, "10.0.0.2", {"/": b"hi\n"}) as port:  # shorter
        result = way(place.net, flow, ("10.0.0.2", port), quiet=0.2)
    assert result.answered
    assert [one.received[-4:] for one in result.exchanges] == [b"\nhi\n"] * 3


# --- odd clients -----------------------------------------------------------------------------


def test_segments_are_as_they_were(tmp_path: Path) -> None:
    parts = [
        ("c", b"a"),
        ("c", b"bc"),
        ("c", b"bc", {"seq": 1002}),  # sent again
        ("c", b"fg", {"seq": 1006}),  # before what comes before it
        ("c", b"de", {"seq": 1004}),
        ("c", b"!", {"flags": "PAU", "urgptr": 1, "window": 77}),
        ("s", b"ok"),
        ("c", b""),
        ("c", b"", {"flags": "FA"}),
        ("s", b"", {"flags": "FA"}),
        ("c", b""),
    ]
    wrpcap(str(tmp_path / "odd.pcap"), talk(parts))
    (flow,) = read(tmp_path / "odd.pcap")
    left, right = nic.wire()
    wire = nic.capture(left, tmp_path / "live.pcap")
    with pystack.Stack() as net, pystack.Stack() as server:
        net.attach(share(wire), "10.0.0.1/24")
        server.attach(right, "10.0.0.2/24")
        found = bytearray()

        def serve(sock: Any) -> None:
            while len(found) < 7:
                found.extend(sock.recv(100))
            sock.sendall(b"ok")
            found.extend(whole(sock))

        with listening(server, serve) as to:
            result = packets(net, flow, to, quiet=0.5)
    wire.flush()  # now that the Stack has sent what was left to send
    assert bytes(found) in (b"abcdefg!", b"abcdefg")  # the urgent byte may be out of line
    assert (result.difference, result.ending) == (None, Ending.CLOSED)
    (live,) = read(tmp_path / "live.pcap")
    sent = [one for one in live.segments if one.sent]
    base = sent[0].seq
    shown = [(one.seq - base, one.flags, bytes(one.payload)) for one in sent]
    then = [one for one in flow.segments if one.sent]
    assert shown == [(one.seq - 1000, one.flags, bytes(one.payload)) for one in then]
    urgent = next(one for one in sent if one.flags & 32)
    assert (urgent.window, urgent.packet[urgent.at + 18 : urgent.at + 20]) == (77, b"\0\1")


def test_numbers_are_followed(tmp_path: Path, place: Place) -> None:
    (flow,) = captured(tmp_path / "one.pcap", "10.0.0.2", fetch("10.0.0.2", ["/big"]))
    with (
        LinkCapture(place, tmp_path / "live.pcap") as wire,
        pages(place.server, "10.0.0.2", PAGES) as port,
    ):
        assert packets(place.net, flow, ("10.0.0.2", port)).answered
        live = wire()
    assert live.segments[0].seq != flow.segments[0].seq
    theirs = {one.ack for one in live.segments if one.sent} - {0}
    start = next(one.seq for one in live.segments if not one.sent)
    assert all(0 < (ack - start) % 2**32 < 400_000 for ack in theirs)
    stamps = [one.option(8) for one in live.segments if one.sent]
    if stamps[0] is not None:
        sent_by_server = {one.option(8)[:4] for one in live.segments if not one.sent}  # type: ignore[index]
        assert {one[4:] for one in stamps[1:] if one} <= sent_by_server


class LinkCapture:
    """The frames of a place's wire, into a capture."""

    def __init__(self, place: Place, path: Path) -> None:
        self._shared = place.net.interfaces[1].nic
        self._path, self._frames = path, []  # type: ignore[var-annotated]

    def _hear(self, frame: nic.Frame) -> None:
        self._frames.append(frame.data)

    def __enter__(self) -> Callable[[], CapturedFlow]:
        self._shared.listen(self._hear)  # type: ignore[union-attr]

        def finished() -> CapturedFlow:
            wrpcap(str(self._path), [Ether(one) for one in self._frames])
            return next(one for one in read(self._path) if one.is_tcp)

        return finished

    def __exit__(self, *_error: object) -> None:
        self._shared.unlisten(self._hear)  # type: ignore[union-attr]


def test_long_segments_are_cut_to_the_path(tmp_path: Path, place: Place) -> None:
    data = bytes(range(250)) * 80
    wrpcap(str(tmp_path / "long.pcap"), talk([("c", data), ("s", b"k"), ("c", b"")]))
    (flow,) = read(tmp_path / "long.pcap")
    found = bytearray()

    def serve(sock: Any) -> None:
        while len(found) < len(data):
            found.extend(sock.recv(65536))
        sock.sendall(b"k")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)

    with listening(place.server, serve) as to:
        result = packets(place.net, flow, to, quiet=0.2)
    assert bytes(found) == data
    assert result.ending is Ending.OPEN
    assert any("1 segments sent in parts" in one for one in result.notes)


@BOTH
def test_a_server_that_speaks_first(
    tmp_path: Path, place: Place, way: Callable[..., Result]
) -> None:
    parts = [("s", b"220 hi\r\n"), ("c", b""), ("c", b"QUIT\r\n"), ("s", b"221 bye\r\n")]
    wrpcap(str(tmp_path / "first.pcap"), talk([*parts, ("c", b"", {"flags": "RA"})]))
    (flow,) = read(tmp_path / "first.pcap")

    def serve(sock: Any) -> None:
        sock.sendall(b"220 ho\r\n")
        assert sock.recv(100) == b"QUIT\r\n"
        sock.sendall(b"221 bye\r\n")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)

    with listening(place.server, serve) as to:
        result = way(place.net, flow, to, quiet=0.5)
    assert [one.sent for one in result.exchanges] == [b"", b"QUIT\r\n"]
    assert (result.difference, result.ending) == ((0, 5), Ending.CLOSED)


# --- servers that don't ----------------------------------------------------------------------


@BOTH
def test_a_server_that_refuses(tmp_path: Path, place: Place, way: Callable[..., Result]) -> None:
    wrpcap(str(tmp_path / "x.pcap"), talk([("c", b"x"), ("s", b"y")]))
    (flow,) = read(tmp_path / "x.pcap")
    result = way(place.net, flow, ("10.0.0.2", 7))
    assert (result.ending, result.answered) == (Ending.RESET, False)
    assert result.received == b""


@BOTH
def test_a_server_that_resets(tmp_path: Path, place: Place, way: Callable[..., Result]) -> None:
    wrpcap(str(tmp_path / "x.pcap"), talk([("c", b"x"), ("s", b"y")]))
    (flow,) = read(tmp_path / "x.pcap")

    def serve(sock: Any) -> None:
        sock.recv(1)
        linger = b"\1\0\0\0" + bytes(4)
        sock.setsockopt(place.server.sockets.SOL_SOCKET, place.server.sockets.SO_LINGER, linger)

    with listening(place.server, serve) as to:
        result = way(place.net, flow, to)
    assert (result.ending, result.answered) == (Ending.RESET, False)


@BOTH
def test_a_server_that_is_silent(tmp_path: Path, place: Place, way: Callable[..., Result]) -> None:
    wrpcap(str(tmp_path / "x.pcap"), talk([("c", b"x"), ("s", b"y")]))
    (flow,) = read(tmp_path / "x.pcap")
    done = threading.Event()
    with listening(place.server, lambda _sock: done.wait(30)) as to:
        result = way(place.net, flow, to, timeout=0.3)
        done.set()
    assert (result.ending, result.answered) == (Ending.SILENT, False)


@BOTH
def test_nobody_there(tmp_path: Path, place: Place, way: Callable[..., Result]) -> None:
    wrpcap(str(tmp_path / "x.pcap"), talk([("c", b"x"), ("s", b"y")]))
    (flow,) = read(tmp_path / "x.pcap")
    with pytest.raises(OSError, match="no route"):
        way(place.net, flow)
    place.net.neighbours.add("10.0.0.77", "02:00:00:00:00:77")
    assert way(place.net, flow, ("10.0.0.77", 7), timeout=0.2).ending is Ending.SILENT


def test_a_router_that_refuses(tmp_path: Path, place: Place) -> None:
    wrpcap(str(tmp_path / "x.pcap"), talk([("c", b"x"), ("s", b"y")]))
    (flow,) = read(tmp_path / "x.pcap")
    place.server.sysctl["net.ipv4.ip_forward"] = 1
    place.net.routes.add("198.51.100.0/24", gateway="10.0.0.2")
    result = packets(place.net, flow, timeout=30)
    assert result.ending is Ending.UNREACHABLE
    assert "ICMP" in result.notes[-1]


class Endless:
    """A server that answers, and goes on for ever."""

    def __call__(self, sock: Any) -> None:
        sock.recv(100)
        with pytest.raises(ConnectionError):
            while True:
                sock.sendall(b"y" * 100_000)


@BOTH
def test_a_server_without_an_end(tmp_path: Path, place: Place, way: Callable[..., Result]) -> None:
    wrpcap(str(tmp_path / "x.pcap"), talk([("c", b"x"), ("s", b"y")]))
    (flow,) = read(tmp_path / "x.pcap")
    with listening(place.server, Endless()) as to:
        result = way(place.net, flow, to, timeout=30, quiet=5)
    assert (result.ending, result.answered) == (Ending.OPEN, True)


def test_a_server_without_the_end_that_it_had(tmp_path: Path, place: Place) -> None:
    fin = {"flags": "FA"}
    parts = [("c", b"x"), ("s", b"y"), ("s", b"", fin), ("c", b"", fin)]
    wrpcap(str(tmp_path / "x.pcap"), talk(parts))
    (flow,) = read(tmp_path / "x.pcap")
    with listening(place.server, Endless()) as to:
        result = stream(place.net, flow, to, timeout=30, quiet=5)
    assert (result.ending, result.answered) == (Ending.OPEN, True)


# --- UDP -------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("pace", list(Pace))
def test_datagrams(tmp_path: Path, place: Place, way: Callable[..., Result], pace: Pace) -> None:
    there, back = IP(src=CLIENT, dst=SERVER, ttl=9), IP(src=SERVER, dst=CLIENT)
    ports = {"sport": 5000, "dport": 53}
    turned = {"sport": 53, "dport": 5000}
    frames = [
        LINK / there / UDP(**ports) / b"one",
        LINK / back / UDP(**turned) / b"ONE",
        LINK / there / UDP(**ports) / b"two",
        LINK / there / UDP(**ports) / b"three",
        LINK / back / UDP(**turned) / b"TWO",
        LINK / back / UDP(**turned) / b"THREE",
    ]
    wrpcapng(str(tmp_path / "udp.pcapng"), frames)
    (flow,) = read(tmp_path / "udp.pcapng")
    with place.server.socket(type=place.server.sockets.SOCK_DGRAM) as sock:
        sock.bind(("10.0.0.2", 53))
        sock.settimeout(30)

        def serve() -> None:
            for _ in range(3):
                data, peer = sock.recvfrom(100)
                sock.sendto(data.upper(), peer)

        thread = threading.Thread(target=serve)
        thread.start()
        result = way(place.net, flow, ("10.0.0.2", 53), pace=pace, quiet=3)
        thread.join()
    assert result.received == b"ONETWOTHREE"
    assert (result.difference, result.ending, result.answered) == (None, Ending.CLOSED, True)
    assert len(result.exchanges) == 2
    refused = way(place.net, flow, ("10.0.0.2", 54), timeout=30)
    assert refused.ending in (Ending.UNREACHABLE, Ending.RESET)


# --- what is refused -------------------------------------------------------------------------


def test_what_can_not_be_replayed_is_refused(tmp_path: Path, place: Place) -> None:
    path, frames = tmp_path / "x.pcap", talk([("c", b"data"), ("s", b"answer"), ("c", b"more")])
    wrpcap(str(path), frames[3:])
    (middle,) = read(path)
    assert "without its beginning" in str(middle)
    with pytest.raises(CaptureError, match="--level stream"):
        packets(place.net, middle, ("10.0.0.2", 7))
    wrpcap(str(path), [one for number, one in enumerate(frames) if number != 3])
    (holed,) = read(path)
    with pytest.raises(CaptureError, match="lacks what the client sent after its first 0 bytes"):
        stream(place.net, holed, ("10.0.0.2", 7))
    wrpcap(str(path), [*frames[:-1], LINK / IP(src=CLIENT, dst=SERVER, flags="MF") / TCP()])
    with pytest.raises(CaptureError, match="frame 6 is a fragment"):
        read(path)
    short = [Ether(bytes(one)[:57]) for one in frames]
    for one, long in zip(short, frames, strict=True):
        one.wirelen = len(long)
    wrpcap(str(path), short)
    (cut,) = read(path)
    for way in (packets, stream):
        with pytest.raises(CaptureError, match="frame 1 of the capture is cut"):
            way(place.net, cut, ("10.0.0.2", 7))
    wrpcap(str(path), [one[IP] for one in frames], linktype=147)
    with pytest.raises(CaptureError, match="link type 147"):
        read(path)
    path.write_bytes(b"no capture at all")
    with pytest.raises(CaptureError, match=r"x\.pcap is no capture"):
        read(path)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nowhere.pcap")


def test_what_is_no_use_is_refused(tmp_path: Path, place: Place) -> None:
    wrpcap(str(tmp_path / "x.pcap"), talk([("c", b"x")]))
    (flow,) = read(tmp_path / "x.pcap")
    with pytest.raises(CaptureError, match="IPv6"):
        packets(place.net, flow, ("fd00::2", 7))
    with pytest.raises(ValueError, match="timeout"):
        packets(place.net, flow, ("10.0.0.2", 7), timeout=0)
    with pytest.raises(ValueError, match="quiet"):
        stream(place.net, flow, ("10.0.0.2", 7), quiet=float("inf"))
    with pytest.raises(ValueError, match="share"):
        packets(place.server, flow, ("10.0.0.1", 7))
    with (
        place.net.sockets.create_server(("10.0.0.1", 4321)),
        pytest.raises(OSError, match="in use"),
    ):
        packets(place.net, flow, ("10.0.0.2", 7), port=4321)


# --- the command -----------------------------------------------------------------------------


def test_the_command_lists_and_asks(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from pystack.cli.replay import replay

    path = tmp_path / "x.pcap"
    wrpcap(str(path), [*talk([("c", b"1")]), *talk([("c", b"2")], sport=4001)])
    start = [str(path), "--address", "10.0.0.1/24"]

    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(replay, [*start, *words])
        return done.exit_code, done.output

    assert run("--list")[1].splitlines()[1].startswith(f"2  TCP {CLIENT}:4001 -> {SERVER}:7")
    assert len(run("--list", "--client", f"{CLIENT}:4001")[1].splitlines()) == 1
    status, text = run()
    assert (status, "choose one of these by --flow N" in text) == (2, True)
    for words, says in (
        (["--client", "10.9.9.9"], "no such flow"),
        (["--client", "nobody"], "no address"),
        (["--flow", "1", "--to", "10.0.0.2:99999"], "99999"),
        (["--flow", "3"], "no such flow"),
        (["--flow", "2"], "--nic"),
    ):
        status, text = run(*words)
        assert (status, says in text) == (2, True), text


def test_the_command_replays(tmp_path: Path) -> None:
    import socket

    path = tmp_path / "one.pcapng"
    captured(path, "10.0.0.2", fetch("10.0.0.2", ["/"]))
    number = next(n for n, one in enumerate(read(path), 1) if one.is_tcp)
    with ExitStack() as cleanup:
        server = cleanup.enter_context(pystack.Stack())
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        server.attach(nic.Descriptor(ours), "10.0.0.2/24")
        port = cleanup.enter_context(pages(server, "10.0.0.2", PAGES))
        cleanup.enter_context(theirs)
        done = subprocess.run(
            [
                sys.executable, "-c", "from pystack.cli import main; main()", "replay", str(path),
                "--flow", str(number), "--nic", f"fd:{theirs.fileno()}", "--json",
                "--address", "10.0.0.1/24", "--to", f"10.0.0.2:{port}", "--same",
                "-o", str(tmp_path / "answer"),
            ],
            pass_fds=[theirs.fileno()], capture_output=True, text=True, check=False, timeout=300,
            cwd=tempfile.gettempdir(),
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert (told["ending"], told["difference"], told["answered"]) == ("closed", None, True)
    assert (tmp_path / "answer").read_bytes().endswith(b"\r\n\r\nhello\n")
