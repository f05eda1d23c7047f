"""The cost of a request to a web server on a Stack and on the kernel.

The servers are aiohttp and uvicorn, the latter with h11 and with httptools, each with the smallest
application there is, on asyncio's own event loop. The client is wrk, on the kernel's sockets at the
other end of a TAP or of a veth pair, with connections that stay open. A server runs on both ways at
once and is queried on them in turn, so that what the machine does meanwhile hits both alike.

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
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any

import pystack
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


async def _uvicorn(listener: Any, over: asyncio.Event, parser: str = "h11") -> None:
    import uvicorn  # noqa: PLC0415 - a server that is measured, no part of pystack

    async def application(_scope: Any, _receive: Any, send: Any) -> None:
        headers = [(b"content-length", str(len(BODY)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": BODY})

    settings = uvicorn.Config(
        application, lifespan="off", access_log=False, log_level="error", http=parser
    )
    server = uvicorn.Server(settings)
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    await over.wait()
    server.should_exit = True
    await serving


async def _uvicorn_httptools(listener: Any, over: asyncio.Event) -> None:
    await _uvicorn(listener, over, "httptools")


SERVERS: dict[str, Callable[[Any, asyncio.Event], Coroutine[Any, Any, None]]] = {
    "aiohttp": _aiohttp,
    "uvicorn": _uvicorn,
    "uvicorn_httptools": _uvicorn_httptools,
}
_WAYS = ("veth", "TAP")


def _is_installed(name: str) -> bool:
    """Whether the packages are that the server's name consists of."""
    return all(importlib.util.find_spec(package) is not None for package in name.split("_"))


class _Running:
    """A server on an event loop in its own thread, with the Stack installed if it is one's."""

    def __init__(self, name: str, listener: Any, stack: pystack.Stack | None) -> None:
        self._installed = nullcontext() if stack is None else stack.installed()
        self._installed.__enter__()
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
        self._installed.__exit__(None, None, None)


def _start(here: Here, name: str) -> Any:
    """Starts a server; gives its address."""
    if here.server is None:
        raise ValueError("no end is open here")
    # By its protocol asyncio sees that it may set TCP_NODELAY.
    listener = here.server.sockets.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind((here.server.host, 0))
    listener.listen(128)
    here.kept = _Running(name, listener, here.server.stack)
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


def _round(network: ways.Network, address: Any, seconds: float) -> _Cost:
    client, server = network.one, network.two
    before = server.call(_spent)
    client.tell(_wrk, address, seconds)
    count, rate, asking = client.answer(seconds + SLACK_S)
    serving = server.call(_spent) - before
    if count == 0:
        raise WorkerError(f"no request was answered within {seconds:.0f} s")
    return _Cost(serving * 1e6 / count, (serving + asking) * 1e6 / count, rate)


def _measure(
    networks: dict[str, ways.Network],
    name: str,
    rounds: int,
    seconds: float,
    progress: Callable[[str], None],
) -> dict[str, list[_Cost]]:
    """A server's costs on each way."""
    found: dict[str, list[_Cost]] = {way: [] for way in _WAYS}
    with ExitStack() as cleanup:
        addresses = {}
        for way in _WAYS:
            addresses[way] = networks[way].two.call(_start, name)
            cleanup.callback(networks[way].two.call, _stop)
            networks[way].one.call(_wrk, addresses[way], 1.0)  # caches, and what Python compiles
        for number in range(rounds):
            for way in _WAYS if number % 2 == 0 else reversed(_WAYS):
                progress(f"http: {name}: round {number + 1}: {way}")
                found[way].append(_round(networks[way], addresses[way], seconds))
    return found


def http(
    rounds: int = 5, seconds: float = 2.0, progress: Callable[[str], None] = lambda _text: None
) -> list[Figure]:
    """Measures; takes about rounds x 6 x seconds.

    Args:
        rounds: How often each.
        seconds: How long wrk asks each time; whole ones.
        progress: Is told of each step before it is done.

    Raises:
        WorkerError: Not available here: no wrk, no TAP, or none of the servers; or no answer came.
    """
    if shutil.which("wrk") is None:
        raise WorkerError("there is no wrk (Debian: apt install wrk)")
    names = [name for name in SERVERS if _is_installed(name)]
    if not names:
        raise WorkerError(f"none of the servers is installed: {', '.join(SERVERS)}")
    absent: dict[str, str] = {}
    figures: list[Figure] = []
    with ways.opened(set(_WAYS), absent) as networks:
        if absent:
            raise WorkerError("; ".join(f"{way}: {why}" for way, why in absent.items()))
        for name in names:
            found = _measure(networks, name, rounds, max(1.0, round(seconds)), progress)
            figures += _figures(name, found["veth"], found["TAP"])
    return figures


def _figures(name: str, kernel: list[_Cost], stack: list[_Cost]) -> list[Figure]:
    pairs = list(zip(kernel, stack, strict=True))
    title = name.replace("_", ", ")

    def ratio(key: str, text: str, value: Callable[[_Cost], float]) -> Figure:
        found = statistics.median(value(ours) / value(theirs) for theirs, ours in pairs)
        return Figure(f"{name}_{key}", f"{title}: {text}", found, "", 2)

    def server_us(key: str, text: str, costs: list[_Cost]) -> Figure:
        spent = statistics.median(one.server_us for one in costs)
        return Figure(f"{name}_{key}", f"{title}: processor a request, {text}", spent, "us", 1)

    return [
        server_us("cpu_kernel", "kernel over veth", kernel),
        server_us("cpu_stack", "Stack over TAP", stack),
        ratio("cpu", "ratio of the two", lambda one: one.server_us),
        ratio("both", "the same with the client's", lambda one: one.both_us),
        ratio("rate", "requests/s, Stack to kernel", lambda one: one.rate),
    ]
