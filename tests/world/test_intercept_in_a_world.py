"""Flows to any address in a World: decisions take the World's time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pystack.world import World


def test_a_decision_takes_the_worlds_time() -> None:
    async def gateway(host: Any) -> None:
        with host.intercept() as taken:
            async for flow in taken:
                await asyncio.sleep(5)
                with flow.accept() as connection:
                    connection.setblocking(False)
                    await asyncio.get_running_loop().sock_sendall(connection, b"hello")
                return

    async def client(world: World) -> tuple[bytes, float]:
        reader, writer = await asyncio.open_connection("198.51.100.7", 80)
        data = await reader.read()
        writer.close()
        return data, world.now

    with World(seed=1) as world:
        near, far = world.host("near"), world.host("far")
        world.link(near, far, delay="50ms")
        address = far.interfaces[-1].addresses.list()[0].ip
        near.routes.add("default", gateway=address)

        async def main() -> tuple[bytes, float]:
            serving = far.spawn(gateway(far))
            result = await near.spawn(client(world))
            await serving
            return result

        data, moment = world.run(main())
    assert data == b"hello"
    # Three ways for ARP and the SYN, one for the SYN-ACK, two more until the data is here.
    assert moment == pytest.approx(5.3, abs=0.01)
