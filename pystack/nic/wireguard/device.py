"""A WireGuard interface without sockets or clock: datagrams and packets in, both out.

Each call brings the time in microseconds of any clock that doesn't go back. What is to be sent
stands in `outbox` afterwards; `due_us` says when to call `run` although nothing came.
"""

from __future__ import annotations

import heapq
import os
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from pystack._native.moments import NEVER
from pystack.nic.datagrams import Endpoint
from pystack.nic.wireguard import noise
from pystack.nic.wireguard.cookies import COOKIE_REPLY_BYTES, CookieJar, Gatekeeper, Load
from pystack.nic.wireguard.peer import (
    INITIATION_US,
    MOST_STAGED,
    REJECT_AFTER_US,
    Peer,
    Wish,
)
from pystack.nic.wireguard.primitives import TAG_BYTES, InvalidTag, PrivateKey
from pystack.nic.wireguard.routes import Network, Routes
from pystack.nic.wireguard.session import REJECT_AFTER_MESSAGES, Session

__all__ = ["DATA_HEADER_BYTES", "Device", "Drops"]

Packet = bytes | memoryview

# The type and three zeros, as one word; the receiver's index; the counter.
_DATA = struct.Struct("<IIQ")
DATA_HEADER_BYTES = _DATA.size
_NONCE = struct.Struct("<4xQ")
# The second at which UNIX's time begins, and the seconds by which TAI is ahead of it then.
_TAI64 = (1 << 62) + 10
# A timestamp tells no more of the clock than this (as other implementations do).
_GRAIN_NS = 1 << 24


def _random_bytes(size: int) -> bytes:
    """Looked up at each call: a World puts its own in the place of `os.urandom`."""
    return os.urandom(size)


@dataclass
class Drops:
    """What was dropped, and why.

    Attributes:
        malformed: Datagrams of no type or size that WireGuard has.
        forged: Whose mac or tag is wrong, or of a handshake with another preshared key.
        replayed: That have come before, or too late; initiations not newer than the last one.
        unknown: Of a session, or a peer, that isn't known.
        expired: Of a session that is too old.
        refused: Handshakes under load without a cookie, or more than an address may begin.
        misaddressed: Packets from an address that isn't their peer's, or that are no IP.
        unrouted: Packets to send that no peer has the address of.
        unsent: Packets to send that waited in vain for a session, or for the peer's endpoint.
    """

    malformed: int = 0
    forged: int = 0
    replayed: int = 0
    unknown: int = 0
    expired: int = 0
    refused: int = 0
    misaddressed: int = 0
    unrouted: int = 0
    unsent: int = 0


def _length(packet: bytes) -> int:
    """An IP packet's length, by its header; 0: it is none, or there is less of it."""
    version, size = packet[0] >> 4, len(packet)
    if version == 4 and size >= 20:
        length, least = packet[2] << 8 | packet[3], 20
    elif version == 6 and size >= 40:
        length, least = 40 + (packet[4] << 8 | packet[5]), 40
    else:
        return 0
    return length if least <= length <= size else 0


