"""A World: two peers behind NATs punch a hole through them, with the help of a server.

It tells each how the other looks from outside. Then both send to each other: what leaves a NAT
opens it for what comes from there; unless neither can know the other's port (RFC 5128 3.3).
"""

import contextlib
import json
import socket

from pystack.world import World

SERVER = ("198.51.100.1", 3478)


def introduce() -> None:
    """Waits for two peers, and tells each where the other one is."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(SERVER)
        one, other = (sock.recvfrom(100)[1] for _each in range(2))
        sock.sendto(json.dumps(other).encode(), one)
        sock.sendto(json.dumps(one).encode(), other)


def meet(name: str, reached: set[str]) -> None:
    """Finds the other peer, and greets it for a while, wherever its packets come from."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.sendto(b"who is there?", SERVER)
        peer = tuple(json.loads(sock.recv(100)))
        sock.settimeout(0.5)
        for _each in range(5):
            sock.sendto(name.encode(), peer)
            with contextlib.suppress(TimeoutError):
                heard, peer = sock.recvfrom(100)
                reached.add(f"{name} hears {heard.decode()}")


def attempt(*kinds: str) -> str:
    """Whether peers behind NATs of two kinds reach each other."""
    with World(seed=1) as world:
        wan = world.switch("wan", networks=("198.51.100.0/24", "fd02::/64"))
        server, reached = world.host("server"), set[str]()
        world.link(server, wan)
        server.thread(introduce)
        for name, kind in zip(("alice", "bob"), kinds, strict=True):
            peer, nat = world.host(name), world.nat(f"{name}s-nat", kind)
            world.link(nat.inside, peer, addresses=("192.168.1.1/24", "192.168.1.2/24"))
            world.link(nat.outside, wan, delay="20ms")
            peer.routes.add("0.0.0.0/0", gateway="192.168.1.1")
            peer.thread(meet, name, reached)
        world.sleep(10)
        return ", ".join(sorted(reached)) or "they don't reach each other"


if __name__ == "__main__":
    print("port-restricted, both:", attempt("port-restricted", "port-restricted"))
    for kind in ("restricted", "port-restricted"):
        print(f"{kind} and symmetric:", attempt(kind, "symmetric"))
