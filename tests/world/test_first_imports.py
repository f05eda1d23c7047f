"""Libraries that are first imported inside a World: as those imported before, and afterwards."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

# Each runs `use` in a World twice, and then `after` outside with what was imported there.
FRAME = """
from pystack.world import World

def run():
    with World(seed=3) as world:
        client, server = world.host("client"), world.host("server")
        world.link(client, server, delay="20ms")
        return use(world, client, server), world.now

first = run()
assert first == run(), (first, run())
after()
assert first == run()
print(first)
"""
PROGRAMS = {
    "trio": """
def use(world, client, server):
    import trio

    async def echo(stream):
        async for data in stream:
            await stream.send_all(data.upper())

    async def serve():
        await trio.serve_listeners(echo, await trio.open_tcp_listeners(80, host="0.0.0.0"))

    async def ask():
        await trio.sleep(60)
        stream = await trio.open_tcp_stream("server", 80)
        await stream.send_all(b"hello")
        await trio.to_thread.run_sync(__import__("time").sleep, 5)
        return await stream.receive_some()

    async def main():
        async with trio.open_nursery() as nursery:
            server.start_soon(nursery, serve)
            answer = await client.run(ask())
            nursery.cancel_scope.cancel()
            return answer

    trio.run(trio.sleep, 0)
    return world.run_trio(main)

def after():
    import trio
    trio.run(trio.to_thread.run_sync, int)
""",
    "anyio": """
def use(world, client, server):
    import anyio

    async def serve():
        listener = await anyio.create_tcp_listener(local_host="0.0.0.0", local_port=80)

        async def echo(stream):
            async with stream:
                await stream.send((await stream.receive()).upper())

        await listener.serve(echo)

    async def ask():
        await anyio.sleep(60)
        async with await anyio.connect_tcp("server", 80) as stream:
            await stream.send(b"hello")
            await anyio.to_thread.run_sync(__import__("time").sleep, 5)
            return await stream.receive()

    async def main():
        server.spawn(serve())
        return await client.run(ask())

    return world.run(main())

def after():
    import anyio
    anyio.run(anyio.to_thread.run_sync, int)
""",
    "aiohttp": """
def use(world, client, server):
    import aiohttp.web

    async def serve():
        async def hello(request):
            return aiohttp.web.Response(text="hello")

        app = aiohttp.web.Application()
        app.router.add_get("/", hello)
        runner = aiohttp.web.AppRunner(app)
        await runner.setup()
        await aiohttp.web.TCPSite(runner, "0.0.0.0", 80).start()

    async def ask():
        async with aiohttp.ClientSession() as session:
            async with session.get("http://server/") as response:
                return await response.text(), response.headers["Date"]

    async def main():
        await server.run(serve())
        return await client.run(ask())

    return world.run(main())

def after():
    import aiohttp, asyncio

    async def main():
        async with aiohttp.ClientSession():
            await asyncio.sleep(0)

    asyncio.run(main())
""",
    "httpx": """
def use(world, client, server):
    import asyncio, httpx

    async def hello(reader, writer):
        await reader.readuntil(b"\\r\\n\\r\\n")
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nhello")

    async def ask():
        async with httpx.AsyncClient(trust_env=False) as session:
            return (await session.get("http://server/", timeout=5)).text

    async def main():
        await server.run(asyncio.start_server(hello, "0.0.0.0", 80))
        return await client.run(ask())

    return world.run(main())

def after():
    import httpx
    httpx.Client(trust_env=False).close()
""",
    "requests": """
def use(world, client, server):
    import http.server, requests

    class Hello(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *words):
            pass

    def ask():
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get("http://server/", timeout=5)
            answers.append((answer.text, answer.headers["Date"], answer.elapsed.total_seconds()))

    answers = []
    server.thread(lambda: http.server.ThreadingHTTPServer(("", 80), Hello).serve_forever())
    client.thread(ask).join()
    return answers

def after():
    import requests
    requests.Session().close()
""",
    "concurrent.futures": """
def use(world, client, server):
    import concurrent.futures, queue, time
    mailbox = queue.Queue()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        pool.submit(lambda: time.sleep(5) or mailbox.put(time.time()))
        return mailbox.get(timeout=6), list(pool.map(abs, [-1, 2]))

def after():
    import concurrent.futures
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert pool.submit(int).result(timeout=10) == 0
""",
    "websockets": """
def use(world, client, server):
    import asyncio, websockets

    async def echo(connection):
        async for words in connection:
            await connection.send(words.upper())

    async def ask():
        async with websockets.connect("ws://server:80", proxy=None) as connection:
            await connection.send("hello")
            return await connection.recv()

    async def serve():
        return await websockets.serve(echo, "0.0.0.0", 80)

    async def main():
        await server.run(serve())
        return await client.run(ask())

    return world.run(main())

def after():
    import websockets
""",
}
# What a module of the user's takes at its import, and how it makes it.
TAKES = """
import dataclasses, functools, os, random, threading
from threading import Lock, RLock, Event, Thread
from queue import SimpleQueue
from os import urandom
from time import monotonic, sleep

generator = random.Random()
from_before = Lock()

@dataclasses.dataclass
class Account:
    lock: object = dataclasses.field(default_factory=RLock)
    box: object = dataclasses.field(default_factory=SimpleQueue)
"""


def python(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_library(name: str) -> None:
    pytest.importorskip(name)
    assert "hello" in python(PROGRAMS[name] + FRAME).lower() or name == "concurrent.futures"


def test_a_module_takes_what_it_would_have_taken_before(tmp_path: Path) -> None:
    (tmp_path / "takes.py").write_text(TAKES)
    program = f"""
    import sys
    sys.path.insert(0, {str(tmp_path)!r})
    import _thread, os, threading
    kernels = [type(_thread.allocate_lock())]
    from pystack.world import World
    drawn = []
    for _ in range(2):
        with World(seed=1) as world:
            import takes
            assert type(takes.from_before) is kernels[0]
            assert isinstance(takes.Account().lock, _thread.RLock)
            drawn.append((takes.urandom(8), os.urandom(8)))
            takes.sleep(5)
            assert takes.monotonic() == 6
            assert type(takes.Lock()).__name__ == "WorldLock"
            assert takes.Lock is threading.Lock
            assert isinstance(takes.from_before, _thread.LockType)
        assert takes.Lock is threading.Lock
    assert drawn[0] == drawn[1]
    assert type(takes.Lock()) is type(takes.from_before)
    assert takes.urandom is os.urandom
    """
    python(textwrap.dedent(program))
