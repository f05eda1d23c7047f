"""NICs without a Stack: the test is at both ends."""

from __future__ import annotations

import errno
import itertools
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lockstep import lockstep
from scapy.all import PcapNgReader, PcapReader

from pystack import nic
from pystack.nic import Impairment, Layer, impair

A, B, C = (bytes([2, 0, 0, 0, 0, n]) for n in (1, 2, 3))
BROADCAST = b"\xff" * 6


def frame(to: bytes, source: bytes, body: bytes = b"x" * 46) -> bytes:
    return to + source + b"\x88\xb5" + body


def drain(end: nic.Nic, timeout: float = 0) -> list[bytes]:
    found = []
    while (one := end.receive(timeout)) is not None:
        found.append(one)
    return found


# --- wires and switches ----------------------------------------------------------------------


def test_a_wire_carries_both_ways() -> None:
    left, right = nic.wire(mtu=9000)
    with left, right:
        left.send(frame(B, A))
        left.send(memoryview(frame(B, A, b"second")))
        right.send(bytearray(frame(A, B, bytes(9000))))
        assert drain(right) == [frame(B, A), frame(B, A, b"second")]
        assert drain(left) == [frame(A, B, bytes(9000))]
        assert (left.mtu, left.layer, left.mac, left.attached) == (
            9000,
            Layer.ETHERNET,
            None,
            False,
        )
        assert left.statistics().sent_frames == 2
        assert right.statistics().received_bytes == len(frame(B, A)) + len(frame(B, A, b"second"))


def test_a_full_wire_drops() -> None:
    left, right = nic.wire(queue_frames=3)
    with left, right:
        for _ in range(3):
            left.send(frame(B, A))
        with pytest.raises(OSError, match="buffer space") as caught:
            left.send(frame(B, A))
        assert caught.value.errno == errno.ENOBUFS
        assert left.statistics().dropped_frames == 1
        assert len(drain(right)) == 3


def test_receiving_waits_as_long_as_told() -> None:
    left, right = nic.wire()
    with left, right:
        assert left.receive(0) is None
        started = time.monotonic()
        assert left.receive(0.05) is None
        assert time.monotonic() - started > 0.04


def test_closed_nics_say_so() -> None:
    left, right = nic.wire()
    left.close()
    left.close()
    for use in (lambda: left.send(b"x" * 60), lambda: left.receive(0), left.statistics):
        with pytest.raises(OSError, match="closed") as caught:
            use()
        assert caught.value.errno == errno.EBADF
    assert "closed" in repr(left)
    right.close()


@pytest.mark.parametrize(
    ("use", "remedy"),
    [
        (nic.Descriptor, "nic.Tap"),
        (lambda given: nic.capture(given, "/nowhere/x.pcap"), "transmit"),
        (nic.impair, "transmit"),
        (nic.adapt, "transmit"),
    ],
)
def test_what_is_no_nic_is_named(use: Callable[[Any], Any], remedy: str) -> None:
    with pytest.raises(TypeError, match=remedy) as caught:
        use("tap0")
    assert "tap0" in str(caught.value)


@pytest.mark.parametrize("mtu", [0, 67, 65501, -1])
def test_mtus_out_of_range(mtu: int) -> None:
    with pytest.raises(ValueError, match="MTU"):
        nic.wire(mtu)
    with pytest.raises(ValueError, match="MTU"):
        nic.Switch(mtu)
    with pytest.raises(ValueError, match="MTU"):
        nic.PythonNic(print, mtu)


def test_a_switch_floods_and_learns() -> None:
    with nic.Switch() as fabric:
        one, two, three = fabric.port(), fabric.port(), fabric.port()
        with one, two, three:
            one.send(frame(B, A))
            assert (drain(two), drain(three)) == ([frame(B, A)], [frame(B, A)])
            assert drain(one) == []
            two.send(frame(A, B))
            assert (drain(one), drain(three)) == ([frame(A, B)], [])
            one.send(frame(B, A))
            assert (drain(two), drain(three)) == ([frame(B, A)], [])
            three.send(frame(BROADCAST, C))
            assert drain(one) == drain(two) == [frame(BROADCAST, C)]
            three.send(frame(A, B))  # B has moved
            drain(one)
            one.send(frame(B, A))
            assert (drain(two), drain(three)) == ([], [frame(B, A)])
    with pytest.raises(OSError, match="closed"):
        fabric.port()


