"""What a gateway's servers answer, message by message: DHCP, advertisements, DHCPv6, DNS."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import sys
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dhcp6 import (
    DUID_LL,
    DHCP6_InfoRequest,
    DHCP6_Reply,
    DHCP6OptClientId,
    DHCP6OptDNSDomains,
    DHCP6OptDNSServers,
    DHCP6OptServerId,
)
from scapy.layers.inet6 import (
    ICMPv6ND_RA,
    ICMPv6NDOptDNSSL,
    ICMPv6NDOptMTU,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptRDNSS,
)

import pystack
from pystack.embed.gateway import Gateway, dhcp
from pystack.embed.gateway import dns as dns_server
from pystack.embed.gateway.dhcp import LEASE_S, DhcpServer
from pystack.embed.gateway.dns import Forwarder
from pystack.embed.gateway.forwards import Forward, parse_forward
from pystack.embed.gateway.names import resolvers_of
from pystack.embed.gateway.plan import planned
from pystack.embed.gateway.router import advertisement, dhcp6_reply, is_solicitation
from pystack.embed.proxy.intake import Pace, thread_times
from pystack.serving.dhcp_message import Kind, Message
from pystack.serving.dns_message import wire_name

OFFER, ACK, NAK = 2, 5, 6
ROUTER = "10.0.2.2"


class Clients:
    """Clients of one server, whose clock the test turns."""

    def __init__(self, subnet: str = "10.0.2.0/24", **options: Any) -> None:
        self.now = 0.0
        self.server = DhcpServer(planned(subnet), clock=lambda: self.now, **options)

    def say(
        self, number: int, kind: str, ciaddr: str = "0.0.0.0", **options: Any
    ) -> tuple[int, str, dict[str, Any]] | None:
        """A message of a client's; what comes back: its kind, the address, the options."""
        mac = b"\2\0\0\0" + number.to_bytes(2, "big")
        given = [("message-type", kind), *options.items(), "end"]
        message = BOOTP(chaddr=mac, xid=number, ciaddr=ciaddr, flags=0x8000) / DHCP(options=given)
        found = self.server.datagram(bytes(message))
        if found is None:
            return None
        reply = BOOTP(found[0])
        assert (reply.op, reply.xid, reply.chaddr[:6], reply.flags.value) == (
            2,
            number,
            mac,
            0x8000,
        )
        said = {one[0]: one[1] for one in reply[DHCP].options if isinstance(one, tuple)}
        assert said["server_id"] == ROUTER
        where = found[1]
        assert where is None or str(where) == ciaddr != "0.0.0.0"
        return said["message-type"], reply.yiaddr, said

    def get(self, number: int) -> str:
        """A lease, as a client gets it."""
        offer = self.say(number, "discover")
        assert offer is not None
        assert offer[0] == OFFER
        ack = self.say(number, "request", requested_addr=offer[1], server_id=ROUTER)
        assert ack is not None
        assert ack[:2] == (ACK, offer[1])
        return offer[1]


def test_a_lease_says_all_that_a_guest_needs() -> None:
    clients = Clients(search=["example.org", "corp.example"], mtu=9000)
    assert clients.get(1) == "10.0.2.100"
    reply = clients.say(1, "request", ciaddr="10.0.2.100")
    assert reply is not None
    options = reply[2]
    assert options["subnet_mask"] == "255.255.255.0"
    assert (options["router"], options["name_server"]) == (ROUTER, "10.0.2.3")
    assert options["lease_time"] == LEASE_S
    assert options["renewal_time"] < options["rebinding_time"] < LEASE_S
    assert options["domain"] == b"example.org"
    assert options["interface-mtu"] == 9000
    assert [str(one.address) for one in clients.server.leases] == ["10.0.2.100"]


def test_each_client_keeps_its_address() -> None:
    clients = Clients()
    assert [clients.get(number) for number in range(3)] == [f"10.0.2.{100 + n}" for n in range(3)]
    assert clients.get(1) == "10.0.2.101"
    assert str(clients.server.leases[-1].address) == "10.0.2.101"


