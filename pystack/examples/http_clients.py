"""A World: aiohttp and httpx as clients in one loop, of a server in aiohttp.

The server is slow to answer: httpx gives up after five seconds, aiohttp waits for its half minute.
None of it takes time.
"""

from __future__ import annotations

import asyncio

import aiohttp
import httpx
from aiohttp import web

from pystack.world import Host, World


async def answer(request: web.Request) -> web.Response:
    """After as many seconds as the path says."""
    await asyncio.sleep(float(request.match_info["seconds"]))
    return web.Response(text="here it is")


async def serve() -> None:
    """Serves until it is cancelled."""
    app = web.Application()
    app.router.add_get("/{seconds}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", 80).start()
    try:
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


async def with_aiohttp(seconds: float) -> str:
    """Its time-out is 30 seconds."""
    timeout = aiohttp.ClientTimeout(total=30)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.get(f"http://server/{seconds}") as response,
    ):
        return await response.text()


async def with_httpx(seconds: float) -> str:
    """Its time-out is 5 seconds."""
    async with httpx.AsyncClient(timeout=5) as client:
        return (await client.get(f"http://server/{seconds}")).text


def main() -> None:
    """Asks both, for an answer at once and for one after 20 seconds."""
    with World(seed=1) as world:
        ann, bob, server = (world.host(name) for name in ("ann", "bob", "server"))
        world.link(ann, server, delay="10ms")
        world.link(bob, server, delay="50ms")

        async def ask(host: Host, client: object, name: str, seconds: float) -> None:
            try:
                said: object = await host.run(client(seconds))  # type: ignore[operator]
            except httpx.TimeoutException as error:
                said = type(error).__name__
            print(f"{world.now:6.2f} s  {name}, {seconds:g} s: {said}")

        async def together() -> None:
            server.spawn(serve())
            await asyncio.sleep(1)
            for seconds in (0, 20):
                await asyncio.gather(
                    ask(ann, with_aiohttp, "aiohttp", seconds),
                    ask(bob, with_httpx, "httpx", seconds),
                )

        world.run(together())


if __name__ == "__main__":
    main()
