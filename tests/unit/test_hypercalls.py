"""lwIP's memory, allocated block by block from Python or not at all, and its log."""

from __future__ import annotations

import logging
from socket import AF_INET, SOCK_DGRAM, SOCK_STREAM
from typing import Any

import pytest
from pair import LEFT, RIGHT

import pystack
from pystack.hypercalls import ManualClock

pytestmark = pytest.mark.sanitize


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


class Memo:
    def __init__(self) -> None:
        self.lines: list[tuple[int, str]] = []

    def log(self, level: int, text: str) -> None:
        self.lines.append((level, text))


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
