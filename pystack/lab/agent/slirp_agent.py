"""The agent of the Host `slirp`: libslirp, whose guest is the tester.

    python slirp_agent.py COMMANDS WIRE LIBRARY

slirp ends the guest's connections, and continues them as the kernel's. So the Host's sockets are
the kernel's, on the loopback of a separate network namespace: what the tester sends to the
Host's address arrives there, and what is sent to the tester's goes through a port that slirp
forwards. All that the tester sees is slirp's. Its MAC can't be chosen; the frames' are changed.
"""
# ruff: noqa: D102 - a socket's methods are those of the module `socket`

from __future__ import annotations

import ctypes
import errno
import ipaddress
import os
import select
import socket
import struct
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pystack.lab.agent.fresh import FreshAgent, main
    from pystack.lab.agent.loopback import LOOPBACK, LoopbackSocket, own_loopback
else:  # run as a program, with this folder first on the path and no package
    from fresh import FreshAgent, main
    from loopback import LOOPBACK, LoopbackSocket, own_loopback

FRAME = 1 << 17
TURN_MS = 1000
NEEDED = ("libpcre2-8.so.0", "libglib-2.0.so.0")
# SLIRP_POLL_...: in this order; the kernel's names for the same.
EVENTS = (select.POLLIN, select.POLLOUT, select.POLLPRI, select.POLLERR, select.POLLHUP)

_pointer = ctypes.c_void_p
_transfer = ctypes.CFUNCTYPE(ctypes.c_ssize_t, _pointer, ctypes.c_size_t, _pointer)
_add_poll = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int, _pointer)
_revents = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, _pointer)


class Config(ctypes.Structure):
    """SlirpConfig, version 1."""

    _fields_ = (
        ("version", ctypes.c_uint32),
        ("restricted", ctypes.c_int),
        ("in_enabled", ctypes.c_bool),
        ("vnetwork", ctypes.c_uint32),
        ("vnetmask", ctypes.c_uint32),
        ("vhost", ctypes.c_uint32),
        ("in6_enabled", ctypes.c_bool),
        ("vprefix_addr6", ctypes.c_uint8 * 16),
        ("vprefix_len", ctypes.c_uint8),
        ("vhost6", ctypes.c_uint8 * 16),
        ("names", _pointer * 4),  # of the host, the TFTP server, its folder, the boot file
        ("vdhcp_start", ctypes.c_uint32),
        ("vnameserver", ctypes.c_uint32),
        ("vnameserver6", ctypes.c_uint8 * 16),
        ("vdnssearch", _pointer),
        ("vdomainname", _pointer),
        ("if_mtu", ctypes.c_size_t),
        ("if_mru", ctypes.c_size_t),
        ("disable_host_loopback", ctypes.c_bool),
        ("enable_emu", ctypes.c_bool),
        ("later", ctypes.c_uint8 * 64),
    )


class Callbacks(ctypes.Structure):
    """SlirpCb, of that version."""

    _fields_ = (
        ("send_packet", _transfer),
        ("guest_error", ctypes.CFUNCTYPE(None, ctypes.c_char_p, _pointer)),
        ("clock_get_ns", ctypes.CFUNCTYPE(ctypes.c_int64, _pointer)),
        ("timer_new", ctypes.CFUNCTYPE(_pointer, _pointer, _pointer, _pointer)),
        ("timer_free", ctypes.CFUNCTYPE(None, _pointer, _pointer)),
        ("timer_mod", ctypes.CFUNCTYPE(None, _pointer, ctypes.c_int64, _pointer)),
        ("register_poll_fd", ctypes.CFUNCTYPE(None, ctypes.c_int, _pointer)),
        ("unregister_poll_fd", ctypes.CFUNCTYPE(None, ctypes.c_int, _pointer)),
        ("notify", ctypes.CFUNCTYPE(None, _pointer)),
        ("later", _pointer * 4),
    )


def _number(address: str) -> int:
    """An address as a number in the network's order of bytes."""
    return int(struct.unpack("=I", ipaddress.IPv4Address(address).packed)[0])


