"""How frames wait for a link's rate: limits, CoDel and FQ-CoDel beside a model, ECN, traces."""

from __future__ import annotations

import math
import socket
import statistics
from collections import defaultdict, deque
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from far_end import checksum
from scapy.utils import RawPcapReader

from pystack.world import (
    CoDel,
    Conditions,
    DelayTrace,
    Fifo,
    FqCoDel,
    Host,
    Link,
    NormalDelay,
    RateTrace,
    World,
)

HEADERS = 42  # Ethernet's, IPv4's and UDP's
SIZE = 1250  # of a frame: 10 ms at 1 Mbit/s
LARGEST = 1514


class Line:
    """Datagrams from one host to another at exact moments, and when they arrived."""

    def __init__(self, world: World, capture: Path | None = None, **conditions: object) -> None:
        self.world = world
        self.taker, self.sender = world.host("taker"), world.host("sender")
        self.link: Link = world.link(
            self.taker, self.sender, capture=capture, back=Conditions(**conditions)
        )
        world.sleep(60)  # until solicitations of routers are over
        for one, address, other in (
            (self.sender, "10.0.0.1", self.taker),
            (self.taker, "10.0.0.2", self.sender),
            (self.sender, "fd00::1", self.taker),
            (self.taker, "fd00::2", self.sender),
        ):
            mac = next(each.mac for each in other.interfaces if each.mac)
            one.neighbours.add(address, mac)
        self.got: list[tuple[int, int]] = []
        self.began_us = world.clock.now_us()
        self.taker.thread(self._take)

    def _take(self) -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(("", 9))
            while True:
                number = int.from_bytes(sock.recv(2000)[:4], "big")
                self.got.append((number, self.world.clock.now_us() - self.began_us))

    def send(self, arrivals: list[tuple[int, int, int]], tos: int = 0) -> None:
        """Sends (moment in µs, size of the frame, flow), and waits until the queue is empty."""
        self.world.sleep(0)
        with Sockets(self.sender, {flow for _us, _size, flow in arrivals}, tos) as socks:
            for number, (moment_us, size, flow) in enumerate(arrivals):
                self.world.sleep((self.began_us + moment_us - self.world.clock.now_us()) / 1e6)
                data = number.to_bytes(4, "big") + bytes(size - HEADERS - 4)
                socks[flow].sendto(data, ("taker", 9))
            self.world.sleep(30)


class Sockets:
    def __init__(self, host: Host, flows: set[int], tos: int) -> None:
        self.socks = {flow: host.socket(type=socket.SOCK_DGRAM) for flow in sorted(flows)}
        for flow, sock in self.socks.items():
            sock.bind(("", 5000 + flow))
            if tos:
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)

    def __enter__(self) -> dict[int, socket.socket]:
        return self.socks

    def __exit__(self, *_error: object) -> None:
        for sock in self.socks.values():
            sock.close()


def captured(path: Path) -> list[bytes]:
    with RawPcapReader(str(path)) as reader:
        return [frame for frame, _metadata in reader]


# --- a model of RFC 8289 and RFC 8290, written from their text ----------------------------------


@dataclass
class Waiting:
    number: int
    came_us: int
    size: int


@dataclass
class Controller:
    """RFC 8289 5: one queue and its state."""

    target_us: int
    interval_us: int
    queue: deque[Waiting] = field(default_factory=deque)
    first_above_us: int = 0
    drop_next_us: int = 0
    count: int = 0
    lastcount: int = 0
    dropping: bool = False

    def law(self, moment_us: int) -> int:
        return moment_us + int(self.interval_us / math.sqrt(self.count))

    def dodequeue(self, now_us: int) -> tuple[Waiting | None, bool]:
        if not self.queue:
            self.first_above_us = 0
            return None, False
        packet = self.queue.popleft()
        backlog = sum(one.size for one in self.queue)
        if now_us - packet.came_us < self.target_us or backlog <= LARGEST:
            self.first_above_us = 0
            return packet, False
        if self.first_above_us == 0:
            self.first_above_us = now_us + self.interval_us
            return packet, False
        return packet, now_us >= self.first_above_us

    def dequeue(self, now_us: int, gone: list[int], ecn: bool) -> Waiting | None:
        packet, ok = self.dodequeue(now_us)
        if self.dropping:
            if not ok:
                self.dropping = False
            while self.dropping and now_us >= self.drop_next_us:
                assert packet is not None
                gone.append(packet.number)
                self.count += 1
                if ecn:
                    self.drop_next_us = self.law(self.drop_next_us)
                    break
                packet, ok = self.dodequeue(now_us)
                if ok:
                    self.drop_next_us = self.law(self.drop_next_us)
                else:
                    self.dropping = False
        elif ok:
            assert packet is not None
            gone.append(packet.number)
            if not ecn:
                packet, ok = self.dodequeue(now_us)
            self.dropping = True
            delta = self.count - self.lastcount
            self.count = 1
            if delta > 1 and now_us - self.drop_next_us < 16 * self.interval_us:
                self.count = delta
            self.drop_next_us = self.law(now_us)
            self.lastcount = self.count
        return packet


