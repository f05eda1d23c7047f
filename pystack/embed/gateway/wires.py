"""The wires of virtual machines: UNIX sockets as QEMU, passt and User-Mode Linux have them."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

from pystack._native.closing import Closing
from pystack.nic import Descriptor, Framing

__all__ = ["WireListener", "wire_from_descriptor"]

_KINDS = {
    "stream": (socket.SOCK_STREAM, Framing.LENGTH32),
    "dgram": (socket.SOCK_DGRAM, Framing.DATAGRAM),
    "seqpacket": (socket.SOCK_SEQPACKET, Framing.DATAGRAM),
}
_BUFFER_BYTES = 4 << 20  # of a socket: what a guest sends while the gateway does something else


def _roomy(one: socket.socket) -> None:
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        with suppress(OSError):
            one.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)


class WireListener(Closing):
    """A UNIX socket that a guest's wire comes to, one guest at a time.

    Args:
        path: The socket's; one that nobody listens at any more is replaced.
        kind: "stream", a frame behind its length in 32 bits: QEMU's
            ``-netdev stream,id=n,addr.type=unix,addr.path=PATH``, and what passt's clients speak.
            "dgram", a frame a datagram: QEMU's ``-netdev dgram,id=n,remote.type=unix,
            remote.path=PATH,local.type=unix,local.path=OTHER``. "seqpacket", the same over a
            connection: User-Mode Linux's ``vec0:transport=bess,dst=PATH``.
        mtu: Bytes of IP packet.

    Raises:
        ValueError: Another kind.
        OSError: EADDRINUSE, somebody listens there; or the path can't be made.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, kind: str = "stream", mtu: int = 1500
    ) -> None:
        if kind not in _KINDS:
            raise ValueError(f"a wire is one of {', '.join(_KINDS)}, not {kind!r}")
        self.path, self.kind, self._mtu = Path(path), kind, mtu
        self._type, self._framing = _KINDS[kind]
        self._socket: socket.socket | None = None
        self._listen()

    def _listen(self) -> None:
        one = socket.socket(socket.AF_UNIX, self._type)
        try:
            self._forget_dead(one)
            _roomy(one)
            one.bind(str(self.path))
            if self._type != socket.SOCK_DGRAM:
                one.listen(1)
        except BaseException:
            one.close()
            raise
        self._socket = one

    def _forget_dead(self, one: socket.socket) -> None:
        """Removes the socket of a process that has ended."""
        try:
            if not stat.S_ISSOCK(self.path.stat().st_mode):
                raise FileExistsError(errno.EEXIST, f"{self.path} is there, and no socket")
        except FileNotFoundError:
            return
        with socket.socket(socket.AF_UNIX, one.type) as probe:
            try:
                probe.connect(str(self.path))
            except ConnectionRefusedError:
                self.path.unlink()
                return
        raise OSError(errno.EADDRINUSE, f"{self.path}: another process listens there")

    def fileno(self) -> int:
        """Readable when a guest is there."""
        return -1 if self._socket is None else self._socket.fileno()

    def accept(self, timeout: float | None = None) -> Descriptor:
        """Waits for the next guest.

        Args:
            timeout: Seconds; None: for ever.

        Returns:
            Its wire. With datagrams there is one guest alone: nobody hears of its end.

        Raises:
            TimeoutError: None came in time.
            OSError: EBADF, it is closed.
        """
        if self._socket is None:
            raise OSError(errno.EBADF, f"the wire {self.path} is closed")
        self._socket.settimeout(timeout)
        if self._type != socket.SOCK_DGRAM:
            wire, _ = self._socket.accept()
        else:
            # The first frame says where the guest's end is; it waits there to be read.
            _, peer = self._socket.recvfrom(1, socket.MSG_PEEK)
            if not peer:
                raise OSError(
                    errno.EDESTADDRREQ,
                    f"{self.path}: the guest's end has no path: give QEMU local.path as well",
                )
            self._socket.connect(peer)
            wire = self._socket.dup()
        _roomy(wire)
        return Descriptor(wire, framing=self._framing, mtu=self._mtu)

    def close(self) -> None:
        """Removes the socket; the wires that came to it stay. May be called again."""
        one, self._socket = self._socket, None
        if one is not None:
            one.close()
            with suppress(OSError):
                self.path.unlink()


def wire_from_descriptor(fd: int, *, mtu: int = 1500) -> Descriptor:
    """The wire behind an inherited descriptor, as ``passt --fd`` takes it: framed by its kind.

    Args:
        fd: A connected UNIX socket, whose frames are behind their lengths in a stream; or an
            opened TAP without virtio's header.
        mtu: Bytes of IP packet.

    Raises:
        OSError: EBADF, it isn't open.
    """
    framing = Framing.DATAGRAM
    if stat.S_ISSOCK(os.fstat(fd).st_mode):
        with socket.socket(fileno=os.dup(fd)) as one:
            _roomy(one)
            if one.type == socket.SOCK_STREAM:
                framing = Framing.LENGTH32
    return Descriptor(fd, framing=framing, mtu=mtu)
