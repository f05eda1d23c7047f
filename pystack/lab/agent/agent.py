"""The reference agent: the sockets and tables of the Linux that it runs on, over a line protocol.

It needs the standard library alone, so that it can be the first process of a system that has
nothing else. See PROTOCOL.md beside this file.

    python agent.py [--interfaces eth0,eth1] [--listen PORT | --connect PORT | --fd N]

Without one of the three it talks over its standard input and output.
"""

from __future__ import annotations

import argparse
import errno
import ipaddress
import os
import select
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

VERSION = "1"
PING_IDENTIFIER = 0x5053
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
MAIN_TABLE, UNICAST, BOOT = 254, 1, 3

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


def _hex(data: bytes) -> str:
    return data.hex() or "-"


def _bytes(word: str) -> bytes:
    return b"" if word == "-" else bytes.fromhex(word)


def _number(word: str) -> int:
    """A number, or the name that the module `socket` has for one, as SO_REUSEADDR."""
    return int(vars(socket)[word]) if word[0].isalpha() else int(word, 0)


def _address(words: tuple[str, ...]) -> tuple[str | int, ...]:
    return (words[0], *map(int, words[1:]))


def _words(address: object) -> list[str]:
    return [str(one) for one in address] if isinstance(address, tuple) else []


def _ip(address: str) -> tuple[int, bytes]:
    packed = ipaddress.ip_address(address).packed
    return (socket.AF_INET if len(packed) == 4 else socket.AF_INET6), packed


def _text(packed: bytes) -> str:
    return str(ipaddress.ip_address(packed))


