"""ping and traceroute as a tool: `python -m pystack.examples.ping ADDRESS --nic tap:tap0 ...`.

Without `--nic` it pings across a small network in this process: a router between two wires.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

import pystack


@contextmanager
def small_network() -> Iterator[pystack.Stack]:
    """A host, behind a router the network 10.0.2.0/24, and in it 10.0.2.2."""
    wires = [pystack.nic.wire(), pystack.nic.wire()]
    with pystack.Stack() as host, pystack.Stack() as router, pystack.Stack() as server:
        host.attach(wires[0][0], "10.0.1.2/24", gateway="10.0.1.1")
        router.attach(wires[0][1], "10.0.1.1/24")
        router.attach(wires[1][0], "10.0.2.1/24")
        server.attach(wires[1][1], "10.0.2.2/24", gateway="10.0.2.1")
        router.sysctl["net.ipv4.ip_forward"] = 1
        yield host


@contextmanager
def on_a_nic(wire: str, address: str, gateway: str | None) -> Iterator[pystack.Stack]:
    """A Stack on a NIC of this machine's."""
    with pystack.nic.parse(wire) as nic, pystack.Stack() as net:
        net.attach(nic, address, gateway=gateway)
        yield net


def main(words: list[str] | None = None) -> None:
    """Reads the command line, then pings and traces."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("destination", nargs="?", default="10.0.2.2")
    parser.add_argument("--nic", help="as tap:tap0")
    parser.add_argument("--address", default="10.0.0.2/24")
    parser.add_argument("--gateway")
    asked = parser.parse_args(words)
    place = on_a_nic(asked.nic, asked.address, asked.gateway) if asked.nic else small_network()
    with place as net:
        for number in range(3):
            result = net.ping(asked.destination, timeout=5)
            print(f"{number}: {result}")
        print(net.traceroute(asked.destination))


if __name__ == "__main__":
    main()
