"""``pystack gateway``: user-mode networking for a virtual machine, a container or a namespace."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from pystack import nic as nics
from pystack.cli.ending import end_orderly
from pystack.cli.proxy import room_for
from pystack.cli.values import CAPTURE, NAMESERVER, NIC, OUTPUT
from pystack.embed.gateway import (
    Gateway,
    Plan,
    WireListener,
    parse_forward,
    planned,
    tap_in_namespace,
    wire_from_descriptor,
)
from pystack.embed.gateway.gateway import MOST_FLOWS
from pystack.embed.gateway.plan import SUBNET, SUBNET6

_LOOK_S = 0.2  # between two looks at whether the wire is still connected
_ACCEPT_S = 0.5
_MOST_MTU = 65500


def _understood(understand: Callable[[str], Any]) -> Callable[..., Any]:
    """A callback that refuses texts which a function doesn't understand."""

    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        try:
            return [understand(one) for one in value]
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from None

    return callback


def _offer(text: str) -> tuple[int, str, int, str]:
    """``PORT[:ADDRESS:PORT][/tcp|udp]``: where guests find it, and where that leads."""
    port, _, target = text.partition(":")
    if not target:
        port, _, protocol = text.partition("/")
        target = f"127.0.0.1:{port}" + (f"/{protocol}" if protocol else "")
    if not port.isdigit():
        raise ValueError(f"{text!r} is no offer: write PORT[:ADDRESS:PORT][/tcp|udp]")
    forward = parse_forward(target)
    if forward.guest is not None or forward.guest_port:
        raise ValueError(f"{text!r} is no offer: write PORT[:ADDRESS:PORT][/tcp|udp]")
    return int(port), forward.address, forward.port, forward.protocol


@dataclass(frozen=True)
class _Wire:
    """Where the guest is: one of these.

    Attributes:
        netns: A process, or a namespace's path.
        path: A UNIX socket's path.
        fd: An inherited descriptor.
        nic: A wire as other commands name it.
    """

    netns: str | None
    path: Path | None
    fd: int | None
    nic: str | None
    kind: str
    device: str
    configure: bool
    mtu: int | None

    def check(self) -> None:
        """Refuses none and several.

        Raises:
            click.UsageError: It was so.
        """
        given = [one for one in (self.netns, self.path, self.fd, self.nic) if one is not None]
        if len(given) != 1:
            raise click.UsageError("name one wire: --netns, --socket, --fd or --nic")
        if self.configure and self.netns is None:
            raise click.UsageError("--configure is for a namespace: name it with --netns")

    def open(self, plan: Plan) -> nics.Nic:
        """The wire, where nobody is waited for.

        Raises:
            OSError: It isn't available; the message says why.
        """
        if self.netns is not None:
            where = int(self.netns) if self.netns.isdigit() else self.netns
            return tap_in_namespace(
                where, self.device, mtu=self.mtu or _MOST_MTU,
                configure=plan if self.configure else None,
            )  # fmt: skip
        if self.fd is not None:
            try:
                return wire_from_descriptor(self.fd, mtu=self.mtu or 1500)
            except OSError as error:
                raise OSError(error.errno, f"--fd {self.fd}: {error.strerror}") from None
        return nics.parse(str(self.nic))


