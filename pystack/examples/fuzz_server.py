"""A server under mutated requests, over a real TCP and in virtual time.

`tamper` changes bytes of sound requests on the wire and mends the checksums, so that TCP delivers
them. A seed repeats its campaign: the one that breaks the server is its bug report.
"""

import asyncio
import random

from pystack.nic import Frame, refresh
from pystack.world import World

REQUEST = b"SET 5 hello\n"


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The program under test: it believes what a peer says of lengths."""
    async for line in reader:
        words = line.split(maxsplit=2)
        if len(words) == 3 and words[1].isdigit():
            writer.write(b"ends with %c\n" % words[2].rstrip(b"\n")[int(words[1]) - 1])
    writer.close()


def campaign(seed: int) -> list[str]:
    """Sends twenty requests: what breaks the server under a seed."""
    chance, sent, found = random.Random(seed), b"", list[str]()

    def mutate(frame: Frame) -> bytes:
        nonlocal sent
        changed, at = bytearray(frame.data), frame.data.find(REQUEST)
        if at >= 0:
            for _ in range(2):
                changed[at + chance.randrange(len(REQUEST))] = chance.choice(b"9 \0")
            sent = bytes(changed[at:])
        return refresh(changed)

    with World(seed=seed) as world:
        fuzzer, server = world.host("fuzzer"), world.host("server")
        world.link(fuzzer, server, delay="5ms", tamper=mutate)

        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(
                lambda _loop, context: found.append(f"{context['exception']!r} after {sent!r}")
            )
            async with await server.run(asyncio.start_server(serve, "0.0.0.0", 7)):
                for _ in range(20):
                    reader, writer = await fuzzer.run(asyncio.open_connection("server", 7))
                    writer.write(REQUEST)
                    writer.write_eof()
                    await reader.read()
                    writer.close()

        world.run(main())
    return found


if __name__ == "__main__":
    print(next(f"seed {seed}: {found[0]}" for seed in range(50) if (found := campaign(seed))))
