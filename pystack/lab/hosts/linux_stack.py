"""Linux as an engine, in virtual time, set up as the Host `linux` sets up the running kernel."""

from __future__ import annotations

import pystack
from pystack.lab.host import Service
from pystack.lab.hosts.linux import REPEATABLE
from pystack.lab.hosts.stack import StackHost

__all__ = ["LinuxStackHost"]


class LinuxStackHost(StackHost):
    """A Stack of the engine `linux`.

    Args:
        series: Of its release, as "6.12".
    """

    def __init__(self, series: str) -> None:
        super().__init__(f"linux-{series}", f"linux-{series}")

    def _prepare(self, stack: pystack.Stack) -> None:
        known = set(stack.sysctl)
        for name, value in REPEATABLE:
            if name in known:
                # "-" is the agent's word for nothing.
                stack.sysctl[name] = int(value) if value.isdecimal() else value.strip("-")

    def service(self, service: Service, on: bool = True, port: int = 0) -> None:
        """See `Host.service`."""
        if service is Service.SLAAC and on:
            # A link-local address that has been found free is what begins the solicitations.
            addresses = self._interfaces[port].addresses
            (own,) = [one.ip for one in addresses if one.ip.is_link_local]
            addresses.remove(own)
            addresses.add(f"{own.compressed.partition('%')[0]}/64", detect=True)
        super().service(service, on, port)
