"""A World at one moment, and back to it: `World.snapshot`, `World.restore`."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Mapping, Sequence
from typing import Protocol

from pystack._native import WorldClock, ffi, lib
from pystack.snapshot import Snapshot
from pystack.world.host import Host
from pystack.world.link import Link

__all__ = ["WorldSnapshot"]

_WORDS = {
    errno.EBUSY: "other threads take part in the World, whose stacks can't be copied: let them end "
    "first, or do all in one thread",
    errno.ESTALE: "hosts, links, switches or NATs have been made, restarted or closed since",
}


class _CopiedWorld(Protocol):
    """What it asks of a World."""

    clock: WorldClock

    @property
    def hosts(self) -> Mapping[str, Host]:
        """Its hosts."""
        ...

    @property
    def links(self) -> Sequence[Link]:
        """Its links."""
        ...


def _check(result: int) -> None:
    if result < 0:
        raise OSError(-result, f"{os.strerror(-result)}: {_WORDS.get(-result, 'no snapshot')}")


class WorldSnapshot:
    """A World's hosts and wires at one moment; made by `World.snapshot`.

    Attributes:
        at: When it was made, in seconds of the World.
    """

    def __init__(self, world: _CopiedWorld, at: float, chances: Sequence[random.Random]) -> None:
        out = ffi.new("ps_moment **")
        _check(lib.ps_moment_create(world.clock.pointer, out))
        self._moment = ffi.gc(out[0], lib.ps_moment_destroy)
        self._world = world
        self._hosts = {host: host.place for host in world.hosts.values()}
        self._stacks: list[tuple[Host, Snapshot]] = [
            (host, host.snapshot()) for host in self._hosts if not host.closed
        ]
        self._links = [(link, link.state()) for link in world.links]
        self._chances = [(chance, chance.getstate()) for chance in chances]
        self._random = random.getstate()
        self.at = at

    def restore(self, world: _CopiedWorld) -> None:
        """See `World.restore`."""
        if world is not self._world:
            raise OSError(errno.EXDEV, "the snapshot is of another World")
        if {host: host.place for host in world.hosts.values()} != self._hosts:
            _check(-errno.ESTALE)
        for host, stack in self._stacks:
            stack.check(host._handle)
        _check(lib.ps_moment_return(self._moment))
        for host, stack in self._stacks:
            host.restore(stack)
        _check(lib.ps_moment_return(self._moment))
        for link, state in self._links:
            link.set_state(state)
        for chance, told in self._chances:
            chance.setstate(told)
        random.setstate(self._random)

    def __repr__(self) -> str:
        return f"<WorldSnapshot at {self.at:g} s: {len(self._stacks)} hosts>"
