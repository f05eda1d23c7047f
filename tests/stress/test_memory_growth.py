"""A process in which connections come and go does not grow: neither in objects nor in memory."""

from __future__ import annotations

import ctypes
import gc
import random
from itertools import pairwise
from socket import AF_INET, SOCK_STREAM
from typing import Any

import pytest
from lockstep import PORT, Lockstep, lockstep

from pystack.nic import Impairment, impair

ROUND = 500
MESSAGE = random.Random(1).randbytes(20_000)


class _MallInfo(ctypes.Structure):
    """What mallinfo2(3) tells."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def heap_bytes() -> int:
    """What is in use of the C library's heap."""
    try:
        mallinfo = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError):
        pytest.skip("no mallinfo2: not the GNU C library, or an old one")
    mallinfo.restype = _MallInfo
    told = mallinfo()
    return int(told.uordblks + told.hblkhd)


def connection(it: Lockstep, listener: Any) -> None:
    """One that carries something over a wire with faults, and ends."""
    client = it.client.socket(AF_INET, SOCK_STREAM)
    client.setblocking(False)
    client.connect_ex(("10.0.0.2", PORT))
    taken: list[Any] = []
    sent = got = 0

    def done() -> bool:
        nonlocal sent, got
        try:
            if not taken:
                taken.append(listener.accept()[0])
                taken[0].setblocking(False)
                taken[0].fileno()  # has a descriptor of the kernel's made
            if sent < len(MESSAGE):
                sent += client.send(MESSAGE[sent:])
        except BlockingIOError:
            pass
        try:
            if taken:
                got += len(taken[0].recv(65536))
        except BlockingIOError:
            pass
        return got == len(MESSAGE)

    assert it.run(done, seconds=600)
    client.close()
    taken[0].close()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_grows_with_the_connections_that_were() -> None:
    faults = Impairment(loss=0.02, reorder=0.05, corrupt=0.01, duplicate=0.02)
    with lockstep(wrap=lambda nic: impair(nic, faults, faults, seed=5)) as it:
        for net in (it.client, it.server):
            net.sysctl["net.ipv4.tcp_msl_ms"] = 1000
        with it.listen() as listener:
            heap, objects = [], []
            for _ in range(5):
                for _ in range(ROUND):
                    connection(it, listener)
                it.run(seconds=10)
                gc.collect()
                heap.append(heap_bytes())
                objects.append(len(gc.get_objects()))
                assert it.client.connections() == []
        # The first rounds fill caches, one of them by 32 kB at once. A byte kept of each connection
        # would be 500 in every round.
        assert min(after - before for before, after in pairwise(objects)) < 50
        assert min(after - before for before, after in pairwise(heap)) < 8 * ROUND
