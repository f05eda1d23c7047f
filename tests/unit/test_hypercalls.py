"""Each hypercall answered by Python instead: seen to be asked, obeyed, and allowed to raise."""

from __future__ import annotations

import gc
import logging
import random
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


def test_a_python_clock_decides_when_timers_fire() -> None:
    clock = ManualClock()
    ours, theirs = pystack.nic.wire()
    with pystack.Stack(threaded=False, clock=clock) as net:
        net.attach(ours, f"{LEFT}/24")
        net.neighbours.add(RIGHT, "02:00:00:00:00:99")
        with net.socket(AF_INET, SOCK_STREAM) as client:
            client.setblocking(False)
            client.connect_ex((RIGHT, 80))
            sent = []
            for tick in range(80):
                net.step()
                sent += [tick / 10 for frame in frames(theirs) if TCP in frame]
                clock.advance(0.1)
        # RFC 6298: at once, then after 1, 2 and 4 seconds more.
        assert sent == pytest.approx([0, 1, 3, 7], abs=0.21)


def test_a_threaded_stack_follows_a_python_clock() -> None:
    clock = ManualClock()
    ours, theirs = pystack.nic.wire()
    with pystack.Stack(clock=clock) as net:
        net.attach(ours, f"{LEFT}/24")
        net.neighbours.add(RIGHT, "02:00:00:00:00:99")
        with net.socket(AF_INET, SOCK_STREAM) as client:
            client.setblocking(False)
            client.connect_ex((RIGHT, 80))
            first = wait_for_tcp(theirs)
            clock.advance(1.2)
            again = wait_for_tcp(theirs)
        assert (first.flags, first.seq) == (again.flags, again.seq) == ("S", first.seq)


def wait_for_tcp(nic: pystack.nic.Nic) -> TCP:
    deadline = time.monotonic() + 10
    while (frame := nic.receive(max(0, deadline - time.monotonic()))) is not None:
        if TCP in Ether(frame):
            return Ether(frame)[TCP]
    raise AssertionError("no segment came")


def test_a_clock_that_raises_is_heard_of() -> None:
    class Broken(ManualClock):
        broken = False

        def now_us(self) -> int:
            if self.broken:
                raise ArithmeticError("no time")
            return super().now_us()

    clock = Broken()
    with pystack.Stack(threaded=False, clock=clock) as net:
        clock.broken = True
        with pytest.raises(ArithmeticError, match="no time"):
            net.step()
        clock.broken = False
        net.step()  # once, not for ever