class Model:
    """What a link of 1 Mbit/s delivers, and when; `gone`: what CoDel dropped or marked."""

    def __init__(
        self,
        target_us: int,
        interval_us: int,
        *,
        ecn: bool = False,
        quantum: int | None = None,
    ) -> None:
        self.flows: dict[int, Controller] = defaultdict(lambda: Controller(target_us, interval_us))
        self.ecn, self.quantum = ecn, quantum
        self.new: list[int] = []
        self.old: list[int] = []
        self.deficit: dict[int, int] = {}
        self.gone: list[int] = []

    def put(self, flow: int, packet: Waiting) -> None:
        self.flows[flow].queue.append(packet)
        if self.quantum is not None and flow not in self.new + self.old:
            self.new.append(flow)
            self.deficit[flow] = self.quantum

    def take(self, now_us: int) -> Waiting | None:
        if self.quantum is None:
            return self.flows[0].dequeue(now_us, self.gone, self.ecn)
        while self.new or self.old:
            turn = self.new or self.old
            flow = turn[0]
            if self.deficit[flow] <= 0:
                self.deficit[flow] += self.quantum
                self.old.append(turn.pop(0))
                continue
            packet = self.flows[flow].dequeue(now_us, self.gone, self.ecn)
            if packet is not None:
                self.deficit[flow] -= packet.size
                return packet
            was_new = turn is self.new
            turn.pop(0)
            if was_new and self.old:
                self.old.append(flow)
        return None

    def run(self, arrivals: list[tuple[int, int, int]]) -> list[tuple[int, int]]:
        delivered = []
        free_us, next_arrival = 0, 0
        while True:
            if not any(one.queue for one in self.flows.values()):
                if next_arrival == len(arrivals):
                    return delivered
                free_us = max(free_us, arrivals[next_arrival][0])
            while next_arrival < len(arrivals) and arrivals[next_arrival][0] <= free_us:
                moment_us, size, flow = arrivals[next_arrival]
                self.put(flow, Waiting(next_arrival, moment_us, size))
                next_arrival += 1
            packet = self.take(free_us)
            if packet is not None:
                free_us += packet.size * 8
                delivered.append((packet.number, free_us))


def overload() -> list[tuple[int, int, int]]:
    """Three times too much in waves, at moments that no departure shares."""
    arrivals, moment_us = [], 1
    for each in range(1500):
        moment_us += 12_337 if each % 400 > 250 else 7_913
        arrivals.append((moment_us, SIZE, 0))
    return arrivals


# --- CoDel ----------------------------------------------------------------------------------------


def test_codel_drops_what_the_rfc_drops_and_when() -> None:
    model = Model(5_000, 100_000)
    expected = model.run(overload())
    assert 60 < len(model.gone) < 400
    with World() as world:
        line = Line(world, rate="1Mbit/s", queue=CoDel(target="5ms", interval="100ms"))
        before = line.link.counts(line.sender)
        line.send(overload())
        assert line.got == expected
        after = line.link.counts(line.sender)
        assert after.dropped - before.dropped == len(model.gone)
        assert after.overflowed == after.marked == 0


def test_codel_has_other_targets_and_intervals() -> None:
    model = Model(20_000, 250_000)
    expected = model.run(overload())
    with World() as world:
        line = Line(world, rate="1Mbit/s", queue=CoDel(target=0.02, interval=0.25))
        line.send(overload())
        assert line.got == expected


