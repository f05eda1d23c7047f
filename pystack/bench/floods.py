"""The cost of a flood to a host: its flow, new connections, its memory and its time.

A client's flow, limited to less than the host could take, and its new connections go over the link
that the flood comes by. The host is a Stack on a TAP, then the kernel on a veth, by turns, each
made afresh for each flood, and each with the same Python program on it.

The time of a frame is that of the processor. A Stack spends it in its own process; the kernel
takes what a veth delivers in the time of who sends it. So it is compared with that of an ordinary
frame, measured in the same place.
"""

from __future__ import annotations

import bisect
import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pystack
from pystack.bench import hostile, ways
from pystack.bench.hostile import FLOODS, ORDINARY, Flood
from pystack.bench.worker import Here, Worker, WorkerError
from pystack.lab.agent.unshare import CLONE_NEWNET

__all__ = ["HOSTS", "Outcome", "floods"]

HOSTS = ("Stack, TAP", "kernel, veth")
STACK, KERNEL = HOSTS
FRAMES_PER_S = 15_000
FLOW_BYTES_PER_S = 12_500_000
CHUNK = 62_500
BEHIND_S = 0.05  # a flow that was held up by more does not make up for it
WARM_UP_S, TAIL_S = 0.3, 0.1
SAMPLE_S = 0.02
CONNECT_EVERY_S, CONNECT_WITHIN_S = 0.25, 2.0
SLACK_S = 30.0


@dataclass
class Outcome:
    """How a host fared under a flood, with a value for each round.

    Attributes:
        host: One of `HOSTS`.
        flood: The flood's name.
        failures: Reasons of rounds in which something broke, such as the host.
        kept: The flow's rate as a share of its rate before the flood.
        tried: New connections attempted.
        succeeded: How many of them were answered.
        frames_per_s: The rate the sender reached.
        memory_bytes: The most that the Stack's arena held; of the kernel it is not known.
        cost_us: Processor time of a frame.
    """

    host: str
    flood: str
    failures: list[str] = field(default_factory=list)
    kept: list[float] = field(default_factory=list)
    tried: int = 0
    succeeded: int = 0
    frames_per_s: list[float] = field(default_factory=list)
    memory_bytes: list[int] = field(default_factory=list)
    cost_us: list[float] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """All of it, for `json.dumps`."""
        return vars(self)


@dataclass(frozen=True)
class Sample:
    """How far the victim has come."""

    at: float
    received: int
    processor_s: float


# --- the victim ----------------------------------------------------------------------------------


def _configure(here: Here, name: str, mac: str, own: str, own6: str) -> None:
    """Gives the kernel's end of the link its addresses."""
    del here
    from pyroute2 import IPRoute  # noqa: PLC0415 - on Linux alone

    without_dad = 2  # IFA_F_NODAD
    with IPRoute() as kernel:
        (index,) = kernel.link_lookup(ifname=name)
        kernel.link("set", index=index, address=mac)
        kernel.addr("add", index=index, address=own, prefixlen=hostile.PREFIX)
        kernel.link("set", index=index, state="up")
        kernel.addr(
            "add", family=socket.AF_INET6, index=index, address=own6,
            prefixlen=hostile.PREFIX6, flags=without_dad,
        )  # fmt: skip


def _lead_back(here: Here) -> None:
    """Routes off the link by the client, which drops it."""
    del here
    from pyroute2 import IPRoute  # noqa: PLC0415 - on Linux alone

    with IPRoute() as kernel:
        kernel.route("add", dst="0.0.0.0/0", gateway=hostile.ASKER)
        kernel.route("add", family=socket.AF_INET6, dst="::/0", gateway=hostile.ASKER6)


def _stack(here: Here) -> None:
    wire = here.cleanup.enter_context(pystack.nic.Tap("tap0"))
    net = here.cleanup.enter_context(pystack.Stack())
    addresses = (f"{hostile.VICTIM}/{hostile.PREFIX}", f"{hostile.VICTIM6}/{hostile.PREFIX6}")
    gateways = (hostile.ASKER, hostile.ASKER6)
    net.attach(wire, *addresses, gateway=gateways, mac=hostile.VICTIM_MAC)
    here.kept = net


