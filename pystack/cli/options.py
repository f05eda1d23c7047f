"""Options that several commands share, for a NIC, its addresses, and the Stack on it."""

from __future__ import annotations

import functools
import ipaddress
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click

import pystack
from pystack import nic as nics
from pystack._native.engines import default_engine
from pystack.cli.ending import end_orderly
from pystack.cli.values import (
    ADDRESS,
    CAPTURE,
    ENGINE,
    GATEWAY,
    NAMESERVER,
    NIC,
    NOT_NEGATIVE,
    OUTPUT,
    PER_CENT,
)

__all__ = [
    "OUTPUT", "Faults", "StackOptions", "answer_timeout", "kernel_side", "say", "stack_options",
]  # fmt: skip

Command = TypeVar("Command", bound=Callable[..., Any])
_SLOW = 2.0
_UP = 1  # IFF_UP of netdevice(7)
_SIOCGIFFLAGS, _SIOCGIFADDR = 0x8913, 0x8915


@dataclass(frozen=True)
class Faults:
    """The wire's faults, in both directions: shares in per cent, times in ms, rate in Mbit/s."""

    loss: float
    duplicate: float
    corrupt: float
    reorder: float
    delay: float
    jitter: float
    rate: float
    seed: int | None

    def around(self, wire: nics.Nic) -> nics.Nic:
        """The NIC with these faults; itself, if there are none."""
        one_way = nics.Impairment(
            loss=self.loss / 100,
            duplicate=self.duplicate / 100,
            corrupt=self.corrupt / 100,
            reorder=self.reorder / 100,
            delay=self.delay / 1000,
            jitter=self.jitter / 1000,
            rate=round(self.rate * 1e6),
        )
        if one_way == nics.Impairment():
            return wire
        return nics.impair(wire, one_way, one_way, seed=self.seed)


ENGINE_OPTION = click.option(
    "--engine",
    type=ENGINE,
    default=default_engine,
    show_default="$PYSTACK_ENGINE, or lwip",
    help="The TCP/IP stack to run; see `pystack manual engines`.",
)


def _devices() -> frozenset[str]:
    return frozenset(name for _index, name in socket.if_nameindex())


@dataclass(frozen=True)
class StackOptions:
    """The options as given on the command line."""

    nic: str
    addresses: tuple[str, ...]
    gateway: str | None
    dhcp: bool
    nameservers: tuple[str, ...]
    capture: str | None
    engine: str
    mtu: int | None
    faults: Faults
    present: frozenset[str] = field(default_factory=_devices)  # before it was opened

    @contextmanager
    def stack(
        self, *, addressed: bool = True, around: Callable[[nics.Nic], nics.Nic] | None = None
    ) -> Iterator[tuple[pystack.Stack, pystack.Interface]]:
        """A Stack with one interface as asked for, closed at the end of the block.

        Args:
            addressed: Whether it needs an address.
            around: Wraps its NIC, and whatever the options have put around that.

        Raises:
            click.UsageError: Neither an address nor DHCP was given.
            OSError: The NIC isn't available; the message says what to do.
        """
        has_own = self.nic.startswith("wg:")  # its file has them
        if addressed and not self.addresses and not self.dhcp and not has_own:
            raise click.UsageError("give the stack an address with --address, or --dhcp")
        end_orderly()
        with ExitStack() as cleanup:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always", UserWarning)
                opened: Any = nics.parse(self.nic)
            for one in told:
                say(str(one.message))
            cleanup.callback(opened.close)
            wire: nics.Nic = self.faults.around(opened)
            cleanup.callback(wire.close)
            if self.capture is not None:
                wire = nics.capture(wire, self.capture)
                cleanup.callback(wire.close)
            if around is not None:
                wire = around(wire)
                cleanup.callback(wire.close)
            net = cleanup.enter_context(pystack.Stack(engine=self.engine))
            how: Any = {"gateway": self.gateway, "mtu": self.mtu}
            if has_own:
                interface = opened.up(net, wire, addresses=self.addresses or None, **how)
            else:
                interface = net.attach(wire, *self.addresses, **how)
            if self.dhcp:
                with _told_if_slow("asking for a lease by DHCP ..."):
                    interface.dhcp()
            if self.nameservers:
                net.nameservers[:] = list(self.nameservers)
            yield net, interface

    def advise(self, interface: pystack.Interface, *, lasting: bool = False) -> None:
        """Says what is amiss on the kernel's side of a TAP or TUN, on standard error.

        That is what it lacks, and an address of the Stack's that is the kernel's own.

        Args:
            interface: The Stack's.
            lasting: Whether the command serves until it is stopped: then there is time to see to
                it while it runs, also where the device goes away with it.
        """
        device = device_of(interface)
        if device is None:
            return
        for address in self.addresses:
            ip = ipaddress.ip_interface(address).ip
            if _is_the_kernels(ip):
                say(
                    f"{ip} is this machine's own address too: what it sends there never reaches "
                    f"{device}; give the stack another with --address"
                )
        missing = kernel_side(device, self.addresses)
        if not missing:
            return
        told = f"to reach the stack from this machine by {device}:"
        if device not in self.present and lasting:
            told = f"{told[:-1]}, while this command runs:"
        elif device not in self.present:
            told = f"{device} goes away with this command; to reach the stack, first:"
            mode = self.nic.partition(":")[0]
            missing.insert(0, f"ip tuntap add dev {device} mode {mode}")
        say(told)
        for line in missing:
            click.echo(f"  {line}", err=True)


