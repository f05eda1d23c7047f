"""A World: an asyncio chat over a link that is cut for two minutes and heals.

What is said during the cut isn't lost: TCP sends it again, later each time, and so it arrives some
time after the link is back. Nobody's program knows that there was a cut.
"""

from __future__ import annotations

import asyncio

from pystack.world import World


async def serve() -> None:
    """Passes each line on to everybody else."""
    everybody: set[asyncio.StreamWriter] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        everybody.add(writer)
        async for line in reader:
            for other in everybody - {writer}:
                other.write(line)
        everybody.remove(writer)
        writer.close()

    async with await asyncio.start_server(talk, "", 7000) as server:
        await server.serve_forever()


async def chat(world: World, name: str, lines: dict[float, str]) -> None:
    """Says each line at its moment, and prints what it hears until three minutes have passed."""
    reader, writer = await asyncio.open_connection("server", 7000)

    async def listen() -> None:
        async for line in reader:
            print(f"{world.now:6.1f} s  {name} hears {line.decode().strip()!r}")

    listening = asyncio.create_task(listen())
    for moment, text in lines.items():
        await asyncio.sleep(moment - world.now)
        print(f"{world.now:6.1f} s  {name} says {text!r}")
        writer.write(f"{text}\n".encode())
    await asyncio.sleep(300 - world.now)
    listening.cancel()
    writer.close()


def main() -> None:
    """Cuts Ann off from 10 to 130 seconds."""
    with World(seed=1) as world:
        server, ann, bob = (world.host(name) for name in ("server", "ann", "bob"))
        cut = world.link(ann, server, delay="30ms")
        world.link(bob, server, delay="10ms")

        async def together() -> None:
            server.spawn(serve())
            await asyncio.sleep(1)
            hers, his = {5.0: "Hello!", 20.0: "Anybody?"}, {6.0: "Hi Ann.", 25.0: "Are you there?"}
            talks = [ann.spawn(chat(world, "Ann", hers)), bob.spawn(chat(world, "Bob", his))]
            await asyncio.sleep(10 - world.now)
            cut.down()
            await asyncio.sleep(120)
            cut.up()
            await asyncio.gather(*talks)
            await asyncio.sleep(1)

        world.run(together())


if __name__ == "__main__":
    main()
