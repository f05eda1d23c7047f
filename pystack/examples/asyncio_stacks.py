"""asyncio on two Stacks: the server's tasks use one, the client's the other."""

from __future__ import annotations

import asyncio

import pystack


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends back one line."""
    writer.write(b"you said " + await reader.readline())
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def ask(number: int) -> str:
    """One client."""
    reader, writer = await asyncio.open_connection("10.0.0.2", 7)
    writer.write(f"hello {number}\n".encode())
    line = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return line.decode()


async def talk(a: pystack.Stack, b: pystack.Stack) -> None:
    """A server on `b`, and five clients on `a` at once."""
    with b.active():  # for this task and the tasks it starts
        server = await asyncio.start_server(answer, "10.0.0.2", 7)
    async with server:
        with a.active():
            print(*await asyncio.gather(*(ask(number) for number in range(5))), sep="", end="")


def main() -> None:
    """Builds the network, then runs the loop: one loop for both Stacks."""
    left, right = pystack.nic.wire()
    with pystack.Stack() as a, pystack.Stack() as b:
        a.attach(left, "10.0.0.1/24")
        b.attach(right, "10.0.0.2/24")
        asyncio.run(talk(a, b))


if __name__ == "__main__":
    main()
