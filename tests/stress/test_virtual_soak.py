"""Connections that come and go over a bad wire for half an hour of virtual time."""

from __future__ import annotations

import contextlib
import random
from dataclasses import dataclass
from socket import AF_INET, SOCK_STREAM

import pytest
from growth import KEPT_BYTES, need, resident_bytes
from lockstep import PORT, Lockstep, lockstep
from quick import slow

from pystack.nic import Impairment, impair
from pystack.sockets import Socket

FAULTS = Impairment(
    loss=0.01,
    reorder=0.02,
    corrupt=0.01,
    duplicate=0.01,
    delay=0.005,
    jitter=0.003,
    rate=20_000_000,
)
SIZES = (1, 100, 1000, 20_000, 100_000)
SENDERS = 20
LONGEST_S = 5.0


@dataclass
class Sender:
    """A connection that sends so much, and closes when its time has come."""

    sock: Socket
    left: int
    end: float

    def goes_on(self, now: float) -> bool:
        with contextlib.suppress(BlockingIOError):
            while self.left:
                self.left -= self.sock.send(bytes(min(self.left, 65536)))
        if self.left or now < self.end:
            return True
        self.sock.close()
        return False


class Load:
    """Senders on the client, and the server that reads from them.

    Attributes:
        connections: How many senders there were.
        received: Bytes that the server has read.
    """

    def __init__(self, pair: Lockstep) -> None:
        self.pair = pair
        self.chance = random.Random(1)
        self.listener = pair.listen()
        self.senders: list[Sender] = []
        self.readers: list[Socket] = []
        self.connections = self.received = self.promised = 0

    def begin(self, now: float) -> None:
        sock = self.pair.client.socket(AF_INET, SOCK_STREAM)
        sock.setblocking(False)
        sock.connect_ex(("10.0.0.2", PORT))
        size = self.chance.choice(SIZES)
        self.senders.append(Sender(sock, size, now + self.chance.random() * LONGEST_S))
        self.connections += 1
        self.promised += size

    def read(self, sock: Socket) -> bool:
        with contextlib.suppress(BlockingIOError):
            while piece := sock.recv(65536):
                self.received += len(piece)
            sock.close()
            return False
        return True

    def play(self, seconds: float, *, more: bool = True) -> None:
        begin = now = self.pair.clock.now_us() / 1e6
        while now < begin + seconds:
            while more and len(self.senders) < SENDERS:
                self.begin(now)
            with contextlib.suppress(BlockingIOError):
                while True:
                    sock, _peer = self.listener.accept()
                    sock.setblocking(False)
                    self.readers.append(sock)
            self.senders = [one for one in self.senders if one.goes_on(now)]
            self.readers = [one for one in self.readers if self.read(one)]
            self.pair.run(seconds=0.1)
            now = self.pair.clock.now_us() / 1e6


@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", ["lwip", "linux"])
@pytest.mark.parametrize("seconds", [60, slow(1800)])
def test_nothing_grows(seconds: float, engine: str) -> None:
    need(engine)
    with lockstep(
        engines=(engine, engine), wrap=lambda nic: impair(nic, FAULTS, FAULTS, seed=7)
    ) as pair:
        load = Load(pair)
        load.play(seconds / 3)  # the first third warms up
        early = resident_bytes()
        load.play(seconds * 2 / 3)
        assert resident_bytes() - early < KEPT_BYTES
        load.play(120, more=False)
        assert (load.senders, load.readers) == ([], [])
        assert load.received == load.promised
        assert load.connections > seconds
        load.listener.close()