@click.command()
@click.option("--netns", metavar="PID|PATH", help="Make a TAP in this network namespace.")
@click.option("--device", default="tap0", show_default=True, help="The TAP's name there (--netns).")
@click.option(
    "--configure", is_flag=True, help="Configure its address and route, and bring up lo (--netns)."
)
@click.option(
    "--socket", "path", type=OUTPUT, metavar="PATH", help="Listen for the guest on a UNIX socket."
)
@click.option(
    "--socket-kind",
    "kind",
    type=click.Choice(["stream", "dgram", "seqpacket"]),
    default="stream",
    show_default=True,
    help="QEMU's -netdev stream, as passt has it, or -netdev dgram; seqpacket: User-Mode Linux's.",
)
@click.option("--one-off", is_flag=True, help="End with the first guest (--socket).")
@click.option("--fd", type=click.IntRange(0), metavar="N", help="An inherited socket or TAP.")
@click.option("--nic", type=NIC, metavar="WIRE", help="A wire as `pystack nic list` names it.")
@click.option("--subnet", default=SUBNET, show_default=True, help="The guests' IPv4 network.")
@click.option("--subnet6", default=SUBNET6, show_default=True, help="The guests' IPv6 network.")
@click.option("--no-ipv6", is_flag=True, help="IPv4 alone.")
@click.option("--no-dhcp", is_flag=True, help="Serve no DHCP: guests have their addresses.")
@click.option("--mtu", type=click.IntRange(1280, _MOST_MTU), help="Largest IP packet, bytes.")
@click.option(
    "--nameserver", "nameservers", type=NAMESERVER, multiple=True,
    help="DNS server to ask, instead of those in /etc/resolv.conf; repeatable.",
)  # fmt: skip
@click.option("--search", multiple=True, metavar="DOMAIN", help="Domains to look names up in.")
@click.option(
    "--host-loopback", metavar="ADDRESS",
    help="Let guests reach this machine's 127.0.0.1 by this address.",
)  # fmt: skip
@click.option(
    "-p", "--publish", "forwards", multiple=True, metavar="[ADDRESS:]PORT[:[GUEST:]PORT][/tcp|udp]",
    callback=_understood(parse_forward),
    help="Forward a port of this machine (by default, of 127.0.0.1) to the guest.",
)  # fmt: skip
@click.option(
    "--offer", "offers", multiple=True, metavar="PORT[:ADDRESS:PORT][/udp]",
    callback=_understood(_offer),
    help="Forward a port of the gateway to an address in this machine's network.",
)  # fmt: skip
@click.option(
    "--capture",
    type=CAPTURE,
    help="Capture all frames to this file (.pcap or .pcapng); the next guest's to NAME-2.pcap, ...",
)
@click.option("--ready-fd", type=click.IntRange(0), help="Write 1 to it when all is ready.")
@click.option("--exit-fd", type=click.IntRange(0), help="End when its other end is closed.")
@click.option("--pid-file", type=OUTPUT, help="Write the process's number there when ready.")
def gateway(
    *,
    netns: str | None,
    device: str,
    configure: bool,
    path: Path | None,
    kind: str,
    one_off: bool,
    fd: int | None,
    nic: str | None,
    subnet: str,
    subnet6: str,
    no_ipv6: bool,
    no_dhcp: bool,
    mtu: int | None,
    nameservers: tuple[str, ...],
    search: tuple[str, ...],
    host_loopback: str | None,
    forwards: list[Any],
    offers: list[tuple[int, str, int, str]],
    capture: Path | None,
    ready_fd: int | None,
    exit_fd: int | None,
    pid_file: Path | None,
) -> None:
    """Gives a guest a network whose traffic leaves by this machine's sockets.

    Runs until Ctrl-C, or until the process or the wire that was named ends. Needs no root.
    """
    wire = _Wire(netns, path, fd, nic, kind, device, configure, mtu)
    wire.check()
    end_orderly()
    subnets: dict[str, Any] = {"subnet": subnet, "subnet6": None if no_ipv6 else subnet6}
    try:
        plan = planned(**subnets)
        if host_loopback is not None:
            plan.beyond(host_loopback)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    options = {
        **subnets,
        "dhcp": not no_dhcp,
        "nameservers": nameservers or None,
        "search": search or None,
        "host_loopback": host_loopback,
        "forwards": forwards,
        "flows": room_for(MOST_FLOWS),
    }

    captures = _numbered(capture)

    @asynccontextmanager
    async def running(nic: nics.Nic) -> AsyncIterator[Gateway]:
        with contextlib.ExitStack() as cleanup:
            cleanup.callback(nic.close)
            around = nic if capture is None else nics.capture(nic, next(captures))
            async with Gateway(around, **options) as made:
                for port, address, target, protocol in offers:
                    made.offer(port, address, target, protocol)
                for one in made.published[: len(forwards)]:
                    click.echo(f"published: {one.forward}")
                yield made

    async def serve() -> None:
        with _ending(exit_fd, netns) as ended, ExitStack() as cleanup:

            def ready() -> None:
                if pid_file is not None:
                    pid_file.write_text(f"{os.getpid()}\n")
                    cleanup.callback(pid_file.unlink, missing_ok=True)
                if ready_fd is not None:
                    os.write(ready_fd, b"1")
                    os.close(ready_fd)

            if path is None:
                async with running(wire.open(plan)) as made:
                    ready()
                    await _until_gone(made, ended)
                return
            with WireListener(path, kind=kind, mtu=mtu or 1500) as listener:
                ready()
                while not ended.is_set():
                    guest = await _accepted(listener, ended)
                    if guest is None:
                        return
                    async with running(guest) as made:
                        await _until_gone(made, ended)
                    if one_off:
                        return

    asyncio.run(serve())


def _numbered(path: Path | None) -> Iterator[Path]:
    """The file of the first guest's capture, and those of the next ones: NAME-2.pcap, ..."""
    if path is not None:
        yield path
        for number in itertools.count(2):
            yield path.with_name(f"{path.stem}-{number}{path.suffix}")


async def _accepted(listener: WireListener, ended: asyncio.Event) -> nics.Nic | None:
    """The next guest's wire; None: the command is to end."""
    loop = asyncio.get_running_loop()
    while not ended.is_set():
        there = asyncio.Event()
        loop.add_reader(listener, there.set)
        waits = [loop.create_task(one.wait()) for one in (there, ended)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            loop.remove_reader(listener)
            for one in waits:
                one.cancel()
        if there.is_set():
            with contextlib.suppress(TimeoutError, BlockingIOError):
                return listener.accept(_ACCEPT_S)
    return None


async def _until_gone(gateway: Gateway, ended: asyncio.Event) -> None:
    """Waits for the end of the command, or of the wire."""
    interface = gateway.interface
    while interface is not None and interface.link:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(ended.wait(), _LOOK_S)
            return


@contextmanager
def _ending(exit_fd: int | None, netns: str | None) -> Iterator[asyncio.Event]:
    """An event that is set by a signal, the end of a process, or that of a descriptor's far end."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    with ExitStack() as cleanup:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ended.set)
            cleanup.callback(loop.remove_signal_handler, number)
        watched = []
        if exit_fd is not None:
            watched.append(exit_fd)
        if netns is not None and netns.isdigit() and hasattr(os, "pidfd_open"):
            try:
                process = os.pidfd_open(int(netns))
            except OSError as error:
                raise OSError(error.errno, f"--netns {netns}: there is no such process") from None
            cleanup.callback(os.close, process)
            watched.append(process)
        for one in watched:
            loop.add_reader(one, ended.set)
            cleanup.callback(loop.remove_reader, one)
        yield ended
