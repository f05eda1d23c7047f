"""The mDNS responder (RFC 6762): one host name of one interface, for engines without one.

It probes for its name, announces it, answers for it and for the interface's addresses in reverse,
and defends it. What the network says is checked in `dns_message`; frames go past the engine, and
its sockets of port 5353 hear the same.
"""

from __future__ import annotations

from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias

from pystack._native import lib
from pystack._native.moments import NEVER, SECOND_US
from pystack.serving.dns_message import (
    ANY,
    PTR,
    Message,
    Question,
    Record,
    denial,
    ended,
    host_name,
    host_records,
    pack,
    probe_question,
    read,
    reverse_name,
)
from pystack.serving.frame import Arp, Datagram, udp4_frame
from pystack.serving.frame6 import Advertisement, group_mac, udp6_frame
from pystack.serving.port import Address, Port, Shown, Tap

__all__ = ["PORT", "Responder"]

PORT = 5353
GROUP4, GROUP6 = IPv4Address("224.0.0.251"), IPv6Address("ff02::fb")

_GROUP4_MAC = bytes.fromhex("01005e0000fb")
_TTL = 255
_OVERHEAD = 40 + 8 + 12 + 80  # IPv6's and UDP's headers, a message's, and a question for our name
_LONGEST_LABEL = 63
_LEGACY_TTL_S = 10  # RFC 6762 6.7
_PROBES, _PROBE_US = 3, 250_000
_ANNOUNCEMENTS = 2
_DEFERS_US = SECOND_US  # 8.2
_QUIET_US, _DEFENDS_US = SECOND_US, 250_000  # 6
_FRESH_US = 30 * SECOND_US  # a quarter of a host record's life (5.4)
_MOST_CONFLICTS, _CONFLICTS_US, _CALMS_US = 15, 10 * SECOND_US, 5 * SECOND_US  # 8.1

_Source: TypeAlias = "IPv4Address | IPv6Address"


class Stage(Enum):
    """What the responder does."""

    IDLE = "idle"
    """Waits for a link and an address."""
    PROBING = "probing"
    ANNOUNCING = "announcing"
    """Answers, and tells of itself once more."""
    ANSWERING = "answering"


