"""Who runs the services, and when.

Rules: they run on the thread that drives the Stack, without its lock (bindings/host/stack/
serving.c), or on one that starts or stops them; `_lock` keeps these apart, and is never waited for
inside a hypercall, since the Stack refuses calls from there first. None of their calls waits. A
copy of their state goes into a snapshot.
"""

from __future__ import annotations

import copy
import errno
import os
import threading
import weakref
from collections.abc import Iterator
from typing import Any

from pystack._native import StackHandle, ffi, lib
from pystack._native.address import to_c
from pystack._native.moments import NEVER
from pystack.serving.autoip import AutoIp
from pystack.serving.dhcp import DhcpClient
from pystack.serving.dhcp6 import Dhcp6Client
from pystack.serving.fragments import Reassembly
from pystack.serving.frame import read_arp, read_udp4
from pystack.serving.frame6 import read_advertisement, read_udp6
from pystack.serving.mdns import Responder
from pystack.serving.needs import Described, need
from pystack.serving.port import Cancelled, Ended, Port, Service
from pystack.serving.settings import CONFLICT_CHECK, SETTINGS

__all__ = ["Serving"]

_FRAME_BYTES = 65536
_ARP = b"\x08\x06"
_IPV6 = b"\x86\xdd"
_ICMP6 = 58
_FRAGMENT = 0x3FFF  # an offset, or more to come


class _Served:
    """An interface with services.

    Attributes:
        port: It, as they see it.
        services: By the number of their kind.
        partings: Those that were stopped and have something to say still.
        fragments: Those of datagrams that aren't whole.
        shown: What the host was told of them last.
    """

    def __init__(self, port: Port) -> None:
        self.port = port
        self.services: dict[int, Service] = {}
        self.partings: list[Service] = []
        self.fragments = Reassembly()
        self.shown: bytes | None = None

    def all(self) -> list[Service]:
        """All that are to be told the time, and what they hear."""
        return [*self.services.values(), *self.partings]

    def end(self, service: Service, *, lasting: bool = True) -> None:
        """Ends a service; what it has to say still is said, if the interface is `lasting`."""
        service.stop()
        if lasting and service.is_parting:
            self.partings.append(service)

    def is_leased(self) -> bool:
        """Whether a leased address stands in the place of a link-local one."""
        client = self.services.get(lib.PS_SERVICE_DHCP)
        return client is not None and client.shown.address is not None