def _listen(here: Here) -> None:
    """The victim's sockets: a listener, one for the flow, one that is never read."""
    net, place = here.kept, here.cleanup.enter_context
    sockets: Any = socket if net is None else net.sockets
    ports = (hostile.LISTENING, hostile.FLOWING)
    listeners = [
        place(sockets.create_server((hostile.VICTIM, port), backlog=128)) for port in ports
    ]
    datagrams = place(sockets.socket(socket.AF_INET, socket.SOCK_DGRAM))
    datagrams.bind((hostile.VICTIM, hostile.READING))
    here.kept = (net, *listeners)


def _answer(listener: Any, ended: threading.Event) -> None:
    """Accepts connections, and echoes a byte on each."""
    listener.settimeout(SAMPLE_S)
    while not ended.is_set():
        with contextlib.suppress(OSError):
            connection, _peer = listener.accept()
            with connection:
                connection.settimeout(CONNECT_WITHIN_S)
                connection.sendall(connection.recv(1))


def _endure(here: Here, seconds: float) -> tuple[list[Sample], int]:
    """Receives the flow and answers connections; the outcome, and the peak memory."""
    net, listener, flow = here.kept
    buffer, received, ended = bytearray(1 << 20), [0], threading.Event()

    def receive() -> None:
        connection, _peer = flow.accept()
        connection.settimeout(SAMPLE_S)
        with connection:
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    received[0] += connection.recv_into(buffer)

    threads = [threading.Thread(target=receive)]
    threads.append(threading.Thread(target=_answer, args=(listener, ended)))
    for one in threads:
        one.start()
    samples, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        samples.append(Sample(time.monotonic(), received[0], time.process_time()))
        time.sleep(SAMPLE_S)
    ended.set()
    for one in threads:
        one.join()
    return samples, 0 if net is None else net.arena.peak_bytes


def _close(here: Here) -> None:
    here.kept = None
    here.cleanup.pop_all().close()


# --- who asks, and who floods --------------------------------------------------------------------


def _flow(connection: socket.socket, end: float) -> None:
    due = time.monotonic()
    with connection, contextlib.suppress(OSError):
        while time.monotonic() < end:
            connection.sendall(bytes(CHUNK))
            due = max(due + CHUNK / FLOW_BYTES_PER_S, time.monotonic() - BEHIND_S)
            time.sleep(max(0.0, due - time.monotonic()))


def _asks() -> bool:
    try:
        with socket.create_connection((hostile.VICTIM, hostile.LISTENING), CONNECT_WITHIN_S) as one:
            one.sendall(b"x")
            return one.recv(1) == b"x"
    except OSError:
        return False


def _ask(here: Here, seconds: float) -> list[tuple[float, bool]]:
    """Keeps the flow going; when a connection was tried, and whether it was answered."""
    del here
    end = time.monotonic() + seconds
    connection = socket.create_connection((hostile.VICTIM, hostile.FLOWING), SLACK_S)
    flow = threading.Thread(target=_flow, args=(connection, end))
    flow.start()
    tried = []
    while time.monotonic() < end:
        began = time.monotonic()
        tried.append((began, _asks()))
        time.sleep(max(0.0, began + CONNECT_EVERY_S - time.monotonic()))
    flow.join()
    return tried


def _make(here: Here, flood: Flood, count: int) -> None:
    """Makes the frames beforehand, all of them: that takes longer than sending them."""
    here.kept = [flood.frame(number) for number in range(count)]


def _send(
    here: Here, device: str, wait_s: float, seconds: float
) -> tuple[float, float, int, float]:
    """Floods after a while; when it began and ended, the frames, and the time of the processor."""
    frames, sent = here.kept, 0
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((device, 0))
        time.sleep(wait_s)
        own, began = time.process_time(), time.monotonic()
        end = began + seconds
        while (now := time.monotonic()) < end:
            for _ in range(min(int((now - began) * FRAMES_PER_S), len(frames)) - sent):
                with contextlib.suppress(OSError):  # the device's queue is full: it is lost
                    raw.send(frames[sent])
                sent += 1
            time.sleep(0.001)
        return began, time.monotonic(), sent, time.process_time() - own