def test_a_client_that_comes_back_has_its_address_again() -> None:
    clients = Clients()
    # We have just begun, and know of no lease: as after a restart of ours.
    reply = clients.say(7, "request", requested_addr="10.0.2.33")
    assert reply is not None
    assert reply[:2] == (ACK, "10.0.2.33")
    # One that was elsewhere before, or wants what another has, is told so.
    for wanted in ("192.168.1.5", "10.0.2.33", ROUTER, "10.0.2.3", "10.0.2.255"):
        refused = clients.say(8, "request", requested_addr=wanted)
        assert refused is not None
        assert refused[:2] == (NAK, "0.0.0.0")
    renewed = clients.say(9, "request", ciaddr="10.0.2.33")
    assert renewed is not None
    assert renewed[0] == NAK


def test_another_servers_offer_may_be_taken() -> None:
    clients = Clients()
    assert clients.say(1, "discover") is not None
    assert clients.say(1, "request", requested_addr="10.0.2.9", server_id="10.0.2.77") is None
    assert clients.get(2) == "10.0.2.100"


def test_an_address_in_use_is_left_alone_for_a_while() -> None:
    clients = Clients()
    clients.get(1)
    assert clients.say(1, "decline", requested_addr="10.0.2.100", server_id=ROUTER) is None
    assert clients.get(1) == "10.0.2.101"
    clients.now += 700
    assert clients.get(2) == "10.0.2.100"


def test_what_is_given_back_is_free() -> None:
    clients = Clients()
    clients.get(1)
    assert clients.say(2, "release", ciaddr="10.0.2.100", server_id=ROUTER) is None
    assert clients.get(2) == "10.0.2.101", "a release of another's is none"
    clients.say(1, "release", ciaddr="10.0.2.100", server_id=ROUTER)
    assert clients.get(3) == "10.0.2.100"


def test_who_has_an_address_is_told_the_rest() -> None:
    clients = Clients()
    reply = clients.say(1, "inform", ciaddr="10.0.2.50")
    assert reply is not None
    assert reply[:2] == (ACK, "0.0.0.0")
    assert reply[2]["name_server"] == "10.0.2.3"
    assert "lease_time" not in reply[2]


def test_a_flood_of_clients_takes_what_is_there_for_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clients = Clients("10.0.2.0/28")
    taken = [clients.say(number, "discover") for number in range(200)]
    offered = {one[1] for one in taken if one is not None}
    assert len(offered) == 14 - 2
    assert len(clients.server._by_client) == 12
    clients.now += 61
    assert clients.get(2000) in offered
    # However large the network, what is kept is not.
    monkeypatch.setattr(dhcp, "_MOST_LEASES", 256)
    many = Clients()
    many.server = DhcpServer(planned("10.0.0.0/8", gateway=ROUTER), clock=lambda: many.now)
    for number in range(500):
        many.say(number, "request", requested_addr=str(IPv4Address("10.9.0.0") + number))
    assert len(many.server._by_client) == 256


def test_no_client_costs_more_than_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dhcp, "_MOST_LEASES", 300)
    steps: list[int] = []

    def count(_frame: Any, event: str, _argument: Any) -> None:
        if event in ("call", "c_call"):
            steps[-1] += 1

    def counted(number: int, now: float) -> bytes | None:
        message = Message(Kind.DISCOVER, number, b"\2\0\0\0" + number.to_bytes(2, "big")).packed()
        clients.now = now
        steps.append(0)
        sys.setprofile(count)
        try:
            found = clients.server.datagram(message)
        finally:
            sys.setprofile(None)
        return None if found is None else found[0][16:20]  # yiaddr

    clients = Clients("10.0.0.0/16")
    found = [counted(number, number / 100) for number in range(600)]
    assert [one is not None for one in found] == [number < 300 for number in range(600)]
    # Each offer ends a minute after it was made, and its address is another's then.
    again = [counted(number, number / 100 + 54.05) for number in range(600, 800)]
    assert again == found[:200]
    assert max(steps) < 2 * steps[50]