class Serving:
    """The services of one Stack.

    Args:
        handle: Its handle, of which it keeps only what doesn't keep the Stack open.

    Attributes:
        settings: Those of the Stack that are the services', by name.
    """

    def __init__(self, handle: StackHandle) -> None:
        self._pointer = handle.pointer
        self._answers = weakref.ref(handle.answers)
        self._lock = threading.RLock()
        self._served: dict[int, _Served] = {}
        self._room = ffi.new("uint8_t[]", _FRAME_BYTES)
        self.settings = dict.fromkeys(SETTINGS, 0)

    def __deepcopy__(self, memo: Any) -> Serving:
        return self

    def _warn(self, text: str) -> None:
        answers = self._answers()
        if answers is not None:
            answers.warn(text)

    def _checks(self) -> bool:
        return self.settings[CONFLICT_CHECK] != 0

    # --- on the thread that drives -------------------------------------------------------------

    def run(self, now_us: int) -> int:
        """Does what is due. 0, or -errno.ECANCELED: a hypercall has raised."""
        with self._lock:
            try:
                self._take_frames(now_us)
                self._look(now_us)
                for served in list(self._served.values()):
                    for service in served.all():
                        if now_us >= service.due_us:
                            service.tick(now_us)
                for served in self._served.values():
                    for service in list(served.services.values()):
                        service.look(now_us)
                self._part()
                self._show()
            except Ended:
                self._served.clear()
            except Cancelled:
                return -errno.ECANCELED
            finally:
                self._wake()
        return 0

    def _frames(self) -> Iterator[tuple[int, bool, bytes]]:
        index, whole = ffi.new("uint32_t *"), ffi.new("bool *")
        while True:
            size = lib.ps_serving_frame(self._pointer, index, whole, self._room, _FRAME_BYTES)
            if size <= 0:
                return
            yield int(index[0]), bool(whole[0]), bytes(ffi.buffer(self._room, size))

    def _take_frames(self, now_us: int) -> None:
        for index, whole, frame in self._frames():
            served = self._served.get(index)
            if served is None:
                continue
            services = list(served.services.values())
            kind = frame[12:14]
            if kind == _ARP:
                if (packet := read_arp(frame)) is not None:
                    for service in services:
                        service.arp(packet, now_us)
            elif kind == _IPV6 and frame[20] == _ICMP6:
                if (said := read_advertisement(frame, whole)) is not None:
                    for service in services:
                        service.advertised(said, now_us)
            else:
                self._take_datagram(served, frame, whole, now_us)

    def _part(self) -> None:
        """Forgets who has said all."""
        for index, served in list(self._served.items()):
            served.partings = [one for one in served.partings if one.is_parting]
            self._leave(index, served)

    def _leave(self, index: int, served: _Served) -> None:
        """Forgets an interface without any of them."""
        if not served.all():
            del self._served[index]
            lib.ps_serving_show(self._pointer, index, ffi.NULL)

    def _take_datagram(self, served: _Served, frame: bytes, whole: bool, now_us: int) -> None:
        if frame[12:14] == _IPV6:
            datagram = read_udp6(frame, whole)
        elif int.from_bytes(frame[20:22], "big") & _FRAGMENT:
            made = served.fragments.take(frame, now_us)
            datagram = None if made is None else read_udp4(made, whole)
        else:
            datagram = read_udp4(frame, whole)
        if datagram is not None:
            for service in served.all():
                if service.hears == datagram.target_port:
                    service.datagram(datagram, now_us)

    def _look(self, now_us: int) -> None:
        """Sees which interfaces have changed, or gone."""
        found = self._interfaces()
        for index, served in list(self._served.items()):
            if index not in found:
                del self._served[index]
            elif found[index].tell(served.port):
                for service in list(served.services.values()):
                    service.link_is_back(now_us)

    def _interfaces(self) -> dict[int, Described]:
        room = 32
        while True:
            out = ffi.new("struct ps_interface[]", room)
            count = lib.ps_interfaces(self._pointer, out, room)
            if count in (-errno.EBADF, -errno.ENOTRECOVERABLE, -errno.EOWNERDEAD):
                raise Ended
            if count == -errno.ECANCELED:
                raise Cancelled
            if count < 0:
                raise OSError(-count, os.strerror(-count))
            if count <= room:
                return {out[i].index: Described(out[i]) for i in range(count)}
            room = count + 16

    # --- what the host is told -----------------------------------------------------------------

    def _show(self) -> None:
        for index, served in self._served.items():
            raw = _shown(served)
            image = bytes(ffi.buffer(raw))
            state = image + b"".join(_state_of(each) for each in served.all())
            if state != served.shown:
                served.shown = state
                served.port.call(
                    lib.ps_serving_show(self._pointer, index, raw), {errno.ENODEV, errno.ENOMEM}
                )

    def _wake(self) -> None:
        due = [each.due_us for served in self._served.values() for each in served.all()]
        lib.ps_serving_wake_at(self._pointer, max(0, min(due, default=NEVER)))

    # --- for those who start and stop them -----------------------------------------------------

    def start(
        self,
        index: int,
        service: int,
        name: str | None,
        *,
        stateful: bool | None = None,
        is_rapid: bool = False,
    ) -> None:
        """Starts a service; it runs as soon as the Stack is driven.

        Args:
            index: The interface's number.
            service: The number of its kind.
            name: The name that it tells; None: none.
            stateful: See `Dhcp6Client`.
            is_rapid: See `Dhcp6Client`.

        Raises:
            OSError: See `Interface`.
        """
        with self._lock:
            try:
                served = self._begin(index, service, name)
                served.services[service] = self._made(
                    served, service, name or "", stateful=stateful, is_rapid=is_rapid
                )
                self._show()
            finally:
                self._wake()

    def _begin(self, index: int, service: int, name: str | None) -> _Served:
        """Makes an interface ready for a service, which ends if it runs already."""
        described = self._interfaces().get(index)
        if described is None:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        need(self._pointer, described, service, name)
        served = self._served.get(index)
        if served is None:
            served = self._served[index] = _Served(Port(self._pointer, index, self._warn))
        described.tell(served.port)
        before = served.services.pop(service, None)
        if before is not None:
            served.end(before)
        return served

    def _made(
        self, served: _Served, service: int, name: str, *, stateful: bool | None, is_rapid: bool
    ) -> Service:
        if service == lib.PS_SERVICE_DHCP:
            return DhcpClient(served.port, name, self._checks)
        if service == lib.PS_SERVICE_AUTOIP:
            return AutoIp(served.port, served.is_leased)
        if service == lib.PS_SERVICE_DHCP6:
            return Dhcp6Client(served.port, stateful, is_rapid=is_rapid)
        return Responder(served.port, name.encode())

    def stop(self, index: int, service: int, *, lasting: bool = True) -> None:
        """Stops a service, if it runs; `lasting`: the interface stays."""
        with self._lock:
            served = self._served.get(index)
            found = served.services.pop(service, None) if served is not None else None
            if served is None or found is None:
                return
            try:
                served.end(found, lasting=lasting)
                self._show()
                self._leave(index, served)
            except (Ended, Cancelled):
                return  # the caller's own next call says why
            finally:
                self._wake()

    def stop_all(self, index: int | None = None) -> None:
        """Stops all services, of an interface that is to be detached or of a Stack to be closed."""
        with self._lock:
            for each, served in list(self._served.items()):
                if index not in (None, each):
                    continue
                served.partings.clear()
                for service in list(served.services):
                    self.stop(each, service, lasting=False)

    def note_down(self, index: int) -> None:
        """Notes that an interface was set down: it may be up again before they look."""
        with self._lock:
            served = self._served.get(index)
            if served is not None:
                served.port.works = False

    def close(self, *, abrupt: bool) -> None:
        """Gives back what there is, as the Stack is closed; `abrupt`: says nothing."""
        now_us = ffi.new("uint64_t *")
        if not abrupt and lib.ps_serving_now(self._pointer, now_us) == 0:
            self.stop_all()

    def _client(self, index: int, service: int) -> Service | None:
        with self._lock:
            served = self._served.get(index)
            return served.services.get(service) if served is not None else None

    def dhcp_client(self, index: int) -> DhcpClient | None:
        """An interface's client of DHCP; None: it has none."""
        found = self._client(index, lib.PS_SERVICE_DHCP)
        return found if isinstance(found, DhcpClient) else None

    def dhcp6_client(self, index: int) -> Dhcp6Client | None:
        """An interface's client of DHCPv6; None: it has none."""
        found = self._client(index, lib.PS_SERVICE_DHCP6)
        return found if isinstance(found, Dhcp6Client) else None

    # --- snapshots -----------------------------------------------------------------------------

    def copy(self) -> Any:
        """What the services are at this moment."""
        with self._lock:
            return copy.deepcopy((self._served, self.settings))

    def restore(self, state: Any) -> None:
        """Makes them what they were; None: there were none yet."""
        with self._lock:
            gone = set(self._served)
            self._served, self.settings = copy.deepcopy(state or ({}, dict.fromkeys(SETTINGS, 0)))
            for index in gone - set(self._served):
                lib.ps_serving_show(self._pointer, index, ffi.NULL)
            for served in self._served.values():
                served.shown = None
            try:
                self._show()
            except (Ended, Cancelled):
                return
            finally:
                self._wake()


