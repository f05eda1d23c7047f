"""Switches of a World."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Any

from pystack._native import WorldClock, ffi, lib
from pystack.nic import Layer, Nic
from pystack.world.node import Network, Segment
from pystack.world.wires import make_bridge, plug

__all__ = ["Switch", "SwitchCounts"]


@dataclass(frozen=True)
class SwitchCounts:
    """What became of frames.

    Attributes:
        forwarded: To the one port that their address is behind.
        flooded: To all ports but their own.
        oversized: Copies that were dropped, for they were longer than the link's MTU.
    """

    forwarded: int
    flooded: int
    oversized: int


class Switch:
    """A learning Ethernet switch (IEEE 802.1D), which joins hosts to one network.

    Made by `World.switch`; `World.link` plugs a host or another switch in, with conditions as any
    link's. It takes no time itself, and has no spanning tree: links that would close a loop are
    refused.

    Attributes:
        name: What it is called.
        world: Where it is.
    """

    def __init__(
        self, world: object, clock: WorldClock, name: str, network: Network | None
    ) -> None:
        self._bridge: Any = make_bridge(clock)
        self._clock = clock
        self.name = name
        self.world = world
        self._segment = Segment(name, network)
        self._neighbours: list[Switch] = []
        self._attached: list[Nic] = []

    @property
    def machine(self) -> Switch:
        """Itself."""
        return self

    @property
    def segment(self) -> Segment:
        """The switches that it is one of."""
        return self._segment

    def join(self, other: Switch) -> None:
        """Makes one network of two.

        Raises:
            ValueError: It is one already, so that frames would go round in it for ever.
        """
        mine, its = self._segment, other._segment
        if mine is its:
            raise ValueError(
                f"{self} and {other} are joined already: frames would go round for ever in a loop "
                "of switches"
            )
        mine.switches |= its.switches
        mine.network = mine.network or its.network
        reached = [other]
        while reached:
            one = reached.pop()
            one._segment = mine
            reached += [each for each in one._neighbours if each._segment is not mine]
        self._neighbours.append(other)
        other._neighbours.append(self)

    def accept(self, addresses: list[str]) -> None:
        """Refuses addresses.

        Raises:
            ValueError: There are some, which a switch has not.
        """
        if addresses:
            raise ValueError(f"a switch has no addresses, so {self} can't have {addresses}")

    def plug(self, end: Nic, nic: Nic, addresses: list[str]) -> None:
        """Takes the end of a link as its next port; `World.link` does it.

        Raises:
            ValueError: There are addresses.
            OSError: EBUSY, the NIC is held.
        """
        self.accept(addresses)
        plug(self._bridge, nic)

    def attach(self, nic: Nic) -> None:
        """Takes a NIC from outside as its next port; only in real time.

        What is at its other end is on this network: a program behind a `nic.Tap`, another Stack.
        Its frames meet no conditions of a link.

        Args:
            nic: An Ethernet one; the caller closes it, behind the World.

        Raises:
            OSError: EOPNOTSUPP, the World's time is virtual; EBUSY, the NIC is held; EMFILE, there
                are 128 NICs from outside; EBADF, the World has ended.
            ValueError: It carries no Ethernet.
            RuntimeError: This thread takes no part in the World.
        """
        if nic.layer is not Layer.ETHERNET:
            raise ValueError(f"a switch forwards Ethernet, and {nic!r} carries IP packets")
        if self._bridge is None:
            raise OSError(errno.EBADF, "the World has ended")
        if not self._clock.takes_part():
            raise RuntimeError("attach a NIC in a thread of the World: `with World() as world:`")
        plug(self._bridge, nic)
        self._attached.append(nic)

    def counts(self) -> SwitchCounts:
        """What became of frames."""
        raw = ffi.new("struct ps_bridge_counts *")
        lib.ps_bridge_counts(self._bridge, raw)
        return SwitchCounts(int(raw.forwarded), int(raw.flooded), int(raw.oversized))

    def close(self) -> None:
        """Unplugs everything; `World.close` does it. May be called again."""
        bridge, self._bridge = self._bridge, None
        if bridge is not None:
            ffi.release(bridge)

    def __repr__(self) -> str:
        return f"<Switch {self.name}>"
