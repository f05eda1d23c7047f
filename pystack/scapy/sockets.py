"""scapy's sockets over a Stack's wires: a SuperSocket's `send`, `recv`, `sr1`, `sniff`, ..."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import deque
from typing import Any, cast

from scapy.config import conf
from scapy.data import MTU
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw
from scapy.supersocket import SuperSocket

from pystack.nic import Frame, Layer, Nic, NicProtocol, adapt
from pystack.scapy.filters import PacketFilter
from pystack.scapy.hops import next_hop, source_for
from pystack.scapy.ready import ready, wait_readable
from pystack.scapy.shared import Alone, Shared, shared_of
from pystack.stack import Stack

__all__ = ["FarEnd", "LinkSocket", "NetworkSocket"]

_QUEUE_FRAMES = 4096


class FrameSocket(SuperSocket):
    """What these sockets share: a bounded queue of frames, and a descriptor that says it has any.

    Attributes:
        lost: Frames for which there was no room, since nobody has read for so long.
    """

    desc = "frames of a pystack NIC"
    select = staticmethod(ready)

    def __init__(self, expression: str | None, layer: Layer) -> None:
        # First of all: SuperSocket closes what was made in part, too.
        self.closed = False
        self._ends: tuple[int, int] | None = None
        self._lock = threading.Lock()
        self.iface = cast(Any, None)
        self.lost = 0
        self._layer = layer
        self._frames: deque[tuple[bytes, float]] = deque()
        self._filter = None if expression is None else PacketFilter(expression, layer)
        self._ends = os.pipe2(os.O_CLOEXEC) if hasattr(os, "pipe2") else os.pipe()

    def _offer(self, data: bytes) -> None:
        """Takes a frame; on any thread."""
        if self._filter is not None and not self._filter.matches(data):
            return
        with self._lock:
            if self._ends is None:
                return
            if len(self._frames) >= _QUEUE_FRAMES:
                self.lost += 1
                return
            self._frames.append((data, time.time()))
            os.write(self._ends[1], b"x")  # one each, in a pipe that has room for more

    def fileno(self) -> int:
        """A descriptor that is readable while a frame waits; -1: it is closed."""
        return -1 if self._ends is None else self._ends[0]

    def _class_of(self, data: bytes) -> type[Packet]:
        if self._layer is Layer.ETHERNET:
            return Ether
        return {4: IP, 6: IPv6}.get(data[0] >> 4, Raw)

    def recv_raw(self, x: int = MTU) -> tuple[type[Packet] | None, bytes | None, float | None]:
        """Waits for a frame: its class, its bytes, and when it came, in seconds since 1970.

        Args:
            x: Of the bytes that many.

        Raises:
            EOFError: The socket is closed.
        """
        while True:
            with self._lock:
                if self._ends is None:
                    raise EOFError("the socket is closed")
                if self._frames:
                    os.read(self._ends[0], 1)
                    data, moment = self._frames.popleft()
                    return self._class_of(data), data[:x], moment
                readable = self._ends[0]
            wait_readable([readable], 0.2)  # it may be closed meanwhile, unheard

    def close(self) -> None:
        """Closes it; may be called again."""
        if getattr(self, "_lock", None) is None:
            return  # its constructor refused
        with self._lock:
            ends, self._ends = self._ends, None
            self.closed = True
            self._frames.clear()
        for end in ends or ():
            os.close(end)
        if ends is not None and self._filter is not None:
            self._filter.close()


class LinkSocket(FrameSocket):
    """Frames beside a Stack, on a NIC that it shares (layer 2; without Ethernet: IP packets).

    It sees what arrives, and what the Stack and others beside it send. What it sends of TCP and
    UDP claims its flow: see `Shared.claim`.

    Args:
        nic: As `share` gives it, or a NIC around that.
        filter: pcap-filter(7); needs libpcap.
        claim: Whether flows that it sends on are claimed.

    Raises:
        ValueError: The NIC isn't shared.
        ImportError: libpcap isn't there.
        scapy.error.Scapy_Exception: The filter is wrong.
    """

    desc = "frames beside a pystack Stack"

    def __init__(self, nic: Nic, filter: str | None = None, *, claim: bool = True) -> None:
        shared = shared_of(nic)
        if shared is None:
            raise ValueError(f"{nic!r} isn't shared: attach pystack.scapy.share(nic) to the Stack")
        super().__init__(filter, shared.layer)
        self._shared: Shared | None = shared
        self._claim = claim
        shared.listen(self._hear)

    def _hear(self, frame: Frame) -> None:
        self._offer(frame.data)

    def send(self, x: Packet | bytes) -> int:
        """Sends a frame; how many bytes it has.

        Raises:
            OSError: EMSGSIZE, more than the wire's MTU; ENOBUFS; EBADF, closed.
        """
        data = bytes(x)
        shared = self._shared
        if shared is None or self.closed:
            raise OSError(errno.EBADF, "the socket is closed")
        header = 18 if shared.layer is Layer.ETHERNET else 0  # with a VLAN tag
        if len(data) > shared.mtu + header:
            raise OSError(
                errno.EMSGSIZE, f"a frame of {len(data)} bytes; the wire's MTU is {shared.mtu}"
            )
        if isinstance(x, Packet):
            x.sent_time = time.time()
        shared.send_beside(data, claim=self._claim, sender=self._hear)
        return len(data)

    def close(self) -> None:
        """Closes it; flows that it has claimed stay so: see `Shared.release`."""
        shared, self._shared = getattr(self, "_shared", None), None
        if shared is not None:
            shared.unlisten(self._hear)
        super().close()


class FarEnd(LinkSocket):
    """The other end of a wire: scapy alone has the NIC, and nothing else answers on it.

    ``left, right = pystack.nic.wire()``, a Stack on `left`, and ``FarEnd(right)`` is its peer; or
    ``FarEnd(pystack.nic.Tap("tap0"))``, and the kernel's. ARP is yours to answer.

    Args:
        nic: A `nic.Nic` that nothing else holds, or an object with `nic.NicProtocol`.
        filter: pcap-filter(7); needs libpcap.

    Raises:
        TypeError: It is no NIC.
        OSError: EBUSY, the NIC is held.
    """

    desc = "the far end of a pystack wire"

    def __init__(self, nic: Nic | NicProtocol, filter: str | None = None) -> None:
        self._carrier: Stack | None = None
        alone = Alone(adapt(nic))
        super().__init__(alone, filter, claim=False)
        self._carrier = Stack(engine="lwip")  # it moves the frames, and has no part in them
        self._carrier.attach(alone)

    def close(self) -> None:
        """Closes it; the NIC is free again, and stays open."""
        shared = getattr(self, "_shared", None)
        carrier, self._carrier = getattr(self, "_carrier", None), None
        if carrier is not None:
            carrier.close(abrupt=True)
        super().close()
        if shared is not None:
            shared.give_back()


class NetworkSocket(FrameSocket):
    """IP packets beside a Stack, over those of its NICs that are shared (layer 3).

    The Stack's routes choose the NIC, the next hop and, for a packet without one, the source.
    Neighbours are those that the Stack knows, else they are asked for. What it sends of TCP and
    UDP claims its flow: see `Shared.claim`.

    Args:
        net: The Stack.
        filter: pcap-filter(7); needs libpcap.

    Raises:
        ValueError: The Stack has no NIC that is shared.
    """

    desc = "IP packets beside a pystack Stack"

    def __init__(self, net: Stack, filter: str | None = None) -> None:
        self._heard: tuple[Shared, ...] = ()
        found = [(one.index, shared_of(one.nic)) for one in net.interfaces]
        nics = {index: nic for index, nic in found if nic is not None}
        if not nics:
            raise ValueError(
                f"{net!r} has no shared NIC: net.attach(pystack.scapy.share(nic), ...)"
            )
        super().__init__(filter, Layer.IP)
        self._net, self._nics = net, nics
        self._heard = tuple(nics.values())
        for nic in self._heard:
            nic.listen(self._hear)

    def _hear(self, frame: Frame) -> None:
        packet = b"" if frame.outgoing else frame.packet
        if packet:
            self._offer(packet)

    def _with_source(self, x: Any) -> Any:
        """What is sent, with the source that the Stack would choose where none is given."""
        if isinstance(x, (list, tuple)):
            return [self._with_source(one) for one in x]
        if isinstance(x, (IP, IPv6)) and "src" not in x.fields and isinstance(x.dst, str):
            x = x.copy()
            x.src = source_for(self._net, x.dst)
        return x

    def sr(self, x: Any, *args: Any, **kargs: Any) -> Any:
        """Sends packets and waits for answers; see scapy's `sr`."""
        return super().sr(self._with_source(x), *args, **kargs)

    def sr1(self, x: Any, *args: Any, **kargs: Any) -> Packet | None:
        """Sends a packet and waits for its answer; see scapy's `sr1`."""
        return super().sr1(self._with_source(x), *args, **kargs)

    def send(self, x: Packet) -> int:
        """Sends an IP packet; how many bytes it has.

        Raises:
            TypeError: It begins with something else.
            OSError: ENETUNREACH, no route; EHOSTUNREACH, the next hop doesn't answer; EMSGSIZE,
                it is more than the MTU; ENOBUFS; EBADF, closed.
        """
        if self._ends is None:
            raise OSError(errno.EBADF, "the socket is closed")
        if not isinstance(x, (IP, IPv6)):
            raise TypeError(f"a NetworkSocket sends IP and IPv6 packets, not {type(x).__name__}")
        sent = self._with_source(x)
        data = bytes(sent)
        shared, header = next_hop(self._net, self._nics, str(sent.dst), str(sent.src))
        x.sent_time = time.time()
        if len(data) > shared.mtu:
            if not (conf.auto_fragment and isinstance(sent, IP)):
                raise OSError(
                    errno.EMSGSIZE, f"a packet of {len(data)} bytes; the MTU is {shared.mtu}"
                )
            size = (shared.mtu - 60) // 8 * 8
            for part in cast(Any, sent).fragment(size):
                shared.send_beside(header + bytes(part), sender=self._hear)
            return len(data)
        shared.send_beside(header + data, sender=self._hear)
        return len(data)

    def close(self) -> None:
        """Closes it; flows that it has claimed stay so: see `Shared.release`."""
        heard, self._heard = getattr(self, "_heard", ()), ()
        for nic in heard:
            nic.unlisten(self._hear)
        super().close()
