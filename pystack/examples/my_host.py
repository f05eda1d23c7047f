"""A Host of your own, in virtual time: `pystack lab run --load my_host.py --host toy --area ARP`.

It is a stack of two rules, ARP and echo. Whatever else a case needs raises `Unable`, so the case
does not apply. For a stack in another process, subclass `pystack.lab.hosts.agent.AgentHost`, or use
`pystack.lab.hosts.external.ExternalHost` as it is.
"""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from pystack.lab.host import BaseHost
from pystack.lab.hosts import register_host
from pystack.lab.plan import Plan
from pystack.lab.verdict import HostCrashed, Unable


class Toy(BaseHost):
    """Answers ARP and echo requests."""

    name = "toy"
    release = "1"
    virtual = True

    def __init__(self) -> None:
        self._plan: Plan | None = None
        self._now = 0.0
        self._sent: list[tuple[float, int, bytes]] = []

    def start(self, plan: Plan) -> None:
        """Nothing is left of the case before."""
        if plan.forwarding or not plan.ports[0].host4:
            raise Unable("toy has one interface, with an address")
        self._plan, self._now, self._sent = plan, 0.0, []

    def stop(self) -> None:
        """There is nothing to give back."""
        self._plan = None

    def now(self) -> float:
        """Its clock: `wait` alone moves it."""
        return self._now

    def send(self, port: int, frame: bytes) -> None:
        """A frame comes; the answer leaves a tenth of a millisecond later."""
        if self._plan is None:
            raise HostCrashed("toy is not running")
        answer = self._answer(Ether(frame))
        if answer is not None:
            self._sent.append((self._now + 0.0001, port, bytes(answer)))

    def wait(self, seconds: float) -> list[tuple[float, int, bytes]]:
        """Time passes, up to the first frame."""
        until = self._now + seconds
        due = [one for one in self._sent if one[0] <= until][:1]
        self._sent = [one for one in self._sent if one not in due]
        self._now = max(self._now, due[0][0]) if due else until
        return due

    def _answer(self, frame: Packet) -> Packet | None:
        assert self._plan is not None
        own = self._plan.ports[0]
        back = Ether(src=own.host_mac, dst=frame.src)
        if frame.haslayer(ARP):
            asked = frame[ARP]
            if (asked.hwtype, asked.ptype, asked.op, asked.pdst) == (1, 0x0800, 1, own.host4):
                reply: Packet = back / ARP(
                    op=2, hwsrc=own.host_mac, psrc=own.host4, hwdst=asked.hwsrc, pdst=asked.psrc
                )
                return reply
        elif frame.haslayer(IP) and frame.haslayer(ICMP):
            packet = frame[IP]
            if packet.dst == own.host4 and packet[ICMP].type == 8:
                echo = packet[ICMP]
                pong = ICMP(type=0, id=echo.id, seq=echo.seq) / echo.payload
                answer: Packet = back / IP(src=own.host4, dst=packet.src) / pong
                return answer
        return None


register_host("toy", "ARP and echo in fifty lines", Toy, virtual=True)
