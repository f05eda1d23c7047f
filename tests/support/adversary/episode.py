"""One run: a list of actions, made by a seed or given, against a new Stack."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from adversary import ip_moves, link_moves, service_moves, tcp_moves
from adversary.draw import BITS, Draw
from adversary.program import Program
from adversary.violation import Violation
from adversary.world import World
from pystack import StackPanic

Action = tuple[str, int]

# Virtual seconds after which nothing is left of any conversation: twelve retransmissions of a
# doubled timeout, two minutes at most each, and FIN-WAIT-2 or TIME-WAIT behind them.
SILENCE_S = 3600
# What may stay: what was learnt of neighbours, routers and groups, not conversations.
KEPT_BYTES = 8192
_WEIGHTS = {"tcp": 50, "call": 5, "program": 24, "time": 8, "ip": 6, "link": 3, "service": 4}
_VERBS = [verb for verb, weight in _WEIGHTS.items() for _ in range(weight)]
_TIMES = (0.001, 0.03, 0.2, 0.5, 1.1, 3.0, 0.05, 10.0)
_LONG_TIMES = (61.0, 200.0, 30.0, 700.0)


def actions(seed: int) -> Iterator[Action]:
    """The run of that seed, without end."""
    chance = random.Random(seed)
    count = len(_VERBS)
    while True:
        yield _VERBS[int(chance.random() * count)], chance.getrandbits(BITS)


@dataclass
class Outcome:
    """What became of a run.

    Attributes:
        steps: Actions done.
        sent_frames: By the peer.
        got_frames: From the Stack.
        found: The broken promise; None: all were kept.
        median_ns: Of a step's processor time.
        slow: Steps that took very much longer, by their number: nanoseconds.
    """

    steps: int = 0
    sent_frames: int = 0
    got_frames: int = 0
    found: Violation | None = None
    median_ns: int = 0
    slow: dict[int, int] = field(default_factory=dict)


class Episode:
    """A run under way.

    Args:
        engine: The Stack's.
        seed: Of the Stack's own chance.
        trace: Is told each frame: its direction, and itself.
        tolerated: Invariants that the engine is known to break.
    """

    def __init__(
        self,
        engine: str = "lwip",
        seed: int = 0,
        trace: Callable[[str, bytes], None] | None = None,
        tolerated: Container[str] = (),
    ) -> None:
        # One run in four is behind virtio's header.
        self.world = World(engine, seed, trace, tolerated, virtio=seed % 4 == 3)
        self.program = Program(self.world)
        self.world.meet = self.program.meet
        self.world.hear = lambda frame: service_moves.hear(self.world, frame)
        self.world.settle()
        self.world.judge()

    def act(self, action: Action) -> None:
        """Does one action.

        Raises:
            Violation: A promise was broken.
        """
        verb, number = action
        world, draw = self.world, Draw(number)
        if verb == "tcp":
            tcp_moves.converse(world, draw)
        elif verb == "program":
            self.program.play(draw)
            world.settle()
            world.answers = 0  # what a program does has no bound
        elif verb == "time":
            self._time(draw)
        elif verb == "call":
            tcp_moves.begin(world, draw)
        elif verb == "ip":
            ip_moves.play(world, draw)
        elif verb == "link":
            link_moves.play(world, draw)
        else:
            service_moves.play(world, draw)
        world.settle()
        world.judge()

    def _time(self, draw: Draw) -> None:
        seconds = draw.pick(_TIMES)
        if draw.once_in(40):
            seconds = draw.pick(_LONG_TIMES)
        if draw.once_in(4):
            self.world.advance(seconds)
        else:
            self.world.pass_time(seconds)

    def end(self) -> None:
        """The program closes all, the peer falls silent, and everything has to end.

        Raises:
            Violation: It did not.
        """
        world = self.world
        world.silent = True
        self.program.stop()
        world.settle()
        for _ in range(SILENCE_S // 2):
            world.advance(2.0)
        left = world.net.connections()
        if left:
            world.blame("a conversation that does not end", f"{len(left)}: {left[:3]}")
        list(world.eth.addresses)  # one that the Stack left halfway keeps its memory until then
        used, baseline = world.net.arena.used_bytes, world.baseline_bytes
        if used > baseline + KEPT_BYTES:
            world.blame("memory that is kept", f"{used} bytes, {baseline} at first")


def run(
    todo: Iterable[Action],
    *,
    engine: str = "lwip",
    seed: int = 0,
    trace: Callable[[str, bytes], None] | None = None,
    tell: Callable[[int, Action], None] | None = None,
    tolerated: Container[str] = (),
) -> Outcome:
    """Does the actions against a new Stack, and lets it end.

    Args:
        todo: The actions.
        engine: The Stack's.
        seed: Of the Stack's own chance.
        trace: Is told each frame.
        tell: Is told each action before it is done, and its number.
        tolerated: Invariants that the engine is known to break.
    """
    outcome = Outcome()
    collecting = gc.isenabled()
    gc.disable()  # its pauses would look like the Stack's
    episode = Episode(engine, seed, trace, tolerated)
    world = episode.world
    try:
        for action in todo:
            if tell is not None:
                tell(outcome.steps, action)
            outcome.steps += 1
            episode.act(action)
        episode.end()
    except Violation as violation:
        outcome.found = violation
    except StackPanic as panic:
        outcome.found = Violation("panic", panic.text)
    finally:
        outcome.sent_frames, outcome.got_frames = world.sent_frames, world.got_frames
        outcome.median_ns = world.median_ns()
        outcome.slow = world.slow
        world.close()
        if collecting:
            gc.enable()
    return outcome


def judged(
    todo: Sequence[Action],
    *,
    engine: str = "lwip",
    seed: int = 0,
    tolerated: Container[str] = (),
    tell: Callable[[int, Action], None] | None = None,
) -> Outcome:
    """As `run`; a step that took long counts if it does so whenever the run is done again."""
    outcome = run(todo, engine=engine, seed=seed, tolerated=tolerated, tell=tell)
    slow = outcome.slow
    for _ in range(3):
        if outcome.found is not None or not slow or "slow" in tolerated:
            return outcome
        again = run(todo, engine=engine, seed=seed, tolerated=tolerated, tell=tell).slow
        slow = {step: min(cost, again[step]) for step, cost in slow.items() if step in again}
    if slow:
        text = f"{max(slow.values()) / 1e6:.1f} ms, median {outcome.median_ns / 1e6:.3f} ms"
        outcome.found = Violation("slow", text)
    return outcome


def seeded(seed: int, steps: int) -> list[Action]:
    """The first actions of a seed's run."""
    return list(islice(actions(seed), steps))