class Responder:
    """The responder of one interface.

    Args:
        port: The interface.
        label: The host's name, without ".local".
    """

    flag = lib.PS_IF_MDNS
    origin = lib.PS_ORIGIN_STATIC
    hears = PORT
    is_parting = False

    def __init__(self, port: Port, label: bytes) -> None:
        self._port = port
        self.shown = Shown()
        self._wanted = self._label = label
        self._number = 1
        self._stage = Stage.IDLE
        self.due_us = 0  # to look for addresses
        self._count = 0  # of the probes or announcements sent
        self._addresses: list[Address] = []
        self._conflicts: list[int] = []
        self._sent: dict[tuple[int, bytes, int], int] = {}  # when a record went to a group
        self._members: list[int] = []
        self._join()

    @property
    def name(self) -> bytes:
        """The name that it has, or wants to have."""
        return host_name(self._label)

    def taps(self) -> int:
        """See `Service`."""
        return Tap.MDNS

    # --- membership --------------------------------------------------------------------------

    def _join(self) -> None:
        """Joins the groups, for switches that send only where somebody listens."""
        for group in (GROUP4, GROUP6):
            member = self._port.join(group)
            self._members += [member] if member is not None else []

    # --- time --------------------------------------------------------------------------------

    def tick(self, now_us: int) -> None:
        """See `Service`."""
        if now_us < self.due_us:
            return
        if self._stage is Stage.PROBING:
            self._probe(now_us)
        elif self._stage is Stage.ANNOUNCING:
            self._announce(now_us)
        else:
            self.due_us = NEVER

    def look(self, now_us: int) -> None:
        """See `Service`: takes notice of new and lost addresses (RFC 6762 8.4)."""
        addresses = self._port.addresses() if self._port.works else []
        if addresses == self._addresses:
            return
        self._addresses = addresses
        if not addresses:
            self._stage, self.due_us = Stage.IDLE, NEVER
        elif self._stage is Stage.IDLE:
            self._begin(now_us)
        elif self._stage is not Stage.PROBING:
            self._stage, self._count = Stage.ANNOUNCING, 0
            self._announce(now_us)

    def link_is_back(self, now_us: int) -> None:
        """See `Service`: others on this link may have the name."""
        self._stage, self._addresses = Stage.IDLE, []
        self.look(now_us)

    def _begin(self, now_us: int, after_us: int = 0) -> None:
        self._stage, self._count = Stage.PROBING, 0
        self.due_us = now_us + after_us + self._port.between_us(0, _PROBE_US / SECOND_US)

    def _probe(self, now_us: int) -> None:
        if self._count == _PROBES:
            self._stage, self._count = Stage.ANNOUNCING, 0
            self._announce(now_us)
            return
        # More than fits into one question nobody else need know to see that we differ.
        wanted = self._fitting(self._hosts())[0]
        self._to_groups(pack([probe_question(self.name)], [], wanted, response=False))
        self._count += 1
        self.due_us = now_us + _PROBE_US

    def _announce(self, now_us: int) -> None:
        records = self._records()
        for version in self._versions():
            self._multicast(version, records, now_us)
        self._count += 1
        self.due_us = now_us + SECOND_US if self._count < _ANNOUNCEMENTS else NEVER
        if self.due_us == NEVER:
            self._stage = Stage.ANSWERING

    # --- records -----------------------------------------------------------------------------

    def _hosts(self) -> list[Record]:
        return host_records(self.name, [one.ip.packed for one in self._addresses])

    def _records(self) -> list[Record]:
        reverse = [Record(reverse_name(one.ip.packed), PTR, self.name) for one in self._addresses]
        return self._hosts() + reverse

    def _answers(self, question: Question) -> list[Record]:
        """What there is to say to a question."""
        found = [
            one
            for one in self._records()
            if one.is_of(question.name) and question.kind in (one.kind, ANY)
        ]
        if not found and question.name.lower() == self.name.lower():
            return [denial(self.name, {one.kind for one in self._hosts()})]
        return found

    # --- what comes --------------------------------------------------------------------------

    def datagram(self, datagram: Datagram, now_us: int) -> None:
        """See `Service`."""
        if self._stage is Stage.IDLE or datagram.source_mac == self._port.mac:
            return
        to_group = datagram.target in (GROUP4, GROUP6)
        if not to_group and not self._is_near(datagram.source):
            return  # a router let it through (RFC 6762 11)
        message = read(datagram.payload)
        if message is None:
            return
        if message.is_response:
            if datagram.source_port == PORT:
                self._hear(message, now_us)
        elif self._stage is Stage.PROBING:
            self._compare(message, now_us)
        else:
            self._reply(message, datagram, now_us)

    def _is_near(self, source: _Source) -> bool:
        return any(source in one.network for one in self._addresses) or source.is_link_local

    def _hear(self, message: Message, now_us: int) -> None:
        """Looks whether another host has the name (RFC 6762 8.1, 9)."""
        ours = self._hosts()
        kinds = {one.kind for one in host_records(b"", [bytes(4), bytes(16)])}
        for record in message.answers + message.additional:
            if record.ttl == 0 or record.kind not in kinds or not record.is_of(self.name):
                continue
            if any(record.is_same(one) for one in ours):
                continue
            if record.data not in self._port.stack_addresses():
                self._lose(now_us)
                return

    def _lose(self, now_us: int) -> None:
        recent = [one for one in self._conflicts if now_us - one < _CONFLICTS_US]
        self._conflicts = [*recent, now_us]
        if self._stage is Stage.PROBING:
            before = self._label.decode("ascii", "backslashreplace")
            self._number += 1
            suffix = b"-%d" % self._number
            self._label = self._wanted[: _LONGEST_LABEL - len(suffix)] + suffix
            self._port.warn(
                f"another host is called {before}.local; trying {self._label.decode('ascii')}.local"
            )
        self._begin(now_us, _CALMS_US if len(self._conflicts) >= _MOST_CONFLICTS else 0)

    def _compare(self, message: Message, now_us: int) -> None:
        """Gives way to who probes for the name at the same time with later records (8.2)."""
        theirs = sorted((one.kind, one.data) for one in message.authorities if one.is_of(self.name))
        ours = sorted((one.kind, one.data) for one in self._hosts())
        if theirs and theirs > ours:
            self._begin(now_us, _DEFERS_US)

    def _reply(self, message: Message, datagram: Datagram, now_us: int) -> None:
        known = [one for one in message.answers if one.ttl * 2 >= Record(b"", 0, b"").ttl]
        answers: list[Record] = []
        by_unicast = True
        for question in message.questions:
            for record in self._answers(question):
                if record not in answers and not any(record.is_same(one) for one in known):
                    answers.append(record)
                    by_unicast = by_unicast and question.unicast
        if not answers:
            return
        version = datagram.source.version
        if datagram.source_port != PORT:
            self._to_asker(message, answers, datagram)
            return
        if datagram.target not in (GROUP4, GROUP6):
            by_unicast = True
        stale = [one for one in answers if now_us - self._sent_us(version, one) >= _FRESH_US]
        if by_unicast and not stale:
            for some in self._fitting(answers):
                self._unicast(pack([], some, [], response=True), datagram)
            return
        is_probe = any(one.is_of(self.name) for one in message.authorities)
        quiet_us = _DEFENDS_US if is_probe else _QUIET_US
        due = [one for one in answers if now_us - self._sent_us(version, one) >= quiet_us]
        if due:
            self._multicast(version, due, now_us)

    def _to_asker(self, message: Message, answers: list[Record], datagram: Datagram) -> None:
        """Answers who knows ordinary DNS alone (RFC 6762 6.7)."""
        short = [Record(one.name, one.kind, one.data, _LEGACY_TTL_S) for one in answers]
        questions = [one.wire for one in message.questions]
        number = message.identifier
        some = self._fitting(short)[0]
        answer = pack(questions, some, [], response=True, identifier=number, unique=False)
        self._unicast(answer, datagram)

    # --- what goes ---------------------------------------------------------------------------

    def _source(self, version: int) -> _Source | None:
        found = [one.ip for one in self._addresses if one.version == version]
        local = [one for one in found if version == 6 and one.is_link_local]
        return next(iter(local or found), None)

    def _versions(self) -> list[int]:
        return [version for version in (4, 6) if self._source(version) is not None]

    def _sent_us(self, version: int, record: Record) -> int:
        return self._sent.get((version, record.name + record.data, record.kind), -_FRESH_US)

    def _multicast(self, version: int, records: list[Record], now_us: int) -> None:
        for record in records:
            self._sent[version, record.name + record.data, record.kind] = now_us
        if len(self._sent) > 16 * max(1, len(self._addresses)):
            self._sent = {key: at for key, at in self._sent.items() if now_us - at < _FRESH_US}
        for some in self._fitting(records):
            self._send(version, pack([], some, [], response=True))

    def _fitting(self, records: list[Record]) -> list[list[Record]]:
        """Records in as many messages as the MTU asks for."""
        found: list[list[Record]] = [[]]
        left = room = self._port.mtu - _OVERHEAD
        for record in records:
            size = len(record.packed(unique=True))
            if size > left and found[-1]:
                found.append([])
                left = room
            found[-1].append(record)
            left -= size
        return found

    def _to_groups(self, payload: bytes) -> None:
        for version in self._versions():
            self._send(version, payload)

    def _send(self, version: int, payload: bytes) -> None:
        group: _Source = GROUP4 if version == 4 else GROUP6
        mac = _GROUP4_MAC if version == 4 else group_mac(GROUP6)
        self._transmit(group, mac, PORT, payload)

    def _unicast(self, payload: bytes, asked: Datagram) -> None:
        # Whoever isn't on the link would have a router carry what nobody asked for (RFC 6762 11).
        if self._is_near(asked.source):
            self._transmit(asked.source, asked.source_mac, asked.source_port, payload)

    def _transmit(self, to: _Source, mac: bytes, port: int, payload: bytes) -> None:
        source = self._source(to.version)
        macs, ports = (self._port.mac, mac), (PORT, port)
        if isinstance(source, IPv4Address) and isinstance(to, IPv4Address):
            number = self._port.identification()
            frame = udp4_frame(macs, (source, to), ports, payload, number, ttl=_TTL)
        elif isinstance(source, IPv6Address) and isinstance(to, IPv6Address):
            frame = udp6_frame(macs, (source, to), ports, payload, hops=_TTL)
        else:
            return  # an address of that family it has none any more
        self._port.transmit(frame)

    # --- the rest of `Service` ---------------------------------------------------------------

    def arp(self, packet: Arp, now_us: int) -> None:
        """See `Service`: a name has nothing to do with it."""

    def advertised(self, packet: Advertisement, now_us: int) -> None:
        """See `Service`: routers have nothing to say to it."""

    def stop(self) -> None:
        """See `Service`: says goodbye (RFC 6762 10.1)."""
        if self._stage in (Stage.ANNOUNCING, Stage.ANSWERING):
            for some in self._fitting([ended(one) for one in self._records()]):
                self._to_groups(pack([], some, [], response=True))
        self._stage = Stage.IDLE
        for member in self._members:
            self._port.leave(member)
        self._members = []
