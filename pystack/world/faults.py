"""Faults of machines and links: what goes wrong when, and for how long."""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Protocol

from pystack._native.values import hinted, near, whole
from pystack.world.host import Host
from pystack.world.link import Link, links_between
from pystack.world.units import seconds

__all__ = ["Fault", "Faults", "check_targets", "planned", "play"]

_KINDS = ("crash", "cut", "mute", "partition")
_WORD = re.compile(r"(?P<kind>[a-z]+):(?P<target>.+)@(?P<at>[\d.]+)\+(?P<lasts>[\d.]+)")
_AT_LEAST = 1e-6  # seconds
_CAUSE = "fault"  # of which several may cut a link at once
_STEP = 1000  # a plan's times are whole milliseconds, which read well


def _moment(value: float | str, what: str) -> float:
    if not isinstance(value, (str, Real)):
        raise TypeError(f"{what} is seconds, or a string as '2s', not {value!r}")
    return seconds(value, what)


@dataclass(frozen=True, order=True, init=False)
class Fault:
    """One fault; as text the word `crash:server@1.5+60`.

    Attributes:
        kind: "crash": a host loses power, and starts again afterwards; "cut": a link is down;
            "mute": one direction of it; "partition": the links between groups of hosts are down.
        target: The host; the link, as "a-b"; the direction, as "a>b"; the groups, as "a,b|c".
        at: When it begins, in seconds of the World; or a string, as "1.5s" or "2min".
        lasts: For how many seconds; or a string.

    Raises:
        ValueError: Another kind, or a time that is negative or endless, or has no known unit.
        TypeError: A time that is neither number nor string.
    """

    kind: str
    target: str
    at: float
    lasts: float

    def __init__(self, kind: str, target: str, at: float | str, lasts: float | str) -> None:
        if kind not in _KINDS:
            raise ValueError(f"a fault is one of {', '.join(_KINDS)}, not {kind!r}")
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "target", target)
        object.__setattr__(self, "at", _moment(at, "at"))
        object.__setattr__(self, "lasts", _moment(lasts, "lasts"))

    @classmethod
    def parse(cls, word: str) -> Fault:
        """A fault from its word; ValueError if it is none."""
        found = _WORD.fullmatch(word)
        if found is None:
            raise ValueError(f"{word!r} is no fault, as `crash:server@1.5+60` would be")
        return cls(found["kind"], found["target"], float(found["at"]), float(found["lasts"]))

    def __str__(self) -> str:
        return f"{self.kind}:{self.target}@{_plain(self.at)}+{_plain(self.lasts)}"


def _plain(seconds: float) -> str:
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