class Device:
    """One private key, its peers, and their sessions.

    Args:
        private: The private key, 32 bytes.
        mtu: The most bytes of a packet, to which no packet is padded beyond.
        epoch_us: The wall's time, since 1970, at 0 of the clock.
        random: Random bytes; None: the system's, or a World's inside one.
    """

    def __init__(
        self,
        private: bytes,
        *,
        mtu: int = 1420,
        epoch_us: int = 0,
        random: Callable[[int], bytes] | None = None,
    ) -> None:
        self.keys = PrivateKey(private)
        self.mtu = mtu
        self.epoch_us = epoch_us
        random = _random_bytes if random is None else random
        self._random = random
        self.peers: dict[bytes, Peer] = {}
        self.routes: Routes[Peer] = Routes()
        self.drops = Drops()
        self.outbox: list[tuple[Endpoint, list[bytes]]] = []
        self._sessions: dict[int, tuple[Peer, Session]] = {}
        self._begun: dict[int, Peer] = {}
        self._timers: list[tuple[int, int, Peer]] = []
        self._ticket = 0
        self._gatekeeper = Gatekeeper(self.keys.public, random)
        self._load = Load()

    # --- peers -------------------------------------------------------------------------------

    def add_peer(
        self,
        public: bytes,
        networks: Iterable[Network] = (),
        *,
        preshared: bytes = bytes(32),
        endpoint: Endpoint | None = None,
        persistent_us: int = 0,
        now_us: int = 0,
    ) -> Peer:
        """A new peer.

        Raises:
            ValueError: It is there already, it is us, or its key gives no secret.
        """
        if public in self.peers:
            raise ValueError("there is a peer with this public key")
        if public == self.keys.public:
            raise ValueError("the peer's public key is this interface's")
        peer = Peer(
            public,
            preshared,
            self.keys.exchange(public),
            CookieJar(public),
            lambda: self._random(1)[0] / 256,
            endpoint,
            persistent_us,
        )
        self.peers[public] = peer
        for network in networks:
            self.routes.add(network, peer)
        peer.start(now_us)
        self._reschedule(peer)
        return peer

    def remove_peer(self, public: bytes) -> None:
        """Forgets a peer and its sessions.

        Raises:
            KeyError: It isn't there.
        """
        peer = self.peers.pop(public)
        self._drop(peer.forget())
        self._begun = {index: whose for index, whose in self._begun.items() if whose is not peer}
        self.routes.remove(peer)

    def snapshot(self) -> Drops:
        """A copy of what was dropped so far."""
        return replace(self.drops)

    # --- time --------------------------------------------------------------------------------

    @property
    def due_us(self) -> int:
        """When to call `run`; NEVER: there is no need."""
        return self._timers[0][0] if self._timers else NEVER

    def _reschedule(self, peer: Peer) -> None:
        """A timer that goes off later than it stands in the heap is put back when it is found."""
        due_us = peer.due_us
        if due_us < peer.queued_us:
            peer.queued_us = due_us
            self._ticket += 1
            heapq.heappush(self._timers, (due_us, self._ticket, peer))

    def run(self, now_us: int) -> None:
        """Does what is due."""
        while self._timers and self._timers[0][0] <= now_us:
            when_us, _ticket, peer = heapq.heappop(self._timers)
            if when_us != peer.queued_us or self.peers.get(peer.public) is not peer:
                continue
            peer.queued_us = NEVER
            waiting = sum(map(bool, peer.staged))  # a keep-alive isn't missed
            begun = peer.begun
            wishes, dropped = peer.run(now_us)
            if begun is not None and peer.begun is None:
                self._begun.pop(begun.index, None)
            self.drops.unsent += 0 if peer.staged else waiting
            self._drop(dropped)
            for wish in wishes:
                if wish is Wish.INITIATE:
                    self._initiate(peer, now_us)
                else:
                    self._keepalive(peer, now_us)
            self._reschedule(peer)

    def _timestamp(self, now_us: int) -> bytes:
        seconds, microseconds = divmod(self.epoch_us + now_us, 1_000_000)
        nanoseconds = microseconds * 1000 // _GRAIN_NS * _GRAIN_NS
        return struct.pack(">QI", _TAI64 + seconds, nanoseconds)

    # --- sessions ----------------------------------------------------------------------------

    def _index(self) -> int:
        while True:
            index = int.from_bytes(self._random(4), "little")
            if index not in self._sessions and index not in self._begun:
                return index

    def _drop(self, sessions: Iterable[Session]) -> None:
        for session in sessions:
            self._sessions.pop(session.index, None)

    def _enter(self, peer: Peer, session: Session, now_us: int) -> None:
        self._drop(peer.on_session(session, now_us))
        self._sessions[session.index] = peer, session

    def _post(self, peer: Peer, datagrams: list[bytes]) -> None:
        if peer.endpoint is None:
            return
        peer.sent_bytes += sum(map(len, datagrams))
        self.outbox.append((peer.endpoint, datagrams))

    def _initiate(self, peer: Peer, now_us: int) -> None:
        if peer.endpoint is None or not peer.may_initiate(now_us):
            return
        if peer.begun is not None:
            self._begun.pop(peer.begun.index, None)
        message, peer.begun = noise.begin(
            self.keys,
            peer.public,
            peer.secret,
            self._random(32),
            self._index(),
            self._timestamp(now_us),
        )
        self._begun[peer.begun.index] = peer
        self._post(peer, [peer.jar.sign(message, now_us)])
        peer.on_initiated(now_us)
        peer.on_sent(now_us)

    def _keepalive(self, peer: Peer, now_us: int) -> None:
        """Sends what waits, or an empty packet."""
        if not peer.staged:
            peer.staged.append(b"")
        self._flush(peer, now_us)

    # --- packets out -------------------------------------------------------------------------

    def send(self, packets: Sequence[Packet], now_us: int, *, alike: bool = False) -> None:
        """Sends IP packets, each to the peer that has its destination.

        Args:
            packets: Whole ones; they may have zeros behind, up to a multiple of 16 bytes.
            now_us: The time.
            alike: All have the same destination; only the first is looked at.
        """
        first, peer = 0, None
        for number, packet in enumerate(packets):
            whose = self._whose(packet)
            if whose is None:
                self.drops.unrouted += len(packets) if alike else 1
            if whose is not peer:
                if peer is not None:
                    self._send_to(peer, packets[first:number], now_us)
                first, peer = number, whose
            if alike:
                break
        if peer is not None:
            self._send_to(peer, packets[first:], now_us)

    def _whose(self, packet: Packet) -> Peer | None:
        version, size = packet[0] >> 4 if packet else 0, len(packet)
        if version == 4 and size >= 20:
            return self.routes.find(bytes(packet[16:20]))
        return self.routes.find(bytes(packet[24:40])) if version == 6 and size >= 40 else None

    def _send_to(self, peer: Peer, packets: Sequence[Packet], now_us: int) -> None:
        if peer.staged or peer.sendable(now_us) is None or peer.endpoint is None:
            room = MOST_STAGED - len(peer.staged)
            self.drops.unsent += max(0, len(packets) - room)
            peer.staged.extend(bytes(packet) for packet in packets)
            self._flush(peer, now_us)
        else:
            self._seal(peer, packets, now_us)
        self._reschedule(peer)

    def _flush(self, peer: Peer, now_us: int) -> None:
        """Sends what waits, or begins the handshake that it waits for."""
        if peer.sendable(now_us) is None or peer.endpoint is None:
            peer.attempts = 0
            self._initiate(peer, now_us)
            return
        waiting = list(peer.staged)
        peer.staged.clear()
        self._seal(peer, waiting, now_us)

    def _seal(self, peer: Peer, packets: Sequence[Packet], now_us: int) -> None:
        session = peer.sendable(now_us)
        if session is None or session.counter + len(packets) >= REJECT_AFTER_MESSAGES:
            peer.staged.extend(bytes(packet) for packet in packets)
            self._initiate(peer, now_us)
            return
        header, nonce, seal = _DATA.pack, _NONCE.pack, session.sending.encrypt
        index, counter, mtu = session.far_index, session.counter, self.mtu
        sealed = []
        for given in packets:
            packet, size = given, len(given)
            if size % 16 and size < mtu:
                packet = bytes(given).ljust(min((size + 15) // 16 * 16, mtu), b"\0")
            sealed.append(header(noise.DATA, index, counter) + seal(nonce(counter), packet, None))
            counter += 1
        session.counter = counter
        self._post(peer, sealed)
        peer.on_sent(now_us)
        if any(map(len, packets)):
            peer.on_data_sent(now_us)
        if peer.wants_rekey_to_send(session, now_us):
            peer.attempts = 0
            self._initiate(peer, now_us)

    # --- datagrams in ------------------------------------------------------------------------

    def receive(self, datagrams: Sequence[Packet], source: Endpoint, now_us: int) -> list[bytes]:
        """Takes datagrams that came from one place; the IP packets in them."""
        packets: list[bytes] = []
        first, last = 0, -1
        for number, datagram in enumerate(datagrams):
            index = -1
            if len(datagram) >= DATA_HEADER_BYTES + TAG_BYTES:
                kind, index, _counter = _DATA.unpack_from(datagram)
                if kind != noise.DATA:
                    index = -1
            if index != last:
                if last >= 0:
                    self._open(last, datagrams[first:number], source, now_us, packets)
                first, last = number, index
            if index < 0:
                self._shake(bytes(datagram), source, now_us)
        if last >= 0:
            self._open(last, datagrams[first:], source, now_us, packets)
        return packets

    def _open(
        self,
        index: int,
        datagrams: Sequence[Packet],
        source: Endpoint,
        now_us: int,
        packets: list[bytes],
    ) -> None:
        """Datagrams of one session."""
        found, drops = self._sessions.get(index), self.drops
        if found is None:
            drops.unknown += len(datagrams)
            return
        peer, session = found
        if now_us - session.born_us >= REJECT_AFTER_US:
            drops.expired += len(datagrams)
            return
        decrypt, accept, pack = session.receiving.decrypt, session.window.accept, _NONCE.pack
        taken = size = 0
        before = len(packets)
        checked = b""
        for datagram in datagrams:
            counter = _DATA.unpack_from(datagram)[2]
            if counter >= REJECT_AFTER_MESSAGES:
                drops.expired += 1
                continue
            try:
                plain = decrypt(pack(counter), datagram[DATA_HEADER_BYTES:], None)
            except InvalidTag:
                drops.forged += 1
                continue
            if not accept(counter):
                drops.replayed += 1
                continue
            taken += 1
            size += len(datagram)
            if not plain:
                continue
            address = plain[12:16] if plain[0] >> 4 == 4 else plain[8:24]
            length = _length(plain)
            if not length or (address != checked and self.routes.find(address) is not peer):
                drops.misaddressed += 1
                continue
            checked = address
            packets.append(plain if length == len(plain) else plain[:length])
        if taken:
            peer.received_bytes += size
            self._on_authentic(peer, session, source, now_us, has_data=len(packets) > before)

    def _on_authentic(
        self, peer: Peer, session: Session, source: Endpoint, now_us: int, *, has_data: bool
    ) -> None:
        """Something has come by a session."""
        peer.endpoint = source
        if session is peer.next:
            self._drop(peer.confirm())
            peer.on_handshake(now_us)
            if peer.staged:
                self._flush(peer, now_us)
        peer.on_received(now_us)
        if has_data:
            peer.on_data_received(now_us)
        if peer.wants_rekey_to_receive(session, now_us):
            peer.last_minute = True
            self._initiate(peer, now_us)
        self._reschedule(peer)

    def _shake(self, message: bytes, source: Endpoint, now_us: int) -> None:
        """A message of a handshake, or a cookie."""
        kind, size = int.from_bytes(message[:4], "little"), len(message)
        if kind == noise.COOKIE_REPLY and size == COOKIE_REPLY_BYTES:
            self._take_cookie(message, now_us)
            return
        if (kind, size) not in (
            (noise.INITIATION, noise.INITIATION_BYTES),
            (noise.RESPONSE, noise.RESPONSE_BYTES),
        ):
            self.drops.malformed += 1
            return
        if not self._gatekeeper.is_for_us(message):
            self.drops.forged += 1
            return
        if self._load.add(now_us):
            host = source[0]
            place = f"{host}|{source[1]}".encode()
            if not self._gatekeeper.has_cookie(message, place, now_us):
                self.drops.refused += 1
                self.outbox.append((source, [self._gatekeeper.reply(message, place, now_us)]))
                return
            if not self._load.allows(host, now_us):
                self.drops.refused += 1
                return
        try:
            if kind == noise.INITIATION:
                self._answer(message, source, now_us)
            else:
                self._finish(message, source, now_us)
        except (InvalidTag, ValueError):
            self.drops.forged += 1

    def _take_cookie(self, message: bytes, now_us: int) -> None:
        index = int.from_bytes(message[4:8], "little")
        found = self._sessions.get(index)
        peer = self._begun.get(index) or (found[0] if found is not None else None)
        if peer is None:
            self.drops.unknown += 1
        elif not peer.jar.take(message, now_us):
            self.drops.forged += 1

    def _answer(self, message: bytes, source: Endpoint, now_us: int) -> None:
        initiation = noise.read_initiation(self.keys, message)
        peer = self.peers.get(initiation.public)
        if peer is None:
            self.drops.unknown += 1
            return
        last_us = peer.initiation_read_us
        flood = last_us is not None and now_us - last_us < INITIATION_US
        if initiation.timestamp <= peer.greatest_timestamp or flood:
            self.drops.replayed += 1
            return
        peer.greatest_timestamp = initiation.timestamp
        peer.initiation_read_us = now_us
        index = self._index()
        answer, ours, theirs = noise.respond(initiation, peer.preshared, self._random(32), index)
        peer.endpoint = source
        peer.received_bytes += len(message)
        session = Session(
            index, initiation.begun.index, (ours, theirs), is_initiator=False, now_us=now_us
        )
        self._enter(peer, session, now_us)
        peer.initiated_us = now_us  # no initiation of ours crosses it
        self._post(peer, [peer.jar.sign(answer, now_us)])
        peer.on_received(now_us)
        peer.on_sent(now_us)
        self._reschedule(peer)

    def _finish(self, message: bytes, source: Endpoint, now_us: int) -> None:
        (index,) = struct.unpack_from("<8xI", message)
        peer = self._begun.get(index)
        if peer is None or peer.begun is None:
            self.drops.unknown += 1
            return
        far_index, ours, theirs = noise.finish(self.keys, peer.begun, peer.preshared, message)
        del self._begun[index]
        peer.begun = None
        peer.endpoint = source
        peer.received_bytes += len(message)
        session = Session(index, far_index, (ours, theirs), is_initiator=True, now_us=now_us)
        self._enter(peer, session, now_us)
        peer.on_handshake(now_us)
        peer.on_received(now_us)
        # The responder may send once something has come by the new session.
        self._keepalive(peer, now_us)
        self._reschedule(peer)
