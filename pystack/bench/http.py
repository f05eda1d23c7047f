"""The cost of a request to a web server on a Stack and on the kernel.

The servers are aiohttp and uvicorn, each with the smallest application there is, on asyncio's own
event loop. The client is wrk, on the kernel's sockets at the other end of a TAP or of a veth pair,
with connections that stay open. The servers take turns in one run.

It measures processor time: the server process's, and that of both ends. Over veth the kernel
receives for the server in the client's time, while the client sends; a Stack receives in its own.
So the server's time alone flatters the kernel; both together are a request's cost to the machine.
"""

from __future__ import annotations

import asyncio
import importlib.util
import re
import resource
import shutil
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from pystack.bench import ways
from pystack.bench.scale import Figure
from pystack.bench.worker import Here, WorkerError

__all__ = ["SERVERS", "http"]

CLIENTS = 16
SLACK_S = 40.0
BODY = b"hello from a stack\n"


async def _aiohttp(listener: Any, over: asyncio.Event) -> None:
    from aiohttp import web  # noqa: PLC0415 - a server that is measured, no part of pystack

    async def hello(_request: web.Request) -> web.Response:
        return web.Response(body=BODY)

    application = web.Application()
    application.router.add_get("/", hello)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    await over.wait()
    await runner.cleanup()


async def _uvicorn(listener: Any, over: asyncio.Event) -> None:
    import uvicorn  # noqa: PLC0415 - a server that is measured, no part of pystack

    async def application(_scope: Any, _receive: Any, send: Any) -> None:
        headers = [(b"content-length", str(len(BODY)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": BODY})

    settings = uvicorn.Config(
        application, lifespan="off", access_log=False, log_level="error", http="h11"
    )
    server = uvicorn.Server(settings)
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    await over.wait()
    server.should_exit = True
    await serving


SERVERS: dict[str, Callable[[Any, asyncio.Event], Coroutine[Any, Any, None]]] = {
    "aiohttp": _aiohttp,
    "uvicorn": _uvicorn,
}


class _Running:
    """A server on an event loop in its own thread."""

    def __init__(self, name: str, listener: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(
            target=self._loop.run_until_complete, args=(SERVERS[name](listener, self._over),)
        )
        self._thread.start()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._loop.close()


def _start(here: Here, name: str) -> Any:
    """Starts a server; gives its address."""
    if here.server is None:
        raise ValueError("no end is open here")
    # By its protocol asyncio sees that it may set TCP_NODELAY.
    listener = here.server.sockets.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind((here.server.host, 0))
    listener.listen(128)
    here.kept = _Running(name, listener)
    return listener.getsockname()


def _spent(here: Here) -> float:
    """Seconds of processor that this process has used."""
    del here
    return time.process_time()


def _stop(here: Here) -> None:
    here.kept.stop()
    here.kept = None


def _wrk(here: Here, address: Any, seconds: float) -> tuple[int, float, float]:
    """Asks for as long; gives how many answers came, how many a second, and its own processor's."""
    del here
    host, port = address[:2]
    command = ["wrk", "-t1", f"-c{CLIENTS}", f"-d{seconds:.0f}s", f"http://{host}:{port}/"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=seconds + 30
    ).stdout
    count = re.search(r"(\d+) requests in", told)
    rate = re.search(r"Requests/sec:\s*([\d.]+)", told)
    if count is None or rate is None or "Non-2xx" in told or "Socket errors" in told:
        raise ValueError(f"wrk says: {told}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return int(count[1]), float(rate[1]), spent


@dataclass(frozen=True)
class _Cost:
    """Of a request.

    Attributes:
        server_us: Processor time of the server's process.
        both_us: With that of wrk.
        rate: Requests a second.
    """

    server_us: float
    both_us: float
    rate: float


def _round(network: ways.Network, name: str, seconds: float) -> _Cost:
    client, server = network.one, network.two
    address = server.call(_start, name)
    client.call(_wrk, address, 1.0)  # caches, and what Python compiles at first
    before = server.call(_spent)
    client.tell(_wrk, address, seconds)
    count, rate, asking = client.answer(seconds + SLACK_S)
    after = server.call(_spent)
    server.call(_stop)
    serving = after - before
    return _Cost(serving * 1e6 / count, (serving + asking) * 1e6 / count, rate)


def http(
    rounds: int = 5, seconds: float = 2.0, progress: Callable[[str], None] = lambda _text: None
) -> list[Figure]:
    """Measures; takes about rounds x 4 x (seconds + 2).

    Args:
        rounds: How often each.
        seconds: How long wrk asks each time; whole ones.
        progress: Is told of each step before it is done.

    Raises:
        WorkerError: Not available here: no wrk, no TAP, or none of the servers.
    """
    if shutil.which("wrk") is None:
        raise WorkerError("there is no wrk (Debian: apt install wrk)")
    names = [name for name in SERVERS if importlib.util.find_spec(name) is not None]
    if not names:
        raise WorkerError(f"none of the servers is installed: {', '.join(SERVERS)}")
    absent: dict[str, str] = {}
    found: dict[tuple[str, str], list[_Cost]] = {}
    with ways.opened({"veth", "TAP"}, absent) as networks:
        if absent:
            raise WorkerError("; ".join(f"{way}: {why}" for way, why in absent.items()))
        for number in range(rounds):
            for name in names:
                for way in ("veth", "TAP"):
                    progress(f"http: round {number + 1}: {name}: {way}")
                    one = _round(networks[way], name, max(1.0, round(seconds)))
                    found.setdefault((name, way), []).append(one)
    return [figure for name in names for figure in _figures(name, found)]


def _figures(name: str, found: dict[tuple[str, str], list[_Cost]]) -> list[Figure]:
    kernel, stack = found[name, "veth"], found[name, "TAP"]
    pairs = list(zip(kernel, stack, strict=True))

    def ratio(key: str, title: str, value: Callable[[_Cost], float]) -> Figure:
        found = statistics.median(value(ours) / value(theirs) for theirs, ours in pairs)
        return Figure(f"{name}_{key}", f"{name}: {title}", found, "", 2)

    def server_us(key: str, title: str, costs: list[_Cost]) -> Figure:
        spent = statistics.median(one.server_us for one in costs)
        return Figure(f"{name}_{key}", f"{name}: processor a request, {title}", spent, "us", 1)

    return [
        server_us("cpu_kernel", "kernel over veth", kernel),
        server_us("cpu_stack", "Stack over TAP", stack),
        ratio("cpu", "ratio of the two", lambda one: one.server_us),
        ratio("both", "the same with the client's", lambda one: one.both_us),
        ratio("rate", "requests/s, Stack to kernel", lambda one: one.rate),
    ]
