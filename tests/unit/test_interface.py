"""Interfaces: addresses, MTU, MAC, up and down, attach and its refusals."""

from __future__ import annotations

import socket
import time

import pytest
from pair import LEFT, LEFT6, RIGHT, RIGHT6, pair, whole
from scapy.all import ARP, IP, TCP, Ether, IPv6

import pystack
from pystack.interface import AddressOrigin, AddressState, InterfaceFlag
from pystack.nic import Layer


def test_an_interface_describes_itself() -> None:
    left, _right = pystack.nic.wire(1400)
    with pystack.Stack() as net:
        eth0 = net.attach(left, f"{LEFT}/24", mac="02-AA-00-00-00-01")
        assert (eth0.name, eth0.mtu, eth0.mac, eth0.up, eth0.link) == (
            "eth0", 1400, "02:aa:00:00:00:01", True, True,
        )  # fmt: skip
        assert InterfaceFlag.UP | InterfaceFlag.LINK | InterfaceFlag.BROADCAST in eth0.flags
        assert str(eth0.address) == f"{LEFT}/24"
        assert [one.name for one in net.interfaces] == ["lo", "eth0"]
        assert net.interfaces[1] == eth0
        assert InterfaceFlag.LOOPBACK in net.loopback.flags
        assert net.loopback.mac is None
        assert net.sockets.if_nametoindex("eth0") == eth0.index
        assert net.sockets.if_indextoname(eth0.index) == "eth0"
        with pytest.raises(OSError, match="no interface"):
            net.sockets.if_nametoindex("eth7")
        assert "eth0" in repr(eth0)
        with pytest.raises(OSError, match=r"."):
            net.loopback.detach()


def test_several_addresses_of_both_families() -> None:
    with pair() as it:
        eth0 = it.left_interface
        eth0.addresses.add("10.0.0.11/24")
        eth0.addresses.add("192.168.5.1/16")
        eth0.addresses.add("fd00::11/64")
        found = {str(one.address) for one in eth0.addresses}
        assert {
            f"{LEFT}/24",
            "10.0.0.11/24",
            "192.168.5.1/16",
            f"{LEFT6}/64",
            "fd00::11/64",
        } <= found
        for own in (LEFT, "10.0.0.11", LEFT6, "fd00::11"):
            assert it.right.ping(own, timeout=30).received == 1, own
        with it.left.sockets.create_server(("10.0.0.11", 80)) as listener:
            client = it.right.sockets.create_connection(("10.0.0.11", 80), 30)
            server, _peer = listener.accept()
            assert server.getsockname() == ("10.0.0.11", 80)
            client.close()
            server.close()
        with pytest.raises(FileExistsError):
            eth0.addresses.add("10.0.0.11/24")
        eth0.addresses.remove("10.0.0.11")
        eth0.addresses.remove("fd00::11")
        assert it.right.ping("10.0.0.11", timeout=0.1).received == 0
        with pytest.raises(OSError, match="assign"):
            eth0.addresses.remove("10.0.0.11")
        with pytest.raises(ValueError, match="not appear"):
            eth0.addresses.add("10.0.0.300/24")
        static = next(one for one in eth0.addresses if str(one.ip) == LEFT)
        assert (static.state, static.origin) == (AddressState.PREFERRED, AddressOrigin.STATIC)
        assert (static.valid_s, static.preferred_s) == (None, None)


def test_a_link_local_address_comes_by_itself() -> None:
    with pair() as it:
        (own,) = [one for one in it.left_interface.addresses if one.ip.is_link_local]
        assert own.origin is AddressOrigin.LINK_LOCAL
        deadline = time.monotonic() + 60
        while own.state is AddressState.TENTATIVE and time.monotonic() < deadline:
            time.sleep(0.05)
            (own,) = [one for one in it.left_interface.addresses if one.ip.is_link_local]
        assert own.state is AddressState.PREFERRED
        scoped = f"{own.ip}%{it.right_interface.index}"
        assert it.right.ping(scoped, timeout=30).received == 1
        by_name = f"{own.ip}%eth0"
        assert it.right.ping(by_name, timeout=30).received == 1


