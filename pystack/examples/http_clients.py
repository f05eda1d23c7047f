"""A World: aiohttp and httpx as clients in one loop, of a server in aiohttp.

The server is slow: httpx gives up after five seconds, aiohttp waits for its half minute.
"""

from __future__ import annotations

import asyncio

import aiohttp
import httpx
from aiohttp import web

from pystack.world import World


async def answer(request: web.Request) -> web.Response:
    """After as many seconds as the path says."""
    await asyncio.sleep(float(request.match_info["seconds"]))
    return web.Response(text="here it is")


async def with_aiohttp(url: str) -> str:
    """Its time-out is 30 seconds."""
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout) as client, client.get(url) as response:
        return f"aiohttp: {await response.text()}"


async def with_httpx(url: str) -> str:
    """Its time-out is 5 seconds."""
    async with httpx.AsyncClient(timeout=5) as client:
        try:
            return f"httpx: {(await client.get(url)).text}"
        except httpx.TimeoutException as error:
            return f"httpx: {type(error).__name__}"


async def together(world: World) -> None:
    """Asks by both, for an answer at once and for one after 20 seconds."""
    ann, bob, server = (world.host(name) for name in ("ann", "bob", "server"))
    world.link(ann, server, delay="10ms")
    world.link(bob, server, delay="50ms")
    app = web.Application()
    app.router.add_get("/{seconds}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await server.run(web.TCPSite(runner, "0.0.0.0", 80).start())
    for url in ("http://server/0", "http://server/20"):
        asked = [ann.spawn(with_aiohttp(url)), bob.spawn(with_httpx(url))]
        for each in asyncio.as_completed(asked):
            said = await each
            print(f"{world.now:6.2f} s  {url} by {said}")
    await runner.cleanup()


if __name__ == "__main__":
    with World(seed=1) as world:
        world.run(together(world))