def test_an_exception_of_the_drivers_thread_ends_the_call_that_waits() -> None:
    class Broken(ManualClock):
        broken = False

        def now_us(self) -> int:
            if self.broken:
                raise ArithmeticError("no time")
            return super().now_us()

    clock = Broken()
    with pystack.Stack(clock=clock) as net, net.socket(AF_INET, SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(30)
        clock.broken = True
        with pytest.raises(ArithmeticError):
            sock.recv(1)
        clock.broken = False


def test_a_clock_that_goes_back_stands_still() -> None:
    class Back(ManualClock):
        def now_us(self) -> int:
            self._now_us -= 1000
            return self._now_us

    with pystack.Stack(threaded=False, clock=Back(10)) as net:
        assert net.step() is not None
        assert net.ping("127.0.0.1").received == 1


# --- memory ----------------------------------------------------------------------------------


class Ledger:
    """Memory from Python's heap, with a count of what is out."""

    def __init__(self, refuse: bool = False) -> None:
        self.given: dict[int, bytearray] = {}
        self.count = 0
        self.refuse = refuse

    def allocate(self, size: int) -> bytearray | None:
        if self.refuse:
            return None
        self.count += 1
        buffer = bytearray(size)
        self.given[id(buffer)] = buffer
        return buffer

    def free(self, memory: bytearray) -> None:
        del self.given[id(memory)]


def test_python_gives_the_memory_and_gets_it_back() -> None:
    ledger = Ledger()
    with pystack.Stack(memory=ledger) as net:
        with net.sockets.create_server(("127.0.0.1", 0)) as listener:
            client = net.sockets.create_connection(listener.getsockname(), 10)
            server, _peer = listener.accept()
            with client, server:
                client.sendall(b"x" * 100_000)
                received = 0
                while received < 100_000:
                    received += len(server.recv(65536))
        assert ledger.count > 20
        assert len(ledger.given) == net.arena.live_blocks
    gc.collect()
    assert not ledger.given


def test_python_refuses_memory() -> None:
    ledger = Ledger()
    with pystack.Stack(memory=ledger) as net:
        ledger.refuse = True
        with pytest.raises(OSError, match="memory") as caught:
            for _ in range(100):
                net.socket(AF_INET, SOCK_STREAM).connect(("127.0.0.1", 9))
        assert caught.value.errno in (12, 105)
        ledger.refuse = False


@pytest.mark.parametrize("answer", [bytearray(1), b"read only", "text"])
def test_memory_that_is_none_raises(answer: Any) -> None:
    class Wrong(Ledger):
        wrong = False

        def allocate(self, size: int) -> Any:
            return answer if self.wrong else super().allocate(size)

    memory = Wrong()
    with pystack.Stack(memory=memory) as net:
        memory.wrong = True
        with pytest.raises((ValueError, TypeError, BufferError)):
            for _ in range(200):
                net.socket(AF_INET, SOCK_DGRAM).close()
        memory.wrong = False


def test_the_limit_holds_and_failures_are_counted() -> None:
    with pystack.Stack(memory_limit=200_000) as net:
        assert net.arena.limit_bytes == 200_000
        held = []
        with pytest.raises(OSError, match=r"memory|buffer"):
            for _ in range(5000):
                held.append(net.socket(AF_INET, SOCK_DGRAM))
        assert net.arena.failures > 0
        assert net.arena.used_bytes <= 200_000
        before = net.arena.used_bytes
        for sock in held:
            sock.close()
        assert net.arena.used_bytes < before
        net.socket(AF_INET, SOCK_DGRAM).close()


# --- random ----------------------------------------------------------------------------------


class Dice:
    def __init__(self) -> None:
        self.asked = 0

    def randbytes(self, size: int) -> bytes:
        self.asked += size
        return b"\x5a" * size


def test_python_gives_randomness() -> None:
    def first_syn() -> TCP:
        ours, theirs = pystack.nic.wire()
        with pystack.Stack(threaded=False, random=random.Random(3), clock=ManualClock()) as net:
            net.attach(ours, f"{LEFT}/24")
            return syn(net, theirs)

    one, two = first_syn(), first_syn()
    assert (one.sport, one.seq) == (two.sport, two.seq)
    dice = Dice()
    with pystack.Stack(random=dice):
        assert dice.asked > 0


def test_a_seed_repeats_and_no_seed_does_not() -> None:
    def first_syn(seed: int | None) -> tuple[int, int]:
        ours, theirs = pystack.nic.wire()
        with pystack.Stack(threaded=False, seed=seed, clock=ManualClock()) as net:
            net.attach(ours, f"{LEFT}/24")
            segment = syn(net, theirs)
            return segment.sport, segment.seq

    assert first_syn(1) == first_syn(1) != first_syn(2)
    assert first_syn(None) != first_syn(None)


def test_randomness_of_the_wrong_length_raises() -> None:
    class Short:
        def randbytes(self, size: int) -> bytes:
            return b"x"

    with pytest.raises(ValueError, match="randbytes"):
        pystack.Stack(random=Short())


# --- frame out -------------------------------------------------------------------------------


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


def test_python_sees_each_frame_and_may_keep_it() -> None:
    gate = Gate()
    ours, theirs = pystack.nic.wire()
    with pystack.Stack(threaded=False, frame_out=gate) as net:
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


def test_an_exception_in_frame_out_reaches_the_caller() -> None:
    gate = Gate()
    ours, _theirs = pystack.nic.wire()
    with pystack.Stack(threaded=False, frame_out=gate) as net:
        net.attach(ours, f"{LEFT}/24")
        gate.error = LookupError("not this one")
        with net.socket(AF_INET, SOCK_DGRAM) as sock:
            with pytest.raises(LookupError, match="not this one"):
                sock.sendto(b"one", (RIGHT, 9))
            gate.error = None
            assert sock.sendto(b"two", (RIGHT, 9)) == 3


def test_a_python_nics_exception_reaches_the_caller() -> None:
    def transmit(_frame: bytes) -> None:
        raise LookupError("torn wire")

    with pystack.nic.PythonNic(transmit) as nic, pystack.Stack(threaded=False) as net:
        with pytest.raises(LookupError, match="torn wire"):
            net.attach(nic, f"{LEFT}/24")
            net.ping(RIGHT, timeout=0.1)


def test_a_hypercall_cant_use_its_own_stack() -> None:
    class Greedy:
        net: pystack.Stack | None = None

        def frame_out(self, interface: int, frame: bytes) -> bool:
            if self.net is not None:
                self.net.connections()
            return True

    greedy = Greedy()
    ours, _theirs = pystack.nic.wire()
    with pystack.Stack(threaded=False, frame_out=greedy) as net:
        net.attach(ours, f"{LEFT}/24")
        greedy.net = net
        with (
            net.socket(AF_INET, SOCK_DGRAM) as sock,
            pytest.raises(OSError, match="hypercall") as caught,
        ):
            sock.sendto(b"one", (RIGHT, 9))
        assert caught.value.errno == 35  # EDEADLK
        greedy.net = None


def test_a_hypercall_may_use_another_stack() -> None:
    class Relay:
        other: pystack.Stack | None = None

        def frame_out(self, interface: int, frame: bytes) -> bool:
            if self.other is not None:
                self.other.connections()
            return True

    relay = Relay()
    ours, _theirs = pystack.nic.wire()
    with pystack.Stack(threaded=False, frame_out=relay) as net, pystack.Stack() as other:
        net.attach(ours, f"{LEFT}/24")
        relay.other = other
        with net.socket(AF_INET, SOCK_DGRAM) as sock:
            assert sock.sendto(b"one", (RIGHT, 9)) == 3


def test_garbage_collected_inside_a_hypercall_is_closed_all_the_same() -> None:
    class Collector:
        rubbish: Any = None

        def frame_out(self, interface: int, frame: bytes) -> bool:
            self.rubbish = None
            gc.collect()
            return True

    collector = Collector()
    ours, _theirs = pystack.nic.wire()
    with pystack.Stack(threaded=False, frame_out=collector) as net:
        net.attach(ours, f"{LEFT}/24")
        with net.socket(AF_INET, SOCK_DGRAM) as sock:
            rubbish = net.socket(AF_INET, SOCK_DGRAM)
            rubbish.bind((LEFT, 5555))
            collector.rubbish = rubbish
            del rubbish
            with pytest.warns(ResourceWarning, match="unclosed"):
                sock.sendto(b"one", (RIGHT, 9))
        deadline = time.monotonic() + 10
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


def test_python_takes_the_log() -> None:
    memo = Memo()
    clock = ManualClock()
    ours, theirs = pystack.nic.wire()
    with (
        pystack.Stack(threaded=False, clock=clock, log=memo) as net,
        pystack.Stack(threaded=False, clock=clock) as other,
    ):
        first, second = other.attach(theirs, f"{RIGHT}/24"), net.attach(ours, f"{LEFT}/24")
        first.mdns("printer")
        for _ in range(50):
            clock.advance(0.1)
            other.step()
        second.mdns("printer")  # which somebody else is called: that is worth a line
        for _ in range(50):
            clock.advance(0.1)
            net.step()
            other.step()
    assert [level for level, _text in memo.lines] == [logging.WARNING]
    assert "printer" in memo.lines[0][1]


def test_a_logger_is_a_log(caplog: pytest.LogCaptureFixture) -> None:
    from pystack._native import ffi, lib
    from pystack._native.answers import Answers

    answers = Answers(log=logging.getLogger("pystack.test"))
    handle = ffi.new_handle(answers)
    with caplog.at_level(logging.DEBUG):
        assert lib.ps_python_log(handle, lib.PS_LOG_WARNING, ffi.new("char[]", b"100% odd")) == 0
    assert caplog.record_tuples == [("pystack.test", logging.WARNING, "100% odd")]


def test_python_is_told_of_a_panic_and_only_that_stack_is_lost() -> None:
    memo = Memo()
    with pystack.Stack(panic=memo) as net, pystack.Stack() as other:
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


def test_a_panic_wakes_those_who_wait() -> None:
    import threading

    with pystack.Stack() as net:
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
        deadline = time.monotonic() + 10
        while len(net.connections()) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(pystack.StackPanic):
            net.fail("all out")
        for thread in threads:
            thread.join(10)
    assert [type(error) for error in outcomes] == [pystack.StackPanic] * 3