# --- descriptors -----------------------------------------------------------------------------


def test_a_datagram_descriptor() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with theirs, nic.Descriptor(ours) as end:
        assert ours.fileno() == -1  # taken over
        end.send(frame(B, A))
        assert theirs.recv(2000) == frame(B, A)
        theirs.send(frame(A, B))
        assert end.receive(30) == frame(A, B)


@pytest.mark.parametrize(("framing", "width"), [("LENGTH16", 2), ("LENGTH32", 4)])
def test_a_stream_descriptor(framing: str, width: int) -> None:
    ours, theirs = socket.socketpair()
    with theirs, nic.Descriptor(ours, framing=nic.Framing[framing], layer=Layer.IP) as end:
        end.send(b"abc")
        assert theirs.recv(100) == (3).to_bytes(width, "big") + b"abc"
        stream = b"".join(
            len(body).to_bytes(width, "big") + body for body in (b"first", b"2", bytes(1400))
        )
        theirs.sendall(stream[: width + 2])
        assert end.receive(0) is None
        theirs.sendall(stream[width + 2 : -10])
        assert drain(end, 0.05) == [b"first", b"2"]
        theirs.sendall(stream[-10:])
        assert end.receive(30) == bytes(1400)


def test_a_stream_that_is_full_tears_no_frame() -> None:
    ours, theirs = socket.socketpair()
    with theirs, nic.Descriptor(ours, framing=nic.Framing.LENGTH32, mtu=9000) as end:
        taken = 0
        with pytest.raises(OSError, match="buffer space"):
            while True:
                end.send(taken.to_bytes(4, "big") * 2000)
                taken += 1
        theirs.setblocking(False)
        stream = bytearray()
        for _ in range(10_000):
            try:
                stream += theirs.recv(1 << 20)
            except BlockingIOError:
                end.receive(0)  # moves what is left of a frame
                if len(stream) % 8004 == 0:
                    break
        for number in range(len(stream) // 8004):
            piece = stream[number * 8004 : (number + 1) * 8004]
            assert piece[:4] == (8000).to_bytes(4, "big")
            assert piece[4:] == number.to_bytes(4, "big") * 2000


def test_a_stream_with_an_impossible_length_has_ended() -> None:
    ours, theirs = socket.socketpair()
    with theirs, nic.Descriptor(ours, framing=nic.Framing.LENGTH32) as end:
        theirs.sendall(b"\xff\xff\xff\xff")
        with pytest.raises(OSError, match=r"."):
            end.receive(30)


def test_a_descriptor_that_is_none() -> None:
    with pytest.raises(OSError, match=r"[Bb]ad file") as caught:
        nic.Descriptor(99_999)
    assert caught.value.errno == errno.EBADF
    with pytest.raises(OSError, match=r"[Bb]ad file"):
        nic.Descriptor(-1)


# --- Python ----------------------------------------------------------------------------------


def test_a_python_nic() -> None:
    sent: list[bytes] = []
    with nic.PythonNic(sent.append, queue_frames=2) as end:
        end.send(frame(B, A))
        assert sent == [frame(B, A)]
        end.deliver(frame(A, B))
        end.deliver(frame(A, B, b"2"))
        with pytest.raises(OSError, match="buffer space"):
            end.deliver(frame(A, B))
        assert drain(end) == [frame(A, B), frame(A, B, b"2")]
        with pytest.raises(OSError, match="too long"):
            end.deliver(b"")
    with nic.PythonNic(lambda _frame: False) as full, pytest.raises(OSError, match="buffer space"):
        full.send(frame(B, A))


class Tunnel:
    """The protocol of a NIC, and no more."""

    mtu = 1400
    layer = Layer.IP

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.deliver: Callable[[bytes], None] = lambda _frame: None

    def bind(self, deliver: Callable[[bytes], None]) -> None:
        self.deliver = deliver

    def transmit(self, data: bytes) -> None:
        self.sent.append(data)


def test_any_object_with_the_protocol_is_a_nic() -> None:
    tunnel = Tunnel()
    with nic.adapt(tunnel) as end:
        assert (end.mtu, end.layer) == (1400, Layer.IP)
        end.send(b"out")
        tunnel.deliver(b"in")
        assert (tunnel.sent, end.receive(1)) == ([b"out"], b"in")
        assert nic.adapt(end) is end
    with pytest.raises(TypeError, match="not a NIC"):
        nic.adapt(object())  # type: ignore[arg-type]


def test_parsing() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with theirs, nic.parse(f"fd:{ours.detach()},ip,mtu=900") as end:
        assert (end.mtu, end.layer) == (900, Layer.IP)
    for wrong in ("", "tap", "fd:x", "fd:3,odd", "eth:0", "packet:", "fd:3,mtu=x"):
        with pytest.raises(ValueError, match="tap:NAME"):
            nic.parse(wrong)
    with pytest.raises(ValueError, match="15 bytes"):
        nic.parse("tap:a-name-that-is-too-long")


# --- captures --------------------------------------------------------------------------------


@pytest.mark.parametrize(("suffix", "reader"), [("pcap", PcapReader), ("pcapng", PcapNgReader)])
def test_a_capture_is_read_back(tmp_path: Path, suffix: str, reader: Any) -> None:
    path = tmp_path / f"frames.{suffix}"
    left, right = nic.wire()
    with nic.capture(left, path) as watched, right:
        watched.send(frame(B, A, b"out" * 20))
        right.send(frame(A, B, b"in" * 30))
        assert watched.receive(1) == frame(A, B, b"in" * 30)
        watched.flush()
        with reader(str(path)) as file:
            packets = list(file)
    assert [bytes(packet) for packet in packets] == [
        frame(B, A, b"out" * 20),
        frame(A, B, b"in" * 30),
    ]
    assert all(abs(float(packet.time) - time.time()) < 60 for packet in packets)


def test_a_capture_may_be_cut(tmp_path: Path) -> None:
    left, right = nic.wire()
    with nic.capture(left, tmp_path / "f.pcap", snap_length=20) as watched, right:
        watched.send(frame(B, A))
    with PcapReader(str(tmp_path / "f.pcap")) as file:
        (packet,) = list(file)
    assert (len(packet), packet.wirelen) == (20, 60)


def test_captures_refuse_what_they_cant(tmp_path: Path) -> None:
    left, right = nic.wire()
    with left, right:
        with pytest.raises(ValueError, match=r"\.pcap"):
            nic.capture(left, tmp_path / "f.txt")
        with pytest.raises(FileNotFoundError):
            nic.capture(left, tmp_path / "none" / "f.pcap")
        watched = nic.capture(left, tmp_path / "f.pcap")
        with pytest.raises(OSError, match="holds"):
            left.send(frame(B, A))
        with pytest.raises(OSError, match="busy"):
            nic.capture(left, tmp_path / "g.pcap")
        watched.close()


# --- impairment ------------------------------------------------------------------------------


def passed(impairment: Impairment, count: int, seed: int = 1, wait: float = 0) -> list[bytes]:
    left, right = nic.wire(queue_frames=3 * count)
    with impair(left, impairment, seed=seed) as bad, right:
        for number in range(count):
            bad.send(frame(B, A, number.to_bytes(4, "big") * 12))
        bad.receive(wait)  # gives held frames the time to come out
        return drain(right)


def arrivals(incoming: Impairment, count: int, *, singly: bool) -> list[float]:
    """Virtual seconds that frames of 1250 bytes take that are sent at once, or one by one."""
    with lockstep(wrap=lambda end: impair(end, incoming=incoming, seed=1)) as it:
        taker = it.client.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender = it.server.socket(socket.AF_INET, socket.SOCK_DGRAM)
        times: list[float] = []
        sent = 0

        def have_come() -> bool:
            try:
                while taker.recv(2000):
                    times.append((it.clock.now_us() - began) / 1e6)
            except BlockingIOError:
                return len(times) == sent

        with taker, sender:
            taker.setblocking(False)
            taker.bind(("10.0.0.1", 9))
            it.server.neighbours.add(
                "10.0.0.1", str(it.client.interfaces[1].mac), interface=it.server.interfaces[1]
            )
            while sent < count:
                began = it.clock.now_us()
                for _ in range(1 if singly else count):
                    sender.sendto(bytes(1208), ("10.0.0.1", 9))
                    sent += 1
                assert it.run(have_come, seconds=10, stride=0.001)
        return times


def numbers(frames: list[bytes]) -> list[int]:
    return [int.from_bytes(one[14:18], "big") for one in frames]


def test_loss_is_the_share_that_was_asked_for_and_repeatable() -> None:
    first = numbers(passed(Impairment(loss=0.3), 5000))
    assert 3300 < len(first) < 3700
    assert first == sorted(first)
    assert numbers(passed(Impairment(loss=0.3), 5000)) == first
    assert numbers(passed(Impairment(loss=0.3), 5000, seed=2)) != first


def test_duplicates() -> None:
    found = numbers(passed(Impairment(duplicate=0.2), 2000))
    assert 2300 < len(found) < 2500
    assert set(found) == set(range(2000))


def test_corruption_flips_one_bit() -> None:
    found = passed(Impairment(corrupt=0.5), 400)
    changed = 0
    for number, one in enumerate(found):
        whole = frame(B, A, number.to_bytes(4, "big") * 12)
        bits = sum((x ^ y).bit_count() for x, y in zip(one, whole, strict=True))
        assert bits in (0, 1)
        changed += bits
    assert 140 < changed < 260


def test_reordering_lets_others_overtake() -> None:
    found = numbers(passed(Impairment(reorder=0.2, reorder_delay=0.01), 500, wait=0.2))
    assert sorted(found) == list(range(500))
    early = sum(a > b for a, b in itertools.pairwise(found))
    assert early > 0


def test_delay_and_jitter() -> None:
    left, right = nic.wire()
    with impair(left, incoming=Impairment(delay=0.05, jitter=0.02), seed=1) as bad, right:
        for _ in range(10):
            started = time.monotonic()
            right.send(frame(A, B))
            assert bad.receive(30) == frame(A, B)
            assert time.monotonic() - started > 0.049
    times = arrivals(Impairment(delay=0.05, jitter=0.02), 50, singly=True)
    assert 0.049 < min(times) < 0.055
    assert 0.065 < max(times) < 0.072


def test_a_rate_spreads_frames_over_time() -> None:
    left, right = nic.wire()
    with impair(left, incoming=Impairment(rate=1_000_000), seed=1) as bad, right:
        started = time.monotonic()
        for _ in range(20):
            right.send(frame(A, B, bytes(1236)))  # 1250 bytes: 10 ms each
        assert all(bad.receive(30) is not None for _ in range(20))
        assert time.monotonic() - started > 0.17
    times = arrivals(Impairment(rate=1_000_000), 20, singly=False)
    assert all(0.008 < b - a < 0.012 for a, b in itertools.pairwise(times))


def test_an_impairment_can_be_changed() -> None:
    left, right = nic.wire()
    with impair(left, Impairment(loss=1.0)) as bad, right:
        bad.send(frame(B, A))
        assert drain(right) == []
        bad.set(outgoing=Impairment())
        assert bad.outgoing.loss == 0
        bad.send(frame(B, A))
        assert len(drain(right)) == 1
        assert bad.statistics().dropped_frames >= 1


@pytest.mark.parametrize(
    "wrong",
    [{"loss": 1.1}, {"corrupt": -0.1}, {"delay": -1}, {"rate": -1}, {"queue_frames": 0},
     {"jitter": float("inf")}, {"duplicate": float("nan")}],
)  # fmt: skip
def test_impairments_that_can_not_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)).split("_")[0]):
        Impairment(**wrong)


def test_closing_a_wrapper_closes_what_is_inside() -> None:
    left, right = nic.wire()
    outer = impair(impair(left, seed=1), seed=2)
    outer.close()
    with pytest.raises(OSError, match="closed"):
        left.send(frame(B, A))
    right.close()
