"""What an ICMP error says of the datagram that it is about."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, Ether

import pystack

FAR_MAC, FAR, OURS = "02:00:00:00:00:09", "192.0.2.9", "192.0.2.1"


@pytest.mark.parametrize(("size", "quoted"), [(0, 28), (100, 128), (548, 548), (1400, 548)])
def test_as_much_as_576_octets_hold(size: int, quoted: int) -> None:
    """RFC 1812 4.3.2.3; with the precedence of control, 4.3.2.5."""
    near, far = pystack.nic.wire()
    with pystack.Stack() as net:
        interface = net.attach(near, f"{OURS}/24")
        ours = str(interface.mac)
        asked = IP(src=FAR, dst=OURS) / UDP(sport=9, dport=9) / bytes(size)
        answer = ARP(op=2, psrc=FAR, pdst=OURS, hwsrc=FAR_MAC, hwdst=ours)
        far.send(bytes(Ether(src=FAR_MAC, dst=ours) / asked))
        while frame := far.receive(5):
            got = Ether(bytes(frame))
            if got.haslayer(ARP) and got[ARP].pdst == FAR:
                far.send(bytes(Ether(src=FAR_MAC, dst=ours) / answer))
            if got.haslayer(ICMP) and got[ICMP].type == 3:
                break
        assert frame is not None
        assert (got[ICMP].code, got[IP].tos) == (3, 0xC0)
        assert bytes(got[ICMP])[8 : got[IP].len - 20] == bytes(asked)[:quoted]
