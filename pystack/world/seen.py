"""What is seen of a World: its clock, its trace, drawings of it."""

from __future__ import annotations

import os

from pystack._native import WorldClock, ffi, lib
from pystack._native.values import near
from pystack.world.host import Host
from pystack.world.ladder import diagram, diagram_svg, ladder, ladder_svg
from pystack.world.link import Link
from pystack.world.switch import Switch
from pystack.world.trace import Note, Trace, read_trace
from pystack.world.wires import Wires

__all__ = ["SeenWorld"]

# What a trace keeps.
_TRACE_BYTES = 64 << 20


class SeenWorld:
    """The part of a World that tells what happens in it.

    Args:
        clock: The World's.
        epoch: What `time.time` says at 0 of that clock.
        trace: As `World` has it.
    """

    _wires: Wires

    def __init__(self, clock: WorldClock, epoch: float, trace: bool | int) -> None:
        self.clock = clock
        self.hosts: dict[str, Host] = {}
        self.switches: dict[str, Switch] = {}
        self.links: list[Link] = []
        self._start_us = clock.now_us()
        self._epoch = epoch
        self._streams: dict[int, tuple[str, str, str]] = {}
        self._places: dict[int, str] = {}
        self._notes: list[Note] = []
        self._traces = bool(trace)
        if trace:
            lib.ps_trace_on(clock.pointer, True, _TRACE_BYTES if trace is True else trace)

    @property
    def now(self) -> float:
        """Seconds since the World began."""
        return (self.clock.now_us() - self._start_us) / 1e6

    @property
    def behind(self) -> float:
        """By how many seconds `now` is behind the machine's clock; 0.0 in virtual time."""
        return self.clock.behind_us() / 1e6

    def counts(self) -> tuple[int, int]:
        """How often the clock has moved to another event, and how many frames have arrived."""
        events, frames = ffi.new("uint64_t *"), ffi.new("uint64_t *")
        lib.ps_world_counts(self.clock.pointer, events, frames)
        return int(events[0]), int(frames[0])

    @property
    def namespace(self) -> str | None:
        """Where its TAP devices are, for nsenter(1) and ip(8); None: it has none."""
        return self._wires.namespace()

    @property
    def trace(self) -> Trace:
        """The frames that were sent until now, what sockets did, and the notes; also after the end.

        Raises:
            RuntimeError: The World was made without `trace=True`.
        """
        if not self._traces:
            raise RuntimeError("this World keeps no trace: World(trace=True)")
        return read_trace(self.clock, self._start_us, self._streams, self._places, self._notes)

    def find_link(self, name: str) -> Link:
        """A link by its name: "a-b", or "a>b" for a direction of it; "a-b#2" for a second one.

        Raises:
            ValueError: There is none.
        """
        for link in self.links:
            if name in (link.name, link.direction(0), link.direction(1)):
                return link
        told = ", ".join(link.name for link in self.links) or "none"
        names = [one for link in self.links for one in (link.name, *map(link.direction, (0, 1)))]
        raise ValueError(f"there is no link {name!r}; there are {told}{near(name, names)}")

    def note_start(self, host: Host) -> None:
        """Notes that a host's Stack is new."""
        self._places[host.place] = host.name

    def note(self, text: str) -> None:
        """Puts words on the trace; nothing where none is kept."""
        if self._traces:
            self._notes.append(Note(self.now, text))

    def save_trace(self, path: str | os.PathLike[str]) -> None:
        """Writes the trace for Wireshark (pcapng); a frame's comment says what became of it."""
        self.trace.save(path, self._epoch + 1.0)

    def sequence(self, *hosts: Host, last: int | None = None, svg: bool = False) -> str:
        """The trace as a ladder.

        Args:
            hosts: Its columns; frames of others are left out. None given: all.
            last: Only the last so many frames and notes.
            svg: As a drawing, and not as text.
        """
        names = [one.name for one in hosts] or None
        return (ladder_svg if svg else ladder)(self.trace, names, last)

    def diagram(self, *, svg: bool = False) -> str:
        """Its hosts and links, as text or as a drawing."""
        return (diagram_svg if svg else diagram)(
            [*self.hosts.values(), *self.switches.values()], self.links
        )
