"""What a newcomer gets wrong first: each says which value it is about, and what to do."""

from __future__ import annotations

import errno
import inspect
import ipaddress
import logging
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pystack
from pystack import nic
from pystack.embed.gateway import Gateway, tap_in_namespace
from pystack.embed.proxy import Forwarder, parse_upstream
from pystack.embed.socks import SocksServer


@pytest.fixture
def net() -> Iterator[pystack.Stack]:
    with pystack.Stack() as made:
        yield made


def wire(mtu: int = 1500) -> nic.Nic:
    return nic.wire(mtu)[0]


def taken_name(net: pystack.Stack) -> None:
    net.attach(wire(), name="lan")
    net.attach(wire(), name="lan")


def second_default(net: pystack.Stack) -> None:
    net.attach(wire(), "10.0.0.1/24", gateway="10.0.0.9")
    net.attach(wire(), "10.0.1.1/24", gateway="10.0.1.9")


def taken_address(net: pystack.Stack) -> None:
    net.attach(wire(), "10.0.0.1/24")
    net.attach(wire(), "10.0.0.1/24")


ATTACH: list[tuple[dict[str, Any] | tuple[Any, ...] | Callable[[Any], None], type, str]] = [
    (("10.0.0.1",), ValueError, "10.0.0.1 has no prefix length: write 10.0.0.1/24"),
    (("fd00::1",), ValueError, "write fd00::1/64 .* fd00::1/128"),
    ((ipaddress.ip_address("10.0.0.1"),), ValueError, "10.0.0.1 has no prefix length"),
    (("10.0.0.1/24", "10.0.0.1/24"), FileExistsError, "10.0.0.1/24: an interface"),
    (taken_address, FileExistsError, "10.0.0.1/24: an interface of this Stack has"),
    (("224.0.0.1/24",), OSError, "224.0.0.1/24 can't be a host's"),
    (("0.0.0.0/0",), OSError, "0.0.0.0/0 can't be a host's"),
    (
        tuple(f"fd00:{n:x}::1/64" for n in range(300)),
        OSError,
        "::1/64: the interface holds no more",
    ),
    ({"gateway": "10.1.0.1"}, OSError, "unreachable: 0.0.0.0/0 via 10.1.0.1: .* an address there"),
    ({"gateway": "10.0.0.1"}, OSError, "the gateway 10.0.0.1 is the interface's own"),
    ({"gateway": "nonsense"}, ValueError, "gateway 'nonsense' is not an IP address"),
    ({"gateway": 5}, TypeError, "a gateway is an address or a list of them, not 5"),
    ({"gateway": ["10.0.0.8", "10.0.0.9"]}, ValueError, "10.0.0.8, 10.0.0.9: .*routes.add"),
    (second_default, FileExistsError, "0.0.0.0/0 via 10.0.1.9: .* another metric"),
    ({"mtu": 67}, OSError, "MTU 67: at least 68 bytes .* NIC's 1500"),
    ({"mtu": 9000}, OSError, "MTU 9000: at least 68 bytes .* NIC's 1500"),
    ({"mtu": -1}, OSError, "MTU -1: at least"),
    ({"mtu": "1500"}, TypeError, "an MTU is an int, not '1500'"),
    ({"mac": "01:00:5e:00:00:01"}, OSError, "01:00:5e:00:00:01 is a group's"),
    ({"mac": bytes(6)}, OSError, "00:00:00:00:00:00 is nobody's"),
    ({"mac": "nope"}, ValueError, "'nope' is no Ethernet address"),
    (taken_name, FileExistsError, "another interface of this Stack has the name 'lan'"),
]


