"""A network in one process, under a virtual clock: `World`, its hosts and links."""

from pystack.errors import DeadlockError
from pystack.world.explore import Exploration, Outcome, explore, run_once
from pystack.world.faults import Fault, Faults
from pystack.world.host import Host
from pystack.world.link import Conditions, Link, LinkCounts
from pystack.world.schedule import Pct
from pystack.world.tape import Choice, Tape
from pystack.world.trace import Frame, Note, Trace
from pystack.world.world import World

__all__ = [
    "Choice",
    "Conditions",
    "DeadlockError",
    "Exploration",
    "Fault",
    "Faults",
    "Frame",
    "Host",
    "Link",
    "LinkCounts",
    "Note",
    "Outcome",
    "Pct",
    "Tape",
    "Trace",
    "World",
    "explore",
    "run_once",
]
