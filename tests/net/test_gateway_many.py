"""A gateway under load: many flows at once, and a flood of new ones beside those at work."""

from __future__ import annotations

import gc
import hashlib
import os
import resource
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from gateway_place import behind, inside
from installed import needs_programs
from namespace import needs_namespace
from outside import MEBIBYTE, SERVER, digest, lead_to_nobody, outside

import pystack
from pystack.embed.gateway import Gateway, wire_from_descriptor

pytestmark = [needs_namespace, needs_programs("setpriv"), pytest.mark.timeout(180)]

PORT = 5000
DESCRIPTORS = 1  # of a flow: the kernel's socket
ECHO = """
import resource, selectors, socket, sys
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
listener = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=4096)
listener.setblocking(False)
waiting = selectors.DefaultSelector()
waiting.register(listener, selectors.EVENT_READ)
waiting.register(sys.stdin, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in waiting.select():
        if key.fileobj is sys.stdin:
            sys.exit()
        if key.fileobj is listener:
            one, _ = listener.accept()
            waiting.register(one, selectors.EVENT_READ)
            continue
        try:
            data = key.fileobj.recv(100)
            if data:
                key.fileobj.send(data)
                continue
        except OSError:
            pass
        waiting.unregister(key.fileobj)
        key.fileobj.close()
"""
CONNECT = """
import resource, selectors, socket, sys, time
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
where, count = (sys.argv[1], int(sys.argv[2])), int(sys.argv[3])
ends = []
for number in range(count):  # some at a time, as a kernel's backlog has them
    one = socket.socket()
    one.setblocking(False)
    one.connect_ex(where)
    ends.append(one)
    if number >= 200:
        ends[number - 200].settimeout(60)
        ends[number - 200].sendall(b"%06d" % (number - 200))
for number, one in list(enumerate(ends))[-200:]:
    one.settimeout(60)
    one.sendall(b"%06d" % number)
right = sum(one.recv(6, socket.MSG_WAITALL) == b"%06d" % number for number, one in enumerate(ends))
for number, one in enumerate(ends):  # and all of them once more, now that all are there
    one.sendall(b"%06d" % -number)
right += sum(
    one.recv(6, socket.MSG_WAITALL) == b"%06d" % -number for number, one in enumerate(ends)
)
print(right)
"""


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_many_flows_at_once(count: int, tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        count = min(count, (hard - 500) // DESCRIPTORS)  # where even root may have no more
    with outside() as place, behind(place, tmp_path) as (guest, _):
        server = place.start(
            sys.executable, "-c", ECHO, SERVER, str(PORT),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        try:
            assert server.stdout.readline() == b"ready\n"
            said = inside(guest, sys.executable, "-c", CONNECT, SERVER, str(PORT), str(count))
            assert int(said) == 2 * count
        finally:
            server.communicate(b"", timeout=30)


MTU = 9000
MAC, GUEST = "02:00:00:00:00:64", "10.0.2.100"
UNDECIDED, CONNECTING = 4096, 2048  # what may wait in the Stack, and in the kernel
SPARE = 16  # descriptors that the rest may take meanwhile
HELD_BYTES = 256  # of a SYN that waits: its headers, and what they are kept in
FLOW_BYTES = 1024  # of all that is known of one
ROOM_BYTES = 8 << 20  # of the flows that are open
WINDOW = 256  # SYNs on the wire: it never has to lose one
MEBIBYTES, FIRST = 64, 1


def ones_complement(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


class Flood:
    """SYNs of the guest's, each of a flow of its own, to where nobody answers.

    It is as fast as the gateway takes them: a window is sent once the one before it was counted.
    """

    def __init__(self, wire: socket.socket, gateway: Gateway) -> None:
        assert gateway.interface is not None
        self._wire, self._gateway = wire, gateway
        self._ethernet = b"".join(
            bytes.fromhex(mac.replace(":", "")) for mac in (gateway.interface.mac, MAC)
        ) + b"\x08\x00"  # fmt: skip
        self._source = socket.inet_aton(GUEST)
        self._before = self._counted()
        self.sent = 0

    def _counted(self) -> int:
        assert self._gateway.net is not None
        return self._gateway.net.counters()["intercept.flows"]

    def _frame(self, number: int) -> bytes:
        target = bytes((198, 51, 100, 1 + number % 250))
        ports = struct.pack("!HH", 1024 + number // 250, 80)
        fields = struct.pack("!IIBBHHH", number, 0, 0x50, 2, 65535, 0, 0)
        check = ones_complement(self._source + target + b"\0\6\0\x14" + ports + fields)
        tcp = ports + fields[:12] + struct.pack("!HH", check, 0)
        head = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, 64, 6, 0) + self._source + target
        check = ones_complement(head)
        return self._ethernet + head[:10] + check.to_bytes(2, "big") + head[12:] + tcp

    def window(self) -> None:
        """Sends as many as it says, and waits until the gateway has counted each."""
        for _ in range(WINDOW):
            self._wire.send(self._frame(self.sent))
            self.sent += 1
        until(lambda: self._counted() - self._before >= self.sent)


def until(holds: Callable[[], bool]) -> None:
    """Waits until something holds, for want of an event that says so."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def is_accounted_for(gateway: Gateway) -> bool:
    """Whether each flow has come to one end, or waits: none is forgotten uncounted."""
    assert gateway.net is not None
    assert gateway._taken is not None
    counters, waiting = gateway.net.counters(), gateway._taken.statistics().undecided
    ends = ("accepted", "refused", "dropped", "expired", "aborted", "overflows")
    over = sum(counters[f"intercept.{end}"] for end in ends)
    return counters["intercept.flows"] == over + waiting


def ask(guest: pystack.Stack, mebibytes: int) -> Any:
    """A connection by which so much comes."""
    one = guest.sockets.create_connection((SERVER, 80), timeout=60)
    one.sendall(f"GET /{mebibytes} HTTP/1.0\r\n\r\n".encode())
    stream = one.makefile("rb")
    one.close()  # with its stream
    while stream.readline() != b"\r\n":
        pass
    return stream


def read_whole(stream: Any) -> str:
    whole = hashlib.sha256()
    with stream:
        while part := stream.read(MEBIBYTE):
            whole.update(part)
    return whole.hexdigest()


def check_bounds(gateway: Gateway, descriptors_before: int, bytes_before: int) -> None:
    """What a flood may take, however long it lasts."""
    assert gateway.net is not None
    assert gateway._taken is not None
    waiting = gateway._taken.statistics()
    assert waiting.undecided <= UNDECIDED
    assert waiting.silent <= UNDECIDED
    assert waiting.held_bytes <= UNDECIDED * HELD_BYTES
    assert gateway.statistics().connecting <= CONNECTING
    assert descriptors() <= descriptors_before + CONNECTING + SPARE
    taken = gateway.net.arena.used_bytes - bytes_before
    assert taken <= 2 * UNDECIDED * FLOW_BYTES + ROOM_BYTES


def flood_beside_a_download() -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    near.settimeout(60)
    with (
        near, pystack.Stack() as guest, ThreadPoolExecutor(1) as reading,
        Gateway(wire_from_descriptor(far.detach(), mtu=MTU), nameservers=()) as gateway,
    ):  # fmt: skip
        assert gateway.net is not None
        guest.attach(
            wire_from_descriptor(os.dup(near.fileno()), mtu=MTU),
            f"{GUEST}/24", gateway="10.0.2.2", mac=MAC,
        )  # fmt: skip
        assert read_whole(ask(guest, 1)) == digest(1)
        bounds = descriptors(), gateway.net.arena.used_bytes
        stream, flood = ask(guest, MEBIBYTES), Flood(near, gateway)
        while flood.sent < 3 * UNDECIDED:  # every queue is full, and some more
            flood.window()
            check_bounds(gateway, *bounds)
        download = reading.submit(read_whole, stream)
        while not download.done():
            flood.window()
            check_bounds(gateway, *bounds)
        assert download.result() == digest(MEBIBYTES)

        assert gateway.net.counters()["intercept.overflows"] > 0
        # What waits is more than may connect at once: in the idle time it is taken, up to the cap.
        until(lambda: check_bounds(gateway, *bounds) or gateway.statistics().pushed_out > 0)
        until(lambda: is_accounted_for(gateway))
        # And it serves as it did, once it has come to what the flood left.
        assert read_whole(ask(guest, 1)) == digest(1)
        with guest.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.settimeout(60)
            one.connect((SERVER, 7))
            one.send(b"as before")
            assert one.recv(100) == b"as before"


@pytest.mark.slow
def test_a_flood_of_connections_leaves_the_others_whole() -> None:
    limit, before = resource.getrlimit(resource.RLIMIT_NOFILE), descriptors()
    try:
        with outside() as place:
            lead_to_nobody(place)
            place.call(flood_beside_a_download)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)  # which the gateway has raised
    gc.collect()
    assert descriptors() == before