# --- a flood on a host ---------------------------------------------------------------------------


@contextmanager
def _workers() -> Iterator[tuple[Worker, Worker, Worker]]:
    """The victim on its own core, if there are two; client and flood on the other."""
    with Worker() as victim, Worker() as asker, Worker() as sender:
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) > 1:
            victim.call(ways._pin, cores[1])
            for one in (asker, sender):
                one.call(ways._pin, cores[0])
        yield victim, asker, sender


def _link(host: str, victim: Worker, asker: Worker, sender: Worker) -> str:
    """Creates a link in new namespaces; the name of the client's end."""
    victim.call(ways._go_apart)
    if host == STACK:
        device = "tap0"
        victim.call(_stack)
        asker.call(ways._follow, victim.pid, CLONE_NEWNET)
    else:
        device = "v0"
        asker.call(ways._follow, victim.pid, 0)
        asker.call(ways._veth, victim.pid)
        victim.call(_configure, "v1", hostile.VICTIM_MAC, hostile.VICTIM, hostile.VICTIM6)
        victim.call(_lead_back)
    sender.call(ways._follow, asker.pid, CLONE_NEWNET)
    asker.call(_configure, device, hostile.ASKER_MAC, hostile.ASKER, hostile.ASKER6)
    victim.call(_listen)
    return device


def _rate(samples: list[Sample], begin: float, end: float) -> tuple[float, float]:
    """Bytes and processor time a second, between two times."""
    times = [one.at for one in samples]
    first = samples[min(bisect.bisect(times, begin), len(samples) - 1)]
    last = samples[max(bisect.bisect(times, end) - 1, 0)]
    span = max(last.at - first.at, SAMPLE_S)
    spent = last.processor_s - first.processor_s
    return (last.received - first.received) / span, spent / span


def _once(outcome: Outcome, flood: Flood, seconds: float) -> None:
    before_s = seconds / 2
    total = WARM_UP_S + before_s + seconds + TAIL_S
    with _workers() as (victim, asker, sender):
        sender.tell(_make, flood, int(seconds * FRAMES_PER_S))
        sender.answer(SLACK_S)
        device = _link(outcome.host, victim, asker, sender)
        victim.tell(_endure, total)
        asker.tell(_ask, total)
        sender.tell(_send, device, WARM_UP_S + before_s, seconds)
        began, ended, sent, own = sender.answer(total + SLACK_S)
        tried = asker.answer(total + SLACK_S)
        samples, memory = victim.answer(total + SLACK_S)
        victim.call(_close)
    flow_before, time_before = _rate(samples, began - before_s, began)
    flow, spent = _rate(samples, began, ended)
    more = (spent - time_before) * (ended - began)
    cost = (own if outcome.host == KERNEL else more) / sent
    during = [answered for at, answered in tried if began <= at < ended]
    outcome.kept.append(flow / flow_before if flow_before else 0.0)
    outcome.tried += len(during)
    outcome.succeeded += sum(during)
    outcome.frames_per_s.append(sent / (ended - began))
    outcome.memory_bytes.append(memory)
    outcome.cost_us.append(cost * 1e6)


def floods(
    rounds: int = 1,
    seconds: float = 4.0,
    progress: Callable[[str], None] = lambda _text: None,
    kinds: Sequence[Flood] = FLOODS,
) -> list[Outcome]:
    """Measures floods on every host; about rounds x 2 x kinds x (1.5 x seconds + 4).

    Args:
        rounds: How often each.
        seconds: How long each flood lasts; before it the flow is measured alone for half of that.
        progress: Is told of each step before it is done.
        kinds: Which floods.

    Returns:
        For each flood an outcome a host, the ordinary frames' first.
    """
    kinds = (ORDINARY, *kinds)
    found = [(Outcome(host, flood.name), flood) for flood in kinds for host in HOSTS]
    for number in range(rounds):
        for outcome, flood in found:
            progress(f"floods: round {number + 1}: {flood.name}: {outcome.host}")
            try:
                _once(outcome, flood, seconds)
            except WorkerError as error:
                outcome.failures.append(str(error))
    return [outcome for outcome, _flood in found]