def test_the_mtu_is_reflected_in_segments_and_fragments() -> None:
    sizes: list[int] = []

    class Watch:
        def frame_out(self, _interface: int, frame: bytes) -> bool:
            packet = Ether(frame)
            if TCP in packet or (IP in packet and packet[IP].frag + packet[IP].flags.MF):
                sizes.append(len(frame) - 14)
            return True

    a, b = pystack.nic.wire(9000)
    with pystack.Stack(frame_out=Watch()) as left, pystack.Stack() as right:
        eth0 = left.attach(a, f"{LEFT}/24", f"{LEFT6}/64")
        right.attach(b, f"{RIGHT}/24", f"{RIGHT6}/64")
        for host in (RIGHT, RIGHT6):
            for mtu in (9000, 1300, 4000):
                eth0.mtu = mtu
                assert eth0.mtu == mtu
                with right.sockets.create_server(
                    (host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET
                ) as listener:
                    client = left.sockets.create_connection(listener.getsockname()[:2], 30)
                    server, _peer = listener.accept()
                sizes.clear()
                client.sendall(bytes(30_000))
                assert len(whole(server, 30_000)) == 30_000
                assert max(sizes) == mtu
                client.close()
                server.close()
        eth0.mtu = 1300
        sizes.clear()
        assert left.ping(RIGHT, size=5000, timeout=30).received == 1
        assert max(sizes) <= 1300
        assert len([size for size in sizes if size > 100]) == 4
        for wrong in (0, 67, 9001, 70_000):
            with pytest.raises((OSError, OverflowError), match=r"."):
                eth0.mtu = wrong
        assert eth0.mtu == 1300


def test_the_mac_can_be_changed() -> None:
    with pair() as it:
        assert it.left.ping(RIGHT, timeout=30).received == 1
        it.left_interface.mac = "02:77:77:77:77:77"
        assert it.left_interface.mac == "02:77:77:77:77:77"
        it.right.neighbours.flush()
        assert it.right.ping(LEFT, timeout=30).received == 1
        (entry,) = [one for one in it.right.neighbours if str(one.address) == LEFT]
        assert entry.mac == "02:77:77:77:77:77"
        for wrong in ("01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"):
            with pytest.raises(OSError, match=r"."):
                it.left_interface.mac = wrong


def test_down_is_down_and_up_again() -> None:
    with pair() as it:
        it.left_interface.up = False
        assert not it.left_interface.up
        with pytest.raises(OSError, match=r"unreachable|down"):
            it.left.ping(RIGHT)
        assert it.right.ping(LEFT, timeout=0.1).received == 0
        it.left_interface.up = True
        assert it.left.ping(RIGHT, timeout=30).received == 1


def test_a_wire_whose_end_is_gone_takes_the_link_down() -> None:
    ours, theirs = socket.socketpair()
    end = pystack.nic.Descriptor(ours, framing=pystack.nic.Framing.LENGTH16)
    with end, pystack.Stack() as net:
        eth0 = net.attach(end, f"{LEFT}/24")
        assert eth0.link
        theirs.close()
        deadline = time.monotonic() + 60
        while eth0.link and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not eth0.link
        assert net.ping("127.0.0.1", timeout=30).received == 1


def test_interfaces_without_ethernet() -> None:
    left, right = pystack.nic.wire(layer=Layer.IP)
    with pystack.Stack() as a, pystack.Stack() as b:
        tun = a.attach(left, f"{LEFT}/24", f"{LEFT6}/64")
        b.attach(right, f"{RIGHT}/24", f"{RIGHT6}/64")
        assert (tun.name, tun.mac) == ("tun0", None)
        assert a.ping(RIGHT, timeout=30).received == 1
        assert a.ping(RIGHT6, timeout=30).received == 1
        assert len(a.neighbours) == 0
        with pytest.raises(OSError, match=r"."):
            tun.mac = "02:00:00:00:00:01"


def test_attach_refuses_what_it_cant() -> None:
    left, right = pystack.nic.wire()
    with pystack.Stack(threaded=False) as net:
        with pytest.raises(ValueError, match="not appear"):
            net.attach(left, "nonsense")
        assert not left.attached
        with pytest.raises(ValueError, match="gateway"):
            net.attach(left, f"{LEFT}/24", gateway=["10.0.0.9", "10.0.0.8"])
        with pytest.raises(OSError, match="unreachable"):
            net.attach(left, f"{LEFT}/24", gateway="192.0.2.1")
        with pytest.raises(ValueError, match="name"):
            net.attach(left, name="a-name-far-too-long")
        with pytest.raises(OSError, match=r"."):
            net.attach(left, mtu=9000)
        with pytest.raises(TypeError, match="NIC"):
            net.attach("tap0")  # type: ignore[arg-type]
        net.attach(left, f"{LEFT}/24", name="uplink")
        with pytest.raises(FileExistsError):
            net.attach(right, name="uplink")
        assert net.attach(right).name == "eth0"
        assert [one.name for one in net.interfaces] == ["lo", "uplink", "eth0"]


def test_detected_addresses_are_probed_for() -> None:
    from pystack.hypercalls import ManualClock

    clock = ManualClock()
    ours, theirs = pystack.nic.wire()
    with pystack.Stack(threaded=False, clock=clock, seed=1) as net:
        eth0 = net.attach(ours)
        eth0.addresses.add(f"{LEFT}/24", detect=True)
        eth0.addresses.add(f"{LEFT6}/64", detect=True)
        states = {str(one.ip): one.state for one in eth0.addresses}
        assert states[LEFT] is states[LEFT6] is AddressState.TENTATIVE
        frames = []
        for _ in range(150):
            clock.advance(0.1)
            net.step()
            while (frame := theirs.receive(0)) is not None:
                frames.append(Ether(frame))
        probes = [one for one in frames if ARP in one and one[ARP].psrc == "0.0.0.0"]
        assert [one[ARP].pdst for one in probes] == [LEFT] * 3  # RFC 5227 1.1
        assert any(IPv6 in one and one[IPv6].src == "::" for one in frames)
        states = {str(one.ip): one.state for one in eth0.addresses}
        assert states[LEFT] is states[LEFT6] is AddressState.PREFERRED
