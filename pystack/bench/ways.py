"""The ways from a client to a server that are measured, and how each is set up."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pystack
from pystack.bench import pytcp
from pystack.bench.worker import Here, Worker
from pystack.bench.workloads import Ends
from pystack.lab.agent.unshare import CLONE_NEWNET, CLONE_NEWUSER, become_root, enter, unshare

__all__ = ["WAYS", "Network", "Way", "of_engine"]

# Addresses for documentation (RFC 5737); all but loopback is inside namespaces of our own.
LEFT, RIGHT, PREFIX = "192.0.2.1", "192.0.2.2", 24


@dataclass(frozen=True)
class Network:
    """Two ends with a network between them, in one process or two.

    Attributes:
        one: Whose process has the first end.
        two: Whose process has the second; the same one, if both are in it.
    """

    one: Worker
    two: Worker

    def turned(self) -> Network:
        """The same, with the ends' parts exchanged."""
        return Network(self.two, self.one)


@dataclass(frozen=True)
class Way:
    """A client, a server and the network between them.

    Attributes:
        name: Its own, for tables and the command line.
        network: The name of the network, which several ways may share.
        turned: The client is the network's second end.
        base: The name of the way whose figures the ratios are to.
        workloads: Those that it can do; None: all.
    """

    name: str
    network: str
    turned: bool
    base: str
    workloads: frozenset[str] | None = None


# --- what happens in a worker ----------------------------------------------------------------


def _go_apart(here: Here) -> None:
    del here
    if os.geteuid() != 0:
        become_root()
    unshare(CLONE_NEWNET)


def _follow(here: Here, process: int, what: int) -> None:
    del here
    if os.geteuid() != 0:
        enter(process, CLONE_NEWUSER)
    if what:
        enter(process, what)
    else:
        unshare(CLONE_NEWNET)


def _pin(here: Here, core: int) -> None:
    del here
    os.sched_setaffinity(0, {core})


def _kernel(here: Here, host: str) -> None:
    here.server = here.client = Ends(socket, host)


def _stack_on_tap(here: Here, engine: str, offload: bool) -> None:
    wire = here.cleanup.enter_context(pystack.nic.Tap("tap0", offload=offload))
    net = here.cleanup.enter_context(pystack.Stack(engine=engine))
    net.attach(wire, f"{RIGHT}/{PREFIX}")
    here.server = here.client = Ends(net.sockets, RIGHT, stack=net)


def _stacks(here: Here, engine: str, mtu: int) -> None:
    wires = pystack.nic.wire(mtu)
    for host, wire in zip((LEFT, RIGHT), wires, strict=True):
        net = here.cleanup.enter_context(pystack.Stack(engine=engine))
        net.attach(wire, f"{host}/{PREFIX}")
        here.client, here.server = here.server, Ends(net.sockets, host, stack=net)


def _device_up(here: Here, name: str, address: str) -> None:
    del here
    from pyroute2 import IPRoute  # noqa: PLC0415 - on Linux alone

    with IPRoute() as kernel:
        (index,) = kernel.link_lookup(ifname=name)
        kernel.addr("add", index=index, address=address, prefixlen=PREFIX)
        kernel.link("set", index=index, state="up")


def _veth(here: Here, other: int) -> None:
    del here
    from pyroute2 import IPRoute  # noqa: PLC0415 - on Linux alone

    with IPRoute() as kernel:
        kernel.link("add", ifname="v0", kind="veth", peer={"ifname": "v1", "net_ns_pid": other})


# --- networks --------------------------------------------------------------------------------


@contextmanager
def _one_process(function: Callable[..., None], *arguments: object) -> Iterator[Network]:
    with Worker() as worker:
        worker.call(function, *arguments)
        yield Network(worker, worker)


@contextmanager
def _pair() -> Iterator[tuple[Worker, Worker]]:
    """Two processes, each on its own core, like two machines.

    The scheduler may put both on one core, or not, and a round trip differs tenfold by that.
    """
    with Worker() as one, Worker() as two:
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) > 1:
            one.call(_pin, cores[0])
            two.call(_pin, cores[1])
        yield one, two


@contextmanager
def _over_veth() -> Iterator[Network]:
    with _pair() as (one, two):
        one.call(_go_apart)
        two.call(_follow, one.pid, 0)
        one.call(_veth, two.pid)
        for worker, name, host in ((one, "v0", LEFT), (two, "v1", RIGHT)):
            worker.call(_device_up, name, host)
            worker.call(_kernel, host)
        yield Network(one, two)


