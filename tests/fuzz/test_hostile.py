"""The peer that fights back (tests/fuzz/hostile.py), for as long as a test may take."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from adversary import episode, guard, known, pattern, shrink, wire
from adversary.draw import Draw
from adversary.episode import Action
from adversary.flow import Flow
from adversary.program import End
from adversary.violation import Violation
from adversary.world import World
from quick import slow

import pystack
from pystack._native.engines import engine_path

HOSTILE = Path(__file__).with_name("hostile.py")
SANITIZED = "PYSTACK_SANITIZED" in os.environ
FRAMES = int(os.environ.get("PYSTACK_HOSTILE_FRAMES", "150000"))
how_many = pytest.mark.parametrize("frames", [5_000, slow(FRAMES)])


def campaign(engine: str, frames: int) -> None:
    """Runs seed after seed, in a process of its own: it forks, and netstack can't be forked."""
    command = [sys.executable, str(HOSTILE), "--engine", engine, "--frames", str(frames)]
    done = subprocess.run(
        [*command, "--steps", "2000", "--patience", "8", "--no-shrink"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.sanitize
@pytest.mark.timeout(300)
@how_many
def test_every_promise_is_kept(frames: int) -> None:
    campaign("lwip", frames // 5 if SANITIZED else frames)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("engine", ["gvisor", pytest.param("linux", marks=pytest.mark.sanitize)])
@how_many
def test_the_other_engines_keep_them_too(engine: str, frames: int) -> None:
    try:
        engine_path(engine)
    except OSError as error:
        pytest.skip(error.strerror)
    campaign(engine, frames // (25 if SANITIZED else 5))


def test_what_an_engine_counts_passes_as_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(known.COUNTED, "lwip", {"a": ("given up",), "b": ("given up", "dropped")})
    monkeypatch.setattr(pystack.Stack, "counters", lambda _: {"given up": 1, "dropped": 1})
    with closing(World("lwip", 1)) as world:
        assert [world.counted("a") for _ in range(3)] == [True, False, False]
        assert [world.counted("b") for _ in range(3)] == [True, True, False]
        assert not world.counted("c")


def test_a_run_is_its_seed() -> None:
    first, second = ([], [])
    for seen in (first, second):
        episode.run(
            episode.seeded(7, 100),
            seed=7,
            trace=lambda way, frame, seen=seen: seen.append((way, frame)),
            tolerated=known.faults("lwip"),
        )
    assert first == second
    assert len(first) > 100


def test_zero_is_the_harmless_choice() -> None:
    outcome = episode.run([(verb, 0) for verb in ("call", "tcp", "program", "time") * 20])
    assert outcome.found is None
    assert outcome.got_frames > 20


def test_a_draw_is_one_number() -> None:
    draw = Draw(5 + 7 * (2 + 3 * 1))
    assert draw.below(7) == 5
    assert draw.pick("abc") == "c"
    assert draw.once_in(2)
    assert draw.left == 0
    assert not draw.once_in(2)


def test_a_crash_and_a_hang_are_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    # Killed as by a crash, but without faulthandler's report of one that is meant.
    monkeypatch.setattr(
        episode, "run", lambda *_given, **_named: os.kill(os.getpid(), signal.SIGKILL)
    )
    crash = guard.try_out([], engine="lwip", seed=1)
    assert crash is not None
    assert crash.invariant == "crash"
    monkeypatch.setattr(episode, "run", lambda *_given, **_named: os.read(os.pipe()[0], 1))
    hang = guard.try_out([], engine="lwip", seed=1, patience=0.2)
    assert hang is not None
    assert hang.invariant == "hang"


def test_a_shrunk_run_is_the_least_that_fails() -> None:
    actions: list[Action] = [("tcp", number) for number in range(1000, 1100)]

    def fails(trial: Sequence[Action]) -> bool:
        numbers = [number for _verb, number in trial]
        return 1017 in numbers and any(number & 0xFF == 1050 & 0xFF for number in numbers)

    assert shrink.shrink(actions, fails) == [("tcp", 1017), ("tcp", 1050 & 0xFF)]


def test_promises_that_are_broken_are_seen() -> None:
    stack = episode.Episode()
    try:
        stack.act(("call", 0))
        flow = next(iter(stack.world.flows.values()))
        flow.sent_end = flow.next = 0  # as if it had said nothing
        with pytest.raises(Violation, match="acknowledged what was never sent"):
            for _ in range(3):
                stack.act(("time", 3))
    finally:
        stack.world.close()


def test_the_window_of_a_newer_acknowledgement_counts() -> None:
    stack = episode.Episode()
    world = stack.world
    try:
        flow = Flow((wire.PEER_BYTES, wire.OURS_BYTES), 80, 999, 1000)
        flow.options = b"\x02\x04\x05\xb4"  # no scaling: the edge is near
        world.add(flow)
        world.send(flow.segment(wire.SYN, -1))
        world.settle()
        world.send(flow.segment(wire.ACK, 0))
        world.settle()
        stack.program.accept(Draw(0))
        world.send(flow.segment(wire.ACK, 500, 1))  # a byte from further on, with a wide window
        world.settle()
        (end,) = stack.program.ends
        end.written += end.sock.send(bytes_of(end, 200_000))
        world.settle()
        flight = flow.their_end
        assert flight > 1460
        flow.window = 1
        for _ in range(20):  # older by its sequence number, newer by what it acknowledges
            world.send(flow.segment(wire.ACK, 0))
            world.settle()
        assert flow.their_end <= flight + 1
    finally:
        world.close()


def bytes_of(end: End, size: int) -> bytes:
    """What the program writes."""
    return b"".join(
        pattern.piece(end.salt_out, at, min(1 << 16, size - at)) for at in range(0, size, 1 << 16)
    )
