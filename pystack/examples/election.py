"""A World: a leader election with a fault that only some partitions show.

Three nodes elect a leader, as Raft does: who hears no leader for a while asks for votes in a new
term, and leads it with a majority's. But a node here votes for a second one in the same term, too:
`explore` finds the partition after which a term has two leaders.
"""

from __future__ import annotations

import contextlib
import socket
import time

from pystack.world import Faults, World, explore

FAULTS = Faults(cut=("a-lan", "b-lan", "c-lan"), within=5, lasts=(0.1, 5), most=4)


def node(name: str, patience: float, leaders: set[tuple[int, str]]) -> None:
    """Takes part, and notes each term in which it leads."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("", 7))
        sock.settimeout(0.1)
        term, votes, beat, said = 0, set[str](), 0.0, 0.0
        while True:
            now, leads = time.monotonic(), (term, name) in leaders
            if not leads and now > beat + patience:
                term, votes, beat = term + 1, {name}, now
            if (leads or votes) and now >= said + 0.1:
                said, word = now, "lead" if leads else "vote?"
                for peer in "abc".replace(name, ""):
                    with contextlib.suppress(OSError):  # it may be out of reach
                        sock.sendto(f"{word} {term} {name}".encode(), (peer, 7))
            with contextlib.suppress(TimeoutError):
                data, sender = sock.recvfrom(100)
                word, theirs, peer = data.decode().split()
                if int(theirs) > term:
                    term, votes = int(theirs), set[str]()
                if word == "vote?" and int(theirs) == term:  # the fault: it may have voted already
                    sock.sendto(f"vote {term} {name}".encode(), sender)
                elif word == "lead" and int(theirs) == term:
                    votes, beat = set[str](), now
                elif int(theirs) == term and votes:  # with its own, a majority
                    leaders.add((term, name))


def election(world: World) -> None:
    """Lets them elect for ten seconds: no term may have two leaders."""
    lan, leaders = world.switch("lan"), set[tuple[int, str]]()
    for name, patience in (("a", 1.0), ("b", 1.3), ("c", 1.6)):
        world.link(world.host(name), lan, delay="5ms")
        world.hosts[name].thread(node, name, patience, leaders)
    world.sleep(10)
    terms = [term for term, _name in leaders]
    assert len(set(terms)) == len(terms), f"two leaders in one term: {sorted(leaders)}"


if __name__ == "__main__":
    print(explore(election, seeds=300, faults=FAULTS))