def test_nonsense_is_no_message() -> None:
    chance = random.Random(4)
    clients = Clients()
    message = bytearray(bytes(BOOTP(chaddr=b"\2\0\0\0\0\1") / DHCP(options=[("message-type", 1)])))
    assert clients.server.datagram(bytes(message)) is not None
    for _ in range(3000):
        broken = bytearray(message[: chance.randrange(len(message) + 1)])
        for _ in range(chance.randrange(8)):
            if broken:
                broken[chance.randrange(len(broken))] = chance.randrange(256)
        clients.server.datagram(bytes(broken))
        dhcp6_reply(bytes(broken), IPv6Address("fd00::3"), mac=bytes(6))
        is_solicitation(bytes(broken))
        Forwarder(["127.0.0.1"], {}).own(bytes(broken))
        Forwarder.failure(bytes(broken).ljust(12, b"\0"))
    relayed = BOOTP(chaddr=b"\2\0\0\0\0\1", giaddr="10.0.2.9") / DHCP(options=[("message-type", 1)])
    assert clients.server.datagram(bytes(relayed)) is None


def test_advertisements() -> None:
    message = advertisement(
        IPv6Network("fd00::/64"), IPv6Address("fd00::3"), mac=b"\2\0\0\0\0\1", mtu=1400,
        search=["example.org"],
    )  # fmt: skip
    packet = ICMPv6ND_RA(message)
    assert (packet.M, packet.O, packet.routerlifetime) == (0, 1, 1800)
    prefix = packet[ICMPv6NDOptPrefixInfo]
    assert (prefix.prefix, prefix.prefixlen, prefix.L, prefix.A) == ("fd00::", 64, 1, 1)
    assert packet[ICMPv6NDOptRDNSS].dns == ["fd00::3"]
    assert packet[ICMPv6NDOptDNSSL].searchlist == ["example.org."]
    assert packet[ICMPv6NDOptMTU].mtu == 1400
    assert is_solicitation(bytes((133, 0, 0, 0, 0, 0, 0, 0)) + bytes((1, 1)) + bytes(6))
    assert not is_solicitation(bytes((133, 0, 0, 0, 0, 0, 0, 0)) + bytes((1, 0)) + bytes(6))


def test_stateless_dhcp6() -> None:
    client = DHCP6OptClientId(duid=DUID_LL(lladdr="02:00:00:00:00:09"))
    asked = DHCP6_InfoRequest(trid=0x1234) / client
    known = {"mac": b"\2\0\0\0\0\1", "search": ["example.org"]}
    answer = dhcp6_reply(bytes(asked), IPv6Address("fd00::3"), **known)
    assert answer is not None
    reply = DHCP6_Reply(answer)
    assert (reply.msgtype, reply.trid) == (7, 0x1234)
    assert reply[DHCP6OptDNSServers].dnsservers == ["fd00::3"]
    assert reply[DHCP6OptDNSDomains].dnsdomains == ["example.org."]
    assert bytes(reply[DHCP6OptClientId].duid) == bytes(client.duid)
    other = asked / DHCP6OptServerId(duid=DUID_LL(lladdr="02:00:00:00:00:77"))
    assert dhcp6_reply(bytes(other), IPv6Address("fd00::3"), **known) is None


# --- DNS -----------------------------------------------------------------------------------------


def query(name: str, kind: int = 1, identifier: int = 77) -> bytes:
    head = struct.pack(">6H", identifier, 0x0100, 1, 0, 0, 0)
    return head + wire_name(name) + struct.pack(">HH", kind, 1)


