"""PyPI's pmd-pytcp as the host's end of a tunnel of IPv6 packets, driven as pymobiledevice3 does.

It is one stack a process, and reads Ethernet frames from a descriptor: they go through a pair of
datagram sockets, with an Ethernet header that is added and taken off.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

OURS, PEERS = "02:00:00:00:00:01", "02:00:00:00:00:02"
BUFFER = 6 << 20
SETTINGS = {  # as pymobiledevice3 sets them
    "icmp6.default.accept_dad": 0,
    "tcp.rcv_wnd_max": 4 << 20,
    "tcp.delayed_ack.delay_ms": 1,
    "tcp.rto.min_ms": 200,
    "tcp.default.mtu_probing": 2,
    "tcp.default.base_mss": 1400,
    "tcp.plpmtud.default.probe_timer_ms": 1500,
    "net.default.rx_cksum_validate": False,
}


def packed(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


@asynccontextmanager
async def pytcp_tunnel(
    read: Callable[[], Awaitable[bytes]],
    write: Callable[[bytes], Awaitable[Any]],
    address: str,
    peer: str,
    mtu: int,
) -> AsyncIterator[Any]:
    """The module `pmd_pytcp.socket`, whose sockets' methods are to be awaited.

    Args:
        read: Gives the next packet from the peer; b"": there are no more.
        write: Takes one for it.
        address: Its own.
        peer: The only other one there is.
        mtu: Bytes of a packet.
    """
    logging.getLogger("pmd_pytcp").setLevel(logging.WARNING)
    stack, net = import_module("pmd_pytcp.stack"), import_module("pmd_net_addr")
    layer = import_module("pmd_pytcp.lib.interface_layer").InterfaceLayer
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in (near, far):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        end.setblocking(False)
    loop = asyncio.get_running_loop()
    header = packed(OURS) + packed(PEERS) + b"\x86\xdd"

    async def arriving() -> None:
        while packet := await read():
            with contextlib.suppress(BlockingIOError):
                near.send(header + packet)

    async def leaving() -> None:
        while True:
            frame = await loop.sock_recv(near, 1 << 16)
            if frame[12:14] == b"\x86\xdd":
                await write(frame[14:])

    stack.init(sysctls=SETTINGS)
    index = stack.add_interface(
        fd=far.fileno(),
        layer=layer.L2,
        mac_address=net.MacAddress(OURS),
        mtu=mtu,
        ip6_support=True,
        ip6_host=net.Ip6IfAddr(f"{address}/64"),
        ip6_lla_autoconfig=True,
        ip6_gua_autoconfig=False,
        ip4_support=False,
    )
    await stack.start()
    while not any(one.address == net.Ip6Address(address) for one in stack.local_ip6_hosts()):
        await asyncio.sleep(0)
    stack.neighbor.interface(index).add(ip=net.Ip6Address(peer), mac=net.MacAddress(PEERS))
    tasks = [asyncio.create_task(arriving()), asyncio.create_task(leaving())]
    try:
        yield import_module("pmd_pytcp.socket")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await stack.stop()
        near.close()
        far.close()
