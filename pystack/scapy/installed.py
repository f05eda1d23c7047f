"""A Stack in the place of the kernel, for scapy's own functions."""

from __future__ import annotations

import functools
import ipaddress
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from scapy.config import conf
from scapy.interfaces import InterfaceProvider, NetworkInterface, resolve_iface
from scapy.supersocket import SuperSocket

from pystack.nic import Layer
from pystack.scapy.shared import shared_of
from pystack.scapy.sockets import LinkSocket, NetworkSocket
from pystack.stack import Stack

__all__ = ["installed"]

_SOCKETS = ("L2socket", "L2listen", "L3socket", "L3socket6")
_ETHERNET, _RAW_IP = 1, 519  # ARPHRD_ETHER, ARPHRD_RAWIP of if_arp.h
_one_at_a_time = threading.Lock()


def _link_socket(
    net: Stack, iface: Any = None, filter: str | None = None, **_options: Any
) -> SuperSocket:
    """What scapy's L2 functions open; they pass more than a wire without a kernel has use for."""
    wanted = str(resolve_iface(conf.iface if iface is None else iface).network_name)
    for one in net.interfaces:
        if one.name == wanted and shared_of(one.nic) is not None:
            socket = LinkSocket(one.nic, filter)  # type: ignore[arg-type]
            socket.iface = wanted
            return socket
    raise ValueError(f"the Stack has no shared NIC {wanted!r}")


def _network_socket(
    net: Stack, iface: Any = None, filter: str | None = None, **_options: Any
) -> SuperSocket:
    """What scapy's L3 functions open: the Stack's routes choose, as the kernel's do."""
    socket = NetworkSocket(net, filter)
    socket.iface = conf.iface if iface is None else iface
    return socket


def _provider(net: Stack) -> type[InterfaceProvider]:
    """The Stack's interfaces, as scapy asks for them."""

    class Provider(InterfaceProvider):
        name = "pystack"

        def load(self) -> dict[str, NetworkInterface]:
            found = {}
            for one in net.interfaces:
                shared = shared_of(one.nic)
                if shared is None and one.index != net.loopback.index:
                    continue
                name = str(conf.loopback_name) if shared is None else one.name
                ethernet = shared is not None and shared.layer is Layer.ETHERNET
                data = {
                    "name": name, "description": name, "network_name": name, "index": one.index,
                    "mac": one.mac or "00:00:00:00:00:00", "flags": int(one.flags.value),
                    "type": _ETHERNET if ethernet else _RAW_IP,
                    "ips": [str(entry.address.ip) for entry in one.addresses],
                }  # fmt: skip
                found[name] = NetworkInterface(self, data)
            return found

        def _l2socket(self, dev: NetworkInterface) -> Any:
            return functools.partial(_link_socket, net)

        _l2listen = _l2socket

        def _l3socket(self, dev: NetworkInterface, ipv6: bool) -> Any:
            return functools.partial(_network_socket, net)

    return Provider


def _routes(net: Stack) -> tuple[list[Any], list[Any]]:
    """The Stack's routes in scapy's two forms."""
    four: list[Any] = []
    six: list[Any] = []
    names = {one.index: one.name for one in net.interfaces if shared_of(one.nic) is not None}
    for route in net.routes.list():
        if route.interface not in names:
            continue
        name, network = names[route.interface], route.destination
        interface = next(one for one in net.interfaces if one.index == route.interface)
        hop = route.gateway or network.network_address
        own = [
            entry.address for entry in interface.addresses
            if entry.address.version == network.version
        ]  # fmt: skip
        own.sort(key=lambda one, hop=hop: hop not in one.network)  # type: ignore[misc]
        sources = [str(route.source)] if route.source else [str(one.ip) for one in own]
        if isinstance(network, ipaddress.IPv4Network):
            gateway = str(route.gateway or "0.0.0.0")
            where = int(network.network_address), int(network.netmask)
            four.append((*where, gateway, name, (sources or ["0.0.0.0"])[0], route.metric))
        else:
            gateway = str(route.gateway or "::")
            where6 = str(network.network_address), network.prefixlen
            six.append((*where6, gateway, name, sources, route.metric))
    return four, six


def _flush() -> None:
    conf.route.invalidate_cache()
    conf.route6.invalidate_cache()
    for cache in ("arp_cache", "in6_neighbor"):
        getattr(conf.netcache, cache).flush()


@contextmanager
def installed(net: Stack) -> Iterator[None]:
    """Makes scapy's own functions use a Stack instead of the kernel, in a block.

    ``sr1(IP(dst="10.0.0.1") / TCP(dport=80))``, ``sniff(iface="eth0")``,
    ``TCP_client.tcplink(HTTP, "10.0.0.1", 80)``: routes, sources and interfaces are the Stack's, as
    they are when the block begins, the interfaces by the names that it gives them; the kernel's
    are out of sight. It is for the whole process, as scapy's `conf` is. Flows that were begun in
    the block are the Stack's again at its end.

    Args:
        net: A Stack with at least one NIC made by `share`.

    Raises:
        ValueError: It has no such NIC.
        RuntimeError: A block with another Stack is open.
    """
    shared = [nic for one in net.interfaces if (nic := shared_of(one.nic)) is not None]
    if not shared:
        raise ValueError(f"{net!r} has no shared NIC: net.attach(pystack.scapy.share(nic), ...)")
    if not _one_at_a_time.acquire(blocking=False):
        raise RuntimeError("a Stack is in the kernel's place for scapy already: end that block")
    kept = {name: getattr(conf, name) for name in _SOCKETS}
    kept_routes = conf.route.routes, conf.route6.routes, conf.route6.ipv6_ifaces
    kept_interfaces = dict(conf.ifaces.data), dict(conf.ifaces.providers), conf.iface
    provider = _provider(net)
    try:
        conf.route.routes, conf.route6.routes = _routes(net)
        conf.route6.ipv6_ifaces = {route[3] for route in conf.route6.routes}
        conf.ifaces.providers = {provider: provider()}
        conf.ifaces._reload_provs()
        first = next(one for one in net.interfaces if shared_of(one.nic) is not None)
        conf.iface = first.name  # type: ignore[assignment]
        for name in _SOCKETS:
            made = _link_socket if name.startswith("L2") else _network_socket
            setattr(conf, name, functools.partial(made, net))
        _flush()
        yield
    finally:
        conf.route.routes, conf.route6.routes, conf.route6.ipv6_ifaces = kept_routes
        conf.ifaces.data, conf.ifaces.providers = kept_interfaces[:2]
        if kept_interfaces[2] is not None:
            conf.iface = kept_interfaces[2]
        for name, value in kept.items():
            setattr(conf, name, value)
        _flush()
        for nic in shared:
            nic.release()
        _one_at_a_time.release()