class SlirpAgent(FreshAgent):
    """libslirp."""

    def __init__(self, wire: socket.socket, library: str) -> None:
        super().__init__(wire)
        for needed in NEEDED:  # those that came along: the linker does not look there
            beside = Path(library).with_name(needed)
            if beside.exists():
                ctypes.CDLL(str(beside), ctypes.RTLD_GLOBAL)
        self._library = ctypes.CDLL(library)
        self._library.slirp_version_string.restype = ctypes.c_char_p
        self._library.slirp_new.restype = _pointer
        self.release = self._library.slirp_version_string().decode()
        self._lock = threading.RLock()
        self._slirp: Any = None
        self._macs: tuple[bytes, bytes] = (b"", b"")
        self._tester4 = ""
        self._poll: list[tuple[int, int]] = []
        self._ready: dict[int, int] = {}
        self._wake, self._woken = os.pipe()[::-1]

    # --- what slirp asks for -------------------------------------------------------------------

    def _send(self, data: int, size: int, _user: int) -> int:
        frame = ctypes.string_at(data, size)
        self.send_frame(self._with_macs(frame, *self._macs))
        return size

    def _with_macs(self, frame: bytes, old: bytes, new: bytes) -> bytes:
        """A frame with one MAC in another's place: in its header, and where ARP has it."""
        for at in (0, 6, *((22, 32) if frame[12:14] == b"\x08\x06" else ())):
            if frame[at : at + 6] == old:
                frame = frame[:at] + new + frame[at + 6 :]
        return frame

    def _add(self, descriptor: int, events: int, _user: int) -> int:
        wanted = sum(flag for bit, flag in enumerate(EVENTS) if events >> bit & 1)
        self._poll.append((descriptor, wanted))
        return len(self._poll) - 1

    def _revents(self, index: int, _user: int) -> int:
        came = self._ready.get(self._poll[index][0], 0)
        return sum(1 << bit for bit, flag in enumerate(EVENTS) if came & flag)

    # --- life ------------------------------------------------------------------------------------

    def begin(self, plan: dict[str, str]) -> None:
        own_loopback()
        host4 = ipaddress.IPv4Interface(plan["host4"])
        self._tester4 = plan["tester4"]
        self._macs = (b"\x52\x55" + host4.ip.packed, bytes.fromhex(plan["mac"].replace(":", "")))
        config = Config(
            version=1, in_enabled=True, vnetwork=_number(str(host4.network.network_address)),
            vnetmask=_number(str(host4.netmask)), vhost=_number(str(host4.ip)),
            vdhcp_start=_number(self._tester4), vnameserver=_number(str(host4.network[3])),
            if_mtu=int(plan["mtu"]), if_mru=int(plan["mtu"]),
        )  # fmt: skip
        fields: dict[str, Any] = dict(Callbacks._fields_)
        self._keep_alive = callbacks = Callbacks(
            _transfer(self._send),
            *(
                fields[name](call)
                for name, call in (
                    ("guest_error", lambda _text, _user: None),
                    ("clock_get_ns", lambda _user: time.monotonic_ns()),
                    ("timer_new", lambda _call, _mine, _user: 1),  # only IPv6's router has one
                    ("timer_free", lambda _timer, _user: None),
                    ("timer_mod", lambda _timer, _when, _user: None),
                    ("register_poll_fd", lambda _descriptor, _user: None),
                    ("unregister_poll_fd", lambda _descriptor, _user: None),
                    ("notify", lambda _user: None),
                )
            ),
        )
        self._calls = (_add_poll(self._add), _revents(self._revents))
        self._slirp = _pointer(
            self._library.slirp_new(ctypes.byref(config), ctypes.byref(callbacks), None)
        )
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        add, revents = self._calls
        while True:
            with self._lock:
                timeout = ctypes.c_uint32(TURN_MS)
                self._poll.clear()
                self._library.slirp_pollfds_fill(self._slirp, ctypes.byref(timeout), add, None)
                poll = select.poll()
                for descriptor, events in self._poll:
                    poll.register(descriptor, events)
            for end in (self.wire.fileno(), self._woken):
                poll.register(end, select.POLLIN)
            came = dict(poll.poll(timeout.value))
            with self._lock:
                if self._woken in came:
                    os.read(self._woken, 4096)
                if self.wire.fileno() in came:
                    frame = self._with_macs(self.wire.recv(FRAME), *self._macs[::-1])
                    self._library.slirp_input(self._slirp, frame, len(frame))
                # What has been made since is none of these.
                self._ready = came
                self._library.slirp_pollfds_poll(self._slirp, 0, revents, None)

    # --- sockets ---------------------------------------------------------------------------------

    def make(self, family: int, kind: int, protocol: int) -> Any:
        if family != socket.AF_INET or kind == socket.SOCK_RAW:
            raise OSError(errno.ENOSYS, "IPv6" if family != socket.AF_INET else "raw sockets")
        return LoopbackSocket(socket.socket(family, kind), self._through)

    def _through(self, kind: int, address: tuple[Any, ...]) -> tuple[Any, ...]:
        """Where the kernel has to send what is for the tester: a port that slirp forwards."""
        if address[0] != self._tester4:
            raise OSError(errno.ENOSYS, "a way to anybody but the tester")
        with socket.socket(socket.AF_INET, kind) as free:
            free.bind((LOOPBACK, 0))
            port = int(free.getsockname()[1])
        with self._lock:
            failed = self._library.slirp_add_hostfwd(
                self._slirp, int(kind == socket.SOCK_DGRAM), _number(LOOPBACK), port,
                _number(address[0]), address[1],
            )  # fmt: skip
        os.write(self._wake, b"+")
        if failed:
            raise OSError(errno.EADDRINUSE, "slirp forwards no more")
        return LOOPBACK, port


if __name__ == "__main__":
    main(SlirpAgent)
