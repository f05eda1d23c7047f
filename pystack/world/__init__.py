"""A network in one process, under a virtual clock: `World`, its hosts and links."""

from pystack.errors import DeadlockError
from pystack.world.host import Host
from pystack.world.link import Conditions, Link, LinkCounts
from pystack.world.outside import OutsideWorldWarning
from pystack.world.world import World

__all__ = [
    "Conditions",
    "DeadlockError",
    "Host",
    "Link",
    "LinkCounts",
    "OutsideWorldWarning",
    "World",
]