def say(text: str) -> None:
    """A line on standard error, in the command's name."""
    click.echo(f"{click.get_current_context().command_path}: {text}", err=True)


@contextmanager
def _told_if_slow(text: str) -> Iterator[None]:
    """Says on standard error what the block does, once it has taken `_SLOW` seconds."""
    command = click.get_current_context().command_path
    timer = threading.Timer(_SLOW, click.echo, [f"{command}: {text}"], {"err": True})
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def device_of(interface: pystack.Interface) -> str | None:
    """The TAP's or TUN's name that an interface is on, behind whatever; None: it is on another."""
    wire: Any = interface.nic
    while isinstance(wire, nics.Nic) and not isinstance(wire, nics.Tap | nics.Tun):
        wire = getattr(wire, "inner", None)
    return None if wire is None else str(wire.name)


def _other_ends(addresses: tuple[str, ...]) -> dict[str, int]:
    """Addresses for the other end of the wire, and their versions: one a network, and not ours."""
    ours = [ipaddress.ip_interface(one) for one in addresses]
    taken = {one.ip for one in ours}
    ends: dict[str, int] = {}
    for network in dict.fromkeys(one.network for one in ours):
        other = next((host for host in network.hosts() if host not in taken), None)
        if other is not None:
            ends[f"{other}/{network.prefixlen}"] = network.version
    return ends


def kernel_side(device: str, addresses: tuple[str, ...]) -> list[str]:
    """The commands that would finish the kernel's side of a TAP or TUN; none is run.

    A device in a bridge needs no address.

    Args:
        device: Its name.
        addresses: The Stack's.
    """
    wanted = _other_ends(addresses)
    if Path("/sys/class/net", device, "master").exists():
        wanted = {}
    lines = [
        f"ip address add {one} dev {device}"
        for one, version in wanted.items()
        if not _has_address(device, version)
    ]
    if not _is_up(device):
        lines.append(f"ip link set {device} up")
    return lines


def _ask(device: str, request: int) -> bytes | None:
    """What the kernel says of a device (netdevice(7)); None: it has none such."""
    import fcntl  # noqa: PLC0415 - not on every system

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            return fcntl.ioctl(probe, request, device.encode().ljust(40, b"\0"))[16:]
        except OSError:
            return None


def _is_up(device: str) -> bool:
    flags = _ask(device, _SIOCGIFFLAGS)
    return flags is not None and bool(int.from_bytes(flags[:2], sys.byteorder) & _UP)


