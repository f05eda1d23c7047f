"""A network in one process, under a virtual clock: `World`, its hosts and links."""

from pystack.errors import DeadlockError
from pystack.world.host import Host
from pystack.world.internet import Internet
from pystack.world.link import Conditions, Link, LinkCounts
from pystack.world.nat import Nat, NatCounts, NatMapping, NatSide
from pystack.world.queues import CoDel, Fifo, FqCoDel, Queue
from pystack.world.switch import Switch, SwitchCounts
from pystack.world.traces import DelayTrace, NormalDelay, RateTrace
from pystack.world.world import World

__all__ = [
    "CoDel",
    "Conditions",
    "DeadlockError",
    "DelayTrace",
    "Fifo",
    "FqCoDel",
    "Host",
    "Internet",
    "Link",
    "LinkCounts",
    "Nat",
    "NatCounts",
    "NatMapping",
    "NatSide",
    "NormalDelay",
    "Queue",
    "RateTrace",
    "Switch",
    "SwitchCounts",
    "World",
]
