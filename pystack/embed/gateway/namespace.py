"""A TAP in another network namespace, and in the user namespace that owns it (namespaces(7))."""

from __future__ import annotations

import array
import errno
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from pystack.embed.gateway.plan import Plan
from pystack.nic import Descriptor, Framing
from pystack.nic.base import valid_mtu
from pystack.nic.device import encoded_name

__all__ = ["tap_in_namespace"]

_PROGRAM = Path(__file__).with_name("inside.py")
_PATIENCE_S = 20.0
_NS_GET_USERNS = 0xB701  # ioctl_ns(2)


def _owner(network: int, cleanup: ExitStack) -> int:
    """A descriptor of the user namespace that owns a network namespace; -1: our own.

    Raises:
        OSError: EPERM, it is not below ours.
    """
    import fcntl  # noqa: PLC0415 - Windows has none

    owner = fcntl.ioctl(network, _NS_GET_USERNS)
    cleanup.callback(os.close, owner)
    here, there = Path("/proc/self/ns/user").stat(), os.fstat(owner)
    return -1 if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino) else owner


def _own_network() -> BinaryIO:
    """The namespace of this thread."""
    return Path("/proc/thread-self/ns/net").open("rb", buffering=0)


def tap_in_namespace(
    where: int | str | os.PathLike[str],
    name: str = "tap0",
    *,
    mtu: int = 65500,
    mac: str = "",
    configure: Plan | None = None,
) -> Descriptor:
    """Makes a TAP in a network namespace that this user may change, and is its far end.

    An ordinary user may change what belongs to a user namespace of theirs, as
    ``unshare --user --map-root-user --net`` makes it. Needs no privilege but that
    /dev/net/tun can be opened.

    Args:
        where: A process in the namespace, or a path of the namespace's, as /run/netns/NAME.
        name: The device's.
        mtu: Its MTU; large packets cost less.
        mac: Its Ethernet address; empty: the kernel's choice.
        configure: Brings the device and `lo` up, and gives the device the first guest's address
            and the default route of this plan. None: the guest does that, as by DHCP.

    Returns:
        The NIC, which is the TAP's one user: the device ends with it.

    Raises:
        FileNotFoundError: There is no such process, or path.
        PermissionError: The namespace, or /dev/net/tun, is not this user's to use.
        ValueError: The name or the MTU.
        OSError: EBUSY, there is such a device already; ENOTTY, the path is no namespace's; EINVAL,
            it is this program's own.
    """
    path = f"/proc/{where}/ns/net" if isinstance(where, int) else os.fspath(where)
    encoded_name(name)
    given = []
    if configure is not None:
        prefix = configure.network.prefixlen
        given = [str(configure.first), str(prefix), str(configure.gateway)]
    with ExitStack() as cleanup:
        network = _opened(path)
        cleanup.callback(os.close, network)
        if os.path.sameopenfile(network, cleanup.enter_context(_own_network()).fileno()):
            raise OSError(
                errno.EINVAL,
                f"{path} is the network namespace that this program runs in: what guests send "
                "would come back to it. Make one for the guest, as by unshare --user "
                "--map-root-user --net",
            )
        try:
            user = _owner(network, cleanup)
        except OSError as error:
            raise OSError(error.errno, f"{path}: {_WORDS.get(error.errno or 0, error)}") from None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        cleanup.enter_context(ours)
        passed = [theirs.fileno(), network] + ([user] if user >= 0 else [])
        with theirs:
            child = subprocess.Popen(
                [
                    *(sys.executable, "-ESsB", str(_PROGRAM), str(theirs.fileno())),
                    *(str(user), str(network), name, str(valid_mtu(mtu)), mac, *given),
                ],
                pass_fds=passed,
                stdin=subprocess.DEVNULL,
            )
        try:
            ours.settimeout(_PATIENCE_S)
            tap = _received(ours, path)
        finally:
            child.kill()
            child.wait()
    try:
        return Descriptor(tap, framing=Framing.VIRTIO, mtu=mtu)
    except BaseException:
        os.close(tap)
        raise


def _opened(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            error.errno,
            f"{error.strerror}: {path!r}: name a process by its number, or a namespace by its "
            "path, as /run/netns/NAME",
        ) from None


_WORDS = {
    errno.ENOTTY: "it is no network namespace",
    errno.EPERM: "this user may not change that namespace; one that they may is made by "
    "unshare --user --map-root-user --net",
}


def _received(channel: socket.socket, path: str) -> int:
    """The descriptor that the child sends.

    Raises:
        OSError: What it says instead.
    """
    numbers = array.array("i")
    try:
        said, control, _, _ = channel.recvmsg(4096, socket.CMSG_SPACE(numbers.itemsize))
    except TimeoutError:
        raise TimeoutError(errno.ETIMEDOUT, f"{path}: no TAP within {_PATIENCE_S:g} s") from None
    for level, kind, data in control:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            numbers.frombytes(data[: numbers.itemsize])
            return numbers[0]
    text = said.decode(errors="replace")
    code = text.partition("]")[0].removeprefix("[Errno ")
    number = int(code) if code.isdigit() else errno.EIO
    words = text.partition("] ")[2] or text or "the helper has failed"
    if number == errno.EPERM:
        words = "this user may not change that namespace, or may not open /dev/net/tun"
    raise OSError(number, f"{path}: {words}")
