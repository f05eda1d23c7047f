"""`nic.tamper`: frames that pass a function, on a wire and in a World; and `nic.refresh`."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pair import LEFT, RIGHT
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw

import pystack
from pystack import nic
from pystack.nic import Frame, Layer
from pystack.world import World

# With both addresses: scapy would ask the machine's own network for one that is left out.
LINK = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
HEAD = b"\x02" * 6 + b"\x02\0\0\0\0\1" + b"\x88\xb5"


@pytest.fixture
def ends() -> Iterator[tuple[nic.Tampered, nic.Nic]]:
    """A wire's ends without a Stack; the left one's frames pass a function that a test sets."""
    left, right = nic.wire()
    with nic.tamper(left, lambda frame: frame) as near, right:
        yield near, right


def drain(end: nic.Nic) -> list[bytes]:
    return list(iter(lambda: end.receive(0), None))


# --- what becomes of a frame -----------------------------------------------------------------


def several(frame: Frame) -> Iterator[bytes]:
    yield frame.data + b"1"
    yield frame.data + b"2"


class Odd:
    def __bytes__(self) -> bytes:
        return HEAD + b"odd"


@pytest.mark.parametrize(
    ("function", "becomes"),
    [
        (lambda frame: frame, [b"x"]),
        (lambda _frame: None, []),
        (lambda frame: [], []),
        (lambda frame: frame.data.replace(b"x", b"y"), [b"y"]),
        (lambda frame: bytearray(frame.data + b"!"), [b"x!"]),
        (lambda frame: [frame, frame], [b"x", b"x"]),
        (lambda frame: (frame.delayed(0), b"%bz" % HEAD), [b"x", b"z"]),
        (several, [b"x1", b"x2"]),
        (lambda _frame: Odd(), [b"odd"]),
    ],
)
def test_what_becomes_of_a_frame(
    ends: tuple[nic.Tampered, nic.Nic], function: Callable[[Frame], Any], becomes: list[bytes]
) -> None:
    near, far = ends
    near.function = function
    near.send(HEAD + b"x")
    assert [one[len(HEAD) :] for one in drain(far)] == becomes
    far.send(HEAD + b"x")
    assert [one[len(HEAD) :] for one in drain(near)] == becomes
    assert near.statistics().dropped_frames == (2 if not becomes else 0)


def test_a_frame_says_what_it_is(ends: tuple[nic.Tampered, nic.Nic]) -> None:
    near, far = ends
    seen: list[Frame] = []
    near.function = seen.append  # which returns None
    near.send(bytes(LINK / Dot1Q(vlan=7) / IP(dst=RIGHT) / UDP()))
    far.send(bytes(LINK / ARP()))
    assert near.receive(0) is None
    one, other = seen
    assert (one.outgoing, one.layer, one.packet[:1]) == (True, Layer.ETHERNET, b"\x45")
    assert (other.outgoing, other.packet) == (False, b"")
    assert 0 < one.time <= other.time


def test_data_may_be_changed_in_place(ends: tuple[nic.Tampered, nic.Nic]) -> None:
    near, far = ends

    def change(frame: Frame) -> Frame:
        frame.data = frame.data[:-1]
        return frame

    near.function = change
    near.send(HEAD + b"xy")
    assert far.receive(0) == HEAD + b"x"


# --- what a function does wrong --------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (lambda _frame: 1 / 0, ZeroDivisionError, "division"),
        (lambda _frame: 5, TypeError, "not 5"),
        (lambda _frame: "text", TypeError, "text"),
        (lambda _frame: [None], TypeError, "None"),
        (lambda _frame: b"", ValueError, "0"),
        (lambda _frame: bytes(70_000), ValueError, "70000"),
        (lambda frame: frame.delayed(-1), ValueError, "-1"),
        (lambda frame: frame.delayed(float("nan")), ValueError, "nan"),
    ],
)
def test_what_it_raises_propagates(
    ends: tuple[nic.Tampered, nic.Nic],
    function: Callable[[Frame], Any],
    error: type[Exception],
    words: str,
) -> None:
    near, far = ends
    near.function = function
    with pytest.raises(error, match=words):
        near.send(HEAD + b"x")
    assert far.receive(0) is None
    far.send(HEAD + b"x")
    with pytest.raises(error, match=words):
        near.receive(0)
    assert near.receive(0) is None, "it is raised once"
    assert near.statistics().dropped_frames == 2


def test_one_that_never_ends_is_stopped(ends: tuple[nic.Tampered, nic.Nic]) -> None:
    near, _far = ends
    near.function = lambda frame: itertools.repeat(frame.data)
    with pytest.raises(ValueError, match="over 65536 frames"):
        near.send(HEAD + b"x")


def test_what_it_raises_propagates_from_the_stacks_calls(
    ends: tuple[nic.Tampered, nic.Nic],
) -> None:
    near, far = ends
    with pystack.Stack(threaded=False) as net:
        net.attach(near, f"{LEFT}/24")
        near.function = lambda _frame: 1 / 0  # type: ignore[assignment,return-value]
        with pytest.raises(ZeroDivisionError):
            net.ping(RIGHT, timeout=0)
        near.function = lambda frame: 1 / 0 if not frame.outgoing else None  # type: ignore[assignment,return-value]
        far.send(HEAD)
        with pytest.raises(ZeroDivisionError):
            net.step()
        net.step()
        assert net.interfaces[1].link, "the wire is still there"


def test_it_raises_through_a_nic_around_it(ends: tuple[nic.Tampered, nic.Nic]) -> None:
    near, _far = ends
    near.function = lambda _frame: 1 / 0  # type: ignore[assignment,return-value]
    with nic.impair(near) as around, pytest.raises(ZeroDivisionError):
        around.send(HEAD + b"x")
        around.receive(0)


def test_it_can_not_use_its_stack() -> None:
    left, right = nic.wire()
    with pystack.Stack() as net, right:
        found: list[OSError] = []

        def use(frame: Frame) -> Frame:
            try:
                net.socket().close()
            except OSError as error:
                found.append(error)
            return frame

        net.attach(nic.tamper(left, use), f"{LEFT}/24")
        net.ping(RIGHT, timeout=0)
        assert {one.errno for one in found} == {errno.EDEADLK}


def test_what_is_refused() -> None:
    left, right = nic.wire()
    with left, right:
        with pytest.raises(TypeError, match="'tap0'"):
            nic.tamper("tap0", print)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="None"):
            nic.tamper(left, None)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"a queue.s length is .*, not 0"):
            nic.tamper(left, lambda frame: frame, queue_frames=0)
        with (
            nic.tamper(left, lambda frame: frame),
            pytest.raises(OSError) as caught,
        ):
            nic.tamper(left, lambda frame: frame)
        assert caught.value.errno == errno.EBUSY


def test_queues_are_bounded(ends: tuple[nic.Tampered, nic.Nic]) -> None:
    _near, far = ends
    left, right = nic.wire()
    with right, nic.tamper(left, lambda frame: frame.delayed(3600), queue_frames=3) as near:
        for _ in range(5):
            near.send(HEAD + b"x")
        assert near.statistics().dropped_frames == 2
        for _ in range(3):
            near.inject(HEAD, outgoing=True)
        with pytest.raises(OSError, match="buffer space"):
            near.inject(HEAD, outgoing=True)
        with pytest.raises(OSError, match="long"):
            near.inject(b"", outgoing=True)
    with pytest.raises(OSError, match="closed"):
        near.inject(HEAD, outgoing=False)
    assert far.receive(0) is None


def test_injected_frames_pass_no_function(ends: tuple[nic.Tampered, nic.Nic]) -> None:
    near, far = ends
    near.function = lambda _frame: None
    near.inject(HEAD + b"in", outgoing=False)
    near.inject(HEAD + b"out", outgoing=True)
    assert drain(near) == [HEAD + b"in"]
    assert drain(far) == [HEAD + b"out"]


def test_what_is_injected_wakes_the_stack() -> None:
    left, right = nic.wire()
    near = nic.tamper(left, lambda frame: frame)
    with pystack.Stack() as net, right:
        mac = net.attach(nic.impair(near), f"{LEFT}/24").mac
        question = Ether(dst=mac, src="02:00:00:00:00:09") / ARP(psrc=RIGHT, pdst=LEFT)
        while right.receive(0.05) is not None:
            pass  # what it says by itself when it comes up
        near.inject(bytes(question), outgoing=False)
        answer = Ether(right.receive(10))
        assert answer[ARP].psrc == LEFT


def test_what_is_injected_leaves_though_the_stack_closes() -> None:
    left, right = nic.wire()
    near = nic.tamper(left, lambda frame: frame)
    with right:
        with pystack.Stack(threaded=False) as net:
            net.attach(near, f"{LEFT}/24")
            near.inject(HEAD + b"last", outgoing=True)
        assert HEAD + b"last" in drain(right)


# --- on a Stack ------------------------------------------------------------------------------


def test_it_sees_ordinary_frames_and_tcp_survives() -> None:
    left, right = nic.wire()
    sizes, count = [], 0

    def worsen(frame: Frame) -> nic.Outcome:
        nonlocal count
        count += 1
        sizes.append(len(frame.data))
        if frame.packet:
            assert nic.refresh(frame.data) == frame.data, "its checksums are right"
        if count % 50 == 0:
            return None
        if count % 20 == 0:
            return frame, frame
        return frame.delayed(0.001) if count % 10 == 0 else frame

    data = bytes(range(256)) * 2000
    with pystack.Stack() as a, pystack.Stack() as b:
        a.attach(nic.tamper(left, worsen), f"{LEFT}/24")
        b.attach(right, f"{RIGHT}/24")
        with b.sockets.create_server((RIGHT, 0)) as listener:
            client = a.sockets.create_connection(listener.getsockname(), 20)
            server, _ = listener.accept()
            sender = threading.Thread(target=lambda: (client.sendall(data), client.shutdown(1)))
            sender.start()
            with server, client:
                found = b"".join(iter(lambda: server.recv(65536), b""))
                sender.join()
    assert found == data
    assert max(sizes) == 1514


def one_run(seed: int) -> tuple[str, float]:
    """A hash of all frames and their times in a World whose link is tampered with."""
    seen, count = hashlib.sha256(), 0

    def worsen(frame: Frame) -> nic.Outcome:
        nonlocal count
        count += 1
        seen.update(f"{frame.time} {frame.outgoing}".encode() + frame.data)
        if count % 7 == 0:
            return None
        return frame.delayed(0.05) if count % 5 == 0 else frame

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(hashlib.sha256(await reader.read(-1)).digest())
        writer.close()

    async def serve() -> None:
        await (await asyncio.start_server(answer, "0.0.0.0", 80)).serve_forever()

    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection("b", 80)
        writer.write(b"x" * 100_000)
        writer.write_eof()
        answered = await reader.read()
        writer.close()
        return answered

    with World(seed=seed) as world:
        a, b = world.host("a"), world.host("b")
        world.link(a, b, delay="10ms", tamper=worsen)

        async def main() -> tuple[bytes, float]:
            b.spawn(serve())
            await asyncio.sleep(0)
            return await a.run(ask()), asyncio.get_running_loop().time()

        answered, moment = world.run(main())
    assert answered == hashlib.sha256(b"x" * 100_000).digest()
    return seen.hexdigest(), moment


def test_a_world_repeats_itself() -> None:
    assert one_run(1) == one_run(1) != one_run(2)


def test_delays_are_the_worlds() -> None:
    seen: list[Frame] = []

    def late(frame: Frame) -> nic.Outcome:
        seen.append(frame)
        return frame.delayed(0.5) if frame.outgoing else frame

    with World(seed=1) as world:
        a, b = world.host("a"), world.host("b")
        world.link(a, b, delay="10ms", tamper=late)

        async def main() -> None:
            await asyncio.to_thread(a.ping, "10.0.0.2", timeout=5)

        world.run(a.run(main()))
    question = next(one for one in seen if one.outgoing and one.data[12:14] == b"\x08\x06")
    answer = next(one for one in seen if not one.outgoing and one.data[12:14] == b"\x08\x06")
    assert answer.time - question.time == pytest.approx(0.52)


# --- checksums -------------------------------------------------------------------------------

V4, V6 = IP(src="10.0.0.1", dst="10.0.0.2"), IPv6(src="fd00::1", dst="fd00::2")


@pytest.mark.parametrize(
    "packet",
    [
        LINK / V4 / TCP(flags="PA") / b"odd",
        LINK / V4 / UDP() / b"even",
        LINK / V4 / ICMP() / b"ping!",
        LINK / V6 / TCP() / b"odd",
        LINK / V6 / UDP() / b"even",
        LINK / V6 / ICMPv6EchoRequest(data=b"ping!"),
        LINK / Dot1Q(vlan=3) / V4 / TCP() / b"tagged",
        LINK / Dot1Q(type=0x8100) / Dot1Q(vlan=3) / V6 / UDP() / b"twice",
        LINK / V6 / IPv6ExtHdrHopByHop() / TCP() / b"behind",
        LINK / V6 / IPv6ExtHdrHopByHop() / IPv6ExtHdrRouting(segleft=0) / UDP() / b"both",
        LINK / IP(src="10.0.0.1", dst="10.0.0.2", options=b"\1\1\1\1") / TCP() / b"options",
        V4 / TCP() / b"no Ethernet",
        V6 / UDP() / b"no Ethernet",
    ],
    ids=lambda packet: packet.summary(),
)
def test_checksums_are_refreshed(packet: Any) -> None:
    layer = Layer.ETHERNET if packet.haslayer(Ether) else Layer.IP
    right = bytes(packet)
    broken = packet.copy()
    for one in (IP, TCP, UDP, ICMP, ICMPv6EchoRequest):
        if broken.haslayer(one):
            broken[one].setfieldval("cksum" if one is ICMPv6EchoRequest else "chksum", 0x1234)
    assert bytes(broken) != right
    assert nic.refresh(bytes(broken), layer) == right


@pytest.mark.parametrize(
    "packet",
    [LINK / V4 / TCP() / b"1", LINK / V6 / UDP() / b"1", LINK / V4 / UDP() / b"1"],
    ids=lambda packet: packet.summary(),
)
def test_lengths_are_refreshed(packet: Any) -> None:
    longer = packet.copy()
    longer[Raw].load = b"123"
    assert nic.refresh(bytes(packet) + b"23", lengths=True) == bytes(longer)
    padded = bytes(packet) + b"\0\0"
    assert nic.refresh(padded) == padded


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"short",
        bytes(13),
        bytes(LINK / ARP()),
        bytes(LINK / V4 / UDP(chksum=0) / b"none"),
        bytes(LINK / IP(src="10.0.0.1", dst="10.0.0.2", flags="MF") / UDP(chksum=7)),
        bytes(LINK / V6 / IPv6ExtHdrFragment(nh=17) / UDP(chksum=7)),
        bytes(LINK / V6 / TCP())[:-4],
        bytes(LINK) + b"\x81\x00",
        bytes(LINK)[:12] + b"\x81\x00" + b"\x81\x00\x81\x00" * 3,
    ],
)
def test_what_can_not_be_computed_stays(frame: bytes) -> None:
    assert nic.refresh(frame) == frame


@pytest.mark.sanitize
def test_nothing_is_read_beyond_a_frame() -> None:
    whole = [
        bytes(LINK / Dot1Q() / V4 / TCP() / b"x"),
        bytes(LINK / V6 / IPv6ExtHdrHopByHop() / IPv6ExtHdrRouting(segleft=0) / UDP() / b"x"),
        bytes(LINK / V4 / ICMP()),
    ]
    for frame in whole:
        for size in range(len(frame)):
            for changed in range(0, size, 3):
                for value in (0, 0xFF):
                    one = bytearray(frame[:size])
                    one[changed] = value
                    for lengths in (False, True):
                        assert len(nic.refresh(one, lengths=lengths)) == size
