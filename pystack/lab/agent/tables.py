"""The tables of the Linux that an agent runs on: interfaces, addresses, neighbours, routes, sysctl.

Its own rtnetlink(7), of the standard library alone, as the agent's.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
import time
from pathlib import Path

# rtnetlink(7): kinds of messages; a table's rows are made, deleted and dumped by 0, 1, 2 more.
LINK, ADDRESS, ROUTE, NEIGHBOUR = 16, 20, 24, 28
NEW, DELETE, DUMP = 0, 1, 2
REQUEST, ACK, REPLACE, ALL, CREATE = 0x1, 0x4, 0x100, 0x300, 0x400
NO_DETECTION, DETECTION_FAILED, TENTATIVE = 0x2, 0x8, 0x40  # IFA_F_NODAD, ...
PERMANENT, NO_ARP = 0x80, 0x40  # NUD_...
STATES = {
    0x01: "incomplete",
    0x02: "reachable",
    0x04: "stale",
    0x08: "delay",
    0x10: "probe",
    0x20: "failed",
    0x80: "permanent",
}
MAIN_TABLE, LOCAL_TABLE, UNICAST, BOOT = 254, 255, 1, 3
LOCAL_S = 0.5  # for a worker of the kernel's, which a busy machine holds up


Row = tuple[bytes, dict[int, bytes]]


def attribute(kind: int, data: bytes) -> bytes:
    """A netlink attribute."""
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


class Rtnetlink:
    """The kernel's tables, of the network namespace that this was made in."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        self._socket.bind((0, 0))

    def close(self) -> None:
        """Lets go of the namespace."""
        self._socket.close()

    def ask(self, kind: int, flags: int, header: bytes, *attributes: bytes) -> list[Row]:
        """Sends a request; the rows of a dump.

        Raises:
            OSError: The kernel refuses it.
        """
        body = header + b"".join(attributes)
        self._socket.send(struct.pack("=IHHII", 16 + len(body), kind, flags | REQUEST, 1, 0) + body)
        rows: list[Row] = []
        while True:
            data = self._socket.recv(1 << 18)
            while data:
                size, came = struct.unpack_from("=IH", data)
                message, data = data[16:size], data[(size + 3) & ~3 :]
                if came == 2:  # NLMSG_ERROR; 0 is an acknowledgement
                    (code,) = struct.unpack_from("=i", message)
                    if code:
                        raise OSError(-code, os.strerror(-code))
                    return rows
                if came == 3:  # NLMSG_DONE
                    return rows
                rows.append((message[: len(header)], _attributes(message[len(header) :])))
                if not flags:  # one row was asked for, not a dump
                    return rows


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= 4:
        size, kind = struct.unpack_from("=HH", data)
        found[kind & 0x3FFF] = data[4:size]
        data = data[(size + 3) & ~3 :]
    return found


def _ip(address: str) -> tuple[int, bytes]:
    packed = ipaddress.ip_address(address).packed
    return (socket.AF_INET if len(packed) == 4 else socket.AF_INET6), packed


def _text(packed: bytes) -> str:
    return str(ipaddress.ip_address(packed))