def test_codel_marks_what_knows_ecn_and_drops_what_does_not(tmp_path: Path) -> None:
    model = Model(5_000, 100_000, ecn=True)
    expected = model.run(overload())
    path = tmp_path / "ecn.pcap"
    with World() as world:
        line = Line(world, path, rate="1Mbit/s", queue=CoDel(ecn=True))
        line.send(overload(), tos=0x02)
        counts = line.link.counts(line.sender)
        assert line.got == expected
        assert (counts.marked, counts.dropped) == (len(model.gone), 0)
    marked = []
    for frame in captured(path):
        packet = frame[14:]
        if frame[12:14] == b"\x08\x00" and packet[9] == socket.IPPROTO_UDP:
            assert checksum(packet[:20]) == 0
            if packet[1] & 3 == 3:
                marked.append(int.from_bytes(packet[28:32], "big"))
    assert marked == model.gone
    with World() as world:
        line = Line(world, rate="1Mbit/s", queue=CoDel(ecn=True))
        line.send(overload())
        counts = line.link.counts(line.sender)
        assert counts.marked == 0
        assert counts.dropped > 60


def test_marks_of_ipv6_are_in_the_traffic_class(tmp_path: Path) -> None:
    path = tmp_path / "ecn6.pcap"
    with World() as world:
        line = Line(world, path, rate="1Mbit/s", queue=CoDel(ecn=True))
        with line.sender.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(
                socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 0x0D
            )  # it knows ECN; and a DSCP
            for _each in range(400):
                sock.sendto(bytes(1188), ("fd00::1", 9))
                world.sleep(0.008)
        world.sleep(10)
        counts = line.link.counts(line.sender)
        assert counts.marked > 5
    classes = [
        int.from_bytes(frame[14:18], "big") >> 20 & 0xFF
        for frame in captured(path)
        if frame[12:14] == b"\x86\xdd" and frame[20] == socket.IPPROTO_UDP
    ]
    assert set(classes) == {0x0D, 0x0F}
    assert classes.count(0x0F) == counts.marked


def test_tcp_learns_of_a_full_queue_by_what_is_missing() -> None:
    with World() as world:
        left, right = world.host("left", engine="lwip"), world.host("right")
        link = world.link(left, right, rate="10Mbit/s", delay="10ms", queue=50)

        def take() -> None:
            with socket.create_server(("", 80)) as listener:
                connection, _peer = listener.accept()
                with connection:
                    while connection.recv(65536):
                        pass

        thread = right.thread(take)
        with left.sockets.create_connection(("right", 80)) as sock:
            sock.sendall(bytes(20_000_000))
            info = sock.tcp_info()
        thread.join()
        dropped = link.counts(left).overflowed
        # A sawtooth, in which the window is halved: not a packet in two.
        assert 0 < dropped < 300
        assert info.total_retransmits <= dropped + 5
        assert info.send_ssthresh < 200_000
        assert world.now < 20_000_000 * 8 / 10e6 * 1.06


def test_tcp_fills_a_link_with_codel() -> None:
    def fetch(queue: object) -> tuple[int, float, int]:
        with World() as world:
            left, right = world.host("left", engine="lwip"), world.host("right")
            link = world.link(left, right, rate="10Mbit/s", delay="20ms", queue=queue)
            sizes: list[int] = []

            def take() -> None:
                with socket.create_server(("", 80)) as listener:
                    connection, _peer = listener.accept()
                    with connection:
                        sizes.append(sum(map(len, iter(lambda: connection.recv(65536), b""))))

            thread = right.thread(take)
            with left.sockets.create_connection(("right", 80)) as sock:
                sock.sendall(bytes(5_000_000))
            thread.join()
            counts = link.counts(left)
            assert sizes == [5_000_000]
            return counts.dropped, world.now, counts.overflowed

    dropped, codel_took, _full = fetch(CoDel())
    _none, fifo_took, _full = fetch(Fifo(1000))
    assert dropped > 0
    assert 4 < fifo_took < 5
    assert 4 < codel_took < 5  # the link is still full


# --- FQ-CoDel -------------------------------------------------------------------------------------