@pytest.mark.parametrize(("arguments", "kind", "words"), ATTACH)
def test_attach_says_what_it_refuses(
    net: pystack.Stack, arguments: Any, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        if callable(arguments):
            arguments(net)
        elif isinstance(arguments, dict):
            net.attach(wire(), "10.0.0.1/24", **arguments)
        else:
            net.attach(wire(), *arguments)


def test_ip6_where_the_mtu_is_too_small(
    net: pystack.Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    net.attach(wire(), "10.0.0.1/24", "fd00::1/64", mtu=1279)
    told = "pystack: {}: IPv6 asks for an MTU of 1280 bytes (RFC 8200 5), and the interface has {}"
    assert capsys.readouterr().err == told.format("fd00::1/64", 1279) + "\n"
    eth1 = net.attach(wire(), "10.0.1.1/24", mtu=576)
    assert capsys.readouterr().err == ""
    eth1.mtu = 1280
    eth1.addresses.add("fd01::1/64")
    assert capsys.readouterr().err == ""
    eth1.mtu = 600
    assert capsys.readouterr().err == told.format("fd01::1/64", 600) + "\n"

    lines = []

    class Log:
        def log(self, level: int, text: str) -> None:
            lines.append((level, text))

    with pystack.Stack(log=Log()) as other:
        other.attach(wire(), "fd00::1/64", mtu=1000)
    assert [level for level, text in lines if "1280" in text] == [logging.WARNING]


def test_interfaces_say_what_they_refuse(net: pystack.Stack) -> None:
    eth0 = net.attach(wire(), "10.0.0.1/24")
    for name, value, words in (
        ("mtu", 3000, "MTU 3000: .* NIC's 1500"),
        ("mac", "03:00:00:00:00:01", "a group's"),
    ):
        with pytest.raises(OSError, match=words):
            setattr(eth0, name, value)
    with pytest.raises(
        OSError, match=r"10.0.0.7 is no address of this interface, which has .*0.1/24"
    ):
        eth0.addresses.remove("10.0.0.7")


def test_a_typo_is_no_attribute(net: pystack.Stack) -> None:
    eth0 = net.attach(wire(), "10.0.0.1/24")
    with pytest.raises(AttributeError, match=r"'nameserver'.*near: nameservers"):
        net.nameserver = ["10.0.0.9"]  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match=r"'adresses'.*near: addresses"):
        eth0.adresses = []  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match=r"'neighbors'; near: neighbours"):
        net.neighbors  # type: ignore[attr-defined] # noqa: B018
    with pytest.raises(AttributeError, match=r"'adresses'; near: addresses"):
        eth0.adresses  # type: ignore[attr-defined] # noqa: B018
    assert not hasattr(net, "_nothing")
    with pytest.raises(AttributeError, match=r"'used', but .*used_bytes"):
        net.arena.used  # noqa: B018

    class Mine(pystack.Stack):
        label = ""

        @property
        def broken(self) -> int:
            return int(self.label.nothing)  # type: ignore[attr-defined]

    with Mine() as mine:
        mine.label, mine.more = "mine", 1  # type: ignore[attr-defined]
        with pytest.raises(AttributeError, match="'str' object has no attribute 'nothing'"):
            mine.broken  # noqa: B018


STACKS: list[tuple[dict[str, Any], str]] = [
    ({"clock": time.time}, r"clock=.*time> has no method now_us\(\): .*hypercalls.Clock"),
    ({"random": 7}, r"random=7 has no method randbytes\(\): .*hypercalls.Random"),
    ({"memory": 1}, r"memory=1 has no method allocate\(\): .*hypercalls.Memory"),
    ({"frame_out": print}, r"no method frame_out\(\): .*hypercalls.FrameOut"),
    ({"log": print}, r"no method log\(\): .*hypercalls.Log"),
    ({"panic": print}, r"no method panic\(\): .*hypercalls.Panic"),
    ({"seed": "x"}, "seed is an int, not 'x'"),
    ({"memory_limit": "1M"}, "memory_limit is a whole number of bytes, at least 0, not '1M'"),
    ({"memory_limit": None}, "memory_limit is a whole number .*, not None"),
    ({"engine": 5}, "an engine is a string, such as 'lwip', not 5"),
    ({"sed": 1}, r"^Stack\(\) got an unexpected keyword argument 'sed'; did you mean 'seed'\?$"),
    ({"colour": 1}, r"^Stack\(\) .* 'colour'; it takes engine, memory_limit, seed, .*panic$"),
]