def _state_of(service: Service) -> bytes:
    # What a waiter may wait for: a lease's state is no part of what the host shows.
    return str(getattr(service, "phase", "")).encode()


def _shown(served: _Served) -> Any:
    raw = ffi.new("struct ps_serving *")
    learnt: list[Any] = []
    for service in served.services.values():
        shown = service.shown
        raw.taps |= service.taps()
        raw.flags |= service.flag
        if shown.address is not None:
            raw.address = to_c(shown.address)[0]
            raw.origin = service.origin
        if shown.gateway is not None:
            raw.gateway = to_c(shown.gateway)[0]
        for leased in shown.leased[: lib.PS_SERVED_ADDRESSES - raw.leased_count]:
            one = raw.leased[raw.leased_count]
            one.address = to_c(leased.address)[0]
            one.preferred_us, one.valid_us = leased.preferred_us, leased.valid_us
            raw.leased_count += 1
        learnt += shown.nameservers
    for parting in served.partings:
        raw.taps |= parting.taps()
    raw.nameserver_count = min(len(learnt), lib.PS_SERVED_NAMESERVERS)
    for i in range(raw.nameserver_count):
        scope = served.port.index if learnt[i].is_link_local and learnt[i].version == 6 else 0
        raw.nameservers[i] = to_c(learnt[i], scope=scope)[0]
    return raw