@hinted
@dataclass(frozen=True)
class Faults:
    """What may go wrong; the World's seed says what does.

    Attributes:
        crash: Hosts that may lose power, by name.
        cut: Links that may be down, as "a-b".
        mute: Directions that may be, as "a>b".
        partition: Hosts that may be parted in two groups.
        most: How many faults there are at most.
        within: They begin in the first so many seconds; or a string, as "2min".
        lasts: The shortest and the longest time that one lasts, in seconds, or strings.

    The World has to have, at its end, all the hosts and links named here.

    Raises:
        ValueError: Nothing may go wrong, or a value is out of range.
        TypeError: A string in the place of a list of names; one time in the place of two.
    """

    crash: Sequence[str] = ()
    cut: Sequence[str] = ()
    mute: Sequence[str] = ()
    partition: Sequence[str] = ()
    most: int = 3
    within: float | str = 60.0
    lasts: tuple[float | str, float | str] = (0.1, 30.0)
    _kinds: tuple[tuple[str, str], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("crash", "cut", "mute", "partition"):
            names: object = getattr(self, name)
            if isinstance(names, str):
                raise TypeError(f"{name} is a list of names: {name}=[{names!r}]")
            if not isinstance(names, Sequence) or not all(isinstance(one, str) for one in names):
                raise TypeError(f"{name} is a list of names, such as ['a'], not {names!r}")
        given: object = self.lasts
        if not isinstance(given, (tuple, list)) or len(given) != 2:
            raise TypeError(f"lasts is the shortest and the longest time, not {self.lasts!r}")
        shortest, longest = (_moment(one, "lasts") for one in self.lasts)
        if shortest > longest:
            raise ValueError(f"lasts is the shortest and the longest time, not {self.lasts!r}")
        object.__setattr__(self, "lasts", (shortest, longest))
        object.__setattr__(self, "within", _moment(self.within, "within"))
        whole(self.most, "most", 0, sys.maxsize, "faults")
        kinds = [(kind, one) for kind in ("crash", "cut", "mute") for one in getattr(self, kind)]
        if self.partition:
            kinds.append(("partition", ""))
        if not kinds:
            raise ValueError("name what may go wrong: Faults(crash=['server'])")
        if len(self.partition) == 1:
            raise ValueError("a partition needs two hosts at least")
        object.__setattr__(self, "_kinds", tuple(kinds))

    def draw(self, chance: random.Random) -> tuple[Fault, ...]:
        """A plan, drawn."""
        return tuple(sorted(self._one(chance) for _each in range(chance.randint(0, self.most))))

    def _one(self, chance: random.Random) -> Fault:
        kind, target = chance.choice(self._kinds)
        if kind == "partition":
            hosts = list(self.partition)
            chance.shuffle(hosts)
            size = chance.randint(1, len(hosts) - 1)
            target = "|".join(",".join(sorted(one)) for one in (hosts[:size], hosts[size:]))
        shortest, longest = map(float, self.lasts)
        at = round(chance.uniform(0, float(self.within)) * _STEP) / _STEP
        return Fault(kind, target, at, round(chance.uniform(shortest, longest) * _STEP) / _STEP)


def planned(faults: Faults | Iterable[Fault] | None, seed: int) -> tuple[Fault, ...]:
    """The faults of a plan; of `Faults`, those that this seed draws; None: there are none.

    Raises:
        TypeError: One is none.
    """
    if isinstance(faults, Faults):
        return faults.draw(random.Random(seed))
    if faults is None:
        return ()
    if isinstance(faults, Fault):
        raise TypeError(f"faults are a list: [{faults!r}]")
    if not isinstance(faults, Iterable):
        raise TypeError(f"faults are a list of Fault, or Faults(...), not {faults!r}")
    found = tuple(faults)
    for one in found:
        if not isinstance(one, Fault):
            raise TypeError(f"a fault is a pystack.world.Fault (Fault.parse), not {one!r}")
    return found


class FaultyWorld(Protocol):
    """What faults ask of a World."""

    @property
    def hosts(self) -> Mapping[str, Host]:
        """Its hosts."""
        ...

    def find_link(self, name: str) -> Link:
        """A link by its name."""
        ...

    @property
    def links(self) -> Sequence[Link]:
        """Its links."""
        ...

    @property
    def now(self) -> float:
        """Seconds since it began."""
        ...

    def sleep(self, seconds: float) -> None:
        """Lets others run."""
        ...

    def note(self, text: str) -> None:
        """Puts words on the trace."""
        ...

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        ...

    def note_failure(self, error: BaseException) -> None:
        """Keeps what a thread has ended with."""
        ...


def _host(world: FaultyWorld, name: str) -> Host:
    if name not in world.hosts:
        raise ValueError(
            f"a fault is to hit the host {name!r}, which this World hasn't: "
            f"it has {', '.join(world.hosts) or 'none'}{near(name, world.hosts)}"
        )
    return world.hosts[name]


def _links_between(world: FaultyWorld, groups: Iterable[str]) -> list[Link]:
    place = {
        _host(world, name): number
        for number, names in enumerate(groups)
        for name in names.split(",")
    }
    return links_between(world.links, place)


def _apply(world: FaultyWorld, fault: Fault, begins: bool) -> None:
    if fault.kind == "crash":
        host = _host(world, fault.target)
        host.crash() if begins else host.restart()
        return
    world.note(f"{fault.kind} {fault.target} {'begins' if begins else 'ends'}")
    if fault.kind == "partition":
        for link in _links_between(world, fault.target.split("|")):
            link.cut(_CAUSE) if begins else link.mend(_CAUSE)
    else:
        link = world.find_link(fault.target)
        sender = None if fault.kind == "cut" else _host(world, fault.target.partition(">")[0])
        link.cut(_CAUSE, sender) if begins else link.mend(_CAUSE, sender)


def check_targets(world: FaultyWorld, faults: Faults | Iterable[Fault]) -> None:
    """Says whether there is all that could go wrong, also what no fault has hit.

    Raises:
        ValueError: The World has no such host or link.
    """
    if isinstance(faults, Faults):
        hosts, links = [*faults.crash, *faults.partition], [*faults.cut, *faults.mute]
    else:
        parted = [one.target for one in faults if one.kind == "partition"]
        hosts = [one.target for one in faults if one.kind == "crash"]
        hosts += [name for one in parted for name in re.split("[,|]", one)]
        links = [one.target for one in faults if one.kind in ("cut", "mute")]
    for host in hosts:
        _host(world, host)
    for link in links:
        world.find_link(link)


def play(world: FaultyWorld, faults: Iterable[Fault]) -> None:
    """Lets faults happen at their times; in a thread of the World, whose failure is kept.

    Raises:
        ValueError: What is to go wrong isn't there.
    """
    try:
        _play(world, faults)
    except (OSError, ValueError) as error:
        if not (isinstance(error, OSError) and world.closed):
            world.note_failure(error)
            raise


def _play(world: FaultyWorld, faults: Iterable[Fault]) -> None:
    moments = [(fault.at, 0, fault) for fault in faults]
    moments += [(fault.at + fault.lasts, 1, fault) for fault in faults]
    for at, ends, fault in sorted(moments):
        # The clock has to move once, so that what is to go wrong has been made.
        world.sleep(max(at - world.now, _AT_LEAST if world.now == 0 else 0))
        _apply(world, fault, not ends)
