"""Links: wires with delay, rate, queues and faults, in a World's time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from numbers import Real
from typing import Any

from pystack._native import WorldClock, check, ffi, lib
from pystack._native.values import hinted, need_known
from pystack.world.node import Node
from pystack.world.queues import CoDel, Fifo, FqCoDel, as_queue
from pystack.world.traces import DelayTrace, NormalDelay, RateTrace
from pystack.world.units import bits_per_second, seconds
from pystack.world.wires import Wires

__all__ = ["CONDITIONS", "Conditions", "Link", "LinkCounts", "links_between"]

_PROBABILITIES = ("loss", "duplicate", "corrupt", "reorder", "to_bad", "to_good", "bad_loss")
_TIMES = ("jitter", "reorder_delay")
_BY_HAND = "down"
_MOST_PLANNED = 64


@hinted
@dataclass(frozen=True)
class Conditions:
    """What happens to the frames of one direction of a link.

    Attributes:
        delay: Seconds that each frame travels; or a string, as "20ms"; or a `NormalDelay` or a
            `DelayTrace`.
        rate: Bits per second that are sent; or a string, as "10Mbit/s"; or a `RateTrace`. 0: no
            limit.
        queue: How frames wait for the rate: a `Fifo`, `CoDel` or `FqCoDel`; or a number of frames,
            of which more are dropped.
        loss: Probability that a frame is lost, 0 to 1.
        jitter: By how much the delay may be longer, evenly distributed.
        reorder: Probability that a frame is held back, so that others overtake it,
        reorder_delay: for so long.
        duplicate: Probability that a frame arrives twice.
        corrupt: Probability that one bit is flipped.
        to_bad: Losses in bursts (Gilbert and Elliott): the probability, at each frame, that the
            link turns bad,
        to_good: that a bad one turns good,
        bad_loss: and that a frame is lost while it is bad.
        down: Nothing gets through, and what is on its way is lost.

    Raises:
        ValueError: A probability is not from 0 to 1, or a value is negative or has no known unit.
        TypeError: The queue is none, or a probability no number.
    """

    delay: float | str | NormalDelay | DelayTrace = 0.0
    rate: float | str | RateTrace = 0
    queue: int | Fifo | CoDel | FqCoDel = 1000
    loss: float = 0.0
    jitter: float | str = 0.0
    reorder: float = 0.0
    reorder_delay: float | str = 0.001
    duplicate: float = 0.0
    corrupt: float = 0.0
    to_bad: float = 0.0
    to_good: float = 0.0
    bad_loss: float = 1.0
    down: bool = False

    def __post_init__(self) -> None:
        for name in _PROBABILITIES:
            if not isinstance(getattr(self, name), Real):
                raise TypeError(f"{name} is a number from 0 to 1, not {getattr(self, name)!r}")
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability from 0 to 1, not {getattr(self, name)}")
        for name in _TIMES:
            object.__setattr__(self, name, seconds(getattr(self, name), name))
        if not isinstance(self.delay, (NormalDelay, DelayTrace)):
            object.__setattr__(self, "delay", seconds(self.delay, "delay"))
        if not isinstance(self.rate, RateTrace):
            object.__setattr__(self, "rate", bits_per_second(self.rate, "rate"))
        as_queue(self.queue)

    def _to_c(self, out: Any) -> list[Any]:
        """Fills in a `struct ps_link`; what it points to lives as long as the result."""
        for name in _PROBABILITIES:
            setattr(out, name, getattr(self, name))
        for name in _TIMES:
            setattr(out, f"{name}_us", round(getattr(self, name) * 1e6))
        kept: list[Any] = []
        if isinstance(self.delay, (NormalDelay, DelayTrace)):
            kept += self.delay._to_c(out)
        else:
            out.delay_us = round(float(self.delay) * 1e6)
        if isinstance(self.rate, RateTrace):
            kept += self.rate._to_c(out)
        else:
            out.rate_bits_per_second = self.rate
        as_queue(self.queue)._to_c(out.queue)
        out.down = self.down
        return kept

    def __str__(self) -> str:
        told = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in fields(self)
            if getattr(self, field.name) != field.default
        ]
        return ", ".join(told) or "perfect"


CONDITIONS = tuple(field.name for field in fields(Conditions))


@dataclass(frozen=True)
class LinkCounts:
    """What became of the frames of one direction.

    Attributes:
        sent: All that were sent.
        lost: By `Conditions.loss` and `bad_loss`.
        overflowed: Dropped, for the queue was full.
        dropped: By CoDel.
        marked: By CoDel as having met congestion (ECN); they go on.
        corrupted: Arrived with a wrong bit.
        duplicated: Arrived twice.
        cut_off: Lost because the link was down, or the far end gone.
    """

    sent: int
    lost: int
    overflowed: int
    dropped: int
    marked: int
    corrupted: int
    duplicated: int
    cut_off: int


class Link:
    """A link between two hosts, or switches or sides of NATs; made by `World.link`.

    Attributes:
        ends: What it is between.
        nics: Their ends of it.
        devices: The TAP devices of both ends, by name; None: it is in memory.
        number: Which of the links between these two it is, from 1.
        streams: What its directions are called in C.
    """

    def __init__(
        self,
        clock: WorldClock,
        wires: Wires,
        ends: tuple[Node, Node],
        there: Conditions,
        back: Conditions,
        mtu: int,
        seed: int,
    ) -> None:
        settings = ffi.new("struct ps_link[2]")
        kept = there._to_c(settings[0]), back._to_c(settings[1])
        self.nics, self.devices = wires.make(clock, mtu, seed, settings)
        del kept  # what the settings pointed to is copied
        self.ends = ends
        self._conditions = [there, back]
        self._causes = [Counter[object](), Counter[object]()]  # why each direction is down
        self.number = 1
        self.streams = tuple(int(lib.ps_link_stream(nic._pointer)) for nic in self.nics)

    @property
    def name(self) -> str:
        """As faults and tapes have it: "a-b"; a second one between the same two is "a-b#2"."""
        left, right = (one.name for one in self.ends)
        return f"{left}-{right}" + (f"#{self.number}" if self.number > 1 else "")

    def direction(self, side: int) -> str:
        """The name of what an end sends: "a>b"."""
        sender, taker = self.ends[side].name, self.ends[not side].name
        return f"{sender}>{taker}" + (f"#{self.number}" if self.number > 1 else "")

    def _sides(self, sender: Node | None) -> tuple[int, ...]:
        if sender is None:
            return (0, 1)
        if sender not in self.ends:
            raise ValueError(f"{sender} is at neither end of {self}")
        return (self.ends.index(sender),)

    def change(self, sender: Node | None = None, /, **conditions: Any) -> None:
        """Changes what happens to frames that are sent from now on.

        Args:
            sender: The host whose frames are meant; None: both directions.
            conditions: What is to be different, by the names of `Conditions`.

        Raises:
            TypeError: No such condition.
            ValueError: A value out of range; or the sender is at neither end.
        """
        need_known("Link.change", conditions, CONDITIONS)
        for side in self._sides(sender):
            made = replace(self._conditions[side], **conditions)
            if "down" in conditions and not made.down:
                self._causes[side].clear()  # whatever it was
            raw = ffi.new("struct ps_link *")
            kept = made._to_c(raw)
            check(lib.ps_link_set(self.nics[side]._pointer, raw))
            del kept  # what they pointed to is copied
            self._conditions[side] = made

    def conditions(self, sender: Node) -> Conditions:
        """What happens to the frames that a host sends."""
        return self._conditions[self._sides(sender)[0]]

    def down(self, sender: Node | None = None, /) -> None:
        """Lets nothing through any more; what is on its way is lost.

        Args:
            sender: Only what this host sends; None: both directions.
        """
        self.cut(_BY_HAND, sender)

    def up(self, sender: Node | None = None, /) -> None:
        """Ends `down`; a partition, or a fault, that has cut it as well goes on.

        Args:
            sender: Only what this host sends; None: both directions.
        """
        for side in self._sides(sender):
            self._causes[side].pop(_BY_HAND, None)
            self._mend(side)

    def cut(self, cause: object, sender: Node | None = None) -> None:
        """As `down`, for a cause that may have cut it already: until as many `mend` it.

        Args:
            cause: Why; any value that has a hash.
            sender: Only what this host sends; None: both directions.
        """
        for side in self._sides(sender):
            self._causes[side][cause] += 1
            if not self._conditions[side].down:
                self.change(self.ends[side], down=True)

    def mend(self, cause: object, sender: Node | None = None) -> None:
        """Ends one `cut` for this cause; frames get through again when there is none for any."""
        for side in self._sides(sender):
            if self._causes[side][cause] <= 1:
                del self._causes[side][cause]
            else:
                self._causes[side][cause] -= 1
            self._mend(side)

    def mend_all(self, cause: object) -> None:
        """Ends all that `cut` has done for this cause."""
        for side in (0, 1):
            self._causes[side].pop(cause, None)
            self._mend(side)

    def _mend(self, side: int) -> None:
        if not self._causes[side] and self._conditions[side].down:
            self.change(self.ends[side], down=False)

    def lose_next(self, sender: Node, losses: Iterable[bool], /) -> None:
        """Says of the next frames that a host sends whether each is lost, whatever chance says.

        The others of its conditions hold; the tape has what is lost. Another call replaces it.

        Args:
            sender: The host.
            losses: For the first, the second and so on, 64 at most.

        Raises:
            ValueError: More than 64; or the sender is at neither end.
        """
        told = [bool(one) for one in losses]
        if len(told) > _MOST_PLANNED:
            raise ValueError(f"of {_MOST_PLANNED} frames at most, not {len(told)}")
        bits = sum(lost << number for number, lost in enumerate(told))
        lib.ps_link_plan(self.nics[self._sides(sender)[0]]._pointer, bits, len(told))

    def state(self) -> LinkState:
        """What Python knows of it that changes, for a snapshot."""
        return list(self._conditions), [Counter(causes) for causes in self._causes]

    def set_state(self, state: LinkState) -> None:
        """What it was at a snapshot, as the World's wires are again."""
        self._conditions = list(state[0])
        self._causes = [Counter(causes) for causes in state[1]]

    def counts(self, sender: Node) -> LinkCounts:
        """What became of the frames that a host has sent."""
        raw = ffi.new("struct ps_link_counts *")
        check(lib.ps_link_counts(self.nics[self._sides(sender)[0]]._pointer, raw))
        return LinkCounts(*(int(getattr(raw, name)) for name in LinkCounts.__dataclass_fields__))

    def __repr__(self) -> str:
        left, right = self.ends
        there, back = self._conditions
        both = str(there) if there == back else f"there {there}; back {back}"
        return f"<Link {left.name} - {right.name}: {both}>"


LinkState = tuple[list[Conditions], list[Counter[object]]]


def links_between(links: Iterable[Link], groups: Mapping[Any, int]) -> list[Link]:
    """Those whose ends are in different groups.

    Args:
        links: Of which.
        groups: The number of each host's or switch's group; a link of one that has none stays out.
    """
    found = []
    for link in links:
        left, right = (groups.get(one.machine) for one in link.ends)
        if left is not None and right is not None and left != right:
            found.append(link)
    return found