def test_fq_codel_does_what_the_rfc_does() -> None:
    arrivals = sorted(
        [(us + 3, SIZE, 0) for us in range(0, 6_000_000, 7_919)]
        + [(us + 5, 400, 1) for us in range(500_000, 6_000_000, 19_937)]
        + [(us + 7, SIZE, 2) for us in range(2_000_000, 4_000_000, 13_331)]
    )
    model = Model(5_000, 100_000, quantum=1514)
    expected = model.run(arrivals)
    assert len(model.gone) > 50
    with World() as world:
        line = Line(world, rate="1Mbit/s", queue=FqCoDel(ecn=False))
        line.send(arrivals)
        assert line.got == expected
        assert line.link.counts(line.sender).dropped == len(model.gone)


def test_a_thin_flow_does_not_wait_behind_a_thick_one() -> None:
    def waits(queue: object) -> float:
        arrivals = sorted(
            [(us + 3, SIZE, 0) for us in range(0, 3_000_000, 6_000)]
            + [(us + 5, 100, 1) for us in range(0, 3_000_000, 100_003)]
        )
        thin = {number: us for number, (us, _size, flow) in enumerate(arrivals) if flow == 1}
        with World() as world:
            line = Line(world, rate="1Mbit/s", queue=queue)
            line.send(arrivals)
            return max(us - thin[number] for number, us in line.got if number in thin) / 1e6

    assert waits(Fifo(100)) > 0.9
    assert waits(FqCoDel()) < 0.025  # one frame that is being sent, and a turn of the other


def test_fq_codel_that_is_full_drops_from_the_longest() -> None:
    with World() as world:
        line = Line(world, rate="1Mbit/s", queue=FqCoDel(frames=20))
        line.send([(0, SIZE, 0)] * 40 + [(0, 100, 1)] * 3)
        numbers = [number for number, _us in line.got]
        assert {40, 41, 42} <= set(numbers)
        counts = line.link.counts(line.sender)
        assert counts.overflowed + counts.dropped == 43 - len(numbers) > 20


# --- limits, traces, delays ----------------------------------------------------------------------


def test_a_queue_is_limited_in_bytes() -> None:
    with World() as world:
        line = Line(world, rate="1Mbit/s", queue=Fifo(bytes="3kB"))
        # One is being sent; 1250 + 1250 + 500 bytes may wait.
        line.send([(0, SIZE, 0)] * 5 + [(0, 500, 0)] * 2 + [(10_001, 600, 0), (10_002, 650, 0)])
        assert line.got == [(0, 10_000), (1, 20_000), (2, 30_000), (5, 34_000), (7, 38_800),
                            (8, 44_000)]  # fmt: skip
        assert line.link.counts(line.sender).overflowed == 3


def test_what_waits_goes_on_when_the_discipline_changes() -> None:
    with World() as world:
        line = Line(world, rate="1Mbit/s", queue=CoDel())
        line.world.sleep(0)
        with line.sender.socket(type=socket.SOCK_DGRAM) as sock:
            for number in range(12):
                sock.sendto(number.to_bytes(4, "big") + bytes(1204), ("taker", 9))
            for queue in (Fifo(100), FqCoDel(), CoDel(), 100):
                world.sleep(0.025)
                line.link.change(queue=queue)
            world.sleep(1)
        assert [number for number, _us in line.got] == list(range(12))
        # Each change to another way keeps the frame that is being sent.
        assert [us for _number, us in line.got] == [10_000 * each for each in range(1, 13)]


def test_what_waits_is_lost_when_the_link_goes_down() -> None:
    with World() as world:
        line = Line(world, rate="1Mbit/s", queue=CoDel())
        with line.sender.socket(type=socket.SOCK_DGRAM) as sock:
            for number in range(8):
                sock.sendto(number.to_bytes(4, "big") + bytes(1204), ("taker", 9))
            world.sleep(0.025)
            line.link.down()
            world.sleep(1)
            line.link.up()
        assert [number for number, _us in line.got] == [0, 1]
        assert line.link.counts(line.sender).cut_off == 6


