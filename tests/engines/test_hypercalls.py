"""Hypercalls that Python answers: seen to be asked, obeyed, and allowed to raise."""

from __future__ import annotations

import gc
import random
import subprocess
import sys
import threading
import time
from socket import AF_INET, SOCK_DGRAM, SOCK_STREAM
from typing import Any

import pytest
from pair import LEFT, RIGHT
from scapy.all import ARP, IP, TCP, Ether

import pystack
from pystack.hypercalls import ManualClock

pytestmark = pytest.mark.sanitize


def frames(nic: pystack.nic.Nic) -> list[Ether]:
    found = []
    while (frame := nic.receive(0)) is not None:
        found.append(Ether(frame))
    return found


def syn(net: pystack.Stack, nic: pystack.nic.Nic) -> TCP:
    """The SYN that a connect of a Stack without a driver sends."""
    net.neighbours.add(RIGHT, "02:00:00:00:00:99")
    with net.socket(AF_INET, SOCK_STREAM) as client:
        client.setblocking(False)
        assert client.connect_ex((RIGHT, 80)) == 115
        net.step()
    return next(frame[TCP] for frame in frames(nic) if TCP in frame)


# --- clock -----------------------------------------------------------------------------------


def test_a_threaded_stack_follows_a_python_clock(engine: str) -> None:
    clock = ManualClock()
    ours, theirs = pystack.nic.wire()
    with pystack.Stack(engine=engine, clock=clock) as net:
        net.attach(ours, f"{LEFT}/24")
        net.neighbours.add(RIGHT, "02:00:00:00:00:99")
        with net.socket(AF_INET, SOCK_STREAM) as client:
            client.setblocking(False)
            client.connect_ex((RIGHT, 80))
            first = wait_for_tcp(theirs)
            clock.advance(1.2)
            again = wait_for_tcp(theirs)
        assert (first.flags, first.seq) == (again.flags, again.seq) == ("S", first.seq)


