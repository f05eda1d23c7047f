"""Options that several commands share: which NIC, which addresses, and the Stack they make."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import click

import pystack
from pystack import nic as nics

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class StackOptions:
    """What the user asked for on the command line."""

    nic: str
    addresses: tuple[str, ...]
    gateway: str | None
    dhcp: bool
    nameservers: tuple[str, ...]
    capture: str | None

    @contextmanager
    def stack(self) -> Iterator[tuple[pystack.Stack, pystack.Interface]]:
        """A Stack with one interface as asked for, closed at the end of the block.

        Raises:
            click.UsageError: Neither an address nor DHCP was given.
            OSError: The NIC can't be had (the message says what to do).
        """
        if not self.addresses and not self.dhcp:
            raise click.UsageError("give the stack an address with --address, or --dhcp")
        with ExitStack() as cleanup:
            wire: nics.Nic = nics.parse(self.nic)
            if self.capture is not None:
                wire = nics.capture(wire, self.capture)
            cleanup.callback(wire.close)
            net = cleanup.enter_context(pystack.Stack())
            interface = net.attach(wire, *self.addresses, gateway=self.gateway)
            if self.dhcp:
                interface.dhcp()
            if self.nameservers:
                net.nameservers[:] = list(self.nameservers)
            yield net, interface


def stack_options(command: Command) -> Command:
    """Adds the options of `StackOptions`; the command gets them as ``options``."""

    @click.option("--nic", required=True, help="The wire: tap:NAME, tun:NAME, packet:DEV, fd:N.")
    @click.option(
        "--address",
        "addresses",
        multiple=True,
        help="The stack's own address, as 10.0.0.2/24 or fd00::2/64. May be repeated.",
    )
    @click.option("--gateway", help="The router for everything that is not on the wire.")
    @click.option("--dhcp", is_flag=True, help="Lease an address.")
    @click.option("--nameserver", "nameservers", multiple=True, help="May be repeated.")
    @click.option("--capture", help="Write all frames to this file (.pcap or .pcapng).")
    @functools.wraps(command)
    def with_options(
        nic: str,
        addresses: tuple[str, ...],
        gateway: str | None,
        dhcp: bool,
        nameservers: tuple[str, ...],
        capture: str | None,
        **rest: Any,
    ) -> Any:
        options = StackOptions(nic, addresses, gateway, dhcp, nameservers, capture)
        return command(options=options, **rest)

    return with_options  # type: ignore[return-value]
