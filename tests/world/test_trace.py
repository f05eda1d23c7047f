"""The trace of a World, and what is drawn of it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import struct
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pystack._native.engines import default_engine
from pystack.world import Frame, Note, Tape, Trace, World
from pystack.world.dissect import dissect


def transfer(**options: object) -> World:
    with World(trace=True, **options) as world:
        left, right = world.host("left"), world.host("right")
        link = world.link(left, right, delay="10ms", rate="1Mbit/s", queue=5)

        def serve() -> None:
            with socket.create_server(("", 80)) as listener:
                connection, _peer = listener.accept()
                with connection:
                    while connection.recv(65536):
                        pass

        server = right.thread(serve)
        with left.sockets.create_connection(("right", 80)) as sock:
            sock.sendall(bytes(100_000))
        server.join()
        world.note("the transfer is over")
        counts = link.counts(left)
        frames = world.trace.where(sender="left").frames
        assert len(frames) == counts.sent
        assert sum(one.fate == "queue full" for one in frames) == counts.overflowed > 0
        link.down()
        began = world.now
        left.ping("right", timeout=0.1)
        assert world.trace.where(since=began, dropped=True)[0].fate == "cut off"
    return world


@pytest.mark.sanitize
def test_each_frame_is_there_with_its_fate() -> None:
    world = transfer()
    trace = world.trace  # also after its end
    data = trace.where(protocol="tcp", port=80, link="left-right")
    assert sum(one.packet.length for one in data.where(sender="left", dropped=False).frames) >= 1e5
    assert all(one.arrivals[0] >= one.at + 0.01 for one in data.frames if one.fate == "arrived")
    assert data.where(lambda one: "SYN" in one.packet.text)[0].packet.target == "fd00::2"
    assert [one.text for one in trace if isinstance(one, Note)] == ["the transfer is over"]
    times = [one.at for one in trace]
    assert times == sorted(times)
    assert trace.forgotten == 0
    assert isinstance(trace[:3], Trace)
    assert len(trace[:3]) == 3
    assert "queue full" in str(trace)


@pytest.mark.sanitize
def test_what_does_not_fit_is_forgotten_from_the_beginning() -> None:
    with World(trace=100_000) as world:
        left, right = world.host("a"), world.host("b")
        world.link(left, right)
        for _each in range(1000):
            left.ping("b", size=1000)
        trace = world.trace
        assert 40 <= len(trace.frames) <= 100
        assert trace.forgotten > 3000
        assert trace.frames[-1].at == pytest.approx(world.now, abs=0.1)


def test_a_ladder_shows_what_is_lost() -> None:
    with World(tape=Tape(0, ["lost:a>b:8"]), trace=True) as world:
        one, other, third = (world.host(name) for name in "abc")
        world.link(one, other, delay="2ms")
        world.link(other, third)
        for _each in range(8):
            one.ping("b", timeout=0.5)
        other.crash()
        text = world.sequence(one, other)
        lines = text.splitlines()
        assert lines[0].split() == ["a", "b"]
        assert lines[1:] == world.sequence(one, other, last=1000).splitlines()[1:]
        assert sum(line.endswith("X|  lost") for line in lines) == 1
        assert any("ICMPv6 echo ---" in line and line.endswith(">|  +2 ms") for line in lines)
        assert lines[-1].endswith("~~ b loses power")
        assert len(world.sequence(last=5).splitlines()) == 6
        assert world.sequence().splitlines()[0].split() == ["a", "b", "c"]
        drawn = ElementTree.fromstring(world.sequence(svg=True))
        assert sum(part.get("stroke") == "red" for part in drawn) == 3  # a line and its head


def test_sequence_numbers_of_a_ladder_begin_at_nought() -> None:
    text = transfer().sequence(last=10_000)
    assert "SYN seq=0 --" in text
    assert re.search(r"seq=1 ack=1 len=14\d\d ", text)


def test_a_diagram_has_every_host_and_link() -> None:
    with World() as world:
        one, other = world.host("one"), world.host("other")
        world.host("alone")
        world.link(one, other, delay="5ms")
        assert world.diagram().splitlines() == ["one ---[ delay=0.005 ]--- other", "alone"]
        drawn = ElementTree.fromstring(world.diagram(svg=True))
        assert {part.text for part in drawn} >= {"one", "other", "alone", "delay=0.005"}


def test_nobody_looks_at_a_world_without_a_trace() -> None:
    with World() as world, pytest.raises(RuntimeError, match="trace=True"):
        world.note("unheard")
        world.sequence()


def story() -> World:
    """A connection that loses its link for a while, one that is refused, one whose peer crashes."""
    world = World(seed=3, trace=True)
    with world:
        client, server = world.host("client"), world.host("server")
        link = world.link(client, server, delay="20ms")

        def serve() -> None:
            with socket.create_server(("", 80)) as listener:
                while True:
                    connection, _peer = listener.accept()
                    with connection:
                        while data := connection.recv(100):
                            connection.sendall(data)

        server.service(serve)
        with client.sockets.create_connection(("server", 80)) as sock:
            sock.sendall(b"hello")
            sock.recv(10)
            link.down()
            sock.sendall(b"again")
            world.sleep(1)
            link.up()
            sock.recv(10)
        world.sleep(5)
        with pytest.raises(ConnectionRefusedError):
            client.sockets.create_connection(("10.0.0.2", 81))
        with client.sockets.create_connection(("server", 80)) as sock:
            sock.sendall(b"hello")
            sock.recv(10)
            server.crash()
            server.restart()
            sock.sendall(b"still there?")
            with pytest.raises(ConnectionResetError):
                sock.recv(10)
    return world


def test_what_sockets_do_is_told() -> None:
    trace = story().trace
    ends = [
        one.kind for one in trace.events("established", "closes", "closed", "reset", host="client")
    ]
    assert ends == ["established", "closes", "closed", "established", "reset"]
    served = [one.kind for one in trace.events(host="server", until=5) if not one.count]
    assert served == [
        "listens", "asked", "established", "accepted", "peer closed", "closes", "closed",
    ]  # fmt: skip
    again = trace.events("retransmits", host="client", port=80)
    assert again
    assert all(one.at < 5 and one.remote == ("10.0.0.2", 80) for one in again)
    if default_engine() == "gvisor":
        return  # which tells nothing of these
    assert [one.local[1] == 0 for one in trace.events("failed", port=81)] == [False]
    assert [one.at for one in trace.events("connects", "failed")][:1] == [0.0]
    timeouts = trace.events("RTO", host="client")
    assert [one.rto for one in timeouts] == sorted(one.rto for one in timeouts)


def test_events_of_two_runs_are_equal() -> None:
    one, other = story(), story()
    assert one.trace.sockets == other.trace.sockets
    assert one.sequence() == other.sequence()
    assert ":80 accepted *" in one.sequence()  # in the last column its words stand left
    assert "retransmits 1" in one.sequence(svg=True)


def test_an_unknown_kind_of_event_is_refused() -> None:
    with pytest.raises(ValueError, match="'rto' is no kind of event; there are listens"):
        story().trace.events("rto")


def blocks(data: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        assert struct.unpack_from("<I", data, at + size - 4)[0] == size
        found.append((kind, data[at + 8 : at + size - 4]))
        at += size
    return found


def test_a_capture_says_why_a_frame_was_dropped(tmp_path: Path) -> None:
    world = transfer()
    path = tmp_path / "trace.pcapng"
    world.save_trace(path)
    found = blocks(path.read_bytes())
    frames = [body for kind, body in found if kind == 6]
    assert [kind for kind, _body in found[:2]] == [0x0A0D0D0A, 1]
    assert len(frames) == len(world.trace.frames)
    assert b"left > right #1" in path.read_bytes()
    full = sum(b": queue full" in body for body in frames)
    assert full == len(world.trace.where(lambda one: one.fate == "queue full"))
    high, low = struct.unpack_from("<II", frames[0], 4)
    assert (high << 32 | low) == 1_704_067_200_000_000
    if tool := shutil.which("capinfos"):
        alone = {**os.environ, "LD_PRELOAD": ""}  # not the sanitizers
        subprocess.run([tool, path], check=True, capture_output=True, env=alone)


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        ("", "Ethernet type 0x0000, 0 bytes"),
        ("ff" * 12 + "0800" + "45" + "00" * 5, "Ethernet type 0x0800, 6 bytes"),
        ("ff" * 12 + "0800" + "4f00001400000000401100000a0000010a000002", "IP protocol 17"),
        ("ff" * 12 + "0806" + "0001080006040001" + "00" * 6 + "0a000001" + "00" * 6 + "0a000002",
         "ARP who has 10.0.0.2"),
        ("ff" * 12 + "0800" + "4500001c00000000400100000a0000010a000002" + "0304000000000000",
         "ICMP fragmentation needed"),
        ("ff" * 12 + "0800" + "4500001c00000000401100000a0000010a000002" + "0035003500080000",
         "UDP 53 > 53 len=0"),
        ("ff" * 12 + "0800" + "4500001c00002005400600000a0000010a000002" + "00" * 8,
         "fragment at 40, 8 bytes"),
        ("ff" * 12 + "86dd" + "60000000000c0001" + "00" * 32 + "3a00010000000000" + "80000000",
         "ICMPv6 echo"),
    ],
)  # fmt: skip
def test_frames_of_every_kind_are_told(frame: str, says: str) -> None:
    assert says in str(dissect(bytes.fromhex(frame)))


def test_no_frame_is_too_broken() -> None:
    whole = next(one for one in transfer().trace.frames if one.packet.protocol == "tcp").data
    for size in range(len(whole)):
        assert str(dissect(whole[:size]))
    assert isinstance(Frame(0, "a", "b", "a-b", 1, b"").packet.text, str)