class Tables:
    """The verbs that are about tables.

    Args:
        interfaces: Their names, in the order of the lab's ports.
    """

    def __init__(self, interfaces: list[str]) -> None:
        self.interfaces = interfaces
        self.tables = Rtnetlink()

    def do_reset(self, _ports: str = "1") -> None:
        """No addresses, and with them no routes and no neighbours."""
        for port in range(len(self.interfaces)):
            self.do_interface(str(port), "down")  # takes routes and neighbours along
            for address in self._addresses(port, 0):
                self.do_address("delete", str(port), address)

    def _index(self, port: str | int) -> int:
        return socket.if_nametoindex(self.interfaces[int(port)])

    def do_interface(self, port: str, what: str = "", value: str = "") -> list[str] | None:
        """Up, down, mtu, mac; without one of them: its name, MAC and MTU."""
        name = self.interfaces[int(port)]
        if not what:
            header = struct.pack("=BxHiII", 0, 0, self._index(port), 0, 0)
            ((_, more),) = self.tables.ask(LINK + DUMP, 0, header)
            return [name, more[1].hex(":"), str(struct.unpack("=I", more[4])[0])]
        if what == "mtu":
            self.change(self._index(port), attribute(4, struct.pack("=I", int(value))))
        elif what == "mac":
            self.change(self._index(port), attribute(1, bytes.fromhex(value.replace(":", ""))))
        else:
            self.change(self._index(port), up={"up": True, "down": False}[what])
        return None

    def change(self, index: int, *more: bytes, up: bool | None = None) -> None:
        """Changes an interface."""
        header = struct.pack("=BxHiII", 0, 0, index, int(bool(up)), int(up is not None))
        self.tables.ask(LINK + NEW, ACK, header, *more)

    def _addresses(self, port: int, unusable: int) -> list[str]:
        index = self._index(port)
        found = []
        for header, more in self.tables.ask(ADDRESS + DUMP, ALL, bytes(8)):
            _family, prefix, flags, _scope, where = struct.unpack("=BBBBI", header)
            if where == index and not flags & unusable:
                found.append(f"{_text(more.get(2) or more[1])}/{prefix}")
        return found

    def _local(self) -> set[str]:
        """IPv6 addresses that packets are taken for: later than the flags say so."""
        header = struct.pack("=B11x", socket.AF_INET6)
        return {
            _text(more[1])
            for row, more in self.tables.ask(ROUTE + DUMP, ALL, header)
            if row[4] == LOCAL_TABLE and len(more.get(1, b"")) == 16
        }

    def do_address(self, what: str, port: str, address: str = "", detect: str = "") -> list[str]:
        """List those that may be used, add, delete."""
        if what == "list":
            found = self._addresses(int(port), TENTATIVE | DETECTION_FAILED)
            own = self._local()
            return [one for one in found if ":" not in one or one.split("/")[0] in own]
        given = ipaddress.ip_interface(address)
        family = socket.AF_INET if given.version == 4 else socket.AF_INET6
        more = [attribute(2, given.ip.packed), attribute(1, given.ip.packed)]
        if given.version == 4:
            if detect:
                raise OSError(errno.ENOSYS, "detection of IPv4 address conflicts in the kernel")
            more.append(attribute(4, given.network.broadcast_address.packed))
        elif detect:
            for name in ("accept_dad", "dad_transmits"):
                self._write(f"net.ipv6.conf.{self.interfaces[int(port)]}.{name}", "1")
        flags = 0 if detect or given.version == 4 else NO_DETECTION
        header = struct.pack("=BBBBI", family, given.network.prefixlen, flags, 0, self._index(port))
        kind, mode = {"add": (NEW, CREATE), "delete": (DELETE, 0)}[what]
        self.tables.ask(ADDRESS + kind, ACK | mode, header, *more)
        if what == "add" and flags:
            self._wait_until_local(str(given.ip))
        return []

    def _wait_until_local(self, address: str) -> None:
        """Linux answers for an IPv6 address once a kernel worker has added its route.

        On an interface that is down it never does, and the list leaves the address out.
        """
        end = time.monotonic() + LOCAL_S
        while address not in self._local() and time.monotonic() < end:
            time.sleep(0.001)

    def do_neighbour(
        self, what: str, port: str = "", address: str = "", mac: str = ""
    ) -> list[str]:
        """List, add, delete, flush."""
        rows = [
            (*struct.unpack("=BxxxiHBB", header), more)
            for header, more in self.tables.ask(NEIGHBOUR + DUMP, ALL, bytes(12))
            if what in ("list", "flush")
        ]
        found = []
        for family, index, state, _flags, _kind, more in rows:
            if state == NO_ARP or not state:
                continue
            if what == "flush":
                self._neighbour(DELETE, family, index, more[1])
            mac = more[2].hex(":") if 2 in more and state not in (0x01, 0x20) else "-"
            found.append(f"{_text(more[1])},{mac},{STATES.get(state, 'stale')}")
        if what == "add":
            family, packed = _ip(address)
            raw = bytes.fromhex(mac.replace(":", ""))
            self._neighbour(NEW, family, self._index(port), packed, attribute(2, raw))
        elif what == "delete":
            self._neighbour(DELETE, *(_ip(address)[0], self._index(port), _ip(address)[1]))
        elif what not in ("list", "flush"):
            raise ValueError(what)
        return found if what == "list" else []

    def _neighbour(
        self, kind: int, family: int, index: int, packed: bytes, mac: bytes = b""
    ) -> None:
        header = struct.pack("=BxxxiHBB", family, index, PERMANENT if mac else 0, 0, 0)
        flags = ACK | (CREATE | REPLACE if mac else 0)
        self.tables.ask(NEIGHBOUR + kind, flags, header, attribute(1, packed), mac)

    def do_route(
        self, what: str, network: str = "", gateway: str = "-", port: str = ""
    ) -> list[str]:
        """List, add, delete."""
        if what == "list":
            return self._routes()
        given = ipaddress.ip_network(network, strict=False)
        family = socket.AF_INET if given.version == 4 else socket.AF_INET6
        more = [attribute(1, given.network_address.packed)] if given.prefixlen else []
        if gateway != "-":
            more.append(attribute(5, _ip(gateway)[1]))
        if port:
            more.append(attribute(4, struct.pack("=I", self._index(port))))
        add = {"add": True, "delete": False}[what]
        # A route on the link has the scope "link"; one to delete may have any.
        scope = (253 if gateway == "-" and given.version == 4 else 0) if add else 255
        header = struct.pack(
            "=BBBBBBBBI", family, given.prefixlen, 0, 0, MAIN_TABLE, BOOT if add else 0,
            scope, UNICAST if add else 0, 0,
        )  # fmt: skip
        mode = CREATE | 0x200 if add else 0  # NLM_F_EXCL: not there yet
        self.tables.ask(ROUTE + (NEW if add else DELETE), ACK | mode, header, *more)
        return []

    def _routes(self) -> list[str]:
        found = []
        for header, more in self.tables.ask(ROUTE + DUMP, ALL, bytes(12)):
            family, prefix, _source, _tos, table, _by, _scope, kind, _flags = struct.unpack(
                "=BBBBBBBBI", header
            )
            if table == MAIN_TABLE and kind == UNICAST:
                packed = more.get(1, bytes(4 if family == socket.AF_INET else 16))
                gateway = _text(more[5]) if 5 in more else "-"
                found.append(f"{_text(packed)}/{prefix},{gateway}")
        return found

    def _write(self, name: str, value: str) -> None:
        # An interface's own part of the name may have a dot in it, the others have none.
        Path("/proc/sys", *name.split(".")).write_text(value + "\n")

    def do_sysctl(self, name: str, value: str = "") -> list[str]:
        """Reads or sets one. A value for all interfaces is set on each."""
        path = Path("/proc/sys", *name.split("."))
        if value:
            value = "" if value == "-" else value.replace(",", " ")
            self._write(name, value)
            for every in (".conf.all.", ".neigh.default."):
                if every in name:
                    for one in self.interfaces:
                        own = f".{every.split('.')[1]}.{one}."
                        self._write(name.replace(every, own), value)
        return [",".join(path.read_text().split()) or "-"]

    def do_service(self, port: str, which: str, state: str) -> None:
        """SLAAC; the kernel has neither DHCP nor AutoIP."""
        if which != "slaac":
            raise OSError(errno.ENOSYS, f"{which} is not the kernel's work")
        name = self.interfaces[int(port)]
        on = {"on": True, "off": False}[state]
        values = {"accept_ra": 2, "autoconf": 1, "router_solicitations": 3, "accept_dad": 1}
        for tunable, value in {**values, "dad_transmits": 1}.items():
            self._write(f"net.ipv6.conf.{name}.{tunable}", str(value if on else 0))
        if on:
            # A link-local address that has been found free is what begins the solicitations.
            for address in self._addresses(int(port), 0):
                if address.startswith("fe80:"):
                    self.do_address("delete", port, address)
                    self.do_address("add", port, address, "detect")