def _is_the_kernels(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether the kernel has the address, on any device: it lets sockets bind to its own alone."""
    foreign = Path(f"/proc/sys/net/ipv{ip.version}/ip_nonlocal_bind")
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    try:
        if foreign.read_text().strip() != "0":
            return False  # it can't be told by this: sockets may bind to any
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(ip), 0))
    except OSError:
        return False
    return True


def _has_address(device: str, version: int) -> bool:
    if version == 4:
        return _ask(device, _SIOCGIFADDR) is not None
    try:
        rows = [line.split() for line in Path("/proc/net/if_inet6").read_text().splitlines()]
    except OSError:
        return True  # it can't be seen
    # An address that the device gives itself, of the link alone, doesn't count.
    return any(row[5] == device and row[3] != "20" for row in rows)


_WIRE = (
    click.option(
        "--nic",
        type=NIC,
        required=True,
        help="The wire: tap:NAME, tun:NAME, packet:DEVICE, fd:N, wg:FILE, udp:... or vxlan:...; "
        "`pystack nic list` has more of each.",
    ),
    click.option(
        "--address",
        "addresses",
        type=ADDRESS,
        multiple=True,
        help="The stack's own address, as 10.0.0.2/24 or fd00::2/64. May be repeated.",
    ),
    click.option("--gateway", type=GATEWAY, help="Address of the default router."),
    click.option("--dhcp", is_flag=True, help="Get an address by DHCP."),
    click.option(
        "--nameserver",
        "nameservers",
        type=NAMESERVER,
        multiple=True,
        help="Address of a DNS server. May be repeated.",
    ),
    click.option(
        "--mtu",
        type=click.IntRange(68, 65535),
        help="Largest IP packet, bytes; default: the wire's.",
    ),
    ENGINE_OPTION,
    click.option(
        "--capture", type=CAPTURE, help="Capture all frames to this file (.pcap or .pcapng)."
    ),
)
_FAULTS = (
    click.option("--loss", type=PER_CENT, default=0, help="Frames lost, per cent."),
    click.option("--duplicate", type=PER_CENT, default=0, help="Frames duplicated, per cent."),
    click.option(
        "--corrupt", type=PER_CENT, default=0, help="Frames with one bit flipped, per cent."
    ),
    click.option(
        "--reorder", type=PER_CENT, default=0, help="Frames overtaken by later ones, per cent."
    ),
    click.option(
        "--delay", type=NOT_NEGATIVE, default=0, help="Delay of each frame, in each direction, ms."
    ),
    click.option(
        "--jitter", type=NOT_NEGATIVE, default=0, help="Largest random addition to the delay, ms."
    ),
    click.option(
        "--rate",
        type=NOT_NEGATIVE,
        default=0,
        help="Maximum rate in each direction, Mbit/s; 0: no limit.",
    ),
    click.option("--seed", type=int, help="Seed for fault injection; reuse it to repeat a run."),
)


def answer_timeout(short: str) -> Callable[[Command], Command]:
    """The option `--timeout` of commands that send probes; `short` is its other name."""
    return click.option(
        "--timeout",
        short,
        type=NOT_NEGATIVE,
        default=1.0,
        show_default=True,
        help="Time to wait for each answer, seconds.",
    )


def stack_options(command: Command) -> Command:
    """Adds the options of `StackOptions`; the command gets them as ``options``.

    It stands above the command's own options. In the help the wire comes first, then those, and
    the wire's faults last.
    """

    @functools.wraps(command)
    def with_options(
        nic: str,
        addresses: tuple[str, ...],
        gateway: str | None,
        dhcp: bool,
        nameservers: tuple[str, ...],
        mtu: int | None,
        engine: str,
        capture: Path | None,
        **rest: Any,
    ) -> Any:
        faults = Faults(**{one: rest.pop(one) for one in Faults.__dataclass_fields__})
        file = None if capture is None else str(capture)
        options = StackOptions(
            nic, addresses, gateway, dhcp, nameservers, file, engine, mtu, faults
        )
        return command(options=options, **rest)

    own = vars(command).get("__click_params__", [])
    listed: list[click.Parameter] = []  # as click keeps them: the last first
    vars(with_options)["__click_params__"] = listed
    for option in reversed(_FAULTS):
        option(with_options)
    listed += own
    for option in reversed(_WIRE):
        option(with_options)
    return with_options  # type: ignore[return-value]
