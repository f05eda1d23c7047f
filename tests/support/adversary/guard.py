"""Runs in a process of their own, so that what crashes or hangs there is a finding as well."""

from __future__ import annotations

import json
import mmap
import os
import select
import signal
import struct
import time
from collections.abc import Callable, Container, Sequence
from typing import Any

from adversary import episode
from adversary.episode import Action, Outcome
from adversary.violation import Violation

_PROGRESS = struct.Struct("=QQQ")  # seed, step, frames that ended runs have sent
PATIENCE_S = 30.0  # of real time, for one action


class Child:
    """A forked process that says how far it is.

    Args:
        work: What it does; its result comes back as JSON, and `progress` is for it to call with
            the seed, the step and the frames.
    """

    def __init__(self, work: Callable[[Callable[[int, int, int], None]], Any]) -> None:
        self._shared = mmap.mmap(-1, _PROGRESS.size)
        self._pipe, there = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                os.close(self._pipe)
                result = json.dumps(work(self._progress)).encode()
                os.write(there, result)
                status = 0
            finally:
                os._exit(status)
        os.close(there)

    def _progress(self, seed: int, step: int, frames: int) -> None:
        _PROGRESS.pack_into(self._shared, 0, seed, step, frames)

    def progress(self) -> tuple[int, int, int]:
        """Seed, step and frames, as it said last."""
        return _PROGRESS.unpack_from(self._shared)

    def wait(self, patience: float) -> Any:
        """Its result.

        Raises:
            Violation: "hang", it has not moved on for `patience` seconds; "crash", it is gone.
        """
        last, since = self.progress(), time.monotonic()
        parts = []
        try:
            while True:
                if select.select([self._pipe], [], [], min(patience, 1.0))[0]:
                    part = os.read(self._pipe, 1 << 16)
                    if not part:
                        break
                    parts.append(part)
                now = self.progress()
                if now != last:
                    last, since = now, time.monotonic()
                elif time.monotonic() - since > patience:
                    raise Violation("hang", f"no end of step {now[1]} in {patience} s")
        finally:
            os.close(self._pipe)
            if not parts:
                os.kill(self.pid, signal.SIGKILL)
            _pid, status = os.waitpid(self.pid, 0)
        if status or not parts:
            raise Violation("crash", f"status {os.waitstatus_to_exitcode(status)}")
        return json.loads(b"".join(parts))


def try_out(
    todo: Sequence[Action],
    *,
    engine: str,
    seed: int,
    tolerated: Container[str] = (),
    patience: float = PATIENCE_S,
) -> Violation | None:
    """Runs the actions in a child, and says what was found."""

    def work(progress: Callable[[int, int, int], None]) -> Any:
        outcome = episode.judged(
            todo,
            engine=engine,
            seed=seed,
            tolerated=tolerated,
            tell=lambda step, _action: progress(seed, step, 0),
        )
        found = outcome.found
        return [found.invariant, str(found).split(": ", 1)[1]] if found is not None else None

    try:
        result = Child(work).wait(patience)
    except Violation as violation:
        return violation
    return None if result is None else Violation(*result)


def campaign(
    first: int,
    frames: int,
    steps: int,
    *,
    engine: str = "lwip",
    tolerated: Container[str] = (),
    patience: float = PATIENCE_S,
    report: Callable[[int, int], None] = lambda _seed, _frames: None,
) -> tuple[int, int, Violation | None, int, int]:
    """Runs seed after seed until so many frames were sent, or something is found.

    Args:
        first: The first seed.
        frames: How many are enough.
        steps: Of each run.
        engine: The Stack's.
        tolerated: Invariants that the engine is known to break.
        patience: Seconds of real time for one action.
        report: Is told, in the child, the seeds that are done and the frames so far.

    Returns:
        Frames sent and got, what was found, and by which seed at which step.
    """

    def work(progress: Callable[[int, int, int], None]) -> Any:
        seed, sent, got = first, 0, 0
        while sent < frames:
            done: Outcome = episode.judged(
                episode.seeded(seed, steps),
                engine=engine,
                seed=seed,
                tolerated=tolerated,
                tell=lambda step, _action, at=(seed, sent): progress(at[0], step, at[1]),
            )
            sent, got = sent + done.sent_frames, got + done.got_frames
            if done.found is not None:
                text = str(done.found).split(": ", 1)[1]
                return [sent, got, done.found.invariant, text, seed, done.steps]
            seed += 1
            report(seed, sent)
        return [sent, got, None, "", seed, 0]

    child = Child(work)
    try:
        sent, got, invariant, text, seed, step = child.wait(patience)
    except Violation as violation:
        seed, step, sent = child.progress()
        return sent, 0, violation, seed, step + 1
    return sent, got, Violation(invariant, text) if invariant else None, seed, step