def test_own_names_are_answered_here() -> None:
    forwarder = Forwarder(["127.0.0.1"], {"gateway.internal": ["10.0.2.2", "fd00::2"]})
    answer = forwarder.own(query("Gateway.Internal"))
    assert answer is not None
    assert answer[-4:] == bytes((10, 0, 2, 2))
    assert struct.unpack_from(">HHHH", answer) == (77, 0x8580, 1, 1)
    answer = forwarder.own(query("gateway.internal", 28))
    assert answer is not None
    assert answer[-16:] == IPv6Address("fd00::2").packed
    nothing = forwarder.own(query("gateway.internal", 15))
    assert nothing is not None
    assert struct.unpack_from(">HHHH", nothing) == (77, 0x8580, 1, 0)
    assert forwarder.own(query("example.org")) is None


class Resolver:
    """A name server on loopback that answers with what it was asked, in both protocols."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.socket.setblocking(False)
        self.asked = 0

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            ready = asyncio.Event()
            loop.add_reader(self.socket, ready.set)
            await ready.wait()
            loop.remove_reader(self.socket)
            message, peer = self.socket.recvfrom(4096)
            self.asked += 1
            wrong = struct.pack(">H", 1 + int.from_bytes(message[:2], "big")) + b"\x81\x80"
            self.socket.sendto(wrong + message[4:], peer)  # another's: nobody takes it
            self.socket.sendto(message[:2] + b"\x81\x80" + message[4:] + b"answer", peer)


def test_questions_are_passed_on_as_they_are() -> None:
    resolver = Resolver()

    async def ask() -> bytes:
        task = asyncio.get_running_loop().create_task(resolver.serve())
        try:
            return await Forwarder(["127.0.0.1"], {}, port=resolver.port).ask(query("a.example"))
        finally:
            task.cancel()

    with resolver.socket:
        answer = asyncio.run(ask())
    assert answer == query("a.example")[:2] + b"\x81\x80" + query("a.example")[4:] + b"answer"


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_server, "_TRY_S", 0.05)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        forwarder = Forwarder(["127.0.0.1"], {}, port=silent.getsockname()[1])
        answer = asyncio.run(forwarder.ask(query("a.example")))
    assert struct.unpack_from(">HHH", answer) == (77, 0x8182, 1), "SERVFAIL, with the question"
    assert answer.endswith(query("a.example")[12:])


def test_the_machines_resolvers(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(
        "# a comment\nnameserver 192.0.2.1 # one\nnameserver nonsense\nnameserver fe80::1%lo\n"
        "search example.org corp.example ..\noptions edns0\nnameserver 192.0.2.2\n"
        "nameserver 192.0.2.3\n"
    )
    found = resolvers_of(path)
    assert found.servers == ("192.0.2.1", "fe80::1%lo", "192.0.2.2")
    assert found.search == ("example.org", "corp.example")
    assert resolvers_of(tmp_path / "none").servers == ("127.0.0.1",)


def test_search_domains_for_which_there_is_no_room(tmp_path: Path) -> None:
    many = [f"{'a' * 57}.example{number:02}" for number in range(60)]  # of 69 bytes each
    ours, _theirs = pystack.nic.wire()
    with ours:
        with pytest.raises(ValueError, match=f"'{many[14]}'.* 1024 bytes .* first 14 fill"):
            Gateway(ours, search=many)
        with pytest.raises(ValueError, match=f"'{'a' * 64}' is no name .* 1 to 63 bytes"):
            Gateway(ours, search=["a" * 64])
    path = tmp_path / "resolv.conf"
    path.write_text(f"search {'a' * 64} a..b {' '.join(many)}\n")
    search = resolvers_of(path).search
    assert search == tuple(many[:14])
    network = IPv6Network("fd00::/64")
    told = advertisement(network, network[3], mac=bytes(6), mtu=1280, search=search)
    assert len(told) <= 1280 - 40
    clients = Clients(search=search)
    clients.get(1)
    assert dhcp6_reply(b"\x0b123", network[3], mac=bytes(6), search=search) is not None


@pytest.mark.parametrize("name", ["", ".", "a..b", "x" * 64, ".".join(["abcdefg"] * 40)])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ValueError, match="is no name of a host"):
        wire_name(name)


# --- what is asked for ---------------------------------------------------------------------------


def test_the_plan_of_a_network() -> None:
    plan = planned()
    assert (str(plan.gateway), str(plan.dns), str(plan.first)) == (ROUTER, "10.0.2.3", "10.0.2.100")
    assert plan.addresses == [
        "10.0.2.2/24", "10.0.2.3/32", "fd00::2/64", "fd00::3/64", "fe80::2/64",
    ]  # fmt: skip
    small = planned("192.168.5.0/29", None, gateway="192.168.5.1")
    assert [str(one) for one in small.pool()] == [f"192.168.5.{n}" for n in (4, 5, 6, 2)]
    assert small.addresses == ["192.168.5.1/29", "192.168.5.3/32"]
    for wrong in (
        {"subnet": "10.0.2.1/24"}, {"subnet": "10.0.2.0/30"}, {"subnet": "127.0.0.0/8"},
        {"subnet6": "fd00::/56"}, {"subnet6": "fe80::/64"}, {"gateway": "10.0.3.1"},
        {"gateway": "10.0.2.100"}, {"dns": "10.0.2.255"}, {"guest": "10.0.2.2"},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"subnet|address"):
            planned(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("8080:80", Forward(8080, 80)),
        ("53/udp", Forward(53, protocol="udp")),
        ("0.0.0.0:8080:80/tcp", Forward(8080, 80, "0.0.0.0")),
        ("127.0.0.1:0:80", Forward(0, 80)),
        ("[::1]:8080:[fd00::9]:80", Forward(8080, 80, "::1", guest="fd00::9")),
        ("192.0.2.1:8080:10.0.2.9:80", Forward(8080, 80, "192.0.2.1", guest="10.0.2.9")),
    ],
)
def test_forwards_as_they_are_written(text: str, meant: Forward) -> None:
    assert parse_forward(text) == meant
    assert parse_forward(str(meant)) in (meant, Forward(53, 53, protocol="udp"))


@pytest.mark.parametrize(
    "text", ["", "80:", "a:80", "1.2.3:80:80", "80:80/sctp", "70000:80", "0", "0:0", "80:80:80:80"]
)
def test_forwards_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_forward(text)


# --- how fast flows are taken --------------------------------------------------------------------


FLOW_S = 0.0003  # what one costs


@pytest.mark.parametrize(
    ("others", "waits", "least", "most"),
    [
        pytest.param(0.0, 0.0, 2000, 3000, id="others do nothing"),
        pytest.param(0.5, 0.0, 1500, 2200, id="others take half of the time"),
        pytest.param(1.0, 0.0, 100, 200, id="others take all of it"),
        pytest.param(0.2, 0.8, 20, 40, id="and the machine leaves little"),
    ],
)
def test_new_flows_take_what_others_leave(
    others: float, waits: float, least: int, most: int
) -> None:
    now = [0.0, 0.0, 0.0]  # seconds that have passed, of work, and of waiting for a processor
    pace = Pace(lambda: (now[0], now[1], now[2]))

    def pass_by(seconds: float, work: float) -> None:
        now[0] += seconds
        now[1] += work
        now[2] += seconds * waits

    def flows(until: float) -> int:
        count = 0
        while now[0] < until:
            count += 1
            pace.spend()
            # Where the others have all of the time, its own comes on top.
            pass_by(FLOW_S, FLOW_S)
            while now[0] < until and (wait := pace.wait_s()) > 0:
                pass_by(wait, wait * others)
        return count

    assert flows(1000 * FLOW_S) == 1000, "a burst passes"
    flows(2.0)
    assert least <= flows(3.0) <= most


def test_the_times_of_this_thread() -> None:
    began = thread_times()
    for _ in range(10_000):
        pass
    ended = thread_times()
    assert all(new >= old for old, new in zip(began, ended, strict=True))
    assert ended[1] > began[1], "it has worked"