@pytest.mark.parametrize(("arguments", "words"), STACKS)
def test_a_stack_says_what_it_refuses(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        pystack.Stack(**arguments)


def test_nics_say_what_they_refuse(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    text: Any = "length16"
    with pytest.raises(TypeError, match=r"framing is .*Framing.LENGTH16, .*not 'length16'"):
        nic.Descriptor(ours, framing=text)
    for make in (lambda: nic.Descriptor(ours, layer=text), lambda: nic.wire(layer=text)):
        with pytest.raises(TypeError, match=r"layer is .*Layer.IP.*not 'length16'"):
            make()
    loss: Any = 0.2
    with pytest.raises(TypeError, match=r"Impairment\(loss=0.1\), not 0.2"):
        nic.impair(wire(), loss)
    theirs.close()
    for closed, words in ((9999, "descriptor: 9999 is not open"), (theirs, "is closed")):
        with pytest.raises(OSError, match=words) as found:
            nic.Descriptor(closed)
        assert found.value.errno == errno.EBADF
    ours.close()
    path = tmp_path / "nothing" / "x.pcap"
    with pytest.raises(FileNotFoundError) as missing:
        nic.capture(wire(), path)
    assert missing.value.filename == str(path)


def test_names_that_nobody_knows(net: pystack.Stack) -> None:
    with pytest.raises(socket.gaierror, match=r"'10.0.0.256' is no IPv4 address, .*no name server"):
        net.ping("10.0.0.256")
    with pytest.raises(socket.gaierror, match=r": 'far.example': .*no name server"):
        net.ping("far.example")


def test_a_route_leads_somewhere(net: pystack.Stack) -> None:
    with pytest.raises(OSError, match=r"10.1.0.0/16: give a gateway, or an interface"):
        net.routes.add("10.1.0.0/16")
    with pytest.raises(OSError, match=r"10.1.0.0/16: the Stack has no interface 77"):
        net.routes.add("10.1.0.0/16", interface=77)
    unknown: Any = 5.5
    with pytest.raises(TypeError, match=r"'10.1.0.0/16', not 5.5"):
        net.routes.add(unknown)
    with pytest.raises(TypeError, match=r"an interface is .*not 5.5"):
        net.routes.add("10.1.0.0/16", interface=unknown)
    for call in (
        lambda: net.neighbours.add("10.0.0.9", "02:00:00:00:00:09", 77),
        lambda: net.neighbours.delete("10.0.0.9", 77),
        lambda: net.neighbours.flush(77),
    ):
        with pytest.raises(OSError, match=r"the Stack has no interface 77"):
            call()


def test_name_servers_are_a_list(net: pystack.Stack) -> None:
    with pytest.raises(TypeError, match=re.escape("write ['10.0.0.9']")):
        net.nameservers = "10.0.0.9"
    net.nameservers = ["10.0.0.9"]
    assert [str(each) for each in net.nameservers] == ["10.0.0.9"]


@pytest.mark.parametrize("what", [lambda sock: sock, lambda sock: sock.fileno()])
def test_a_stacks_socket_is_no_wire(net: pystack.Stack, what: Callable[[Any], Any]) -> None:
    with (
        net.socket(type=socket.SOCK_DGRAM) as sock,
        pytest.raises(ValueError, match="stands for a Stack's socket"),
    ):
        nic.Descriptor(what(sock))


def test_destinations_of_probes(net: pystack.Stack) -> None:
    net.attach(wire(), "10.0.0.1/24", name="lan")
    for probe in (net.ping, net.traceroute):
        with pytest.raises(OSError, match=r"fe80::1 is link-local: .* as fe80::1%lan"):
            probe("fe80::1")
        with pytest.raises(OSError, match=r"unreachable: no route to 192.0.2.1"):
            probe("192.0.2.1")
    with pytest.raises(OSError, match=r"unreachable: no route to 192.0.2.1"):
        net.routes.lookup("192.0.2.1")
    with pytest.raises(ProcessLookupError, match=r"no such static route to 10.9.0.0/16"):
        net.routes.delete("10.9.0.0/16")


def test_objects_show_what_they_are(net: pystack.Stack) -> None:
    net.attach(wire(), "10.0.0.1/24", gateway="10.0.0.9")
    net.neighbours.add("10.0.0.9", "02:00:00:00:00:09")
    bad = nic.impair(wire(), nic.Impairment(loss=0.1), nic.Impairment(delay=0.02), seed=1)
    shown = {
        repr(net.arena): r"<Arena \d+ of \d+ bytes in \d+ blocks>",
        repr(net.sockets): "<the module 'socket' on a Stack>",
        repr(net.routes): r"<RouteTable \[.*0.0.0.0/0 via 10.0.0.9 dev 2.*\]>",
        repr(net.neighbours): r"<NeighbourTable \[10.0.0.9 02:00:00:00:00:09 PERMANENT\]>",
        repr(nic.Switch()): "<Switch mtu=1500>",
        repr(pystack.hypercalls.ManualClock(90)): "<ManualClock at 90 s>",
        repr(bad): r"<Impaired mtu=1500 ethernet outgoing=\(loss=0.1\) incoming=\(delay=0.02\)>",
    }
    for text, pattern in shown.items():
        assert re.fullmatch(pattern, text), text
    net.close()
    assert repr(net.routes) == "<RouteTable: [Errno 9] the Stack is closed>"
    assert repr(net.sockets) == "<the module 'socket' on a Stack that is closed>"


def test_results_have_public_types(net: pystack.Stack) -> None:
    eth0 = net.attach(wire(), "10.0.0.1/24")
    listener = net.sockets.create_server(("10.0.0.1", 80))
    for one, kind in (
        (net.ping("127.0.0.1"), pystack.PingResult),
        (net.traceroute("127.0.0.1"), pystack.TracerouteResult),
        (eth0.lease, pystack.Lease),
        (net.routes.list()[0], pystack.Route),
        (net.connections()[0], pystack.Connection),
        (eth0.addresses.list()[0], pystack.InterfaceAddress),
    ):
        assert type(one) is kind
    listener.close()


Call = Callable[[pystack.Stack], object]
PEER = ("192.0.2.1", 5000)

# What is called, what it raises, and what that says.
WRONG: list[tuple[Call, type[Exception], str]] = [
    (lambda net: nic.Impairment(delay=text("5ms")), TypeError, "delay is a number .*not '5ms'"),
    (lambda net: nic.Impairment(loss=5), ValueError, "loss is a number from 0 to 1, not 5"),
    (lambda net: nic.Impairment(los=0.1), TypeError, "'los'; did you mean 'loss'"),
    (lambda net: nic.Impairment(queue_frames=text("x")), TypeError, "of frames from 1 .*not 'x'"),
    (lambda net: nic.impair(wire(), seed=text("x")), TypeError, "seed is an int, not 'x'"),
    (lambda net: net.attach(wire(), text(10)), TypeError, "such as '10.0.0.1/24', not 10"),
    (lambda net: net.attach(wire(), text(["10.0.0.1/24"])), TypeError, r"nic, \*\['10.0.0.1/24'\]"),
    (lambda net: net.attach(wire(), gatewey="x"), TypeError, "did you mean 'gateway'"),
    (lambda net: net.routes.add("10.1.0.1/16", "10.0.0.9"), ValueError, "write 10.1.0.0/16, or"),
    (lambda net: net.routes.add("10.1.0.0/16", text(5)), TypeError, "an address is .*, not 5"),
    (lambda net: net.routes.add("10.1.0.0/16", "10.0.0.9/24"), ValueError, "10.0.0.9/24"),
    (lambda net: net.routes.add("10.1.0.0/16", via="x"), TypeError, "it takes destination"),
    (lambda net: net.routes.add("10.1.0.0/16", metric=-1), ValueError, "metric is .*, not -1"),
    (lambda net: net.routes.lookup(text(5)), TypeError, "an address is .*, not 5"),
    (lambda net: net.neighbours.add("10.0.0.9/24", "02:00:00:00:00:01"), ValueError, "10.0.0.9/24"),
    (lambda net: net.neighbours.add("10.0.0.9", text(5), 1), TypeError, "Ethernet .*not 5"),
    (lambda net: net.nameservers.append(text(5)), TypeError, "an address is .*, not 5"),
    (lambda net: net.ping("10.0.0"), socket.gaierror, "'10.0.0' is no IPv4 address"),
    (lambda net: net.ping(text(5)), TypeError, "a destination is .*, not 5"),
    (lambda net: net.ping(""), ValueError, "a destination is .*, not ''"),
    (lambda net: net.ping("10.0.0.1", count=0), ValueError, "count is .* at least 1, not 0"),
    (lambda net: net.ping("10.0.0.1", size=-1), ValueError, "size is .* of bytes .*, not -1"),
    (lambda net: net.ping("10.0.0.1", ttl=300), ValueError, "ttl is .* 1 to 255, not 300"),
    (lambda net: net.ping("10.0.0.1", timeout=text("1")), TypeError, "timeout is .*not '1'"),
    (lambda net: net.ping("10.0.0.1", tll=1), TypeError, r"Stack.ping\(\) .* mean 'ttl'"),
    (lambda net: net.traceroute("10.0.0.1", hops=256), ValueError, "hops is .*, not 256"),
    (lambda net: net.resolve(text(5)), TypeError, "a name is a string, .*not 5"),
    (lambda net: net.resolve(""), socket.gaierror, "the name is empty"),
    (lambda net: net.restore(text(5)), TypeError, "Stack.snapshot.*not 5"),
    (lambda net: net.step(text("x")), TypeError, "timeout is .*, not 'x'"),
    (lambda net: net.fail(text(5)), TypeError, "text is a string, .*not 5"),
    (lambda net: setattr(net, "linger", "x"), TypeError, "linger is .*, not 'x'"),
    (lambda net: setattr(net, "linger", -1), ValueError, "linger are at least 0, not -1"),
    (lambda net: net.sysctl.update({"net.ipv4.ip_forward": 7}), ValueError, "from 0 to 1, not 7"),
    (lambda net: net.sysctl.update({"net.ipv4.ip_forward": "on"}), TypeError, "an int, not 'on'"),
    (lambda net: net.intercept(tcp=text("x")), TypeError, "tcp is .* True or False, not 'x'"),
    (lambda net: net.intercept(undecided=0), ValueError, "undecided is .*, not 0"),
    (lambda net: net.installed(srict=True), TypeError, "did you mean 'strict'"),
    (lambda net: pystack.Stack(memory_limit=-5), ValueError, "memory_limit is .*, not -5"),
    (lambda net: pystack.Stack(memory_limit=5), OSError, "memory_limit is 5 bytes"),
    (lambda net: pystack.Stack(engine="lwp"), ValueError, "did you mean 'lwip'"),
    (lambda net: nic.Tap(text(5)), TypeError, "a device's name is a string, .*not 5"),
    (lambda net: nic.Tap("tap0", text("1500")), TypeError, "an MTU is .*, not '1500'"),
    (lambda net: nic.Tap("tap0", queues=65), ValueError, "queues is .* 1 to 64, not 65"),
    (lambda net: nic.parse(text(5)), TypeError, "a NIC's name is a string, .*not 5"),
    (lambda net: nic.WireGuard(b"short"), ValueError, "a key is 32 bytes, .*this one has 5 bytes"),
    (lambda net: nic.WireGuard(text(5)), TypeError, "a key is 32 bytes, .*not int"),
    (lambda net: nic.Udp(text("x")), TypeError, "local is a pair, .*not 'x'"),
    (lambda net: nic.Udp(("", 0), text("10.0.0.1")), TypeError, "peer is a pair, .*'10.0.0.1'"),
    (lambda net: nic.Vxlan(5, "10.0.0.1"), TypeError, r"write \['10.0.0.1'\]"),
    (lambda net: nic.Vxlan(1 << 24), ValueError, "a VNI is .*, not 16777216"),
    (lambda net: nic.capture(wire(), "x.pcap", snap_length=0), ValueError, "snap_length .*, not 0"),
    (lambda net: pystack.hypercalls.ManualClock(text("x")), TypeError, "start is .*, not 'x'"),
    (lambda net: Gateway(wire(), subnet="10.0.2.0"), ValueError, "write 10.0.2.0/24"),
    (lambda net: Gateway(wire(), subnet="10.0.2.5/24"), ValueError, "write 10.0.2.0/24, or"),
    (lambda net: Gateway(wire(), subnet="fd00::/64"), ValueError, "is of IPv6, not IPv4"),
    (lambda net: Gateway(wire(), forwards="80"), TypeError, r"forwards is a list: write \['80'\]"),
    (lambda net: Gateway(wire(), gateway="fd00::1"), ValueError, "fd00::1 is no IPv4 address"),
    (lambda net: SocksServer(text(5)), TypeError, "through a Stack, not 5"),
    (lambda net: SocksServer(net, timeout=text("x")), TypeError, "timeout is .*, not 'x'"),
    (lambda net: Forwarder(net, text("direct")), TypeError, r"parse_upstream\('direct'\)"),
    (lambda net: parse_upstream(text(5)), TypeError, "an upstream is a string, .*not 5"),
    (lambda net: tap_in_namespace("self"), FileNotFoundError, "'self': name a process by"),
    (lambda net: pystack.__getattr__("world"), AttributeError, "before `import pystack.world`"),
    (lambda net: pystack.__getattr__("Stak"), AttributeError, "did you mean 'Stack'"),
]


def text(value: object) -> Any:
    """What mypy would find, too."""
    return value


@pytest.mark.parametrize(("call", "kind", "words"), WRONG, ids=[row[2] for row in WRONG])
def test_a_wrong_argument_is_named(
    net: pystack.Stack, call: Call, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words) as raised:
        call(net)
    assert type(raised.value) is kind


def test_hints_keep_signatures() -> None:
    assert list(inspect.signature(net_ping := pystack.Stack.ping).parameters)[:2] == [
        "self",
        "destination",
    ]
    assert net_ping.__qualname__ == "StackProbes.ping"

    class Mine(pystack.Stack):
        pass

    with pytest.raises(TypeError, match=r"^Mine\(\) got an unexpected .*'sed'; did you"):
        Mine(sed=1)