def checksum(data: bytes) -> int:
    """The Internet's checksum (RFC 1071), of an even number of bytes."""
    total = int(sum(struct.unpack(f"!{len(data) // 2}H", data)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


class Agent:
    """Carries out requests. Each verb is a method `do_...` that gives the answer's words.

    Args:
        interfaces: Their names, in the order of the lab's ports.
    """

    def __init__(self, interfaces: list[str]) -> None:
        self.interfaces = interfaces
        self.tables = Rtnetlink()
        self._sockets: dict[str, socket.socket] = {}
        self._made = 0

    def serve(self, reader: BinaryIO, writer: BinaryIO) -> None:
        """Answers until the stream ends or `quit` comes."""
        begun = ""  # of a request that comes in parts, as some streams lose what is long
        for raw in reader:
            line = raw.decode("ascii", "replace").rstrip("\r\n")
            if line.startswith("part "):
                begun += line.removeprefix("part ")
                answer = "ok"
            else:
                answer = self.answer(begun + line)
                begun = ""
            writer.write(answer.encode("ascii", "replace") + b"\n")
            writer.flush()
            if line == "quit":
                return

    def answer(self, line: str) -> str:
        """The response to a request, both without the line's end."""
        verb, *words = line.split() or [""]
        call: Callable[..., list[str] | None] | None = getattr(self, f"do_{verb}", None)
        try:
            if call is None:
                raise OSError(errno.ENOSYS, f"no verb {verb}")
            return " ".join(["ok", *(call(*words) or [])])
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "EINVAL")
            return f"err {name} {error.strerror or error}"
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            return f"err EINVAL {type(error).__name__}: {error}".replace("\n", " ")

    # --- the agent itself ---------------------------------------------------------------------

    def do_hello(self, *_version: str) -> list[str]:
        """Which protocol, whose clock, which stack."""
        return [VERSION, "real", os.uname().sysname, os.uname().release]

    def do_reset(self, _ports: str = "1") -> None:
        """Nothing is left of what was: sockets, addresses, routes, neighbours."""
        self.close_sockets()
        for port in range(len(self.interfaces)):
            self.do_interface(str(port), "down")  # takes routes and neighbours along
            for address in self._addresses(port, 0):
                self.do_address("delete", str(port), address)

    def do_quit(self) -> None:
        """The end."""
        self.close_sockets()

    def close_sockets(self) -> None:
        """Closes all sockets, connections by a reset."""
        for one in self._sockets.values():
            if one.type == socket.SOCK_STREAM:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.close()
        self._sockets.clear()

    # --- sockets ------------------------------------------------------------------------------

    def _keep(self, made: socket.socket) -> str:
        made.setblocking(False)
        self._made += 1
        self._sockets[str(self._made)] = made
        return str(self._made)

    def do_socket(self, family: str, kind: str, protocol: str = "0") -> list[str]:  # noqa: D102
        domain = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}[family]
        number = {"stream": 1, "dgram": 2, "raw": 3}[kind]
        return [self._keep(socket.socket(domain, number, int(protocol)))]

    def do_bind(self, handle: str, *address: str) -> None:  # noqa: D102
        self._sockets[handle].bind(_address(address))

    def do_listen(self, handle: str, backlog: str) -> None:  # noqa: D102
        self._sockets[handle].listen(int(backlog))

    def do_accept(self, handle: str) -> list[str]:  # noqa: D102
        made, address = self._sockets[handle].accept()
        return [self._keep(made), *_words(address)]

    def do_connect(self, handle: str, *address: str) -> None:  # noqa: D102
        self._sockets[handle].connect(_address(address))

    def do_send(self, handle: str, data: str, flags: str = "0") -> list[str]:  # noqa: D102
        return [str(self._sockets[handle].send(_bytes(data), int(flags)))]

    def do_sendto(self, handle: str, data: str, *address: str) -> list[str]:  # noqa: D102
        return [str(self._sockets[handle].sendto(_bytes(data), _address(address)))]

    def do_recv(self, handle: str, size: str, flags: str = "0") -> list[str]:  # noqa: D102
        return [_hex(self._sockets[handle].recv(int(size), int(flags)))]

    def do_recvfrom(self, handle: str, size: str, flags: str = "0") -> list[str]:  # noqa: D102
        data, address = self._sockets[handle].recvfrom(int(size), int(flags))
        return [_hex(data), *_words(address)]

    def do_shutdown(self, handle: str, how: str) -> None:  # noqa: D102
        self._sockets[handle].shutdown({"rd": 0, "wr": 1, "rdwr": 2}[how])

    def do_close(self, handle: str) -> None:  # noqa: D102
        self._sockets.pop(handle).close()

    def do_poll(self, handle: str) -> list[str]:  # noqa: D102
        poll = select.poll()
        poll.register(self._sockets[handle])
        names = {select.POLLIN: "in", select.POLLOUT: "out", select.POLLERR: "err"}
        names[select.POLLHUP] = "hup"
        found = dict(poll.poll(0)).get(self._sockets[handle].fileno(), 0)
        return [name for bit, name in names.items() if found & bit]

    def do_nonblock(self, handle: str) -> None:  # noqa: D102
        self._sockets[handle].setblocking(False)

    def do_getsockname(self, handle: str) -> list[str]:  # noqa: D102
        return _words(self._sockets[handle].getsockname())

    def do_getpeername(self, handle: str) -> list[str]:  # noqa: D102
        return _words(self._sockets[handle].getpeername())

    def do_getsockopt(self, handle: str, level: str, name: str, size: str = "") -> list[str]:  # noqa: D102
        if size:
            return [
                _hex(self._sockets[handle].getsockopt(_number(level), _number(name), int(size)))
            ]
        return [str(self._sockets[handle].getsockopt(_number(level), _number(name)))]

    def do_setsockopt(self, handle: str, level: str, name: str, value: str) -> None:  # noqa: D102
        given = bytes.fromhex(value[1:]) if value[0] == "x" else int(value)
        self._sockets[handle].setsockopt(_number(level), _number(name), given)

    # --- tables -------------------------------------------------------------------------------

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

    def _is_routed(self, address: str) -> bool:
        """Whether packets to an address of ours are taken.

        An IPv6 address gets its own route from a work queue, some time after it is in the table.
        """
        given = ipaddress.ip_interface(address)
        if given.version == 4:
            return True
        try:
            routes = Path("/proc/self/net/ipv6_route").read_text("ascii")
        except OSError:  # no such file: nothing to wait for
            return True
        return f"{given.ip.packed.hex()} 80 " in routes

    def do_address(self, what: str, port: str, address: str = "", detect: str = "") -> list[str]:
        """List those that may be used, add, delete."""
        if what == "list":
            found = self._addresses(int(port), TENTATIVE | DETECTION_FAILED)
            return [one for one in found if self._is_routed(one)]
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
        return []

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
        # What is on link has the scope "link"; what is deleted may have any.
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
        """Reads or sets one. What is set for all interfaces is set for each."""
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

    # --- what it does by itself ---------------------------------------------------------------

    def do_ping(self, destination: str, size: str = "56") -> None:
        """Sends one echo request."""
        family, _packed = _ip(destination)
        v6 = family == socket.AF_INET6
        header = struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, PING_IDENTIFIER, 1)
        message = bytearray(header + bytes(int(size)))
        if not v6:  # ICMPv6's, which covers the addresses, is the kernel's work
            message[2:4] = checksum(bytes(message) + bytes(len(message) % 2)).to_bytes(2, "big")
        protocol = socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP
        with socket.socket(family, socket.SOCK_RAW, protocol) as sender:
            sender.setblocking(False)
            sender.sendto(message, (destination, 0))

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


def main() -> None:
    """Serves one stream."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--interfaces", default="eth0", help="names, by port, with commas")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--listen", type=int, metavar="PORT", help="on 127.0.0.1")
    where.add_argument("--connect", type=int, metavar="PORT", help="to 127.0.0.1")
    where.add_argument("--fd", type=int, metavar="N", help="a stream that was inherited")
    given = parser.parse_args()
    agent = Agent(given.interfaces.split(","))
    if given.listen is not None:
        with socket.create_server(("127.0.0.1", given.listen)) as listener:
            stream, _peer = listener.accept()
    elif given.connect is not None:
        stream = socket.create_connection(("127.0.0.1", given.connect))
    elif given.fd is not None:
        stream = socket.socket(fileno=given.fd)
    else:
        agent.serve(sys.stdin.buffer, sys.stdout.buffer)
        return
    with stream:
        agent.serve(stream.makefile("rb"), stream.makefile("wb"))


if __name__ == "__main__":
    main()
