"""The order of a name's addresses: what the GNU C library gives with these addresses and routes.

It was asked in a namespace for each case, with this hosts file.
"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

import pystack

FOUR, FOUR_ELSEWHERE = "10.77.0.9", "192.0.2.9"
LOCAL, GLOBAL, SIX_TO_FOUR = "fd77::9", "2001:db8::9", "2002:a4d:1::9"
HOSTS = {
    "mixed": [LOCAL, GLOBAL, FOUR, SIX_TO_FOUR, FOUR_ELSEWHERE],
    "far": ["2001:db8:5::1", "198.51.100.1"],
    "link": ["fe80::9", "10.77.0.9"],
    "here": ["10.77.0.9", "::1", "127.0.0.5"],
    "four": ["198.51.100.1", "10.77.0.9", "10.77.0.200"],
    "own": ["198.51.100.7", "10.77.0.2", "2001:db8:9::1"],
    "others": ["fd99::1", "2001:db8:7::1", "198.51.100.8"],
}
FAR_FOUR_FIRST = ["198.51.100.1", "2001:db8:5::1"]
NEAR_FIRST = ["10.77.0.9", "10.77.0.200", "198.51.100.1"]
OTHERS_FOUR_FIRST = ["198.51.100.8", "fd99::1", "2001:db8:7::1"]
OTHERS_GLOBAL_FIRST = ["2001:db8:7::1", "fd99::1", "198.51.100.8"]
OWN_FOUR_FIRST = ["10.77.0.2", "198.51.100.7", "2001:db8:9::1"]

OURS, LOCAL_SIX, GLOBAL_SIX = "10.77.0.2/24", "fd77::2/64", "2001:db8::2/64"
ROUTER, ROUTER_SIX = "10.77.0.1", "2001:db8::1"
# Addresses and routers, to the order of each name; of those that are missing, that of the file.
CASES: dict[str, tuple[tuple[str, ...], tuple[str, ...], dict[str, list[str]]]] = {
    "nothing": ((), (), {
        "mixed": [LOCAL, GLOBAL, SIX_TO_FOUR, FOUR, FOUR_ELSEWHERE],
        "own": ["2001:db8:9::1", "198.51.100.7", "10.77.0.2"],
    }),
    "a link": ((OURS,), (), {
        "mixed": [FOUR, LOCAL, GLOBAL, SIX_TO_FOUR, FOUR_ELSEWHERE],
        "four": NEAR_FIRST, "own": ["10.77.0.2", "2001:db8:9::1", "198.51.100.7"],
    }),
    "IPv4": ((OURS,), (ROUTER,), {
        "mixed": [FOUR, FOUR_ELSEWHERE, LOCAL, GLOBAL, SIX_TO_FOUR], "far": FAR_FOUR_FIRST,
        "four": NEAR_FIRST, "own": OWN_FOUR_FIRST, "others": OTHERS_FOUR_FIRST,
    }),
    "IPv4 and a local prefix": ((OURS, LOCAL_SIX), (ROUTER,), {
        "mixed": [LOCAL, FOUR, FOUR_ELSEWHERE, GLOBAL, SIX_TO_FOUR], "far": FAR_FOUR_FIRST,
        "four": NEAR_FIRST, "own": OWN_FOUR_FIRST, "others": OTHERS_FOUR_FIRST,
    }),
    "IPv6": ((OURS, GLOBAL_SIX), (ROUTER_SIX,), {
        "mixed": [GLOBAL, FOUR, LOCAL, SIX_TO_FOUR, FOUR_ELSEWHERE], "four": NEAR_FIRST,
        "own": ["2001:db8:9::1", "10.77.0.2", "198.51.100.7"], "others": OTHERS_GLOBAL_FIRST,
    }),
    "all": ((OURS, GLOBAL_SIX, LOCAL_SIX), (ROUTER, ROUTER_SIX), {
        "mixed": [LOCAL, GLOBAL, FOUR, FOUR_ELSEWHERE, SIX_TO_FOUR], "four": NEAR_FIRST,
        "own": ["2001:db8:9::1", "10.77.0.2", "198.51.100.7"], "others": OTHERS_GLOBAL_FIRST,
    }),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_gets_through_comes_first(case: str, tmp_path: Path) -> None:
    addresses, routers, orders = CASES[case]
    file = tmp_path / "hosts"
    file.write_text("".join(f"{one} {name}\n" for name, all_ in HOSTS.items() for one in all_))
    wire, _far = pystack.nic.wire()
    with pystack.Stack(threaded=False, clock=pystack.hypercalls.ManualClock()) as net:
        net.attach(wire, *addresses, detect=False)
        for router in routers:
            net.routes.add("::/0" if ":" in router else "0.0.0.0/0", router)
        net.sockets.hosts = file
        expected = {
            **HOSTS, "here": ["::1", "127.0.0.5", "10.77.0.9"],
            **({"link": ["10.77.0.9", "fe80::9"]} if addresses else {}), **orders,
        }  # fmt: skip
        for name, order in expected.items():
            found = net.sockets.getaddrinfo(name, 80, type=socket.SOCK_STREAM)
            assert [one[4][0] for one in found] == order, name
