"""A network in one process, in virtual or in real time: `World`, its hosts and links."""

from pystack.errors import DeadlockError
from pystack.world.explore import Exploration, Outcome, explore, run_once
from pystack.world.faults import Fault, Faults
from pystack.world.host import Host
from pystack.world.internet import Internet
from pystack.world.link import Conditions, Link, LinkCounts
from pystack.world.nat import Nat, NatCounts, NatMapping, NatSide
from pystack.world.outside import OutsideWorldWarning
from pystack.world.queues import CoDel, Fifo, FqCoDel, Queue
from pystack.world.schedule import Pct
from pystack.world.snapshot import WorldSnapshot
from pystack.world.switch import Switch, SwitchCounts
from pystack.world.tape import Choice, Tape
from pystack.world.trace import Frame, Note, SocketEvent, Trace
from pystack.world.traces import DelayTrace, NormalDelay, RateTrace
from pystack.world.world import World

__all__ = [
    "Choice",
    "CoDel",
    "Conditions",
    "DeadlockError",
    "DelayTrace",
    "Exploration",
    "Fault",
    "Faults",
    "Fifo",
    "FqCoDel",
    "Frame",
    "Host",
    "Internet",
    "Link",
    "LinkCounts",
    "Nat",
    "NatCounts",
    "NatMapping",
    "NatSide",
    "NormalDelay",
    "Note",
    "Outcome",
    "OutsideWorldWarning",
    "Pct",
    "Queue",
    "RateTrace",
    "SocketEvent",
    "Switch",
    "SwitchCounts",
    "Tape",
    "Trace",
    "World",
    "WorldSnapshot",
    "explore",
    "run_once",
]
