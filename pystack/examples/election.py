"""A World: a leader election with a fault that only some partitions show.

Three nodes elect a leader, as Raft does: who hears no leader for a while asks for votes in a new
term, again and again, and leads it with the votes of a majority. But a node here gives its vote to
whoever asks, also to a second one in the same term. `explore` finds a partition after which one
term has two leaders, and leaves out of it all that isn't needed.
"""

from __future__ import annotations

import contextlib
import socket
import time

from pystack.world import Exploration, Faults, World, explore

LINKS = (("a", "b"), ("a", "c"), ("b", "c"))
FAULTS = Faults(partition=("a", "b", "c"), within=5, lasts=(0.1, 5), most=4)


def node(name: str, peers: list[str], leaders: set[tuple[int, str]]) -> None:
    """Takes part, and notes each term in which it leads."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("", 7))
        sock.settimeout(0.1)
        term, votes, beat, said = 0, set[str](), 0.0, 0.0
        patience = {"a": 1.0, "b": 1.3, "c": 1.6}[name]
        while True:
            now, leads = time.monotonic(), (term, name) in leaders
            if not leads and now > beat + patience:
                term, votes, beat = term + 1, {name}, now
            if (leads or votes) and now >= said + 0.1:
                said, word = now, "lead" if leads else "vote?"
                for peer in peers:
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
                elif word == "vote" and int(theirs) == term and votes:
                    votes.add(peer)
                    if len(votes) > 1:
                        leaders.add((term, name))


def election(world: World) -> None:
    """Lets them elect for ten seconds: no term may have two leaders."""
    leaders: set[tuple[int, str]] = set()
    peers: dict[str, list[str]] = {name: [] for name in "abc"}
    for name in "abc":
        world.host(name)
    for number, (left, right) in enumerate(LINKS):
        world.link(world.hosts[left], world.hosts[right], delay="10ms")
        peers[left].append(f"10.0.{number}.2")
        peers[right].append(f"10.0.{number}.1")
    for name, host in world.hosts.items():
        host.thread(node, name, peers[name], leaders)
    world.sleep(10)
    terms = sorted(term for term, _name in leaders)
    assert len(set(terms)) == len(terms), f"two leaders in one term: {sorted(leaders)}"


def main() -> Exploration:
    """Looks for a seed with which it goes wrong."""
    found = explore(election, seeds=300, faults=FAULTS)
    print(found)
    return found


if __name__ == "__main__":
    main()