@contextmanager
def _over_tap(engine: str, offload: bool = True) -> Iterator[Network]:
    with _pair() as (kernel, stack):
        stack.call(_go_apart)
        stack.call(_stack_on_tap, engine, offload)
        kernel.call(_follow, stack.pid, CLONE_NEWNET)
        kernel.call(_device_up, "tap0", LEFT)
        kernel.call(_kernel, LEFT)
        yield Network(kernel, stack)


@contextmanager
def _over_tap_to_pytcp() -> Iterator[Network]:
    with _pair() as (kernel, stack):
        stack.call(_go_apart)
        stack.call(pytcp.begin, "tap0", RIGHT, PREFIX, LEFT)
        kernel.call(_follow, stack.pid, CLONE_NEWNET)
        kernel.call(_device_up, "tap0", LEFT)
        kernel.call(_kernel, LEFT)
        yield Network(kernel, stack)


NETWORKS: dict[str, Callable[[], AbstractContextManager[Network]]] = {
    "veth": _over_veth,
    "TAP, gVisor's netstack": lambda: _over_tap("gvisor"),
    "TAP, PyTCP": _over_tap_to_pytcp,
    "loopback": lambda: _one_process(_kernel, "127.0.0.1"),
}
# Those that have a Stack, by its engine; `of_engine` names them.
ENGINE_NETWORKS: dict[str, Callable[[str], AbstractContextManager[Network]]] = {
    "TAP": _over_tap,
    "TAP, frame by frame": lambda engine: _over_tap(engine, offload=False),
    "wire, MTU 65500": lambda engine: _one_process(_stacks, engine, 65500),
    "wire, MTU 1500": lambda engine: _one_process(_stacks, engine, 1500),
}
VETH, LOOPBACK = "kernel to kernel, veth", "kernel to kernel, loopback, one process"
# At a few Mbit/s what it sends would outlast the round by far.
PYTCP = frozenset({"bulk", "latency"})
WAYS = (
    Way(VETH, "veth", turned=False, base=VETH),
    Way("kernel to Stack, TAP", "TAP", turned=False, base=VETH),
    Way("Stack to kernel, TAP", "TAP", turned=True, base=VETH),
    Way("kernel to Stack, frame by frame", "TAP, frame by frame", turned=False, base=VETH),
    Way("Stack to kernel, frame by frame", "TAP, frame by frame", turned=True, base=VETH),
    Way("kernel to gVisor, TAP", "TAP, gVisor's netstack", turned=False, base=VETH),
    Way("gVisor to kernel, TAP", "TAP, gVisor's netstack", turned=True, base=VETH),
    Way("kernel to PyTCP, TAP", "TAP, PyTCP", turned=False, base=VETH, workloads=PYTCP),
    Way(LOOPBACK, "loopback", turned=False, base=LOOPBACK),
    Way("Stack to Stack, MTU 65500, one process", "wire, MTU 65500", turned=False, base=LOOPBACK),
    Way("Stack to Stack, MTU 1500, one process", "wire, MTU 1500", turned=False, base=LOOPBACK),
)


def of_engine(engine: str) -> tuple[Way, ...]:
    """The ways that have a Stack of the default engine, with another engine's in its place."""
    return tuple(
        replace(way, name=f"{way.name} ({engine})", network=f"{way.network} ({engine})")
        for way in WAYS
        if way.network in ENGINE_NETWORKS
    )


def _made(name: str) -> AbstractContextManager[Network]:
    if name in NETWORKS:
        return NETWORKS[name]()
    network, _, engine = name.removesuffix(")").partition(" (")
    return ENGINE_NETWORKS[network](engine or "lwip")


@contextmanager
def opened(names: set[str], absent: dict[str, str]) -> Iterator[dict[str, Network]]:
    """The networks of these names, as far as they are available.

    Args:
        names: Which.
        absent: Called for each that isn't available, with the reason.
    """
    with ExitStack() as cleanup:
        networks: dict[str, Network] = {}
        for name in sorted(names):
            inside = name != "loopback" and not name.startswith("wire")
            if inside and not sys.platform.startswith("linux"):
                absent[name] = "it needs Linux"
            elif inside and not Path("/dev/net/tun").exists():
                absent[name] = "it needs /dev/net/tun"
            else:
                try:
                    networks[name] = cleanup.enter_context(_made(name))
                except Exception as error:  # noqa: BLE001 - a peer that isn't there is no failure
                    absent[name] = str(error)
        yield networks
