"""The live end of a flow whose packets are replayed: what leaves and what comes, beside a Stack."""

from __future__ import annotations

import ipaddress
import queue
import time
from typing import Any

from pystack._native.closing import Closing
from pystack.embed.replay.flow import CapturedFlow, CaptureError, End, Segment
from pystack.nic import Frame
from pystack.scapy.flows import TCP, Flow, flow_of, transport_of
from pystack.scapy.shared import shared_of
from pystack.stack import Stack

__all__ = ["LiveEnd", "UnreachableError"]

_ICMP, _ICMP6 = 1, 58
_MOST_WAITING = 10_000


class UnreachableError(Exception):
    """An ICMP error said that the server can't be reached."""


class LiveEnd(Closing):
    """A flow's own address and port beside a Stack, and the packets that come for it.

    Args:
        net: The Stack.
        captured: What is replayed.
        server: Where to.
        port: The client's; 0: one that is free.

    Raises:
        CaptureError: The server is of the other family.
        ValueError: The Stack has no NIC that is shared.
        OSError: No route, no neighbour; EADDRINUSE.
    """

    def __init__(self, net: Stack, captured: CapturedFlow, server: End, port: int) -> None:
        # Here, since scapy takes a second to import, and a replay of streams needs less of it.
        from pystack.scapy.hops import next_hop, source_for  # noqa: PLC0415

        to = ipaddress.ip_address(server.address)
        if to.version != captured.segments[0].packet[0] >> 4:
            raise CaptureError(
                f"the capture is not of IPv{to.version}: its packets can't go to {to}, but what "
                "they carried can (replay.stream, --level stream)"
            )
        nics = {
            one.index: shared
            for one in net.interfaces
            if (shared := shared_of(one.nic)) is not None
        }
        if not nics:
            raise ValueError(f"{net!r} has no shared NIC: net.attach(scapy.share(nic), ...)")
        source = source_for(net, server.address)
        self.shared, self._header = next_hop(net, nics, server.address, source)
        is_tcp = captured.protocol == TCP
        kind = net.sockets.SOCK_STREAM if is_tcp else net.sockets.SOCK_DGRAM
        family = net.sockets.AF_INET if to.version == 4 else net.sockets.AF_INET6
        self._place: Any = net.socket(family, kind)  # so that nobody else gets the port
        try:
            self._place.bind((source, port))
            own_port = int(self._place.getsockname()[1])
        except BaseException:
            self._place.close()
            raise
        own = ipaddress.ip_address(source).packed
        self.flow = Flow(captured.protocol, own, own_port, to.packed, server.port)
        self._coming = self.flow.back
        self._arrived: queue.Queue[bytes] = queue.Queue(_MOST_WAITING)
        self._began = time.monotonic()
        self.shared.claim(self.flow)
        self.shared.listen(self._hear)

    def _hear(self, frame: Frame) -> None:
        packet = b"" if frame.outgoing else frame.packet
        if not packet:
            return
        if flow_of(packet) == self._coming or self._quotes(packet):
            try:
                self._arrived.put_nowait(packet)
            except queue.Full:
                return  # as on a wire

    def _quotes(self, packet: bytes) -> bool:
        """Whether it is an ICMP error (destination unreachable) for a packet of the flow."""
        place = transport_of(packet)
        if place is None or len(packet) < place[1] + 8:
            return False
        kind = packet[place[1]]
        if place[0] == _ICMP and kind == 3 and packet[place[1] + 1] != 4:
            return flow_of(packet[place[1] + 8 :]) == self.flow
        return place[0] == _ICMP6 and kind == 1 and flow_of(packet[place[1] + 8 :]) == self.flow

    def send(self, packet: bytes) -> None:
        """Sends an IP packet.

        Raises:
            OSError: ENOBUFS; EBADF, the NIC is closed.
        """
        self.shared.send_beside(self._header + packet, claim=False, sender=self._hear)

    def receive(self, timeout: float) -> Segment | None:
        """The flow's next packet; None: none came within so many seconds.

        Raises:
            UnreachableError: An ICMP error came.
        """
        try:
            packet = self._arrived.get(timeout=timeout) if timeout > 0 else self._arrived.get(False)
        except queue.Empty:
            return None
        protocol, at = transport_of(packet) or (0, 0)
        if protocol in (_ICMP, _ICMP6):
            raise UnreachableError(f"ICMP: destination unreachable, code {packet[at + 1]}")
        whole = int.from_bytes(packet[2:4], "big")
        if packet[0] >> 4 == 6:
            whole = 40 + int.from_bytes(packet[4:6], "big")
        packet = packet[:whole]
        size = 8 if protocol != TCP else 20
        if at + size > len(packet):
            return None
        return Segment(0, time.monotonic() - self._began, False, protocol, packet, at)

    def close(self) -> None:
        """Gives the flow back; what still comes of it the Stack resets."""
        self.shared.unlisten(self._hear)
        self.shared.release(self.flow)
        self._place.close()