@pytest.mark.parametrize("queue", [Fifo(), CoDel(target=10, interval=100)])
def test_a_trace_says_when_frames_leave(queue: object, tmp_path: Path) -> None:
    path = tmp_path / "trace.up"
    path.write_text("5\n5\n20\n")
    trace = RateTrace.from_file(path)
    assert trace.opportunities_ms == (5, 5, 20)
    assert trace.mean == pytest.approx(3 * 1504 * 8 / 0.02)
    with World() as world:
        line = Line(world, queue=queue)
        line.link.change(line.sender, rate=trace)
        line.send([(0, SIZE, 0)] * 4 + [(60_001, SIZE, 0), (86_000, SIZE, 0)])
        # At 5 ms twice 1504 bytes, at 20, and again from 25 on: what frames leave over of one is
        # the next one's, and what nobody is there for is lost.
        assert line.got == [(0, 5_000), (1, 5_000), (2, 20_000), (3, 25_000), (4, 65_000),
                            (5, 100_000)]  # fmt: skip


def test_a_trace_goes_on_for_days() -> None:
    with World() as world:
        line = Line(world)
        line.link.change(line.sender, rate=RateTrace([3, 7]))
        day = 86_400_000_000
        line.send([(day + 8_000, SIZE, 0)])
        # 86,400,000 ms are 12,342,857 periods and 1 ms: 9 ms into the day is a moment at 10 ms.
        assert line.got == [(0, day + 9_000)]


def test_delays_are_the_samples(tmp_path: Path) -> None:
    path = tmp_path / "delays"
    path.write_text("# measured\n10\n30 # late\n0.5s\n")
    with World() as world:
        line = Line(world)
        line.link.change(line.sender, delay=DelayTrace.from_file(path))
        line.send([(us, SIZE, 0) for us in (0, 1_000_000, 2_000_000, 3_000_000)])
        assert line.got == [(0, 10_000), (1, 1_030_000), (2, 2_500_000), (3, 3_010_000)]
    with World() as world:
        line = Line(world)
        line.link.change(line.sender, delay=DelayTrace(["10ms", "40ms"], every="1s"))
        line.send([(us, SIZE, 0) for us in (0, 900_000, 1_500_000, 2_100_000)])
        assert line.got == [(0, 10_000), (1, 910_000), (2, 1_540_000), (3, 2_110_000)]


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_normal_delays_have_their_mean_deviation_and_correlation(correlation: float) -> None:
    with World(seed=3) as world:
        line = Line(world)
        line.link.change(line.sender, delay=NormalDelay("100ms", "10ms", correlation))
        line.send([(each * 1_000_000, SIZE, 0) for each in range(2000)])
        delays = [us / 1e6 - number for number, us in line.got]
    assert statistics.mean(delays) == pytest.approx(0.1, abs=0.002)
    assert statistics.stdev(delays) == pytest.approx(0.01, rel=0.1)
    assert statistics.correlation(delays[:-1], delays[1:]) == pytest.approx(correlation, abs=0.06)
    within = sum(abs(one - 0.1) < 0.01 for one in delays) / len(delays)
    assert within == pytest.approx(0.683, abs=0.06)


def test_queues_and_traces_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    for make, told in (
        (lambda: Conditions(queue=0), "from 1 to"),
        (lambda: Fifo(bytes=0), "at least one byte"),
        (lambda: Fifo(bytes="3 parsecs"), "kB"),
        (lambda: CoDel(target=0), "more than 0"),
        (lambda: CoDel(interval="soon"), "interval"),
        (lambda: FqCoDel(flows=0), "number of flows"),
        (lambda: NormalDelay(-1, 1), "mean"),
        (lambda: NormalDelay(1, 1, 1.0), "correlation"),
        (lambda: DelayTrace([]), "at least one sample"),
        (lambda: RateTrace([]), "at least one moment"),
        (lambda: RateTrace([0]), "at least one moment"),
        (lambda: RateTrace([5, 4]), "not from 5"),
    ):
        with pytest.raises(ValueError, match=told):
            make()
    with pytest.raises(TypeError, match="CoDel"):
        Conditions(queue="codel")
    with pytest.raises(TypeError, match="float"):
        RateTrace([1.5])
    bad = tmp_path / "bad"
    bad.write_text("5\nfive\n")
    with pytest.raises(ValueError, match="bad:2"):
        RateTrace.from_file(bad)
    with pytest.raises(ValueError, match="bad:2"):
        DelayTrace.from_file(bad)
