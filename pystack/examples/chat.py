"""A World: an asyncio chat over a link that is cut for two minutes and heals.

What is said meanwhile isn't lost: TCP sends it again, and later each time, until it arrives.
"""

from __future__ import annotations

import asyncio

from pystack.world import World

HERS, HIS = {5: "Hello!", 20: "Anybody?"}, {6: "Hi Ann.", 25: "Are you there?"}
everybody: set[asyncio.StreamWriter] = set()


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """On the server: passes each line on to everybody else."""
    everybody.add(writer)
    async for line in reader:
        for other in everybody - {writer}:
            other.write(line)
    everybody.remove(writer)
    writer.close()


async def chat(world: World, name: str, lines: dict[int, str]) -> None:
    """Prints what it hears in five minutes, and says each line at its moment."""
    reader, writer = await asyncio.open_connection("server", 7000)

    async def say(moment: int, text: str) -> None:
        await asyncio.sleep(moment - world.now)
        print(f"{world.now:6.1f} s  {name} says {text!r}")
        writer.write(f"{text}\n".encode())

    saying = asyncio.gather(*(say(*line) for line in lines.items()))
    asyncio.get_running_loop().call_later(300, writer.close)
    async for heard in reader:
        print(f"{world.now:6.1f} s  {name} hears {heard.decode().strip()!r}")
    await saying


async def together(world: World) -> None:
    """Cuts Ann off from 10 to 130 seconds."""
    server, ann, bob = (world.host(name) for name in ("server", "ann", "bob"))
    cut = world.link(ann, server, delay="30ms")
    world.link(bob, server, delay="10ms")
    async with await server.run(asyncio.start_server(talk, "", 7000)):
        chats = [ann.spawn(chat(world, "Ann", HERS)), bob.spawn(chat(world, "Bob", HIS))]
        await asyncio.sleep(10)
        cut.down()
        await asyncio.sleep(120)
        cut.up()
        await asyncio.gather(*chats)
        await asyncio.sleep(1)


if __name__ == "__main__":
    with World(seed=1) as world:
        world.run(together(world))