def test_timeouts_follow_a_python_clock(engine: str) -> None:
    clock = ManualClock()
    with pystack.Stack(engine=engine, clock=clock) as net, net.socket(AF_INET, SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(3600)
        over = threading.Event()

        def turn() -> None:
            time.sleep(0.7)  # so long the time isn't over, however long it takes
            early.append(not over.is_set())
            clock.advance(3601)

        early: list[bool] = []
        thread = threading.Thread(target=turn)
        thread.start()
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            sock.recv(1)
        over.set()
        thread.join()
        assert early == [True]
        assert time.monotonic() - began < 60


# Every thread waits for a clock that one of them would have to turn.
NOBODY_TURNS = """
import threading, sys
import pystack
import pystack.errors

engine, what = sys.argv[1:]
clock = pystack.hypercalls.ManualClock()
a, b = (pystack.Stack(engine=engine, clock=clock, threaded=False) for _ in range(2))
left, right = pystack.nic.wire()
a.attach(left, "10.0.0.1/24")
b.attach(right, "10.0.0.2/24")
listener = b.sockets.create_server(("10.0.0.2", 80))
if what == "accept with a timeout":
    listener.settimeout(5)
there = listener.getsockname()
calls = {"ping": lambda: a.ping(there[0]), "connect": lambda: a.socket().connect(there)}
waits = []
if what == "two threads":
    def wait():
        try:
            a.socket(2, 2).recv(1)
        except pystack.errors.DeadlockError:
            waits.append(True)
    threading.Thread(target=wait, daemon=True).start()
try:
    calls.get(what, listener.accept)()
except pystack.errors.DeadlockError as error:
    waits.append("ManualClock" in str(error))
print(waits)
"""


@pytest.mark.parametrize("what", ["ping", "connect", "accept with a timeout", "two threads"])
def test_a_clock_that_nobody_can_turn_is_a_deadlock(engine: str, what: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NOBODY_TURNS, engine, what],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.startswith("[True"), done.stderr


def wait_for_tcp(nic: pystack.nic.Nic) -> TCP:
    deadline = time.monotonic() + 60
    while (frame := nic.receive(max(0, deadline - time.monotonic()))) is not None:
        if TCP in Ether(frame):
            return Ether(frame)[TCP]
    raise AssertionError("no segment came")


def test_a_clock_that_raises_is_heard_of(engine: str) -> None:
    class Broken(ManualClock):
        broken = False

        def now_us(self) -> int:
            if self.broken:
                raise ArithmeticError("no time")
            return super().now_us()

    clock = Broken()
    with pystack.Stack(engine=engine, threaded=False, clock=clock) as net:
        clock.broken = True
        with pytest.raises(ArithmeticError, match="no time"):
            net.step()
        clock.broken = False
        net.step()  # once, not for ever


def test_an_exception_of_the_drivers_thread_ends_the_call_that_waits(engine: str) -> None:
    class Broken(ManualClock):
        broken = False

        def now_us(self) -> int:
            if self.broken:
                raise ArithmeticError("no time")
            return super().now_us()

    clock = Broken()
    with pystack.Stack(engine=engine, clock=clock) as net, net.socket(AF_INET, SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(30)
        clock.broken = True
        with pytest.raises(ArithmeticError):
            sock.recv(1)
        clock.broken = False


def test_a_clock_that_goes_back_stands_still(engine: str) -> None:
    class Back(ManualClock):
        def now_us(self) -> int:
            self._now_us -= 1000
            return self._now_us

    with pystack.Stack(engine=engine, threaded=False, clock=Back(10)) as net:
        assert net.step() == net.step()  # until what is due next, if anything is
        assert net.ping("127.0.0.1").received == 1


# --- random ----------------------------------------------------------------------------------


class Dice:
    def __init__(self) -> None:
        self.asked = 0

    def randbytes(self, size: int) -> bytes:
        self.asked += size
        return b"\x5a" * size


def test_python_gives_randomness(engine: str) -> None:
    def first_syn() -> TCP:
        ours, theirs = pystack.nic.wire()
        with pystack.Stack(
            engine=engine, threaded=False, random=random.Random(3), clock=ManualClock()
        ) as net:
            net.attach(ours, f"{LEFT}/24")
            return syn(net, theirs)

    one, two = first_syn(), first_syn()
    assert (one.sport, one.seq) == (two.sport, two.seq)
    dice = Dice()
    with pystack.Stack(engine=engine, random=dice):
        assert dice.asked > 0


def test_a_seed_repeats_and_no_seed_does_not(engine: str) -> None:
    def first_syn(seed: int | None) -> tuple[int, int]:
        ours, theirs = pystack.nic.wire()
        with pystack.Stack(engine=engine, threaded=False, seed=seed, clock=ManualClock()) as net:
            net.attach(ours, f"{LEFT}/24")
            segment = syn(net, theirs)
            return segment.sport, segment.seq

    assert first_syn(1) == first_syn(1) != first_syn(2)
    assert first_syn(None) != first_syn(None)


def test_randomness_of_the_wrong_length_raises(engine: str) -> None:
    class Short:
        def randbytes(self, size: int) -> bytes:
            return b"x"

    with pytest.raises(ValueError, match="randbytes"):
        pystack.Stack(engine=engine, random=Short())


# --- frame out -------------------------------------------------------------------------------

# Under a clock that stands still, as engines send reports and the like by themselves.


class Gate:
    def __init__(self) -> None:
        self.seen: list[tuple[int, bytes]] = []
        self.open = True
        self.error: Exception | None = None

    def frame_out(self, interface: int, frame: bytes) -> bool:
        self.seen.append((interface, frame))
        if self.error is not None:
            raise self.error
        return self.open


def test_python_sees_each_frame_and_may_keep_it(engine: str) -> None:
    gate = Gate()
    ours, theirs = pystack.nic.wire()
    with pystack.Stack(engine=engine, threaded=False, clock=ManualClock(1), frame_out=gate) as net:
        interface = net.attach(ours, f"{LEFT}/24")
        gate.seen.clear()
        frames(theirs)
        with net.socket(AF_INET, SOCK_DGRAM) as sock:
            sock.sendto(b"one", (RIGHT, 9))
            passed = frames(theirs)
            assert [bytes(frame) for frame in passed] == [frame for _index, frame in gate.seen]
            assert {index for index, _frame in gate.seen} == {interface.index}
            assert ARP in passed[0]
            gate.open = False
            net.neighbours.add(RIGHT, "02:00:00:00:00:99")
            sock.sendto(b"two", (RIGHT, 9))
            assert frames(theirs) == []
            assert Ether(gate.seen[-1][1])[IP].dst == RIGHT


def test_an_exception_in_frame_out_reaches_the_caller(engine: str) -> None:
    gate = Gate()
    ours, _theirs = pystack.nic.wire()
    with pystack.Stack(engine=engine, threaded=False, clock=ManualClock(1), frame_out=gate) as net:
        net.attach(ours, f"{LEFT}/24")
        with net.socket(AF_INET, SOCK_DGRAM) as sock:
            gate.error = LookupError("not this one")
            with pytest.raises(LookupError, match="not this one"):
                sock.sendto(b"one", (RIGHT, 9))
            gate.error = None
            assert sock.sendto(b"two", (RIGHT, 9)) == 3


def test_a_python_nics_exception_reaches_the_caller(engine: str) -> None:
    torn = True

    def transmit(_frame: bytes) -> None:
        if torn:
            raise LookupError("torn wire")

    with (
        pystack.nic.PythonNic(transmit) as nic,
        pystack.Stack(engine=engine, threaded=False) as net,
    ):
        with pytest.raises(LookupError, match="torn wire"):
            net.attach(nic, f"{LEFT}/24")
            net.ping(RIGHT, timeout=0.1)
        torn = False  # some engines send more at their end


def test_a_hypercall_cant_use_its_own_stack(engine: str) -> None:
    class Greedy:
        net: pystack.Stack | None = None

        def frame_out(self, interface: int, frame: bytes) -> bool:
            if self.net is not None:
                self.net.connections()
            return True

    greedy = Greedy()
    ours, _theirs = pystack.nic.wire()
    with pystack.Stack(
        engine=engine, threaded=False, clock=ManualClock(1), frame_out=greedy
    ) as net:
        net.attach(ours, f"{LEFT}/24")
        greedy.net = net
        with (
            net.socket(AF_INET, SOCK_DGRAM) as sock,
            pytest.raises(OSError, match="hypercall") as caught,
        ):
            sock.sendto(b"one", (RIGHT, 9))
        assert caught.value.errno == 35  # EDEADLK
        greedy.net = None


def test_a_hypercall_may_use_another_stack(engine: str) -> None:
    class Relay:
        other: pystack.Stack | None = None

        def frame_out(self, interface: int, frame: bytes) -> bool:
            if self.other is not None:
                self.other.connections()
            return True

    relay = Relay()
    ours, _theirs = pystack.nic.wire()
    with (
        pystack.Stack(engine=engine, threaded=False, clock=ManualClock(1), frame_out=relay) as net,
        pystack.Stack(engine=engine) as other,
    ):
        net.attach(ours, f"{LEFT}/24")
        relay.other = other
        with net.socket(AF_INET, SOCK_DGRAM) as sock:
            assert sock.sendto(b"one", (RIGHT, 9)) == 3
        relay.other = None  # some engines send more at their end


@pytest.mark.slow
def test_garbage_collected_inside_a_hypercall_is_closed_all_the_same(engine: str) -> None:
    class Collector:
        rubbish: Any = None

        def frame_out(self, interface: int, frame: bytes) -> bool:
            self.rubbish = None
            gc.collect()
            return True

    collector = Collector()
    ours, _theirs = pystack.nic.wire()
    with pystack.Stack(engine=engine, threaded=False, frame_out=collector) as net:
        net.attach(ours, f"{LEFT}/24")
        with net.socket(AF_INET, SOCK_DGRAM) as sock:
            rubbish = net.socket(AF_INET, SOCK_DGRAM)
            rubbish.bind((LEFT, 5555))
            collector.rubbish = rubbish
            del rubbish
            with pytest.warns(ResourceWarning, match="unclosed"):
                sock.sendto(b"one", (RIGHT, 9))
        deadline = time.monotonic() + 60
        while net.connections() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert net.connections() == []


# --- log and panic ---------------------------------------------------------------------------


class Memo:
    def __init__(self) -> None:
        self.lines: list[tuple[int, str]] = []
        self.panics: list[str] = []

    def log(self, level: int, text: str) -> None:
        self.lines.append((level, text))

    def panic(self, text: str) -> None:
        self.panics.append(text)


def test_python_is_told_of_a_panic_and_only_that_stack_is_lost(engine: str) -> None:
    memo = Memo()
    with pystack.Stack(engine=engine, panic=memo) as net, pystack.Stack(engine=engine) as other:
        sock = net.socket(AF_INET, SOCK_DGRAM)
        with pytest.raises(pystack.StackPanic, match="on purpose"):
            net.fail("on purpose")
        assert len(memo.panics) == 1
        assert "on purpose" in memo.panics[0]
        with pytest.raises(pystack.StackPanic, match="on purpose"):
            sock.sendto(b"x", ("127.0.0.1", 9))
        with pytest.raises(pystack.StackPanic):
            net.connections()
        assert "on purpose" in repr(net)
        sock.close()
        assert other.ping("127.0.0.1").received == 1
    assert net.closed
    assert net.arena.live_blocks == 0


def test_a_panic_wakes_those_who_wait(engine: str) -> None:
    import threading

    with pystack.Stack(engine=engine) as net:
        outcomes: list[BaseException] = []

        def wait() -> None:
            try:
                with net.socket(AF_INET, SOCK_DGRAM) as sock:
                    sock.bind(("127.0.0.1", 0))
                    sock.recv(1)
            except BaseException as error:
                outcomes.append(error)

        threads = [threading.Thread(target=wait) for _ in range(3)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 60
        while len(net.connections()) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(pystack.StackPanic):
            net.fail("all out")
        for thread in threads:
            thread.join(60)
    assert [type(error) for error in outcomes] == [pystack.StackPanic] * 3
