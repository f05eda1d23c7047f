"""Worlds: a network in one process, in virtual or in real time."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import errno
import functools
import hashlib
import math
import os
import random
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pystack import nic as nics
from pystack._native import WorldClock, lib
from pystack._native.closing import Closing
from pystack._native.values import hinted, integer, keywords, need_known, number
from pystack.nic import Nic
from pystack.world.chance import chance_of_world
from pystack.world.farewell import end_threads
from pystack.world.faults import Fault, Faults, check_targets, planned, play
from pystack.world.host import OF_STACKS, Host
from pystack.world.internet import Internet
from pystack.world.link import CONDITIONS, Conditions, Link, links_between
from pystack.world.loop import WorldLoop
from pystack.world.names import NamesFile
from pystack.world.nat import Nat
from pystack.world.node import Network, Node, addresses_of, check_link, check_name, plug_both
from pystack.world.outside import call_outside, watched_from_outside
from pystack.world.schedule import Pct, set_schedule
from pystack.world.seen import SeenWorld
from pystack.world.snapshot import WorldSnapshot
from pystack.world.switch import Switch
from pystack.world.tape import Deck, Tape
from pystack.world.threads import threads_of, time_of_world
from pystack.world.times import taking_part
from pystack.world.waits import explain, warn_of_rest
from pystack.world.wires import choose_wires

__all__ = ["World"]

_T = TypeVar("_T")
_H = TypeVar("_H", bound=Host)
# What time.time() says at the beginning: the first second of 2024, UTC.
_EPOCH = 1_704_067_200.0


_OF_LINKS = ("addresses", "mtu", "back", "capture", "tamper")  # what a link has beside conditions


class World(SeenWorld, Closing):
    """Hosts and links that share one clock; a context manager.

    Each host is a Stack, so the TCP in it is a real stack's. In virtual time nothing sleeps: when
    all that runs in the World waits, the clock moves to the next event. In real time it first waits
    until the machine's clock has come there. The same seed and the same program give the same
    frames in both.

    The thread that enters it takes part in it, and so do tasks of `run` and threads that are
    started inside. For these, `time`, `datetime` and `threading` are the World's; waits in C (a
    real lock, a subprocess) are not.

    Args:
        seed: From which all randomness of its Stacks and links comes.
        schedule: Which of several threads, or of asyncio's tasks, that may go on is next: "fifo",
            the first that became ready; "random", chosen by the seed; "pct" or a `Pct`, by
            priorities.
        tape: What is to happen, in the place of all chance: the seed and the faults are the tape's.
        faults: What goes wrong: `Faults`, from which the seed draws; or each `Fault`.
        trace: Whether each frame is kept, with what became of it, for `trace`; or how many bytes
            of them at most (64 MiB).
        epoch: What `time.time` says at the beginning, in seconds since 1970.
        time: "virtual", or "real": then the clock is never ahead of the machine's, and hosts and
            switches can have NICs whose frames come from outside. Default: as the wires need it.
        wires: What links are made of: "memory"; or "tap", TAP devices that the kernel bridges, in
            real time.

    Attributes:
        clock: The clock; a `pystack.hypercalls.Clock`.
        seed: The seed.
        hosts: The hosts by their names.
        switches: The switches by theirs.
        links: The links, in the order of their making.
        names_file: The hosts file (hosts(5)) that its hosts look names up in; it is in memory, and
            `read_text` shows it.

    Raises:
        ValueError: No such schedule, time or wires; TAP in virtual time; a tape together with
            another seed or faults; no epoch.
        TypeError: A seed that is no whole number, a tape that is text, faults that are none.
    """

    @hinted
    def __init__(
        self,
        *,
        seed: int | None = None,
        schedule: str | Pct = "fifo",
        tape: Tape | None = None,
        faults: Faults | Iterable[Fault] | None = (),
        trace: bool | int = False,
        epoch: float = _EPOCH,
        time: str | None = None,
        wires: str = "memory",
    ) -> None:
        is_real, self._wires = choose_wires(time, wires)
        if tape is not None and not isinstance(tape, Tape):
            raise TypeError(f"a tape is a pystack.world.Tape (Tape.parse, Tape.load), not {tape!r}")
        seed = None if seed is None else integer(seed, "seed")
        if not math.isfinite(epoch):
            raise ValueError(f"epoch is seconds since 1970, not {epoch!r}")
        if tape is not None and (seed not in (None, tape.seed) or faults not in ((), None)):
            raise ValueError("a tape has its own seed and faults: give it alone")
        self.seed = tape.seed if tape is not None else seed or 0
        # Not from 0: Linux takes a timestamp of 0 for none.
        super().__init__(WorldClock(1.0, real=is_real), epoch - 1.0, trace)
        self.clock.explain, self.clock.host_names = self._explain, lambda: self.hosts
        chooses = set_schedule(self.clock, schedule, self._derive("schedule"))
        self._chooses = chooses or tape is not None
        self._deck = Deck(self.clock, tape)
        self._faults = tape.faults if tape else planned(faults, self._derive("faults"))
        self._might = faults if isinstance(faults, Faults) else self._faults
        self._moments: weakref.WeakKeyDictionary[
            WorldSnapshot, tuple[int, dict[int, int], set[str]]
        ]
        self._moments = weakref.WeakKeyDictionary()
        self._urandom = random.Random(self._derive("urandom"))
        self._seeds = random.Random(self._derive("seeds"))
        self._chances: dict[str, random.Random] = {}
        self._failures: list[BaseException] = []
        self._names: dict[str, str] = {}  # of hosts and switches, as DNS compares them
        self._captures: dict[Path, Nic] = {}  # by their files
        self._first = threading.current_thread()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._left = contextlib.ExitStack()
        self._open = self._closed = False
        self.names_file = NamesFile()

    def _derive(self, what: str) -> int:
        """A seed of its own for each part, so that one more doesn't change the others."""
        digest = hashlib.sha256(f"{self.seed}/{what}".encode()).digest()
        return int.from_bytes(digest[:8], "big")

    # --- life ------------------------------------------------------------------------------

    def __enter__(self) -> World:
        if self._open or self._closed:
            raise RuntimeError("a World is entered once: make another, `with World() as world:`")
        if taking_part() is not None:
            raise RuntimeError("this thread takes part in another World already")
        self._wires.open()
        self._left.enter_context(time_of_world(self.clock, self._epoch, self._urandom, self._seeds))
        self._left.enter_context(chance_of_world(self._derive("random")))
        self._left.enter_context(watched_from_outside(self.clock, taking_part))
        self.clock.take_part_first()
        self._open = True
        if self._faults:
            plan = self, self._faults
            self.start(threading.Thread(target=play, args=plan, name="faults", daemon=True))
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        super().__exit__(kind, error, traceback)
        if error is None and self.now and not self._failures:
            check_targets(self, self._might)

    def close(self) -> None:
        """Ends it: threads that wait in it end (`SystemExit`), hosts send nothing any more.

        May be called again.
        """
        if self._closed:
            return
        self._closed = self.clock.closed = True
        lib.ps_world_close(self.clock.pointer)
        try:
            left = end_threads(self.clock)
            for host in self.hosts.values():
                host.close(abrupt=True)
            for switch in self.switches.values():
                switch.close()
            with contextlib.ExitStack() as ends:  # all, also where a disk is full
                ends.callback(self._wires.close)
                for end in self._captures.values():
                    ends.callback(end.close)
        finally:
            self._left.close()
            self._open = False
        if left:
            warn_of_rest(left)

    @property
    def closed(self) -> bool:
        """Whether it has ended, or is about to."""
        return self._closed

    def __repr__(self) -> str:
        return f"<World seed={self.seed} at {self.now:g} s: {len(self.hosts)} hosts>"

    # --- time ------------------------------------------------------------------------------

    def sleep(self, seconds: float) -> None:
        """Lets others run for so long; as `time.sleep` inside a World.

        Raises:
            ValueError: It is negative or endless.
        """
        self.clock.sleep(number(seconds, "a sleep", unit="seconds"))

    def outside(self, function: Callable[..., _T], *arguments: Any, **named: Any) -> _T:
        """Calls a function outside of the World, which goes on meanwhile; only in real time.

        There sockets, sleeps and children are the machine's: `world.outside(subprocess.run, ...)`
        for a program that talks with the World's hosts by a NIC. A loop does it in a thread:
        `await asyncio.to_thread(world.outside, ...)`.

        Args:
            function: What is called, in a thread that takes no part in the World. What ends the
                wait for it (Ctrl-C) doesn't end the function.
            arguments: With what,
            named: and with what by name.

        Raises:
            OSError: EOPNOTSUPP, the World's time is virtual; EBADF, it has ended.
            RuntimeError: This thread takes no part in the World.
            BaseException: What the function raises.
        """
        self._need_open()
        return call_outside(self.clock, functools.partial(function, *arguments, **named))

    # --- chance ----------------------------------------------------------------------------

    @property
    def tape(self) -> Tape:
        """All that chance has decided until now, and the faults; also after the end."""
        return Tape(self.seed, [*self._deck.read(), *self._faults])

    def choose(self, name: str, options: Sequence[_T]) -> _T:
        """One of several, drawn by the seed, or as the tape says.

        Args:
            name: What is chosen; each name has random numbers of its own.
            options: The first is the ordinary one: a tape without this choice has it, and
                shrinking tends to it.

        Raises:
            ValueError: There are none, or the name has a ":" or "=".
        """
        if not options:
            raise ValueError(f"there are no options for {name!r}")
        if not name or set(name) & set(":= @"):
            raise ValueError(f"a choice's name has no ':', '=', '@' or blank, not {name!r}")
        stream = self._derive(f"choice/{name}")
        chance = self._chances.setdefault(name, random.Random(stream))
        drawn = chance.randrange(len(options))
        return options[self._deck.choose(stream, name, drawn) % len(options)]

    # --- moments ---------------------------------------------------------------------------

    def snapshot(self) -> WorldSnapshot:
        """Copies the state of all hosts and wires, to come back to by `restore`.

        It has the engines' state, the clock, what is on its way, queues, tables of switches and
        NATs, what chance decides next, and the position of trace and tape. What Python has is
        the program's: objects, and what it has read.

        Raises:
            OSError: EBUSY, other threads take part in the World, or a loop runs; EOPNOTSUPP, an
                engine can't (gvisor), or frames may come from outside; EBADF, it isn't open.
        """
        self._need_alone()
        copied = WorldSnapshot(
            self, self.now, [self._urandom, self._seeds, *self._chances.values()]
        )
        self._moments[copied] = len(self._notes), self._deck.counts, set(self._chances)
        return copied

    def restore(self, snapshot: WorldSnapshot) -> None:
        """Goes back to a moment; the same calls have the same frames again.

        Sockets have to be those of the snapshot: open and close none in between, or open those
        that you need before it.

        Raises:
            OSError: ESTALE, hosts or wires have come or gone since, or a socket was closed; EBUSY,
                one was opened, or other threads take part; EXDEV, it is another World's.
        """
        self._need_alone()
        snapshot.restore(self)
        notes, self._deck.counts, chances = self._moments[snapshot]
        del self._notes[notes:]
        for name in set(self._chances) - chances:  # each begins anew
            del self._chances[name]

    def _need_alone(self) -> None:
        self._need_open()
        if self._loop is not None:
            raise OSError(errno.EBUSY, "tasks of World.run can't be copied: do it outside of it")
        if self._faults:
            raise OSError(errno.EBUSY, "faults happen in a thread, which can't be copied")

    def note_failure(self, error: BaseException) -> None:
        """Keeps what a thread has ended with, for `failures`."""
        self._failures.append(error)

    @property
    def failures(self) -> tuple[BaseException, ...]:
        """What threads of its hosts have ended with, and its faults, if they couldn't happen."""
        return tuple(self._failures)

    # --- what is in it ---------------------------------------------------------------------

    def host(self, name: str, **options: Any) -> Host:
        """A new host, without links.

        Args:
            name: By which the others find it: names are looked up in a hosts file of the World.
            options: As `Stack` has them, but for `clock` and `threaded`.

        Raises:
            ValueError: There is a host of this name, or it can't be a host's name.
            OSError: EBADF, the World has ended.
        """
        return self._add(Host, name, **options)

    def _add(self, kind: Callable[..., _H], name: str, *arguments: Any, **options: Any) -> _H:
        self._need_life()
        check_name(name, self._names)
        known = (*keywords(kind.__init__), *OF_STACKS)
        need_known(f"World.{kind.__name__.lower()}", options, known)
        options.setdefault("seed", self._derive(f"host/{name}"))
        made = self.hosts[name] = kind(self, name, *arguments, **options)
        self._names[name.lower()] = name
        return made

    def router(self, name: str, **options: Any) -> Host:
        """A host that forwards packets of both families."""
        return self.host(name, forwards=True, **options)

    def nat(self, name: str, kind: str = "port-restricted", **options: Any) -> Nat:
        """A NAT, of IPv4: a router with an inside and an outside.

        Args:
            name: By which others find it.
            kind: "full-cone", whose open ports let everybody in; "restricted", only addresses that
                were sent to; "port-restricted", only endpoints that were sent to; "symmetric", with
                another outside port for each of these (RFC 3489's names; RFC 4787 calls the first
                three endpoint-independent mappings, with endpoint-independent, address-dependent
                and address and port-dependent filtering).
            options: `udp_timeout` (300 s), `tcp_timeout` (7440), `tcp_transitory_timeout` (240),
                `icmp_timeout` (60), seconds of the World's clock or strings; `preserve_ports`, the
                inside port is kept where it is free; `hairpin`, hosts inside reach each other by
                the outside address; `limit` (4096), how many sessions it knows; and as `Stack` has
                them, but for `clock` and `threaded`.

        Raises:
            ValueError: No such kind; a value out of range; a name as with `host`.
        """
        return self._add(Nat, name, kind, **options)

    def switch(self, name: str, *, networks: tuple[str, str] | None = None) -> Switch:
        """A switch: hosts that are linked to it are on one network.

        Args:
            name: What it is called.
            networks: From which they get addresses, IPv4's and IPv6's; None: the next /24 of
                10.0.0.0/8 and /64 of fd00::/16.

        Raises:
            ValueError: A name as with `host`; no networks.
        """
        self._need_life()
        check_name(name, self._names)
        network = None if networks is None else Network(*networks)
        made = Switch(self, self.clock, name, network)
        self.switches[name] = made
        self._names[name.lower()] = name
        return made

    def internet(
        self,
        hosts: int | Iterable[str],
        *,
        core: str = "core",
        back: Conditions | None = None,
        **conditions: Any,
    ) -> Internet:
        """Hosts with an access link each to one router, who reach each other by name.

        Args:
            hosts: How many (named host1, host2 and so on), or their names; at most 250.
            core: The router's name.
            back: The conditions of what the router sends to a host, if they differ.
            conditions: Of each link, as with `link`.

        Raises:
            ValueError: Too many or none; a name or a value as with `host` and `link`.
        """
        return Internet(self, hosts, core, back, conditions)

    def link(
        self,
        left: Node,
        right: Node,
        *,
        addresses: tuple[str | Iterable[str], str | Iterable[str]] | None = None,
        mtu: int = 1500,
        back: Conditions | None = None,
        capture: str | os.PathLike[str] | None = None,
        tamper: Callable[[nics.Frame], nics.Outcome] | None = None,
        **conditions: Any,
    ) -> Link:
        """A link between two hosts, as a new interface on each; also to switches and NATs.

        Args:
            left: One: a host, a switch, or a NAT's `inside` or `outside`.
            right: The other.
            addresses: Theirs, with prefix, one or several each; None: the next /24 of 10.0.0.0/8
                and /64 of fd00::/16, the left host's first.
            mtu: Bytes of IP packet.
            conditions: Of both directions: `delay="20ms"`, `rate="10Mbit/s"`, `loss=0.01` and the
                others of `Conditions`.
            back: The conditions of what the right host sends, if they differ.
            capture: A file for Wireshark (".pcap" or ".pcapng") with the frames as the left host
                sends and receives them, at the World's times. It is whole when the World closes.
            tamper: A function that each frame passes where the left host sends and receives it, as
                with `pystack.nic.tamper`.

        Raises:
            ValueError: A value out of range; a host of another World.
            TypeError: No such condition; no host; a value of another type.
        """
        check_link(self, (left, right), addresses, mtu)
        if capture is not None and Path(capture).resolve() in self._captures:
            raise ValueError(f"another link of this World is captured to {capture} already")
        if back is not None and not isinstance(back, Conditions):
            raise TypeError(f"back is a pystack.world.Conditions, not {back!r}")
        need_known("World.link", conditions, (*CONDITIONS, *_OF_LINKS))
        there = Conditions(**conditions)
        number = len(self.links)
        both = addresses_of(left, right, number) if addresses is None else addresses
        given = [[own] if isinstance(own, str) else list(own) for own in both]
        for one, own in zip((left, right), given, strict=True):
            one.accept(own)
        if isinstance(left, Switch) and isinstance(right, Switch):
            left.join(right)
        seed = self._derive(f"link/{number}")
        made = Link(
            self.clock,
            self._wires,
            (left, right),
            there,
            replace(there) if back is None else back,
            mtu,
            seed,
        )
        self._name(made)
        ends: list[Nic] = list(made.nics)
        if tamper is not None:
            ends[0] = nics.tamper(ends[0], tamper)
        if capture is not None:
            ends[0] = nics.capture(ends[0], capture, epoch=self._epoch)
            self._captures[Path(capture).resolve()] = ends[0]
        plug_both((left, right), made.nics, ends, given)
        for one, own in zip((left, right), given, strict=True):
            self.names_file.add(one.machine.name, own)
        self.links.append(made)
        return made

    def _name(self, link: Link) -> None:
        before = sum(set(one.ends) == set(link.ends) for one in self.links)
        link.number = before + 1
        for side in (0, 1):
            self._deck.name_stream(link.streams[side], link.direction(side))
            names = (link.name, link.ends[side].name, link.ends[not side].name)
            self._streams[link.streams[side]] = names

    def partition(self, *groups: Iterable[Host | Switch]) -> None:
        """Cuts each link between hosts of different groups; hosts in none keep all of theirs.

        It ends with `heal`.

        Args:
            groups: The hosts that go on reaching each other.

        Raises:
            ValueError: A host is in two of them.
            TypeError: Something else than this World's hosts and switches.
        """
        if lone := [group for group in groups if isinstance(group, (Host, Switch))]:
            raise TypeError(f"a group is a list of hosts: [{lone[0]!r}]")
        place: dict[Host | Switch, int] = {}
        for side, group in enumerate(groups):
            for one in group:
                if getattr(one, "world", None) is not self:
                    raise TypeError(f"a group is a list of this World's hosts: {one!r} is none")
                if place.setdefault(one, side) != side:
                    raise ValueError(f"{one} is in two groups")
        for link in links_between(self.links, place):
            link.cut("partition")

    def heal(self) -> None:
        """Brings all links up, whatever has cut them but for faults that go on."""
        for link in self.links:
            link.up()
            link.mend_all("partition")

    # --- what runs in it -------------------------------------------------------------------

    def start(self, thread: threading.Thread) -> None:
        """Starts a thread in it; see `Host.thread`.

        Raises:
            RuntimeError: Outside of `with World()`.
        """
        if not self.clock.takes_part():
            raise RuntimeError("a World's threads are started inside it: `with World() as world:`")
        thread.start()

    def call_soon(self, function: Callable[[], object]) -> bool:
        """Calls a function in the loop of `run`, from any thread of the World; False: none runs."""
        if self._loop is None or self._loop.is_closed():
            return False
        self._loop.call_soon_threadsafe(function)
        return True

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Runs a coroutine to its end, as `asyncio.run`, in the World's time.

        Its own sockets are nobody's: use `Host.run` and `Host.spawn` in it. When it ends, tasks
        that still run are cancelled.

        Raises:
            DeadlockError: All wait, and nothing can ever happen.
            RuntimeError: Outside of `with World()`, or inside another loop.
        """
        runs = asyncio._get_running_loop() is not None
        if (runs or not self._open) and asyncio.iscoroutine(coroutine):
            coroutine.close()
        self._need_open()
        if runs:
            raise RuntimeError("a loop is running in this thread already: await it there")
        with concurrent.futures.ThreadPoolExecutor(thread_name_prefix="world") as executor:
            loop = WorldLoop(self.clock, executor, self._chooses)
            self._loop = loop
            try:
                asyncio.set_event_loop(loop)
                return loop.run_until_complete(coroutine)
            finally:
                try:
                    if left := loop.cancel_all():
                        warn_of_rest(left)
                    loop.run_until_complete(loop.shutdown_asyncgens())
                finally:
                    self._loop = None
                    asyncio.set_event_loop(None)
                    loop.close()

    def run_trio(self, function: Callable[..., Awaitable[_T]], *arguments: Any) -> _T:
        """Runs an async function to its end, as `trio.run`, in the World's time.

        Its own sockets are nobody's: use `Host.run` and `Host.start_soon` in it.

        Args:
            function: What to run.
            arguments: With what.

        Raises:
            DeadlockError: All wait, and nothing can ever happen.
            OSError: EBADF, outside of `with World()`.
            ModuleNotFoundError: trio is not installed.
            TypeError: A coroutine in the place of an async function.
        """
        if asyncio.iscoroutine(function):
            function.close()
            raise TypeError("trio is given the async function itself: `world.run_trio(main)`")
        from pystack.world import trio_clock  # noqa: PLC0415 - it need not be there

        self._need_open()
        return trio_clock.run(self.clock, self._chooses, function, *arguments)

    def _need_life(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, "the World has ended: make another")

    def _need_open(self) -> None:
        if not self._open:
            raise OSError(errno.EBADF, "the World is not open: `with World() as world:`")

    def _explain(self) -> str:
        return explain([self._first, *threads_of(self.clock)], self._loop)
