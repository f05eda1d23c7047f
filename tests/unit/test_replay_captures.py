"""What `pystack.embed.replay` reads: link types, flows, and captures that are broken."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from captures import CLIENT, LINK, SERVER, talk
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import CookedLinux, CookedLinuxV2, Dot1Q, Loopback
from scapy.utils import wrpcap, wrpcapng

from pystack.embed.replay import CaptureError, read


@pytest.mark.parametrize(
    "link",
    [
        LINK,
        LINK / Dot1Q(vlan=9),
        LINK / Dot1Q(vlan=9) / Dot1Q(vlan=8),
        CookedLinux(proto=0x0800),
        CookedLinuxV2(proto=0x0800),
        Loopback(type=2),
        None,
    ],
    ids=["ethernet", "vlan", "two tags", "cooked", "cooked2", "loopback", "raw"],
)
@pytest.mark.parametrize("write", [wrpcap, wrpcapng])
def test_link_types(tmp_path: Path, link: Any, write: Callable[..., None]) -> None:
    made = talk([("c", b"data"), ("s", b"answer")], link=LINK)
    times = [float(one.time) for one in made]
    frames = [one[IP].copy() if link is None else link / one[IP].copy() for one in made]
    for one, moment in zip(frames, times, strict=True):
        one.time = moment
    write(str(tmp_path / "x"), frames)
    if write is wrpcap:
        (tmp_path / "x").write_bytes(gzip.compress((tmp_path / "x").read_bytes()))
    (flow,) = read(tmp_path / "x")
    assert (flow.client, flow.server) == ((CLIENT, 4000), (SERVER, 7))
    assert [one.data for one in flow.events] == [b"data", b"answer"]
    assert [one.number for one in flow.segments] == [1, 2, 3, 4, 5]
    assert flow.segments[4].time == pytest.approx(0.04, abs=1e-5)
    assert str(flow) == (f"TCP {CLIENT}:4000 -> {SERVER}:7: 5 packets, 4 bytes sent, 6 answered")


def test_flows_are_told_apart(tmp_path: Path) -> None:
    first, second = talk([("c", b"1")]), talk([("c", b"2")], sport=4001)
    again = talk([("c", b"3")])
    for one in again:
        one[TCP].seq += 99 if one[IP].src == CLIENT else 0
    six = LINK / IPv6(src="fd00::1", dst="fd00::2") / UDP(sport=1, dport=2) / b"six"
    mixed = [one for both in zip(first, second, strict=True) for one in both]
    wrpcap(str(tmp_path / "x.pcap"), [*mixed, six, *again])
    flows = read(tmp_path / "x.pcap")
    assert [one.client.port for one in flows] == [4000, 4001, 1, 4000]
    assert [one.events[0].data for one in flows] == [b"1", b"2", b"six", b"3"]
    assert str(flows[2].server) == "[fd00::2]:2"


@pytest.mark.sanitize
def test_broken_captures_are_refused_or_read(tmp_path: Path) -> None:
    import random

    chance, path = random.Random(15), tmp_path / "x.pcap"
    wrpcap(str(path), talk([("c", b"data"), ("s", b"answer")]))
    sound = path.read_bytes()
    for _ in range(300):
        broken = bytearray(sound)
        for _ in range(chance.randrange(1, 6)):
            broken[chance.randrange(24, len(broken))] = chance.randrange(256)
        path.write_bytes(broken[: chance.randrange(20, len(broken) + 1)])
        try:
            for flow in read(path):
                flow.check()
        except CaptureError:
            pass
